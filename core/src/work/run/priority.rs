//! Which work goes first; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kernel::Timestamp;

/// How much earlier or later work of another priority takes its turn.
const STEP: Duration = Duration::from_secs(3_600);

/// How urgent work is, compared with other work that waits for the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// It lets other work go first, that which comes up to an hour later too.
    Low,
    /// As it comes.
    #[default]
    Normal,
    /// It goes before other work, that which came up to an hour earlier too.
    High,
}

impl Priority {
    /// All of them, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// The priority of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    pub(crate) fn is_normal(&self) -> bool {
        *self == Self::Normal
    }

    /// When it is the turn of work that was to begin then: whoever has the earliest goes first. It never changes, and what comes later has a
    /// later one; so everything that waits is passed by for two hours at most.
    pub(crate) fn turn(self, due: Timestamp) -> Timestamp {
        match self {
            Self::Low => due.plus(STEP),
            Self::Normal => due,
            Self::High => due.minus(STEP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal};

    /// Who goes first of work that is due so many seconds after midnight.
    #[track_caller]
    fn check(one: (Priority, i64), other: (Priority, i64), first: (Priority, i64)) {
        let turn = |(priority, due): (Priority, i64)| priority.turn(Timestamp::from_seconds(1_800_000_000 + due));
        let found = if turn(one) < turn(other) { one } else { other };
        assert_eq!(found, first);
        assert_ne!(turn(one), turn(other));
    }

    #[test]
    fn urgent_work_goes_first_and_nobody_is_passed_by_for_more_than_two_hours() {
        check((Low, 0), (Normal, 3_599), (Normal, 3_599));
        check((Low, 0), (Normal, 3_601), (Low, 0));
        check((Normal, 0), (High, 3_599), (High, 3_599));
        check((Normal, 0), (High, 3_601), (Normal, 0));
        check((Low, 0), (High, 7_199), (High, 7_199));
        check((Low, 0), (High, 7_201), (Low, 0));
        check((High, 0), (Low, -7_199), (High, 0));
        check((Normal, 0), (Normal, 1), (Normal, 0));
    }

    #[test]
    fn every_priority_has_its_name_of_json() {
        for priority in Priority::ALL {
            assert_eq!(serde_json::to_value(priority).unwrap(), priority.name());
            assert_eq!(Priority::from_name(priority.name()), Some(priority));
        }
    }
}
