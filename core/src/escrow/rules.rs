//! Which state follows, what is removed, and what a device may deposit. Pure.

use serde::{Deserialize, Serialize};

use super::{EscrowState, EscrowedSecret, EscrowedSecretId};
use crate::kernel::Error;

/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 1024;
/// The longest subject, in characters.
pub const MAX_SUBJECT: usize = 255;
/// The most subjects of a device: 64 users of one action, its disks, and as many again.
pub const MAX_SUBJECTS: usize = 128;

/// Of a subject so many superseded, abandoned, and doubtful secrets from before the current one are kept, the newest of each.
const KEPT: usize = 3;
/// Of a subject so many doubtful secrets are kept that are newer than the current one.
const KEPT_NEWER: usize = 8;

/// What a device says became of a secret that it deposited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// It is in use.
    InUse,
    /// It did not come into use, for certain.
    Abandoned,
}

/// The state that a conclusion leads to; none when it contradicts what was said before. A repeat leads to where it led. `is_newest`
/// unless a later secret of its subject is current: what is confirmed late was in use before that one.
pub(super) fn concluded(state: EscrowState, conclusion: Conclusion, is_newest: bool) -> Option<EscrowState> {
    use EscrowState::{Abandoned, Current, Offered, Superseded};
    match (state, conclusion) {
        (Offered, Conclusion::InUse) if is_newest => Some(Current),
        (Offered, Conclusion::InUse) => Some(Superseded),
        (Offered | Abandoned, Conclusion::Abandoned) => Some(Abandoned),
        (Current | Superseded, Conclusion::InUse) => Some(state),
        (Abandoned, Conclusion::InUse) | (Current | Superseded, Conclusion::Abandoned) => None,
    }
}

/// The secrets of one subject that are kept no more. Never the current one; and of those that are newer and may be in use, only what is
/// beyond the newest eight.
pub(super) fn surplus(of_subject: &[EscrowedSecret]) -> Vec<EscrowedSecretId> {
    let current = of_subject
        .iter()
        .filter(|secret| secret.state == EscrowState::Current)
        .map(|secret| secret.number)
        .max()
        .unwrap_or(0);
    let mut newest_first: Vec<_> = of_subject.iter().collect();
    newest_first.sort_by_key(|secret| std::cmp::Reverse((secret.number, secret.id)));
    let (mut superseded, mut abandoned, mut older, mut newer) = (KEPT, KEPT, KEPT, KEPT_NEWER);
    let mut surplus = Vec::new();
    for secret in newest_first {
        let room = match secret.state {
            EscrowState::Current => continue,
            EscrowState::Superseded => &mut superseded,
            EscrowState::Abandoned => &mut abandoned,
            EscrowState::Offered if secret.number > current => &mut newer,
            EscrowState::Offered => &mut older,
        };
        match room.checked_sub(1) {
            Some(left) => *room = left,
            None => surplus.push(secret.id),
        }
    }
    surplus
}

/// Refuses a subject that is no name.
pub(super) fn check_subject(subject: &str) -> Result<(), Error> {
    let fits = !subject.is_empty() && subject.chars().count() <= MAX_SUBJECT && !subject.chars().any(char::is_control);
    fits.then_some(()).ok_or_else(|| {
        Error::invalid_field(
            "/subject",
            format!("1 to {MAX_SUBJECT} characters, none of them a control character"),
        )
    })
}

/// Refuses a secret that is none. What is wrong with it is said without it.
pub(super) fn check_secret(secret: &str) -> Result<(), Error> {
    let fits = (1..=MAX_SECRET).contains(&secret.len());
    fits.then_some(())
        .ok_or_else(|| Error::invalid_field("/secret", format!("1 to {MAX_SECRET} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        escrow::{EscrowKind, EscrowReason},
        kernel::{EntityId as _, MasterKey, Sealer, SeededRandom, Timestamp},
    };
    use uuid::Uuid;

    #[test]
    fn every_conclusion_has_one_outcome_in_every_state() {
        use Conclusion::{Abandoned as No, InUse as Yes};
        use EscrowState::{Abandoned, Current, Offered, Superseded};
        #[track_caller]
        fn check(state: EscrowState, conclusion: Conclusion, is_newest: bool, expected: Option<EscrowState>) {
            assert_eq!(concluded(state, conclusion, is_newest), expected);
        }
        check(Offered, Yes, true, Some(Current));
        check(Offered, Yes, false, Some(Superseded));
        for is_newest in [true, false] {
            check(Offered, No, is_newest, Some(Abandoned));
            check(Current, Yes, is_newest, Some(Current));
            check(Current, No, is_newest, None);
            check(Superseded, Yes, is_newest, Some(Superseded));
            check(Superseded, No, is_newest, None);
            check(Abandoned, Yes, is_newest, None);
            check(Abandoned, No, is_newest, Some(Abandoned));
        }
    }

    /// Secrets of one subject by their states, the oldest first; the numbers of those that are kept no more.
    #[track_caller]
    fn check(states: &str, expected: &[u64]) {
        let random = SeededRandom::new(1);
        let sealed = Sealer::new(MasterKey::generate(&random))
            .seal("x", b"x", &random)
            .unwrap();
        let secrets: Vec<_> = (1..)
            .zip(states.chars())
            .map(|(number, state)| EscrowedSecret {
                id: EscrowedSecretId::from_uuid(Uuid::from_u128(u128::from(number))),
                device: crate::devices::DeviceId::from_uuid(Uuid::nil()),
                device_name: String::new(),
                kind: EscrowKind::LocalPassword,
                subject: "ana".into(),
                number,
                source: crate::work::RunId::from_uuid(Uuid::nil()),
                reason: EscrowReason::Scheduled,
                state: match state {
                    'o' => EscrowState::Offered,
                    'c' => EscrowState::Current,
                    's' => EscrowState::Superseded,
                    _ => EscrowState::Abandoned,
                },
                sealed: sealed.clone(),
                offered_at: Timestamp::EPOCH,
                confirmed_at: None,
                superseded_at: None,
                abandoned_at: None,
                device_gone_since: None,
            })
            .collect();
        let mut gone: Vec<_> = surplus(&secrets)
            .into_iter()
            .map(|id| u64::try_from(id.uuid().as_u128()).unwrap())
            .collect();
        gone.sort_unstable();
        assert_eq!(gone, expected, "{states}");
    }

    #[test]
    fn three_superseded_ones_are_kept_beside_the_current_one() {
        check("", &[]);
        check("c", &[]);
        check("sssc", &[]);
        check("sssssc", &[1, 2]);
    }

    #[test]
    fn the_current_one_is_kept_however_many_follow_it() {
        check(&format!("c{}", "o".repeat(20)), &(2..=13).collect::<Vec<_>>());
        check(&format!("c{}", "a".repeat(5)), &[2, 3]);
    }

    #[test]
    fn what_may_be_in_use_is_kept_longest() {
        check(&"o".repeat(8), &[]);
        check(&"o".repeat(9), &[1]);
        // Those before the current one are doubtful only in name.
        check("oooooc", &[1, 2]);
        check("oooooco", &[1, 2]);
        check("ooosssaaacoooooooo", &[]);
    }

    #[test]
    fn a_subject_is_a_name_and_a_secret_is_not_quoted() {
        for (subject, fits) in [
            ("ana", true),
            (&"ä".repeat(255), true),
            (&"ä".repeat(256), false),
            ("", false),
            ("a\nb", false),
        ] {
            assert_eq!(check_subject(subject).is_ok(), fits, "{subject:?}");
        }
        assert!(check_secret(&"x".repeat(1024)).is_ok());
        let refused = check_secret(&"hunter2".repeat(200)).unwrap_err();
        assert!(!refused.log().contains("hunter2"));
        assert!(check_secret("").is_err());
    }
}
