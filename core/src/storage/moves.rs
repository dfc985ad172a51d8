//! Moves of the running server's store: writers go on, and wait for a moment only when the switch is thrown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    EndedMove, MOVE_CANCEL, MOVE_FINISH, MOVE_START, MOVE_UNAVAILABLE, MoveId, PLAN, STORAGE_MANAGE, STORAGE_READ,
    StorageService,
    desk::{MoveEntry, Work},
    ended_move::{self, no_way_back, not_found},
    model::ActivityKind,
};
use crate::{
    access::Context,
    kernel::{EntityId as _, Error, Result, Timestamp},
    store::{
        Backend, Evidence,
        memory::MemoryStore,
        migration::{Activity, Migration, MigrationError, Plan, Progress, Report},
    },
};

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MoveState {
    /// It is under way; the server serves from the old store.
    Running,
    /// The server serves from the new store.
    Done,
    /// It was not made; the server serves from the old store.
    Failed,
    /// Somebody gave it up; the server serves from the old store.
    Cancelled,
}

/// A move of the store. The newest sixteen that are over are remembered in the store that serves; the audit remembers all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageMove {
    /// Its id.
    pub id: Uuid,
    /// Where to, without secrets.
    pub to: String,
    /// How far it is.
    pub state: MoveState,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What it is doing: counting, copying, catching_up, verifying, checking, switching.
    pub doing: String,
    /// Records that this is through with.
    pub records: u64,
    /// Records that it has to do, where that is known.
    pub total: Option<u64>,
    /// Records per second.
    pub rate: f64,
    /// How long writers waited, in milliseconds.
    pub pause_ms: Option<u64>,
    /// Why it was not made.
    pub problem: Option<String>,
}

/// A store to move to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"to": "memory:target"})))]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// The store, as a URI: `sqlite:PATH`, `json:PATH` or `postgres://…`. Paths are the server's.
    pub to: String,
}

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MovePlan {
    /// Where to, without secrets.
    pub to: String,
    /// Whether nothing stands in the way.
    pub possible: bool,
    /// What does.
    pub problems: Vec<String>,
    /// How many records the store holds.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl StorageMove {
    fn new(id: Uuid, to: String, now: Timestamp) -> Self {
        Self {
            id,
            to,
            state: MoveState::Running,
            began_at: now,
            ended_at: None,
            doing: "waiting".to_owned(),
            records: 0,
            total: None,
            rate: 0.0,
            pause_ms: None,
            problem: None,
        }
    }

    pub(super) fn tell(&mut self, progress: &Progress) {
        match progress.activity {
            Activity::Idle => "waiting",
            Activity::Counting => "counting",
            Activity::Copying => "copying",
            Activity::CatchingUp => "catching_up",
            Activity::Verifying => "verifying",
            Activity::Checking => "checking",
            Activity::Switching => "switching",
            Activity::Done => "done",
        }
        .clone_into(&mut self.doing);
        self.records = progress.done;
        self.total = progress.total;
        self.rate = progress.rate;
    }
}

/// Where the data goes.
pub(super) enum Destination {
    /// The store of this URI.
    Uri(String),
    /// The store that it came from by an earlier move of this process.
    Former(Arc<dyn Backend>),
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URI may hold a password.
        f.write_str("Destination")
    }
}

impl StorageService<'_> {
    /// Says what a move would do. Opens the target and writes nothing into it; one that is not there is not made.
    pub async fn plan_move(&self, context: &Context, request: &MoveRequest) -> Result<MovePlan> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let (opener, to) = self.destination(request)?;
        let change = self.fleet.store().change(context, Evidence::Audit(PLAN), |mut tx| {
            tx.detail("to", to.clone());
            tx.record()
        });
        change.await?;
        let target: Arc<dyn Backend> = if opener.exists(&request.to) == Some(false) {
            Arc::new(MemoryStore::new(self.fleet.store().clock().clone()))
        } else {
            opener.open(&request.to).await.map_err(|error| not_opened(&to, error))?
        };
        self.read(&target).await;
        let plan = self.migration(target.clone()).plan().await;
        if let Err(error) = target.close().await {
            tracing::warn!(%error, "a target was not closed");
        }
        let Plan { status, contents } = plan?;
        Ok(MovePlan {
            to,
            possible: status.problems.is_empty(),
            problems: status.problems.iter().map(ToString::to_string).collect(),
            records: contents.as_ref().map_or(0, |contents| contents.records),
            bytes: contents.as_ref().map_or(0, |contents| contents.bytes),
        })
    }

    /// Begins to move the store of the running server. When it is over, the server serves from the new one; at its next start it
    /// has to be told so.
    pub async fn start_move(&self, context: &Context, request: &MoveRequest) -> Result<StorageMove> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let (_, to) = self.destination(request)?;
        self.begin(context, to, Destination::Uri(request.to.clone())).await
    }

    /// Begins to move back to where the data was before a move that this process made. What was written since is carried.
    pub async fn move_back(&self, context: &Context, id: Uuid) -> Result<StorageMove> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let Some(former) = self.desk().former(id) else {
            let ended = ended_move::find(&mut self.fleet.store().reader().await?, id).await?;
            return Err(no_way_back(&ended));
        };
        let to = former.info().location;
        self.begin(context, to, Destination::Former(former)).await
    }

    /// A move that this process makes, or that is over.
    pub async fn show_move(&self, context: &Context, id: Uuid) -> Result<StorageMove> {
        context.require(STORAGE_READ)?.require_all(STORAGE_READ)?;
        self.shown(id).await
    }

    /// The move that this process makes, and those that are over, newest first.
    pub async fn moves(&self, context: &Context) -> Result<Vec<StorageMove>> {
        context.require(STORAGE_READ)?.require_all(STORAGE_READ)?;
        let mut moves = self.desk().moves();
        let ended = ended_move::newest_first(&mut self.fleet.store().reader().await?).await?;
        for ended in ended {
            if moves.iter().all(|shown| shown.id != ended.id.uuid()) {
                moves.push(ended.value.into());
            }
        }
        moves.sort_by_key(|shown| std::cmp::Reverse(shown.began_at));
        Ok(moves)
    }

    async fn shown(&self, id: Uuid) -> Result<StorageMove> {
        match self.desk().shown(id) {
            Some(shown) => Ok(shown),
            None => Ok(ended_move::find(&mut self.fleet.store().reader().await?, id)
                .await?
                .into()),
        }
    }

    /// Gives up a move that is under way: the target is emptied again. One that is over stays as it is.
    pub async fn cancel_move(&self, context: &Context, id: Uuid) -> Result<StorageMove> {
        context.require(STORAGE_MANAGE)?.require_all(STORAGE_MANAGE)?;
        let shown = self.shown(id).await?;
        if shown.state != MoveState::Running {
            return Ok(shown);
        }
        let change = self
            .fleet
            .store()
            .change(context, Evidence::Audit(MOVE_CANCEL), |mut tx| {
                tx.detail("move", id.to_string());
                tx.detail("to", shown.to.clone());
                tx.record()
            });
        change.await?;
        self.desk().cancel(id);
        self.desk().shown(id).ok_or_else(not_found)
    }

    fn destination(&self, request: &MoveRequest) -> Result<(&Arc<dyn super::ports::StorageOpener>, String)> {
        let opener = self
            .desk()
            .opener()
            .ok_or_else(|| MOVE_UNAVAILABLE.error("this server cannot open other stores"))?;
        let to = opener
            .redacted(&request.to)
            .map_err(|problem| Error::invalid_field("/to", problem))?;
        Ok((opener, to))
    }

    async fn begin(&self, context: &Context, to: String, destination: Destination) -> Result<StorageMove> {
        let now = self.fleet.clock().now();
        let turn = self.desk().take(ActivityKind::Move, now)?;
        let id = self.fleet.store().new_uuid();
        let change = self
            .fleet
            .store()
            .change(context, Evidence::Audit(MOVE_START), |mut tx| {
                tx.detail("move", id.to_string());
                tx.detail("to", to.clone());
                tx.record()
            });
        change.await?;
        let shown = StorageMove::new(id, to, now);
        self.desk().remember(MoveEntry::new(shown.clone()));
        turn.hand_over(Work::Move(id, destination));
        Ok(shown)
    }

    /// Some stores say where they stand only once they were read. What is wrong with one, the engine finds and words.
    async fn read(&self, target: &Arc<dyn Backend>) {
        let _ = target.prepare(self.fleet.schema()).await;
    }

    fn migration(&self, target: Arc<dyn Backend>) -> Migration {
        let store = self.fleet.store();
        Migration::new(
            self.fleet.switch().active(),
            target,
            self.fleet.schema().clone(),
            store.clock().clone(),
            self.fleet.shared_random(),
        )
    }

    /// Makes a move to its end.
    pub(super) async fn make_move(&self, id: Uuid, destination: Destination) {
        let source = self.fleet.switch().active();
        let from = source.info().location;
        let made = self.try_move(id, destination).await;
        let state = match &made {
            Ok(Some(_)) => MoveState::Done,
            Ok(None) => MoveState::Cancelled,
            Err(_) => MoveState::Failed,
        };
        let problem = made.as_ref().err().map(|error| error.message().to_owned());
        if let Err(error) = &made {
            tracing::error!(%id, error = error.log(), "the store was not moved");
        }
        let ended_at = self.fleet.clock().now();
        let pause = made
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .and_then(|report| report.pause);
        self.desk().change(id, |entry| {
            entry.shown.state = state;
            entry.shown.ended_at = Some(ended_at);
            entry.shown.problem.clone_from(&problem);
            entry.shown.pause_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            entry.former = (state == MoveState::Done).then_some(source);
        });
        let context = Context::system("storage.move");
        let ended = &self.desk().shown(id).map(|shown| EndedMove {
            id: MoveId::from_uuid(id),
            from,
            to: shown.to,
            state,
            began_at: shown.began_at,
            ended_at,
            records: shown.records,
            pause_ms: shown.pause_ms,
            problem: shown.problem,
        });
        let problem = &problem;
        let change = self
            .fleet
            .store()
            .change(&context, Evidence::Audit(MOVE_FINISH), |mut tx| async move {
                tx.detail("move", id.to_string());
                if let Some(problem) = problem {
                    tx.detail("problem", problem.clone());
                }
                if state != MoveState::Done {
                    tx.refused();
                }
                if let Some(ended) = ended {
                    ended_move::remember(&mut tx, ended).await?;
                }
                tx.record().await
            });
        if let Err(error) = change.await {
            tracing::error!(%id, error = error.log(), "the end of a move left no audit entry");
        }
    }

    /// The report; none when it was given up.
    async fn try_move(&self, id: Uuid, destination: Destination) -> Result<Option<Report>> {
        let (target, opened) = match destination {
            Destination::Former(former) => (former, false),
            Destination::Uri(uri) => {
                let opener = self
                    .desk()
                    .opener()
                    .ok_or_else(|| MOVE_UNAVAILABLE.error("no stores can be opened"))?;
                let opened = opener.open(&uri).await;
                (opened.map_err(|error| not_opened("the target", error))?, true)
            }
        };
        self.read(&target).await;
        let migration = self.migration(target.clone());
        let mut progress = migration.progress();
        let switch = self.fleet.switch();
        let watch = async {
            while progress.changed().await.is_ok() {
                let now = progress.borrow_and_update().clone();
                self.desk().tell(now.done);
                self.desk().change(id, |entry| entry.shown.tell(&now));
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            biased;
            () = self.desk().cancelled(id) => migration.abandon().await.map(|_| None),
            moved = migration.online(Some(switch)) => moved.map(Some),
            () = watch => Ok(None),
        };
        if opened
            && !Arc::ptr_eq(&switch.active(), &target)
            && let Err(error) = target.close().await
        {
            tracing::warn!(%error, "a target was not closed");
        }
        result.map_err(|error: MigrationError| error.into())
    }
}

/// Whoever moves a store is its operator, and may read why it does not open; the edge shows no passwords.
fn not_opened(to: &str, error: crate::store::Error) -> Error {
    MOVE_UNAVAILABLE.error(format!("{to} cannot be opened: {error}"))
}
