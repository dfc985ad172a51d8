//! What `storage` stores.

use fleet_core::storage::{
    BackedUpBlobs, BackupId, BackupOutcome, BackupTrigger, EndedMove, MoveId, MoveState, StorageBackup,
};

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
        blobs,
    };
    let ended = |state, pause_ms, problem: Option<&str>| EndedMove {
        id: "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42".parse::<MoveId>().unwrap(),
        from: "sqlite:/var/lib/fleet/fleet.db".into(),
        to: "json:/var/lib/fleet/json".into(),
        state,
        began_at: at(0),
        ended_at: at(9),
        records: 4_321,
        pause_ms,
        problem: problem.map(Into::into),
    };
    vec![
        document("that was made", &ended(MoveState::Done, Some(120), None)),
        document(
            "that was not made",
            &ended(MoveState::Failed, None, Some("the target cannot be reached")),
        ),
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
                Some(BackedUpBlobs {
                    count: 3,
                    bytes: 20_000_000,
                    damaged: 1,
                }),
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
                None,
            ),
        ),
        document(
            "that failed",
            &backup(
                BackupTrigger::Schedule,
                BackupOutcome::Failed {
                    problem: "the backup could not be written: no storage space".into(),
                },
                None,
            ),
        ),
    ]
}

#[test]
fn what_is_stored_of_backups_of_the_server() {
    insta::assert_snapshot!(show(&samples()));
}
