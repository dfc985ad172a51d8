//! What `storage` stores.

use fleet_core::storage::{BackupId, BackupOutcome, BackupTrigger, StorageBackup};

use crate::{
    sample::{Sample, document, show},
    values::at,
};

pub fn samples() -> Vec<Sample> {
    let backup = |trigger, outcome, blobs| StorageBackup {
        id: "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41".parse::<BackupId>().unwrap(),
        made_at: at(0),
        took_seconds: 3,
        trigger,
        folder: "backups".into(),
        file: "fleet-2026-11-21T093000Z-6b7e9a41.backup".into(),
        outcome,
    };
    vec![
        document(
            "that is complete",
            &backup(
                BackupTrigger::Manual,
                BackupOutcome::Done {
                    bytes: 1_234_567,
                    records: 4_321,
                    seq: 987,
                    digest: "ab".repeat(32),
                    key_included: true,
                },
            ),
        ),
        document(
            "before an upgrade",
            &backup(
                BackupTrigger::Upgrade,
                BackupOutcome::Done {
                    bytes: 1_234_567,
                    records: 4_321,
                    seq: 987,
                    digest: "ab".repeat(32),
                    key_included: false,
                },
            ),
        ),
        document(
            "that failed",
            &backup(
                BackupTrigger::Schedule,
                Some(BackedUpBlobs {
                    count: 3,
                    bytes: 20_000_000,
                    damaged: 1,
                }),
                BackupOutcome::Failed {
                    problem: "the backup could not be written: no storage space".into(),
                },
            ),
        ),
    ]
}

#[test]
fn what_is_stored_of_backups_of_the_server() {
    insta::assert_snapshot!(show(&samples()));
}
                None,
                None,
