//! What nothing refers to goes.

use std::time::Duration;

use super::{OperationSecret, SECRETS_CLEAN, SecretHolder};
use crate::{
    Fleet,
    access::Context,
    kernel::{EntityId as _, MAX_LIMIT, PageRequest, Result},
    store::{Disuse, Filter, Query, Value, Versioned},
};

/// How long a secret stays that nothing refers to.
pub const UNREFERENCED_LIFE: Duration = Duration::from_secs(7 * 86_400);

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
            let since = secret.unreferenced_since;
            if let Some(step) = Disuse::of(since, is_referred_to, UNREFERENCED_LIFE, fleet.clock().now()) {
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

/// Whoever refers to a secret again alters its document, so that it is not removed under them.
async fn take(fleet: &Fleet, steps: &[(Versioned<OperationSecret>, Disuse)]) -> Result<()> {
    let after = |secret: &OperationSecret, step, now| {
        let unreferenced_since = match step {
            Disuse::Begins => Some(now),
            Disuse::Ends => None,
            Disuse::Lapsed => return None,
        };
        Some(OperationSecret {
            unreferenced_since,
            ..secret.clone()
        })
    };
    let context = Context::system("work.secrets");
    let store = fleet.store();
    store
        .take_steps(&context, SECRETS_CLEAN, steps, after, |tx, taken| {
            let count = |step| taken.iter().filter(|(_, taken)| *taken == step).count();
            tx.detail("unreferenced", count(Disuse::Begins));
            tx.detail("removed", count(Disuse::Lapsed));
        })
        .await
}
