//! Moving while writers go on.
//!
//! ```text
//!   track ─▶ copy ─▶ catch up ─▶ verify ─▶ catch up ─▶ freeze ─▶ drain ─▶ serve
//!   writers go on . . . . . . . . . . . . . . . . . .  │ they wait │  they go on, in the target
//! ```
//!
//! # Why no acknowledged write is lost, and none is there twice
//!
//! *Tracked.* From [`Relocate::track`](crate::store::Relocate::track) on, the source notes the key of whatever is written, and a
//! view that is taken after a note was read shows the write.
//!
//! *Invariant.* Behind each step, for every key: the target holds what the source held at some moment, and if the source holds
//! something else by now, the key is in the tail (taken or yet to be taken from the notes).
//! - *Copying* reads each page from a view of its own. A write that the page does not show is noted later than the page was read.
//!   A segment of the walk is stored to its end before notes are taken, and nothing is read ahead over that point; of the notes,
//!   those of keys that the walk has passed are kept, and others can be dropped, since the walk will read them in views yet to
//!   come.
//! - *Carrying* a key reads it from a view that is younger than its note, writes it to the target, and only then takes it off the
//!   tail. A key that has no record any more is removed. Nothing older can follow: patches are stored one after another.
//!
//! *Verified.* Then both stores are walked and compared. A key that differs must be in the tail; one that differs and has no note
//! is a fault, and ends the move. From here on, whatever is carried is read back and compared. So behind this step every key was
//! either found equal and not written since, or is in the tail.
//!
//! *Frozen.* When `freeze` returns, every acknowledged write is visible and noted, and no other follows. The rest of the tail is
//! carried, read back and compared, and commit order is compared. Now the tail is empty, so every key was found equal and not
//! written since: the target holds what the source holds. Only then does it serve. Records are stored under their keys with their
//! revisions, so a write that was carried more than once is there once.
//!
//! *Two stores.* The target refuses to serve until the last step, and the source is frozen by then. Whenever the pause would grow
//! too long, or anything fails before the last step, the source serves again and the target goes on refusing. If the target does
//! not answer the last step, the source stays frozen: better nobody serves than both.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Copied, Kind, Meter, Migration, MigrationError, Outcome, Patcher, Problem, Ready, Report, Side, Stage, Want,
    compare::differences,
    copy::{Sizes, reconcile},
    error, marks,
    progress::Activity,
    report,
    tail::{How, Tail, different, read, same},
};
use crate::store::{Finding, Move, Patch, Pause, Phase, RecordKey, Seq, Switch};

/// Pages that are walked between two looks at the notes. A store keeps a quarter of a million of them.
const SEGMENT: u64 = 25;

/// Keys in the tail above which they are carried between two segments.
const MANY: u64 = 50_000;

/// Passes of catching up that bring nothing, after which it is said that there is no end to it.
const VAIN: u32 = 12;

/// How often everything is begun anew when notes were lost.
const BEGINNINGS: u32 = 3;

/// How often, and after what time, a difference without a note is looked at again: a write may be seen a moment before its note.
const LOOKS: u32 = 20;
const MOMENT: Duration = Duration::from_millis(50);

/// A move while it is under way.
struct Work<'m> {
    migration: &'m Migration,
    tail: Tail,
    sizes: Sizes,
    copied: Copied,
    meter: Meter,
    /// Whether what is carried is read back.
    read_back: bool,
    /// Whether the target holds nothing behind the walk that copies, because nothing was written to it before.
    fresh: bool,
}

impl Migration {
    /// Moves everything while writers go on; only at the end do they wait, for at most [`super::Options::pause`]. The target is
    /// empty or, for a way back, the store that the source's data came from. Called again, it goes on with a move that was
    /// interrupted; one that was interrupted with the source frozen already is finished as it is.
    ///
    /// With a [`Switch`], whose active store must be the source, writers wait and then go on in the target. Without one, writers
    /// that use the source itself are refused from the freeze on.
    pub async fn online(&self, switch: Option<&Switch>) -> Result<Report, MigrationError> {
        if let Some(switch) = switch
            && !std::sync::Arc::ptr_eq(&switch.active(), &self.source)
        {
            return Err(MigrationError::Refused(vec![Problem::new(
                error::SOURCE_NOT_IN_USE,
                Side::Source,
                "the source is not the store that the server uses",
                "move the store that it uses",
            )]));
        }
        let ready = self.ready(Want::Any).await?;
        let by = self.begin(&ready.stage);
        let mut report = report(&ready, &by);
        report.online = true;
        match ready.stage {
            Stage::Moved(_) => {
                report.outcome = Outcome::AlreadyMoved;
                return Ok(report);
            }
            // Nobody can be writing.
            Stage::Frozen(_) => {
                let report = self.offline(ready).await?;
                if let (Some(switch), Some(contents)) = (switch, &report.contents) {
                    // Writers were refused by the frozen source, and are let go on in the target.
                    let pause = switch
                        .pause(Duration::from_secs(60))
                        .await
                        .map_err(MigrationError::of(Side::Source))?;
                    pause.flip(self.target.clone(), contents.seq);
                }
                return Ok(report);
            }
            Stage::Apart | Stage::WayBack | Stage::Filling(_) => {}
        }
        let mut work = Work {
            migration: self,
            tail: Tail::default(),
            sizes: Sizes::new(),
            copied: Copied::default(),
            meter: self.meter(),
            read_back: false,
            fresh: ready.empty,
        };
        let moved = work.moved(&ready, &by, switch, &mut report).await;
        // A source that is gone notes nothing; one that is there must cease to, whatever happened.
        let ceased = self.source.track(false).await;
        if let Err(error) = ceased {
            tracing::warn!(%error, "the source could not be told to cease noting what is written");
        }
        moved?;
        report.copied = work.copied;
        report.passes = work.meter.passes();
        work.meter.begin(Activity::Done, None);
        Ok(report)
    }
}

impl Work<'_> {
    async fn moved(
        &mut self,
        ready: &Ready,
        by: &Move,
        switch: Option<&Switch>,
        report: &mut Report,
    ) -> Result<(), MigrationError> {
        let (from, to) = marks(ready, by);
        let target = &self.migration.target;
        target.fill(from).await.map_err(MigrationError::of(Side::Target))?;
        let mut beginning = 1;
        while let Err(error) = self.alike(report).await {
            if !matches!(error, MigrationError::NotesLost(_)) || beginning == BEGINNINGS {
                return Err(error);
            }
            beginning += 1;
        }
        self.switch_over(by, to, switch, report).await
    }

    /// Makes the target like the source, but for the tail.
    async fn alike(&mut self, report: &mut Report) -> Result<(), MigrationError> {
        self.tail = Tail::default();
        self.read_back = false;
        let source = &self.migration.source;
        source.track(true).await.map_err(MigrationError::of(Side::Source))?;
        let began = Instant::now();
        self.copy().await?;
        self.settle().await?;
        self.catch_up().await?;
        report.copying += began.elapsed();

        let began = Instant::now();
        self.meter.begin(Activity::Verifying, self.migration.total());
        self.read_back = true;
        self.verify().await?;
        report.verifying += began.elapsed();
        if self.migration.options.check {
            let began = Instant::now();
            self.meter.begin(Activity::Checking, None);
            self.check().await?;
            report.checking = Some(began.elapsed());
        }
        Ok(())
    }

    fn segment(&self) -> u64 {
        SEGMENT * self.migration.page() as u64
    }

    async fn copy(&mut self) -> Result<(), MigrationError> {
        let (source, target) = (&self.migration.source, &self.migration.target);
        self.meter.begin(Activity::Copying, self.migration.total());
        let (mut reached, mut ended) = (None, false);
        // Of the notes only keys that the walk has passed are carried, so that all the target holds lies behind it.
        let held = (!std::mem::take(&mut self.fresh)).then_some(target);
        while !ended {
            let mut patcher = Patcher::new(target, self.migration.page());
            let most = self.segment();
            let walked = reconcile(
                source,
                held,
                reached,
                most,
                &mut patcher,
                &mut self.sizes,
                &mut self.meter,
            )
            .await?;
            (reached, ended) = (walked.key, walked.ended);
            self.copied.add(patcher.copied);
            self.tail.add(patcher.owed);
            self.tail.absorb(source, |key| ended || Some(*key) <= reached).await?;
            if self.tail.len() > MANY {
                self.carry(None).await?;
            }
        }
        Ok(())
    }

    async fn carry(&mut self, until: Option<Instant>) -> Result<bool, MigrationError> {
        let how = How {
            read_back: self.read_back,
            until,
        };
        let (source, target) = (&self.migration.source, &self.migration.target);
        let Self {
            tail,
            sizes,
            copied,
            meter,
            ..
        } = self;
        tail.carry(source, target, sizes, copied, meter, how).await
    }

    /// Carries the tail until that goes quickly: what is written while it is carried is what the pause will have to carry.
    async fn catch_up(&mut self) -> Result<(), MigrationError> {
        let (mut passes, mut vain, mut best) = (0, 0, Duration::MAX);
        while vain < VAIN {
            self.tail.absorb(&self.migration.source, |_| true).await?;
            self.meter.begin(Activity::CatchingUp, Some(self.tail.len()));
            let began = Instant::now();
            self.carry(None).await?;
            let took = began.elapsed();
            if took <= self.migration.options.pause / 4 {
                return Ok(());
            }
            passes += 1;
            vain = if took < best { 0 } else { vain + 1 };
            best = best.min(took);
        }
        self.tail.absorb(&self.migration.source, |_| true).await?;
        Err(MigrationError::NotCatchingUp {
            passes,
            left: self.tail.len(),
        })
    }

    /// Compares both, and finds a note for every difference.
    async fn verify(&mut self) -> Result<(), MigrationError> {
        let (source, target) = (&self.migration.source, &self.migration.target);
        let (mut reached, mut ended) = (None, false);
        while !ended {
            let (page, most) = (self.migration.page(), self.segment());
            let (walked, differing) = differences(source, target, reached, most, page, &mut self.meter).await?;
            (reached, ended) = (walked.key, walked.ended);
            self.tail.absorb(source, |_| true).await?;
            for (key, kind) in differing {
                if !self.tail.holds(&key) {
                    self.explain(key, kind).await?;
                }
            }
            if self.tail.len() > MANY {
                self.carry(None).await?;
            }
        }
        self.catch_up().await
    }

    /// A record differs and nothing was noted of it. Its note may follow; otherwise something is wrong.
    async fn explain(&mut self, key: RecordKey, kind: Kind) -> Result<(), MigrationError> {
        let (source, target) = (&self.migration.source, &self.migration.target);
        for look in 0..LOOKS {
            if look > 0 {
                sleep(MOMENT).await;
            }
            self.tail.absorb(source, |_| true).await?;
            if self.tail.holds(&key) {
                return Ok(());
            }
        }
        let (source_seq, ours) = read(source, &[key]).await.map_err(MigrationError::of(Side::Source))?;
        let (target_seq, theirs) = read(target, &[key]).await.map_err(MigrationError::of(Side::Target))?;
        let (ours, theirs) = (ours.into_iter().flatten().next(), theirs.into_iter().flatten().next());
        tracing::debug!(%key, ?kind, "a record differs, and nothing was noted of it");
        if same(ours.as_ref(), theirs.as_ref()) {
            return Ok(());
        }
        Err(different(key, ours.as_ref(), theirs.as_ref(), (source_seq, target_seq)))
    }

    /// The target builds what it put off; behind this no step takes long.
    async fn settle(&mut self) -> Result<(), MigrationError> {
        let target = std::sync::Arc::clone(&self.migration.target);
        self.while_noting(target.settle()).await
    }

    /// Waits for the target; notes are taken meanwhile, so that not too many pile up.
    async fn while_noting<T>(
        &mut self,
        work: impl Future<Output = crate::store::Result<T>>,
    ) -> Result<T, MigrationError> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done.map_err(MigrationError::of(Side::Target)),
                () = sleep(MOMENT * 4) => self.tail.absorb(&self.migration.source, |_| true).await?,
            }
        }
    }

    /// The target's own check; notes are taken meanwhile, so that not too many pile up.
    async fn check(&mut self) -> Result<(), MigrationError> {
        let target = std::sync::Arc::clone(&self.migration.target);
        let findings = self.while_noting(target.check()).await?;
        Finding::no_damage(findings).map_err(MigrationError::Damaged)
    }

    /// Freezes the source, carries what is left, and makes the target serve; puts it off when that takes too long.
    async fn switch_over(
        &mut self,
        by: &Move,
        to: Move,
        switch: Option<&Switch>,
        report: &mut Report,
    ) -> Result<(), MigrationError> {
        let limit = self.migration.options.pause;
        for attempt in 1..=self.migration.options.attempts {
            report.attempts = attempt;
            self.catch_up().await?;
            self.meter.begin(Activity::Switching, Some(self.tail.len()));
            let began = Instant::now();
            let pause = match switch {
                None => None,
                Some(switch) => match switch.pause(limit / 2).await {
                    Ok(pause) => Some(pause),
                    // Slow writes are under way; nothing was frozen.
                    Err(_) => continue,
                },
            };
            match self.drained(&to, began + limit).await {
                Ok(Some(seq)) => {
                    let flipped = self.flip(by, pause, seq).await;
                    report.pause = Some(began.elapsed());
                    return flipped;
                }
                Ok(None) => {
                    self.thaw(by).await?;
                    drop(pause);
                }
                Err(error) => {
                    let thawed = self.thaw(by).await;
                    drop(pause);
                    return thawed.and(Err(error));
                }
            }
        }
        Err(MigrationError::PauseTooLong {
            attempts: self.migration.options.attempts,
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Freezes the source and carries what is left; none when time ran out. The source may be frozen in any case.
    async fn drained(&mut self, to: &Move, until: Instant) -> Result<Option<Seq>, MigrationError> {
        let (source, target) = (&self.migration.source, &self.migration.target);
        let (of_source, of_target) = (MigrationError::of(Side::Source), MigrationError::of(Side::Target));
        let seq = source.freeze(to.clone()).await.map_err(of_source)?;
        loop {
            self.tail.absorb(source, |_| true).await?;
            if self.tail.len() == 0 {
                break;
            }
            if !self.carry(Some(until)).await? {
                return Ok(None);
            }
        }
        let end = Patch {
            seq,
            ..Patch::default()
        };
        target.patch(end).await.map_err(&of_target)?;
        let target_seq = target.view().await.map_err(&of_target)?.seq();
        if target_seq != seq {
            return Err(MigrationError::Different(Box::new(super::Difference {
                key: None,
                kind: Kind::Unlike,
                records: 0,
                source_seq: seq,
                target_seq,
            })));
        }
        Ok((Instant::now() < until).then_some(seq))
    }

    async fn flip(&mut self, by: &Move, pause: Option<Pause>, seq: Seq) -> Result<(), MigrationError> {
        match self.migration.flip(by).await {
            Ok(()) => {
                if let Some(pause) = pause {
                    pause.flip(self.migration.target.clone(), seq);
                }
                Ok(())
            }
            // It may serve: the source must not.
            Err(unknown @ MigrationError::OutcomeUnknown(_)) => Err(unknown),
            Err(error) => {
                self.thaw(by).await?;
                Err(error)
            }
        }
    }

    /// The source serves again, unless it was somebody else who froze it.
    async fn thaw(&self, by: &Move) -> Result<(), MigrationError> {
        let source = &self.migration.source;
        let of_source = MigrationError::of(Side::Source);
        match source.standing().await.map_err(&of_source)?.phase {
            Phase::Frozen(to) if to.id != by.id => Ok(()),
            _ => source.serve().await.map_err(of_source),
        }
    }
}
