//! How often, after how long and after which ends work is tried again by itself; pure.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::rules::UNSUCCESSFUL;
use crate::{
    kernel::{Class, Code, Error, Result},
    work::{OperationKind, State},
};

/// Doing this kind of work twice may do harm: it is not tried again by itself.
pub const RETRY_NOT_IDEMPOTENT: Code = Code::new("batch.retry_not_idempotent", Class::Invalid);

/// The most further attempts.
const MAX_ATTEMPTS: u32 = 5;
/// The longest first delay, in seconds: a day.
const MAX_DELAY: u32 = 86_400;
/// The longest that any delay becomes, in seconds: seven days.
const MAX_LONGEST: u32 = 7 * 86_400;
/// How long a delay becomes when nobody says, in seconds.
const LONGEST: u32 = 3_600;

/// How work is to be tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"attempts": 3, "delay_seconds": 60, "on": ["failed", "lost"]})))]
#[serde(deny_unknown_fields)]
pub struct NewRetry {
    /// How many further attempts there are at most, 0 to 5.
    pub attempts: u32,
    /// How many seconds after the end of the first attempt the second one is made, at most 86,400; it doubles with each attempt.
    #[serde(default = "minute")]
    pub delay_seconds: u32,
    /// How many seconds that becomes at most, up to 604,800 and no less than `delay_seconds`; an hour, or `delay_seconds` where that is
    /// more, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_delay_seconds: Option<u32>,
    /// After which ends: of `failed`, `timed_out`, `expired`, `lost`, `indeterminate`; all of them when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<State>,
}

const fn minute() -> u32 {
    60
}

/// How work is tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryPolicy {
    /// How many further attempts there are at most.
    pub attempts: u32,
    /// How many seconds after the end of the first attempt the second one is made; it doubles with each attempt.
    pub delay_seconds: u32,
    /// How many seconds that becomes at most.
    pub max_delay_seconds: u32,
    /// After which ends.
    pub on: Vec<State>,
}

impl NewRetry {
    /// The policy that it comes to, none without a further attempt. `pointer` is its place in the request.
    pub(crate) fn check(&self, kind: &OperationKind, pointer: &str) -> Result<Option<RetryPolicy>> {
        let refused = |member: &str, why: String| Err(Error::invalid_field(format!("{pointer}/{member}"), why));
        if self.attempts > MAX_ATTEMPTS {
            return refused("attempts", format!("0 to {MAX_ATTEMPTS}"));
        }
        if self.delay_seconds > MAX_DELAY {
            return refused("delay_seconds", format!("at most {MAX_DELAY}"));
        }
        let longest = self.max_delay_seconds.unwrap_or(LONGEST.max(self.delay_seconds));
        if longest > MAX_LONGEST || longest < self.delay_seconds {
            let why = format!("from delay_seconds to {MAX_LONGEST}");
            return refused("max_delay_seconds", why);
        }
        if let Some(state) = self.on.iter().find(|state| !UNSUCCESSFUL.contains(state)) {
            let names: Vec<_> = UNSUCCESSFUL.iter().map(|state| state.name()).collect();
            return refused("on", format!("{} is none of {}", state.name(), names.join(", ")));
        }
        if self.attempts == 0 {
            return Ok(None);
        }
        if !kind.idempotent {
            let why = format!("{} may do harm when it is done twice", kind.name);
            return Err(RETRY_NOT_IDEMPOTENT.error(why.clone()).with_field(pointer, why));
        }
        let on: BTreeSet<_> = match self.on.is_empty() {
            true => UNSUCCESSFUL.into(),
            false => self.on.iter().copied().collect(),
        };
        Ok(Some(RetryPolicy {
            attempts: self.attempts,
            delay_seconds: self.delay_seconds,
            max_delay_seconds: longest,
            on: on.into_iter().collect(),
        }))
    }
}

impl From<RetryPolicy> for NewRetry {
    fn from(policy: RetryPolicy) -> Self {
        Self {
            attempts: policy.attempts,
            delay_seconds: policy.delay_seconds,
            max_delay_seconds: Some(policy.max_delay_seconds),
            on: policy.on,
        }
    }
}

impl RetryPolicy {
    /// Whether another attempt may follow this one; the first is 1.
    pub(super) fn allows_after(&self, attempt: u32) -> bool {
        attempt <= self.attempts
    }

    /// How long after the end of this attempt the next one is made.
    pub(super) fn delay_after(&self, attempt: u32) -> Duration {
        let doubled = 1_u64 << attempt.saturating_sub(1).min(MAX_ATTEMPTS);
        let seconds = u64::from(self.delay_seconds) * doubled;
        Duration::from_secs(seconds.min(u64::from(self.max_delay_seconds)))
    }
}
