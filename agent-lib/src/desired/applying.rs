//! One occurrence, as a run of this device's own.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use fleet_core::{
    kernel::Result,
    protocol::RunResult,
    work::{
        desired::{DesiredState, Occurrence},
        secrets::ResolvedParams,
    },
};

use super::{
    keeper::Keeper,
    progress::Last,
    report::{self, is_content},
};
use crate::{
    policy::{POLICY_FORBIDS, Refusal},
    runs::{Ending, Own, OwnEnd, Owner},
};

/// What became of an occurrence.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub result: RunResult,
    pub changed: Option<bool>,
    pub message: Option<String>,
    /// It was not begun, since this device's window had closed by then.
    pub is_held: bool,
}

/// Who begins a run: what it needs to know to decide whether the server hears of it.
#[derive(Debug)]
struct Occasion {
    keeper: Weak<Keeper>,
    occurrence: Occurrence,
    last: Option<Last>,
    skip_unchanged: bool,
}

#[async_trait]
impl Owner for Occasion {
    async fn making(&self) -> Result<()> {
        // What is taken away is not made, whatever its steps are.
        match self.keeper.upgrade() {
            Some(keeper) if self.occurrence.state == DesiredState::Present => keeper.remember(|progress| {
                progress.note_made(&self.occurrence);
            }),
            _ => Ok(()),
        }
    }

    fn tells(&self, end: &OwnEnd) -> bool {
        report::tells(self.last.as_ref(), end, self.skip_unchanged)
    }
}

impl Keeper {
    /// Applies an occurrence. What is remembered of it is written down with the group's.
    pub(super) async fn apply(self: &Arc<Self>, occurrence: &Occurrence, skip_unchanged: bool) -> Outcome {
        let (last, had_made) = self.look(|_, progress| {
            let last = progress.occurrences.get(&occurrence.id).cloned();
            (last, progress.has_made(occurrence))
        });
        let owner = Arc::new(Occasion {
            keeper: Arc::downgrade(self),
            occurrence: occurrence.clone(),
            last: last.clone(),
            skip_unchanged,
        });
        let instead = self.instead(occurrence);
        let ended = match self
            .runs()
            .apply(self.own(occurrence, skip_unchanged, instead), owner.clone())
            .await
        {
            Ok(ended) => Ok(ended),
            Err(Refusal::OutsideWindows) => Err(Refusal::OutsideWindows),
            // It is told of like any other failure.
            Err(refusal) => {
                let forbidden = Ending::failed(POLICY_FORBIDS.name(), refusal.to_string());
                let own = self.own(occurrence, skip_unchanged, Some(forbidden));
                self.runs().apply(own, owner.clone()).await
            }
        };
        let end = match ended {
            Ok(end) => end,
            Err(refusal) => {
                return Outcome {
                    result: RunResult::NotApplicable,
                    changed: Some(false),
                    message: Some(refusal.to_string()),
                    is_held: true,
                };
            }
        };
        let is_told = owner.tells(&end) && !end.is_lost;
        self.note(|progress| {
            let last = report::last(last.as_ref(), &end, is_told);
            progress.occurrences.insert(occurrence.id, last);
            progress.unreported += u64::from(end.is_lost);
            if occurrence.is_dry_run() {
                // It has made nothing, and taken nothing away.
                return;
            }
            match occurrence.state {
                DesiredState::Present if end.ending.made || had_made => progress.note_made(occurrence),
                // It was about to be made, and was not.
                DesiredState::Present => progress.forget_made(occurrence),
                DesiredState::Absent if is_content(end.ending.result) => progress.forget_made(occurrence),
                DesiredState::Absent => {}
            }
        });
        Outcome {
            result: end.ending.result,
            changed: end.ending.changed,
            message: end.ending.message,
            is_held: false,
        }
    }

    /// Takes something back, if this agent has made it; whether that is done.
    pub(super) async fn take_back(self: &Arc<Self>, revert: &Occurrence) -> bool {
        let has_made = self.look(|_, progress| progress.has_made(revert));
        let ended = match has_made {
            true => self.apply(revert, false).await,
            false => {
                let why = "it was there before this device was to have it, or never came to be; it stays as it is";
                let instead = Ending {
                    changed: Some(false),
                    message: Some(why.into()),
                    ..Ending::of(RunResult::NotApplicable)
                };
                self.apply_instead(revert, instead).await
            }
        };
        let is_over = is_content(ended.result) || ended.result == RunResult::NotApplicable;
        let is_done = is_over && !ended.is_held;
        if is_done {
            self.note(|progress| {
                progress.reverted.insert(revert.id);
                progress.forget_made(revert);
            });
        }
        is_done
    }

    async fn apply_instead(self: &Arc<Self>, occurrence: &Occurrence, ending: Ending) -> Outcome {
        let owner = Arc::new(Occasion {
            keeper: Arc::downgrade(self),
            occurrence: occurrence.clone(),
            last: None,
            skip_unchanged: false,
        });
        let own = self.own(occurrence, false, Some(ending.clone()));
        // Nothing is executed, so that no policy has a say.
        if let Ok(end) = self.runs().apply(own, owner).await {
            self.note(|progress| progress.unreported += u64::from(end.is_lost));
        }
        Outcome {
            result: ending.result,
            changed: ending.changed,
            message: ending.message,
            is_held: false,
        }
    }

    fn own(&self, occurrence: &Occurrence, is_hidden: bool, instead: Option<Ending>) -> Own {
        Own {
            device: self.device(),
            occurrence: occurrence.id,
            version: self.look(|manifest, _| manifest.version),
            kind: occurrence.operation.clone(),
            params: self.resolved(occurrence).unwrap_or_default(),
            timeout_seconds: occurrence.timeout_seconds,
            is_hidden,
            instead,
        }
    }

    /// Its parameters with its secrets in clear; nothing where one of them is missing.
    pub(super) fn resolved(&self, occurrence: &Occurrence) -> Option<ResolvedParams> {
        self.look(|manifest, _| occurrence.params.resolve(&manifest.secrets))
    }

    /// How it ends without being executed: this agent does not know its kind, or lacks a secret.
    fn instead(&self, occurrence: &Occurrence) -> Option<Ending> {
        if !self.runs().kinds().contains(&occurrence.operation) {
            let why = format!("this agent does not know the operation {}", occurrence.operation);
            return Some(Ending::failed("operation.unknown", why));
        }
        // A manifest is taken over with all of its secrets, so that only a damaged file lacks one.
        let why = "a secret of it is missing in the manifest that this agent keeps";
        let is_missing = self.resolved(occurrence).is_none();
        is_missing.then(|| Ending::failed("operation.secret_gone", why))
    }
}
