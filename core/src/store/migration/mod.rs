//! The migration engine: moves what one store holds into another, proves it, and makes the other serve.
//!
//! ```text
//!   Migration     plan, run, back, verify, status, abandon          (this file)
//!   Stage         how far a pair is: a table over two standings      (stage.rs)
//!   Join          both stores side by side, in canonical order       (join.rs)
//!   reconcile     writes to the target what differs                  (copy.rs, patcher.rs)
//!   pour          fills a target that is empty, and reads it back    (pour.rs)
//!   verify        compares both and adds them up                     (compare.rs, tally.rs)
//!   online, Tail  moves while writers go on, and carries their writes (online.rs, tail.rs)
//!   Progress, Report, Problem, MigrationError                        (progress.rs, report.rs, error.rs)
//! ```
//!
//! It stands on the contract alone: two `Arc<dyn Backend>`, of whatever engine.
//!
//! # One primitive
//!
//! `copy::reconcile` walks both stores in canonical order, a page of each at a time, and writes to the target what differs. On
//! an empty target that is the copy; after an interruption it is the resumption, and needs no stored position; on the old store
//! it is the way back, and writes only what changed since; without writing it is the verification. Every page is a view of its
//! own, so neither store holds a long transaction.
//!
//! Where the target is known to be empty it need not be read to be filled, and where the source stands still it need not be read
//! twice: `pour.rs` does that, and has the argument for it. An interrupted move goes on by the walk over both.
//!
//! # The order of the steps, and what a crash leaves
//!
//! | step | source | target | after a crash here |
//! |---|---|---|---|
//! | – | serving | serving, empty | nothing has happened |
//! | the target is filled | serving | filling | the same call goes on; `abandon` empties the target |
//! | the source is frozen | frozen | filling | the same call goes on; `abandon` lets the source serve again |
//! | copied and verified | frozen | filling | the same |
//! | the target serves | frozen | serving | it is done; the source is the point of return |
//!
//! The target is filled before the source is frozen, so that a target that refuses costs the source nothing. A store that is
//! being filled refuses to serve, a frozen one takes no writes, and the target is told to serve only after the source was frozen
//! and every record was read back and found equal: at no moment do both serve the same data. Both stores remember the move by
//! one id ([`Stage`]), so any later call finds out where it stands.
//!
//! An online move freezes the source later, behind the verification, and for a moment only: see `online.rs` for its argument.
//!
//! The source is altered by nothing but the mark that it is frozen (and, if an older version wrote it, by `prepare`, as the
//! server would at its start). Batch ids and leases are not moved: see [`Relocate::fill`](super::Relocate::fill).
//!
//! # Memory
//!
//! A page in hand and one or two being read on either side, two patches being stored and one being collected. Pages and patches end
//! at [`Patch::BYTES`](super::Patch::BYTES), and patches share their bodies with the pages, so that about 8 MB of bodies are held
//! at the most, whatever the stores hold.

mod compare;
mod copy;
mod error;
mod join;
mod online;
mod patcher;
mod pour;
mod progress;
mod report;
mod stage;
mod tail;
mod tally;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use self::{
    copy::{Reached, Sizes, reconcile},
    join::{Found, Join, Step},
    patcher::Patcher,
    pour::{Poured, pour, read_back},
    progress::Meter,
    tally::Tally,
};
pub use self::{
    error::{MigrationError, Problem},
    progress::{Activity, Progress},
    report::{
        Class, Contents, Copied, Count, Difference, Facts, Kind, Outcome, Plan, Report, Side, Status, Verification,
    },
    stage::Stage,
};
use crate::{
    kernel::{Clock, Randomness, random_uuid},
    store::{Backend, Error, Finding, Move, Phase, Schema, Seq, limits},
};

/// How a move is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the target's own check is run before it serves (indexes against bodies, chains, the engine's own). Reading back
    /// and comparing cannot be left out.
    pub check: bool,
    /// The longest time that writers may wait at the switch-over of an online move.
    pub pause: Duration,
    /// How often the switch-over is tried.
    pub attempts: u32,
    /// Records of a page and of a patch, 1 to 10,000. Both end earlier when bodies are large.
    pub page: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            check: true,
            pause: Duration::from_secs(1),
            attempts: 5,
            page: 2_000,
        }
    }
}

/// How often both stores are walked for the sake of unique values that changed hands.
const WALKS: usize = 4;

/// A move between two stores. Calls take `&self`; one at a time is meant to run.
pub struct Migration {
    source: Arc<dyn Backend>,
    target: Arc<dyn Backend>,
    schema: Schema,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
    options: Options,
    progress: watch::Sender<Progress>,
    /// Records of the source, when they were counted.
    total: AtomicU64,
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration")
            .field("source", &self.source.info())
            .field("target", &self.target.info())
            .finish_non_exhaustive()
    }
}

/// A pair that was looked at, with nothing in the way.
struct Ready {
    stage: Stage,
    /// Whether the target holds nothing.
    empty: bool,
    source: String,
    target: String,
}

/// What a call wants of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Run,
    Back,
    /// Either.
    Any,
}

impl Migration {
    /// A move of what `source` holds into `target`. For the way back the source is the store that serves now, and the target the
    /// old one. Both are open and nobody closes them here; `schema` is the program's own.
    pub fn new(
        source: Arc<dyn Backend>,
        target: Arc<dyn Backend>,
        schema: Schema,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            source,
            target,
            schema,
            clock,
            random,
            options: Options::default(),
            progress: watch::Sender::default(),
            total: AtomicU64::new(0),
        }
    }

    /// With other options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// How far it is, for whoever shows it. Only the newest state is kept.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far the two stores are with each other. Reads their marks only.
    pub async fn status(&self) -> Result<Status, MigrationError> {
        let (source, target) = tokio::join!(facts(&self.source), facts(&self.target));
        let source = source.map_err(MigrationError::of(Side::Source))?;
        let target = target.map_err(MigrationError::of(Side::Target))?;
        let mut problems = Vec::new();
        if Arc::ptr_eq(&self.source, &self.target) || (source.name == target.name && source.durable) {
            problems.push(Problem::new(
                error::SAME_STORE,
                Side::Target,
                format!("source and target are one store, {}", source.name),
                "name two stores",
            ));
        }
        let stage = Stage::of(&source.standing, &source.name, &target.standing, &target.name);
        let stage = stage.map_err(|problem| problems.push(problem)).ok();
        Ok(Status {
            source,
            target,
            stage: stage.filter(|_| problems.is_empty()),
            problems,
        })
    }

    /// What a move or a way back would do and what stands in its way; counts what the source holds. Changes nothing but that
    /// both stores are prepared for the schema, as a server does at its start.
    pub async fn plan(&self) -> Result<Plan, MigrationError> {
        let (mut status, _) = self.look(Want::Any).await?;
        let readable = |problem: &Problem| {
            problem.side == Side::Source && [error::UNREACHABLE, error::OTHER_VERSION].contains(&problem.code)
        };
        let contents = if status.problems.iter().any(readable) {
            None
        } else {
            let mut meter = self.meter();
            meter.begin(Activity::Counting, None);
            let contents = compare::count(&self.source, self.page(), &mut meter).await?;
            self.total.store(contents.records, Ordering::Relaxed);
            meter.begin(Activity::Idle, None);
            Some(contents)
        };
        status.source.seq = contents
            .as_ref()
            .map_or(status.source.seq, |contents| Some(contents.seq));
        Ok(Plan { status, contents })
    }

    /// Moves everything into an empty target while nobody writes: the source is frozen first and stays frozen. Called again, it
    /// goes on with a move that was interrupted.
    pub async fn run(&self) -> Result<Report, MigrationError> {
        let ready = self.ready(Want::Run).await?;
        self.offline(ready).await
    }

    /// Moves back into the store that the source's data came from: carries what was written since, and nothing else. Called
    /// again, it goes on with a way back that was interrupted.
    pub async fn back(&self) -> Result<Report, MigrationError> {
        let ready = self.ready(Want::Back).await?;
        self.offline(ready).await
    }

    /// Compares the two stores record by record. Both must stand still meanwhile; what is written shows as a difference.
    pub async fn verify(&self) -> Result<Verification, MigrationError> {
        self.prepare().await?;
        let mut meter = self.meter();
        meter.begin(Activity::Verifying, self.total());
        let verification = compare::verify(&self.source, &self.target, self.page(), &mut meter).await?;
        meter.begin(Activity::Done, None);
        Ok(verification)
    }

    /// Gives up a move that is not complete: the target is emptied, then the source serves again. An old store that was the
    /// target of a way back is emptied too: it is a point of return no more. Refused once the target serves.
    pub async fn abandon(&self) -> Result<Status, MigrationError> {
        let status = self.status().await?;
        match &status.stage {
            None => return Err(MigrationError::Refused(status.problems)),
            Some(Stage::Moved(done)) => {
                return Err(MigrationError::Refused(vec![Problem::new(
                    error::ALREADY_DONE,
                    Side::Target,
                    format!("the target serves since move {}", done.id),
                    "go the way back, which carries what was written since",
                )]));
            }
            Some(Stage::Apart | Stage::WayBack) => {}
            Some(Stage::Filling(_) | Stage::Frozen(_)) => {
                // The notes may never have been taken, or have ended with the process that took them.
                let _ = self.source.track(false).await;
                // First the target: were the source to serve before, another process could still make the target serve too.
                if matches!(status.target.standing.phase, Phase::Filling(_)) {
                    self.prepare().await?;
                    self.target.clear().await.map_err(MigrationError::of(Side::Target))?;
                }
                self.source.serve().await.map_err(MigrationError::of(Side::Source))?;
            }
        }
        self.status().await
    }

    fn meter(&self) -> Meter {
        Meter::new(self.progress.clone())
    }

    fn page(&self) -> usize {
        self.options.page.clamp(1, limits::PAGE)
    }

    fn total(&self) -> Option<u64> {
        match self.total.load(Ordering::Relaxed) {
            0 => None,
            total => Some(total),
        }
    }

    /// Both stores are prepared, so that they can be read.
    async fn prepare(&self) -> Result<(), MigrationError> {
        for (side, store) in [(Side::Source, &self.source), (Side::Target, &self.target)] {
            store.prepare(&self.schema).await.map_err(MigrationError::of(side))?;
        }
        Ok(())
    }

    /// Looks at the pair, and finds every problem that shows without writing.
    async fn look(&self, want: Want) -> Result<(Status, Option<Ready>), MigrationError> {
        let mut status = self.status().await?;
        let mut target_empty = false;
        for (side, store) in [(Side::Source, &self.source), (Side::Target, &self.target)] {
            let found = match store.prepare(&self.schema).await {
                Ok(_) => view_facts(store).await,
                Err(error) => Err(error),
            };
            match found {
                Ok((seq, empty)) => {
                    let facts = match side {
                        Side::Source => &mut status.source,
                        Side::Target => &mut status.target,
                    };
                    facts.seq = Some(seq);
                    target_empty |= side == Side::Target && empty && seq == 0;
                    let fresh = matches!(status.stage, Some(Stage::Apart | Stage::Frozen(_)))
                        && status.target.standing.phase == Phase::Serving;
                    if side == Side::Target && fresh && !target_empty {
                        status.problems.push(Problem::new(
                            error::TARGET_NOT_EMPTY,
                            Side::Target,
                            format!("the target, {}, is not empty", status.target.name),
                            "take an empty store: what is there is never overwritten",
                        ));
                    }
                }
                Err(error) => status.problems.push(unusable(side, &error)),
            }
        }
        let wrong = match (&status.stage, want) {
            (Some(Stage::WayBack), Want::Run) => Some(Problem::new(
                error::TARGET_IS_POINT_OF_RETURN,
                Side::Target,
                "the target is the store that the source's data came from",
                "go the way back, which carries only what was written since",
            )),
            (Some(Stage::Apart), Want::Back) => Some(Problem::new(
                error::TARGET_IS_NO_POINT_OF_RETURN,
                Side::Target,
                "the target is not frozen, so the source's data did not come from it",
                "take the store that the source's data came from; into an empty store a move is run",
            )),
            _ => None,
        };
        status.problems.extend(wrong);
        let stage = status.stage.clone().filter(|_| status.problems.is_empty());
        let ready = stage.map(|stage| Ready {
            stage,
            empty: target_empty,
            source: status.source.name.clone(),
            target: status.target.name.clone(),
        });
        Ok((status, ready))
    }

    async fn ready(&self, want: Want) -> Result<Ready, MigrationError> {
        let (status, ready) = self.look(want).await?;
        ready.ok_or(MigrationError::Refused(status.problems))
    }

    /// The move that goes on, or a new one.
    fn begin(&self, stage: &Stage) -> Move {
        stage.begun().cloned().unwrap_or_else(|| {
            let at = self.clock.now();
            Move {
                id: random_uuid(at, &*self.random),
                peer: String::new(),
                at,
            }
        })
    }

    async fn offline(&self, ready: Ready) -> Result<Report, MigrationError> {
        let by = self.begin(&ready.stage);
        let mut report = report(&ready, &by);
        if matches!(ready.stage, Stage::Moved(_)) {
            report.outcome = Outcome::AlreadyMoved;
            return Ok(report);
        }
        let (of_source, of_target) = (MigrationError::of(Side::Source), MigrationError::of(Side::Target));
        let (from, to) = marks(&ready, &by);
        let mut meter = self.meter();

        self.target.fill(from).await.map_err(&of_target)?;
        let seq = self.source.freeze(to).await.map_err(&of_source)?;

        meter.begin(Activity::Copying, self.total());
        let poured = match ready.empty {
            true => {
                let mut patcher = Patcher::new(&self.target, self.page());
                let poured = pour(&self.source, seq, &mut patcher, &mut meter).await?;
                report.copied.add(patcher.copied);
                // A frozen source gives no value to two documents; if it did, the walk over both has to sort it out.
                patcher.owed.is_empty().then_some(poured)
            }
            false => None,
        };
        if poured.is_none() {
            self.reconcile(seq, &mut report, &mut meter).await?;
        }
        report.copying = meter.elapsed();

        self.finish(report, &by, poured, &mut meter).await
    }

    /// Walks both stores, which stand still, until the target holds what the source does.
    async fn reconcile(&self, seq: Seq, report: &mut Report, meter: &mut Meter) -> Result<(), MigrationError> {
        let mut sizes = Sizes::new();
        // What gives up a unique value is written again by the same walk. Should a backend have it otherwise, the next one does.
        for _ in 0..WALKS {
            let mut patcher = Patcher::new(&self.target, self.page());
            let (source, target) = (&self.source, Some(&self.target));
            reconcile(source, target, None, u64::MAX, &mut patcher, &mut sizes, meter).await?;
            patcher.finish(seq).await?;
            report.copied.add(patcher.copied);
            if patcher.owed.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Both stand still and the target should hold everything: proves it, and makes the target serve.
    async fn finish(
        &self,
        mut report: Report,
        by: &Move,
        poured: Option<Poured>,
        meter: &mut Meter,
    ) -> Result<Report, MigrationError> {
        let of_target = MigrationError::of(Side::Target);
        // What it has put off needs no second look: the check is for that.
        let (verification, settled) = tokio::join!(self.proof(poured, meter), self.target.settle());
        settled.map_err(&of_target)?;
        let verification = verification?;
        report.verifying = meter.elapsed();
        if let Some(difference) = verification.difference {
            return Err(MigrationError::Different(Box::new(difference)));
        }
        report.contents = Some(verification.target);
        if self.options.check {
            meter.begin(Activity::Checking, None);
            let findings = self.target.check().await.map_err(of_target)?;
            Finding::no_damage(findings).map_err(MigrationError::Damaged)?;
            report.checking = Some(meter.elapsed());
        }
        meter.begin(Activity::Switching, None);
        self.flip(by).await?;
        meter.begin(Activity::Done, None);
        Ok(report)
    }

    /// Reads back what was poured, or compares both from their beginnings.
    async fn proof(&self, poured: Option<Poured>, meter: &mut Meter) -> Result<Verification, MigrationError> {
        meter.begin(Activity::Verifying, self.total());
        if let Some(poured) = poured
            && read_back(&self.target, &poured, self.page(), meter).await?
        {
            return Ok(Verification {
                source: poured.contents.clone(),
                target: poured.contents,
                difference: None,
            });
        }
        // What differs, and where.
        meter.begin(Activity::Verifying, self.total());
        compare::verify(&self.source, &self.target, self.page(), meter).await
    }

    /// The target serves, or it is certain that it does not.
    async fn flip(&self, by: &Move) -> Result<(), MigrationError> {
        let told = self.target.serve().await;
        // Whatever it answered: what it says of itself counts. Somebody may have emptied it at this very moment.
        let standing = self.target.standing().await;
        match (told, standing) {
            (_, Ok(standing))
                if standing.phase == Phase::Serving
                    && standing.origin.as_ref().is_some_and(|origin| origin.id == by.id) =>
            {
                Ok(())
            }
            (Err(error), Ok(_)) => Err(MigrationError::Store {
                side: Side::Target,
                error,
            }),
            (Ok(()), Ok(standing)) => Err(MigrationError::Store {
                side: Side::Target,
                error: Error::NotServing(Box::new(standing.phase)),
            }),
            (_, Err(error)) => Err(MigrationError::OutcomeUnknown(error)),
        }
    }
}

/// The marks that the move leaves: in the target where its data comes from, in the source where it goes.
fn marks(ready: &Ready, by: &Move) -> (Move, Move) {
    let named = |peer: &str| Move {
        peer: peer.to_owned(),
        ..by.clone()
    };
    (named(&ready.source), named(&ready.target))
}

fn report(ready: &Ready, by: &Move) -> Report {
    Report {
        outcome: Outcome::Moved,
        id: by.id,
        source: ready.source.clone(),
        target: ready.target.clone(),
        online: false,
        resumed: ready.stage.begun().is_some(),
        copied: Copied::default(),
        contents: None,
        passes: 0,
        attempts: 0,
        copying: Duration::ZERO,
        verifying: Duration::ZERO,
        checking: None,
        pause: None,
    }
}

async fn facts(store: &Arc<dyn Backend>) -> crate::store::Result<Facts> {
    let standing = store.standing().await?;
    Ok(Facts::new(&store.info(), standing, None))
}

/// Where commit order stands, and whether nothing is held.
async fn view_facts(store: &Arc<dyn Backend>) -> crate::store::Result<(crate::store::Seq, bool)> {
    let mut view = store.view().await?;
    let first = view.records(None, 1).await?;
    Ok((view.seq(), first.is_empty()))
}

/// Why a store cannot be used for a move.
fn unusable(side: Side, error: &Error) -> Problem {
    match error {
        Error::Refused(why) => Problem::new(
            error::OTHER_VERSION,
            side,
            format!("the {side} cannot be used by this version: {why}"),
            "use the version of the program that wrote it, or a newer one",
        ),
        Error::NotServing(phase) => Problem::new(
            error::OTHER_VERSION,
            side,
            format!("the {side} is of an older version and takes no changes: {phase}"),
            "move with the version that wrote it, then start the new version on the store that serves",
        ),
        error => Problem::new(
            error::UNREACHABLE,
            side,
            format!("the {side} cannot be read: {error}"),
            "put the store right, or check the URI",
        ),
    }
}
