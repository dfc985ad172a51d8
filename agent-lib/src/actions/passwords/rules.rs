//! Whose password is due, and why. Pure.

use std::time::Duration;

use fleet_core::{
    escrow::EscrowReason, kernel::Timestamp, work::operations::actions::password_rotation::PasswordRotationParams,
};

use super::notes::UserNotes;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Why a user's password is to be changed now; nothing when it is not. `signed_in_at` is when the user first signed in after the last
/// change.
pub(super) fn due(
    params: &PasswordRotationParams,
    notes: Option<&UserNotes>,
    signed_in_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<EscrowReason> {
    let Some(notes) = notes else {
        return Some(EscrowReason::Initial);
    };
    // It may have been changed, or not: only another one is certain.
    if let Some(intent) = notes.intents.last() {
        return Some(intent.reason);
    }
    let Some(rotated_at) = notes.rotated_at else {
        return Some(EscrowReason::Initial);
    };
    let after = |since: Timestamp, time: Duration| now.since(since) >= time;
    // A clock that was set back by far makes a time of the future, which would never come round.
    let is_from_the_future = rotated_at.since(now) > DAY;
    if after(rotated_at, DAY * params.interval_days) || is_from_the_future {
        return Some(EscrowReason::Scheduled);
    }
    let used = signed_in_at.filter(|at| *at > rotated_at && params.after_use_hours > 0);
    used.filter(|at| after(*at, HOUR * params.after_use_hours))
        .map(|_| EscrowReason::AfterUse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::passwords::notes::Intent;
    use fleet_core::{escrow::EscrowedSecretId, kernel::EntityId as _};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn ago(hours: u64) -> Timestamp {
        NOW.minus(HOUR * u32::try_from(hours).unwrap())
    }

    #[track_caller]
    fn check(rotated_hours: u64, after_use_hours: u32, signed_in_hours: Option<u64>, expected: Option<EscrowReason>) {
        let params = serde_json::json!({"users": ["ana"], "interval_days": 10, "after_use_hours": after_use_hours});
        let params = serde_json::from_value(params).unwrap();
        let notes = UserNotes {
            rotated_at: Some(ago(rotated_hours)),
            ..UserNotes::default()
        };
        assert_eq!(due(&params, Some(&notes), signed_in_hours.map(ago), NOW), expected);
    }

    #[test]
    fn a_password_is_changed_when_it_is_old() {
        check(239, 0, None, None);
        check(240, 0, None, Some(EscrowReason::Scheduled));
    }

    #[test]
    fn a_password_is_changed_some_time_after_it_was_used() {
        check(100, 8, None, None);
        check(100, 8, Some(7), None);
        check(100, 8, Some(8), Some(EscrowReason::AfterUse));
        // That was with the one before.
        check(100, 8, Some(101), None);
        // Nobody asked for it.
        check(100, 0, Some(8), None);
    }

    #[test]
    fn whatever_is_not_known_is_changed() {
        let params: PasswordRotationParams = serde_json::from_value(serde_json::json!({"users": ["ana"]})).unwrap();
        assert_eq!(due(&params, None, None, NOW), Some(EscrowReason::Initial));
        let began = UserNotes {
            rotated_at: Some(NOW),
            intents: vec![Intent {
                id: EscrowedSecretId::from_uuid(uuid::Uuid::nil()),
                reason: EscrowReason::AfterUse,
            }],
            ..UserNotes::default()
        };
        assert_eq!(due(&params, Some(&began), None, NOW), Some(EscrowReason::AfterUse));
        let from_the_future = UserNotes {
            rotated_at: Some(NOW.plus(DAY * 400)),
            ..UserNotes::default()
        };
        assert_eq!(
            due(&params, Some(&from_the_future), None, NOW),
            Some(EscrowReason::Scheduled)
        );
    }
}
