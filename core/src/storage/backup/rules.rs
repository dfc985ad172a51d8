//! When a backup is due, which go, what a file is called. Pure.

use std::time::Duration;

use super::{BackupId, BackupOutcome, StorageBackup};
use crate::kernel::{EntityId as _, Timestamp};

/// A backup that failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(60 * 60);
/// Failures that are remembered.
const FAILURES: usize = 20;

/// What is asked of the backups there are.
pub(super) trait Ended {
    fn is_done(&self) -> bool;
}

impl Ended for StorageBackup {
    fn is_done(&self) -> bool {
        matches!(self.outcome, BackupOutcome::Done { .. })
    }
}

/// Whether one is due. `newest_first` holds what there is.
pub(super) fn is_due(newest_first: &[StorageBackup], every_hours: u32, now: Timestamp) -> bool {
    if every_hours == 0 {
        return false;
    }
    let every = Duration::from_secs(u64::from(every_hours) * 3_600);
    let done = newest_first.iter().find(|backup| backup.is_done());
    let failed = newest_first.first().filter(|backup| !backup.is_done());
    // A time ahead of now is of a clock that went back.
    let rests = |since: Timestamp, rest: Duration| since <= now && now.since(since) < rest;
    !done.is_some_and(|done| rests(done.made_at, every)) && !failed.is_some_and(|failed| rests(failed.made_at, RETRY))
}

/// Those that go once there is a new one: `keep` complete ones stay, and some failures.
pub(super) fn expired<T: Ended>(newest_first: Vec<T>, keep: u32) -> Vec<T> {
    let (mut done, mut failed) = (0, 0);
    newest_first
        .into_iter()
        .filter(|backup| {
            if backup.is_done() {
                done += 1;
                done > usize::try_from(keep).unwrap_or(usize::MAX)
            } else {
                failed += 1;
                failed > FAILURES
            }
        })
        .collect()
}

/// `fleet-2026-11-21T093000Z-5d0c6b7e.backup`: in order of time, and no two the same.
pub(in crate::storage) fn file_name(at: Timestamp, id: BackupId) -> String {
    let time: String = at.to_string().chars().filter(|c| *c != ':').collect();
    let seconds = time.split(['.', 'Z']).next().unwrap_or_default();
    let id = id.uuid().simple().to_string();
    format!("fleet-{seconds}Z-{}.backup", &id[24..])
}

/// `fleet-before-upgrade-2026-11-21T093000Z-5d0c6b7e.backup`.
pub(super) fn upgrade_file_name(at: Timestamp, id: BackupId) -> String {
    file_name(at, id).replacen("fleet-", "fleet-before-upgrade-", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::BackupTrigger;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + hours * 3_600)
    }

    fn backup(hours: i64, done: bool) -> StorageBackup {
        StorageBackup {
            id: BackupId::from_uuid(uuid::Uuid::from_u128(0xfeed_beef)),
            made_at: at(hours),
            took_seconds: 1,
            trigger: BackupTrigger::Schedule,
            folder: "backups".into(),
            file: "f".into(),
            outcome: if done {
                BackupOutcome::Done {
                    bytes: 1,
                    records: 1,
                    seq: 1,
                    digest: String::new(),
                    key_included: false,
                }
            } else {
                BackupOutcome::Failed {
                    problem: "no room".into(),
                }
            },
            blobs: None,
        }
    }

    /// Whether a daily backup is due at hour 100, after those of these hours; failed ones are negative.
    #[track_caller]
    fn check_due(newest_first: &[i64], expected: bool) {
        let there: Vec<_> = newest_first.iter().map(|hour| backup(hour.abs(), *hour > 0)).collect();
        assert_eq!(is_due(&there, 24, at(100)), expected, "{newest_first:?}");
        assert!(!is_due(&there, 0, at(100)), "none by itself");
    }

    #[test]
    fn one_is_due_a_day_after_the_last_complete_one() {
        check_due(&[], true);
        check_due(&[77], false);
        check_due(&[76], true);
        check_due(&[-90, 77], false);
        check_due(&[-90, 70], true);
        check_due(&[-100, 70], false);
        check_due(&[1_000], true);
    }

    #[test]
    fn the_newest_complete_ones_stay_and_some_failures() {
        let there: Vec<_> = (0..60).rev().map(|n| backup(n, n % 2 == 0)).collect();
        let gone = expired(there, 3);
        assert_eq!(gone.iter().filter(|backup| backup.is_done()).count(), 27);
        assert_eq!(gone.iter().filter(|backup| !backup.is_done()).count(), 10);
        assert!(gone.iter().all(|backup| backup.made_at < at(54)));
    }

    #[test]
    fn a_file_has_its_time_in_its_name() {
        let id = BackupId::from_uuid(uuid::Uuid::from_u128(0xfeed_beef));
        assert_eq!(file_name(at(0), id), "fleet-2027-01-15T080000Z-feedbeef.backup");
        assert_eq!(
            upgrade_file_name(at(0), id),
            "fleet-before-upgrade-2027-01-15T080000Z-feedbeef.backup"
        );
    }
}
