//! What nothing refers to goes.

use std::time::Duration;

use super::{OperationSecret, SECRETS_CLEAN, SecretHolder};
use crate::{
    Fleet,
    access::Context,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Evidence, Filter, Query, Value, Versioned},
};

/// How long a secret stays that nothing refers to.
pub const UNREFERENCED_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// What becomes of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing refers to it any more.
    NoteUnreferenced,
    /// Something refers to it again.
    Keep,
    /// It goes.
    Remove,
}

fn step(unreferenced_since: Option<Timestamp>, is_referred_to: bool, now: Timestamp) -> Option<Step> {
    match unreferenced_since {
        Some(_) if is_referred_to => Some(Step::Keep),
        Some(since) => (now.since(since) >= UNREFERENCED_LIFE).then_some(Step::Remove),
        None => (!is_referred_to).then_some(Step::NoteUnreferenced),
    }
}

/// Notes which secrets nothing refers to, and removes those that nothing has referred to for seven days.
pub(in crate::work) async fn clean(fleet: Fleet) -> Result<()> {
    let mut after = None;
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), after.take())?;
        let query = Query::<OperationSecret>::all();
        let page = fleet.store().reader().await?.list(&query, &page).await?;
        let mut steps = Vec::new();
        for secret in page.items {
            let is_referred_to = is_referred_to(&fleet, &secret).await?;
            if let Some(step) = step(secret.unreferenced_since, is_referred_to, fleet.clock().now()) {
                steps.push((secret, step));
            }
        }
        take(&fleet, &steps).await?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn is_referred_to(fleet: &Fleet, secret: &OperationSecret) -> Result<bool> {
    let mut view = fleet.store().backend().view().await?;
    for SecretHolder { kind, column } in fleet.secret_holders() {
        let filter = Filter::Eq(column, Value::Id(secret.id.uuid()));
        if view.count(kind, &filter).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes steps that were decided on what was read; where somebody was faster, the next look decides anew. Whoever refers to a secret
/// again alters its document, so that it is not removed under them.
async fn take(fleet: &Fleet, steps: &[(Versioned<OperationSecret>, Step)]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let context = Context::system("work.secrets");
    fleet
        .store()
        .change(&context, Evidence::Audit(SECRETS_CLEAN), |mut tx| async move {
            let now = tx.now();
            let ids: Vec<_> = steps.iter().map(|(secret, _)| secret.id).collect();
            let found = tx.reader().get_many::<OperationSecret>(&ids).await?;
            let (mut unreferenced, mut removed) = (0_u64, 0_u64);
            for ((seen, step), before) in steps.iter().zip(found) {
                let Some(before) = before.filter(|before| before.rev == seen.rev) else {
                    continue;
                };
                let mut after = before.value.clone();
                match step {
                    Step::NoteUnreferenced => {
                        unreferenced += 1;
                        after.unreferenced_since = Some(now);
                    }
                    Step::Keep => after.unreferenced_since = None,
                    Step::Remove => {
                        removed += 1;
                        tx.delete(&before);
                        continue;
                    }
                }
                tx.update(&before, &after)?;
            }
            tx.detail("unreferenced", unreferenced);
            tx.detail("removed", removed);
            tx.commit().await
        })
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unreferenced_seconds: Option<u64>, is_referred_to: bool, expected: Option<Step>) {
        let now = Timestamp::from_seconds(1_800_000_000);
        let since = unreferenced_seconds.map(|seconds| now.minus(Duration::from_secs(seconds)));
        assert_eq!(step(since, is_referred_to, now), expected);
    }

    #[test]
    fn seven_days_without_a_reference_and_it_goes() {
        const WEEK: u64 = 7 * 86_400;
        check(None, true, None);
        check(None, false, Some(Step::NoteUnreferenced));
        check(Some(WEEK - 1), false, None);
        check(Some(WEEK), false, Some(Step::Remove));
        check(Some(WEEK), true, Some(Step::Keep));
    }
}
