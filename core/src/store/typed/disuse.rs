//! What nobody needs any more is noted, and goes when nobody has needed it for long enough. What is decided on what was read is
//! written where it is still as it was; where somebody was faster, the next look decides anew.

use std::time::Duration;

use super::{Entity, Evidence, Store, Tx, Versioned};
use crate::{
    access::{Action, Context},
    kernel::{Result, Timestamp},
};

/// What a look finds whether anybody needs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disuse {
    /// Nobody needs it any more.
    Begins,
    /// Somebody needs it again.
    Ends,
    /// Nobody has needed it for as long as it stays: its time is over.
    Lapsed,
}

impl Disuse {
    /// Of something that nobody is known to need since then, and that stays for so long; nothing where it is as it was.
    pub(crate) fn of(
        unneeded_since: Option<Timestamp>,
        is_needed: bool,
        life: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        match unneeded_since {
            Some(_) if is_needed => Some(Self::Ends),
            Some(since) => (now.since(since) >= life).then_some(Self::Lapsed),
            None => (!is_needed).then_some(Self::Begins),
        }
    }
}

impl Store {
    /// Takes steps that were decided on what was read, where it is still as it was, in one commit. `after` is what a step makes of it;
    /// nothing, and it is deleted. `tell` says in the audit which steps were taken.
    pub(crate) async fn take_steps<T: Entity, S: Copy + Send + Sync>(
        &self,
        context: &Context,
        action: Action,
        steps: &[(Versioned<T>, S)],
        after: impl Fn(&T, S, Timestamp) -> Option<T> + Sync,
        tell: impl Fn(&mut Tx, &[&(Versioned<T>, S)]) + Sync,
    ) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let (after, tell) = (&after, &tell);
        self.change(context, Evidence::Audit(action), |mut tx| async move {
            let now = tx.now();
            let ids: Vec<_> = steps.iter().map(|(seen, _)| seen.id()).collect();
            let found = tx.reader().get_many::<T>(&ids).await?;
            let mut taken = Vec::new();
            for (step, before) in steps.iter().zip(found) {
                let Some(before) = before.filter(|before| before.rev == step.0.rev) else {
                    continue;
                };
                match after(&before, step.1, now) {
                    Some(after) => {
                        tx.update(&before, &after)?;
                    }
                    None => {
                        tx.delete(&before);
                    }
                }
                taken.push(step);
            }
            tell(&mut tx, &taken);
            tx.commit().await
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unneeded_seconds: Option<u64>, is_needed: bool, expected: Option<Disuse>) {
        let now = Timestamp::from_seconds(1_800_000_000);
        let since = unneeded_seconds.map(|seconds| now.minus(Duration::from_secs(seconds)));
        let life = Duration::from_secs(600);
        assert_eq!(Disuse::of(since, is_needed, life, now), expected);
    }

    #[test]
    fn what_nobody_needs_is_noted_and_goes_after_its_time_unless_somebody_needs_it_again() {
        check(None, true, None);
        check(None, false, Some(Disuse::Begins));
        check(Some(599), false, None);
        check(Some(599), true, Some(Disuse::Ends));
        check(Some(600), false, Some(Disuse::Lapsed));
        check(Some(600), true, Some(Disuse::Ends));
    }
}
