//! Tokens and keys, from whoever makes one to the device that uses it.

use std::collections::BTreeMap;

use super::*;
use crate::{
    access::{
        Actor, Context, DENIED, Grants, Origin, Role, Scope,
        users::{NewUser, UserId},
    },
    devices::{
        DeviceId,
        device::DEVICE_NOT_FOUND,
        testing::{TestFleet, fails},
    },
    escrow::Depositor,
    kernel::{EntityId as _, Result},
    work::{desired::owners::OwnersChange, operations::actions::disk_encryption::DeviceKey},
};

const DISK: &str = "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00";
const OTHER: &str = "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a01";

/// A fleet with two devices.
struct World {
    test: TestFleet,
    web: DeviceId,
    mail: DeviceId,
    origin: Origin,
}

impl World {
    async fn new() -> Self {
        let test = TestFleet::new().await;
        Self {
            web: test.device("web-1").await,
            mail: test.device("mail-1").await,
            test,
            origin: Origin::default(),
        }
    }

    fn keys(&self) -> DiskKeyService<'_> {
        self.test.fleet.disk_keys()
    }

    fn as_device(&self, id: DeviceId) -> Depositor<'_> {
        Depositor {
            id,
            name: "web-1",
            origin: &self.origin,
        }
    }

    async fn make(&self, context: &Context) -> Result<DiskPassphraseTokenView> {
        let new = NewDiskPassphraseToken::default();
        self.keys().create_token(context, self.web, &new).await
    }

    /// A token of an administrator.
    async fn token(&self) -> String {
        let made = self.make(&self.test.admin()).await.unwrap();
        made.token.reveal().to_owned()
    }

    async fn check(&self, device: DeviceId, token: &str) -> Result<()> {
        self.keys().check_token(&self.as_device(device), token).await
    }

    async fn take(&self, token: &str, disk: &str) -> Result<()> {
        self.keys().use_token(&self.as_device(self.web), token, disk).await
    }

    async fn tell(&self, disk: &str, key: DeviceKey) -> Result<()> {
        self.keys().tell(&self.as_device(self.web), disk, key).await
    }

    /// What people see of the device, with how many seconds ago.
    async fn shown(&self) -> Vec<String> {
        let shown = self.keys().show(&self.test.admin(), self.web).await.unwrap();
        let now = self.test.clock_now();
        let line = |disk: &DiskKeyView| {
            let ago = now.since(disk.since).as_secs();
            format!(
                "{} {} {ago}s",
                disk.disk.split('-').next_back().unwrap(),
                disk.key.name()
            )
        };
        shown.disks.iter().map(line).collect()
    }

    /// The actions of the audit about these keys.
    async fn audited(&self) -> Vec<String> {
        let mut actions = self.test.actions().await;
        actions.retain(|action| action.starts_with("disk_"));
        actions
    }

    async fn user(&self, name: &str) -> UserId {
        let new = NewUser {
            name: name.into(),
            display_name: None,
            role: Role::Viewer,
            password: None,
        };
        let users = self.test.fleet.access();
        users.users().create(&self.test.admin(), new).await.unwrap().id
    }
}

fn signed_in(user: UserId) -> Context {
    let actor = Actor::User {
        id: user.uuid(),
        name: "ann".into(),
    };
    let grants = Grants::of([(DISK_PASSPHRASES_OWN, Scope::All)]);
    Context::new(actor, Origin::default(), std::sync::Arc::new(grants))
}

#[tokio::test]
async fn a_token_is_shown_once_used_once_and_leaves_what_it_was_used_for() {
    let world = World::new().await;
    let made = world.make(&world.test.admin()).await.unwrap();
    let token = made.token.reveal();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(
        made.command.reveal(),
        format!("sudo fleet-agent disk set-passphrase --token {token}")
    );
    assert_eq!(made.expires_at.since(world.test.clock_now()).as_secs(), 900);

    for _ in 0..3 {
        world.check(world.web, token).await.unwrap();
    }
    assert!(world.shown().await.is_empty());
    world.take(token, DISK).await.unwrap();
    assert_eq!(world.shown().await, ["5f1d3c2b1a00 passphrase 0s"]);
    // The answer was lost: the same again is no other use.
    world.test.advance(5);
    world.take(token, DISK).await.unwrap();
    assert_eq!(world.shown().await, ["5f1d3c2b1a00 passphrase 5s"]);
    fails(world.take(token, OTHER).await, PASSPHRASE_TOKEN_USED);
    fails(world.check(world.web, token).await, PASSPHRASE_TOKEN_USED);
    assert_eq!(
        world.audited().await,
        ["disk_passphrase_token.use", "disk_passphrase_token.create"],
        "the newest first"
    );
}

#[tokio::test]
async fn the_store_does_not_have_the_token() {
    let world = World::new().await;
    let token = world.token().await;
    let stored = world.test.fleet.store().get::<DeviceDiskKeys>(world.web).await.unwrap();
    let text = serde_json::to_string(&stored.unwrap().value).unwrap();
    assert!(!text.contains(&token) && !text.contains(&blake3::hash(token.as_bytes()).to_hex().to_string()));
}

#[tokio::test]
async fn a_token_is_of_one_device_and_of_some_minutes() {
    let world = World::new().await;
    let token = world.token().await;
    fails(world.check(world.mail, &token).await, PASSPHRASE_TOKEN_UNKNOWN);
    fails(
        world.check(world.web, &token.to_uppercase()).await,
        PASSPHRASE_TOKEN_UNKNOWN,
    );
    fails(
        world.check(world.web, &"a".repeat(10_000)).await,
        PASSPHRASE_TOKEN_UNKNOWN,
    );
    world.test.advance(899);
    world.check(world.web, &token).await.unwrap();
    world.test.advance(1);
    fails(world.check(world.web, &token).await, PASSPHRASE_TOKEN_EXPIRED);
    fails(world.take(&token, DISK).await, PASSPHRASE_TOKEN_EXPIRED);
    assert!(world.shown().await.is_empty());
    // It goes when the next one is made.
    world.token().await;
    fails(world.check(world.web, &token).await, PASSPHRASE_TOKEN_UNKNOWN);
}

#[tokio::test]
async fn a_life_is_a_minute_to_an_hour() {
    let world = World::new().await;
    for (seconds, fits) in [
        (59, false),
        (60, true),
        (3_600, true),
        (3_601, false),
        (u64::MAX, false),
    ] {
        let new = NewDiskPassphraseToken {
            expires_in_seconds: seconds,
        };
        let made = world.keys().create_token(&world.test.admin(), world.web, &new).await;
        assert_eq!(made.is_ok(), fits, "{seconds}");
    }
}

#[tokio::test]
async fn few_tokens_wait_and_few_are_kept() {
    let world = World::new().await;
    for _ in 0..MAX_WAITING {
        world.token().await;
        world.test.advance(10);
    }
    let refusal = world.make(&world.test.admin()).await.unwrap_err();
    assert_eq!(refusal.code(), PASSPHRASE_TOKENS_WAITING);
    assert_eq!(refusal.retry_after_seconds(), Some(851));
    world.test.advance(850);
    let mut last = world.token().await;
    for _ in 0..30 {
        world.take(&last, DISK).await.unwrap();
        last = world.token().await;
        world.test.advance(1);
    }
    let stored = world.test.fleet.store().get::<DeviceDiskKeys>(world.web).await.unwrap();
    assert_eq!(stored.unwrap().tokens.len(), 16);
    world.check(world.web, &last).await.unwrap();
}

#[tokio::test]
async fn owners_make_tokens_of_their_own_devices_and_see_no_others() {
    let world = World::new().await;
    let (ann, eve) = (world.user("ann").await, world.user("eve").await);
    fails(world.make(&signed_in(ann)).await, DEVICE_NOT_FOUND);
    let change = OwnersChange { users: vec![ann] };
    let desired = world.test.fleet.desired();
    let owners = desired.owners();
    owners.set(&world.test.admin(), world.web, None, &change).await.unwrap();
    world.make(&signed_in(ann)).await.unwrap();
    fails(world.make(&signed_in(eve)).await, DEVICE_NOT_FOUND);
    fails(world.make(&world.test.nobody()).await, DENIED);
    let new = NewDiskPassphraseToken::default();
    let of_mail = world.keys().create_token(&signed_in(ann), world.mail, &new).await;
    fails(of_mail, DEVICE_NOT_FOUND);
}

#[tokio::test]
async fn what_a_device_tells_is_shown_since_it_is_so() {
    let world = World::new().await;
    world.tell(DISK, DeviceKey::Tpm2).await.unwrap();
    world.test.advance(10);
    world.tell(DISK, DeviceKey::Tpm2).await.unwrap();
    world.tell(OTHER, DeviceKey::None).await.unwrap();
    assert_eq!(world.shown().await, ["5f1d3c2b1a00 tpm2 10s", "5f1d3c2b1a01 none 0s"]);
    let token = world.token().await;
    world.take(&token, DISK).await.unwrap();
    world.test.advance(10);
    // The action tells what it finds: it is the passphrase that was set before.
    world.tell(DISK, DeviceKey::Passphrase).await.unwrap();
    assert_eq!(world.shown().await[0], "5f1d3c2b1a00 passphrase 10s");
    let token = world.token().await;
    world.take(&token, DISK).await.unwrap();
    assert_eq!(world.shown().await[0], "5f1d3c2b1a00 passphrase 0s");
    world.tell(DISK, DeviceKey::None).await.unwrap();
    assert_eq!(world.shown().await[0], "5f1d3c2b1a00 none 0s");
    let expected = [
        ("disk_key.told", 3),
        ("disk_passphrase_token.create", 2),
        ("disk_passphrase_token.use", 2),
    ];
    let mut counts = BTreeMap::new();
    for action in world.audited().await {
        *counts.entry(action).or_insert(0) += 1;
    }
    assert_eq!(
        counts,
        expected.map(|(action, count)| (action.to_owned(), count)).into()
    );
}

#[tokio::test]
async fn a_device_tells_of_so_many_disks_and_no_more() {
    let world = World::new().await;
    let disk = |number: usize| uuid::Uuid::from_u128(number as u128).to_string();
    for number in 0..MAX_DISKS {
        world.tell(&disk(number), DeviceKey::Tpm2).await.unwrap();
    }
    fails(world.tell(DISK, DeviceKey::Tpm2).await, DISK_KEYS_FULL);
    world.tell(&disk(0), DeviceKey::None).await.unwrap();
    for wrong in ["", "sda3", &DISK.to_uppercase(), &DISK.replace('-', "")] {
        assert!(world.tell(wrong, DeviceKey::Tpm2).await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_device_that_is_deleted_leaves_none() {
    let world = World::new().await;
    let token = world.token().await;
    world.tell(DISK, DeviceKey::Tpm2).await.unwrap();
    let devices = world.test.fleet.devices();
    devices.delete(&world.test.admin(), world.web, None).await.unwrap();
    let stored = world.test.fleet.store().get::<DeviceDiskKeys>(world.web).await.unwrap();
    assert!(stored.is_none());
    fails(world.take(&token, DISK).await, PASSPHRASE_TOKEN_UNKNOWN);
    fails(world.tell(DISK, DeviceKey::Tpm2).await, DEVICE_NOT_FOUND);
    fails(world.make(&world.test.admin()).await, DEVICE_NOT_FOUND);
}
