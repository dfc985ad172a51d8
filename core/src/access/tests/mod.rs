//! People, end to end over the reference backend: one world, a clock that stands still until told.

mod bootstrap;
mod keys;
mod secrets;
mod server_keys;
mod sessions;
mod users;

use std::{fmt::Debug, sync::Arc, time::Duration};

use super::{
    AuditEntry, Context, Origin, Role,
    bootstrap::Claim,
    sessions::{Login, SignedIn},
    users::{NewUser, UserId, UserView},
};
use crate::{
    Fleet,
    kernel::{ManualClock, MasterKey, PageRequest, Result, SeededRandom, Timestamp},
    store::{LaneQuery, LaneRow as _, memory::MemoryStore},
};

const PASSWORD: &str = "a perfectly fine password";

/// A server over a store in memory.
struct World {
    clock: Arc<ManualClock>,
    backend: Arc<MemoryStore>,
    fleet: Fleet,
    starts: u64,
}

impl World {
    /// A server at its first start.
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let backend = Arc::new(MemoryStore::new(clock.clone()));
        let fleet = Self::open(&clock, &backend, 0).await;
        Self {
            clock,
            backend,
            fleet,
            starts: 1,
        }
    }

    /// A server with the administrator `root`, and the context of the session that she began.
    async fn with_root() -> (Self, Context) {
        let world = Self::new().await;
        let token = world.fleet.access().bootstrap_token().await.unwrap().unwrap();
        world.fleet.access().claim(claim(token.expose(), "root")).await.unwrap();
        let root = world.context(&world.login("root").await.unwrap()).await;
        (world, root)
    }

    /// The server is stopped and started again over the same store.
    async fn restart(&mut self) {
        self.fleet = Self::open(&self.clock, &self.backend, self.starts).await;
        self.starts += 1;
    }

    async fn open(clock: &Arc<ManualClock>, backend: &Arc<MemoryStore>, seed: u64) -> Fleet {
        Fleet::builder(backend.clone(), master_key(1))
            .clock(clock.clone())
            .random(Arc::new(SeededRandom::new(seed)))
            .open()
            .await
            .unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn user(&self, by: &Context, name: &str, role: Role) -> UserView {
        self.fleet
            .access()
            .users()
            .create(by, new_user(name, role))
            .await
            .unwrap()
    }

    /// A user and the context of a session of theirs.
    async fn signed_in(&self, by: &Context, name: &str, role: Role) -> (UserId, Context) {
        let user = self.user(by, name, role).await;
        (user.id, self.context(&self.login(name).await.unwrap()).await)
    }

    async fn login(&self, name: &str) -> Result<SignedIn> {
        self.login_with(name, PASSWORD).await
    }

    async fn login_with(&self, name: &str, password: &str) -> Result<SignedIn> {
        let login = Login {
            name: name.to_owned(),
            password: password.into(),
            origin: origin(),
            user_agent: Some("test\n".repeat(100)),
        };
        self.fleet.access().sessions().login(login).await
    }

    async fn authenticate(&self, token: &str) -> Result<Context> {
        self.fleet.access().authenticate(token, origin()).await
    }

    async fn context(&self, signed_in: &SignedIn) -> Context {
        self.authenticate(signed_in.token.expose()).await.unwrap()
    }

    /// The audit in the order of the commits, newest first. (By time would not do: the clock stands still.)
    async fn audit(&self) -> Vec<AuditEntry> {
        let page = PageRequest::new(Some(500), None).unwrap();
        let query = LaneQuery::<AuditEntry>::newest_first();
        let mut reader = self.fleet.store().reader().await.unwrap();
        let (mut rows, _) = reader.stored_rows(&query, &page).await.unwrap();
        rows.sort_by_key(|stored| std::cmp::Reverse(stored.link.as_ref().unwrap().number));
        rows.iter()
            .map(|stored| AuditEntry::from_row(&stored.row).unwrap())
            .collect()
    }
}

fn master_key(seed: u64) -> MasterKey {
    MasterKey::generate(&SeededRandom::new(1_000 + seed))
}

fn origin() -> Origin {
    Origin {
        address: Some("192.0.2.7".to_owned()),
        request_id: Some("r1".to_owned()),
    }
}

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser {
        name: name.to_owned(),
        display_name: None,
        role,
        password: Some(PASSWORD.into()),
    }
}

fn claim(token: &str, name: &str) -> Claim {
    Claim {
        token: token.to_owned(),
        name: name.to_owned(),
        password: PASSWORD.into(),
        origin: origin(),
    }
}

/// How a use case ended: `ok`, or the code of its refusal.
#[track_caller]
fn check<T: Debug>(outcome: Result<T>, expected: &str) {
    let got = outcome.as_ref().map_or_else(|error| error.code().name(), |_| "ok");
    assert_eq!(got, expected, "{outcome:?}");
}
