//! Accounting for enrolments that were refused: each leaves an audit entry, and a flood of them does not fill the audit.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{ENROLMENT_REFUSED, EnrolRequest, EnrolmentService, EnrolmentToken, PROOF_INVALID, TOKEN_UNKNOWN};
use crate::{
    access::Context,
    devices::inventory::clean_text,
    kernel::{Class, Error, Result, Timestamp},
    store::{Evidence, Query},
};

/// Refusals that are written down one by one before the pace below holds.
const BURST: u32 = 30;
/// From then on, one in this time: at most 1,470 entries a day for each of the two kinds, on each server.
const PACE: Duration = Duration::from_secs(60);
/// The longest host name that is written down, in bytes.
const MAX_HOSTNAME: usize = 64;

/// How many refusals may still be written down. Strangers, who know no token, use up an allowance of their own: what they do
/// hides no refusal of somebody who has one. In memory: a restart gives full allowances.
#[derive(Debug, Default)]
pub struct RefusalGate {
    strangers: Mutex<Allowance>,
    holders: Mutex<Allowance>,
}

#[derive(Debug, Default)]
struct Allowance {
    /// When all of it is there again; none before the first refusal.
    full_at: Option<Timestamp>,
    left_out: u64,
}

impl RefusalGate {
    /// Takes one entry from the allowance: how many refusals were left out before it, or none when it is left out too.
    fn admit(&self, stranger: bool, now: Timestamp) -> Option<u64> {
        let allowance = if stranger { &self.strangers } else { &self.holders };
        let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let most = now.plus(PACE * BURST);
        // A clock that was set back costs no more than an empty allowance.
        let full_at = allowance.full_at.unwrap_or(now).max(now).min(most).plus(PACE);
        if full_at > most {
            allowance.left_out += 1;
            return None;
        }
        allowance.full_at = Some(full_at);
        Some(std::mem::take(&mut allowance.left_out))
    }
}

impl EnrolmentService<'_> {
    /// Writes a refusal down, as far as there is room for it. What cannot be understood is no refusal, and a fault of ours neither.
    pub(super) async fn account(&self, context: &Context, request: &EnrolRequest, error: &Error) {
        let told = matches!(
            error.class(),
            Class::Unauthenticated | Class::Denied | Class::Conflict | Class::RateLimited
        );
        let now = self.store.clock().now();
        let stranger = error.code() == TOKEN_UNKNOWN || error.code() == PROOF_INVALID;
        if !told {
            return;
        }
        let Some(left_out) = self.refusals.admit(stranger, now) else {
            return;
        };
        if let Err(failure) = self.write_down(context, request, error, left_out).await {
            tracing::error!(error = failure.log(), "a refused enrolment is not in the audit");
        }
    }

    async fn write_down(&self, context: &Context, request: &EnrolRequest, error: &Error, left_out: u64) -> Result<()> {
        // Whoever sent another's secret without a proof did not show that they have it, but where it leads is of use.
        let hash = hex::encode(request.secret.hash());
        let query = Query::<EnrolmentToken>::all().filter(EnrolmentToken::SECRET_HASH.eq(hash));
        let token = &self.store.reader().await?.first(&query).await?;
        self.store
            .change(context, Evidence::Audit(ENROLMENT_REFUSED), |mut tx| async move {
                tx.refused();
                if let Some(token) = token {
                    tx.subject::<EnrolmentToken>(token.id, token.name.clone());
                }
                tx.detail("reason", error.code().name());
                tx.detail("public_key", request.public_key.to_string());
                tx.detail("hostname", clean_text(&request.hostname, MAX_HOSTNAME));
                if left_out > 0 {
                    tx.detail("left_out_before", left_out);
                }
                tx.record().await
            })
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_thirty_entries_and_then_one_a_minute_which_counts_the_others() {
        let gate = RefusalGate::default();
        let start = Timestamp::from_seconds(1_800_000_000);
        let admitted = |seconds: u64, stranger| gate.admit(stranger, start.plus(Duration::from_secs(seconds)));
        for _ in 0..BURST {
            assert_eq!(admitted(0, true), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(admitted(59, true), None);
        }
        assert_eq!(admitted(59, false), Some(0), "strangers do not hide the others");
        assert_eq!(admitted(60, true), Some(1_000));
        assert_eq!(admitted(60, true), None);
        let day = (61..86_460).filter(|second| admitted(*second, true).is_some()).count();
        assert_eq!(day, 1_439);
    }
}
