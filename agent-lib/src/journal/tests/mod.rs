mod damage;
mod room;

use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc};

use fleet_core::kernel::{Code, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::state::StateDirectory;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SMALL: Limits = Limits {
    file_bytes: 16 << 10,
    garbage_bytes: 2 << 10,
    finished_runs: 3,
    finished_age: Duration::from_secs(60),
};

fn run(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn receipt(number: u128) -> Record {
    Record::Receipt {
        run: run(number),
        at: NOW,
        expires_at: None,
        idempotent: false,
        offer: json!({ "offer": number.to_string() }),
    }
}

fn started(number: u128) -> Record {
    Record::Started {
        run: run(number),
        at: NOW,
    }
}

fn output(number: u128, sequence: u64) -> Record {
    output_of(number, sequence, json!({ "text": format!("line {sequence}") }))
}

fn output_of(number: u128, sequence: u64, body: Value) -> Record {
    Record::Output {
        run: run(number),
        sequence,
        body,
    }
}

fn result(number: u128) -> Record {
    Record::Result {
        run: run(number),
        at: NOW,
        body: json!({ "exit_code": 0 }),
    }
}

fn output_acknowledged(number: u128, before: u64) -> Record {
    Record::OutputAcknowledged {
        run: run(number),
        before,
    }
}

fn result_acknowledged(number: u128, at: Timestamp) -> Record {
    Record::ResultAcknowledged { run: run(number), at }
}

/// A journal in a folder that goes away with it.
struct Fixture {
    folder: tempfile::TempDir,
    limits: Limits,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            limits,
        }
    }

    fn open(&self) -> (Journal, Recovered) {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> fleet_core::kernel::Result<(Journal, Recovered)> {
        let state = Arc::new(StateDirectory::open(self.folder.path())?);
        Journal::open(state, self.limits, NOW)
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("journal")
    }
}

/// A short history with every class of record, one run in every state.
fn history() -> Vec<Record> {
    vec![
        receipt(1),
        started(1),
        output(1, 0),
        output(1, 1),
        receipt(2),
        output_acknowledged(1, 1),
        started(2),
        output(2, 0),
        result(2),
        receipt(3),
        output(1, 2),
        output_acknowledged(2, 1),
        result_acknowledged(2, NOW),
        receipt(4),
        Record::Result {
            run: run(4),
            at: NOW,
            body: json!({ "expired": true, "text": "ü€" }),
        },
        receipt(5),
        receipt(6),
        started(6),
    ]
}

#[test]
fn a_new_journal_is_empty_and_closed_to_others() {
    let fixture = Fixture::new(Limits::default());
    let (journal, recovered) = fixture.open();
    assert!(recovered.runs.is_empty() && recovered.damage.is_empty());
    assert_eq!(recovered.torn_bytes, 0);
    assert!(journal.file_bytes() > 0);
    assert_eq!(fixture.path().metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_restart_finds_every_run_in_its_state() {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(&history()).unwrap();
    drop(journal);
    let (mut journal, recovered) = fixture.open();
    let states: Vec<_> = recovered
        .runs
        .iter()
        .map(|found| {
            (
                found.run.as_u128(),
                found.starts,
                found.pending_output,
                found.next_sequence,
                decide(found, NOW),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            (1, 1, 2, 3, Recovery::Indeterminate),
            (3, 0, 0, 0, Recovery::Execute),
            (4, 0, 0, 0, Recovery::SendResult),
            (5, 0, 0, 0, Recovery::Execute),
            (6, 1, 0, 0, Recovery::Indeterminate),
        ]
    );
    assert_eq!(recovered.runs[1].offer, Some(json!({ "offer": "3" })));
    assert_eq!(recovered.finished, 1);
    assert_eq!(
        journal.pending(&run(1), 0, 1 << 20).unwrap(),
        [1, 2].map(|sequence| Pending::Chunk {
            sequence,
            body: json!({ "text": format!("line {sequence}") }),
        })
    );
}

#[test]
fn an_offer_of_a_finished_run_is_answered_with_its_result() {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(&history()).unwrap();
    drop(journal);
    let (journal, _) = fixture.open();
    assert_eq!(journal.status(&run(2)), Some(Status::Ended));
    assert_eq!(journal.result(&run(2)).unwrap(), Some(json!({ "exit_code": 0 })));
    assert_eq!(journal.status(&run(99)), None);
}

#[track_caller]
fn check_append(before: &[Record], record: Record, expected: Option<Code>) {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(before).unwrap();
    let length = journal.file_bytes();
    // A group is all or nothing: the receipt of another run goes only with the record in question.
    let got = journal.append(&[receipt(77), record.clone()]);
    assert_eq!(got.as_ref().err().map(|error| error.code()), expected, "{record:?}");
    assert_eq!(journal.status(&run(77)).is_some(), expected.is_none());
    if expected.is_some() {
        assert_eq!(journal.file_bytes(), length);
    }
}

#[test]
fn a_record_that_contradicts_its_run_is_refused_and_nothing_is_written() {
    let conflict = Some(JOURNAL_CONFLICT);
    let running = [receipt(1), started(1), output(1, 0)];
    let ended = [receipt(1), started(1), output(1, 0), result(1)];
    check_append(&[], receipt(1), None);
    check_append(&[receipt(1)], receipt(1), conflict);
    check_append(&[], started(1), conflict);
    check_append(&[], result(1), conflict);
    check_append(&[receipt(1)], started(1), None);
    check_append(&running, started(1), None);
    check_append(&ended, started(1), conflict);
    check_append(&[receipt(1)], output(1, 0), conflict);
    check_append(&running, output(1, 1), None);
    check_append(&running, output(1, 0), conflict);
    check_append(&running, output(1, 2), conflict);
    check_append(&ended, output(1, 1), conflict);
    check_append(&[receipt(1)], result(1), None);
    check_append(&ended, result(1), conflict);
    check_append(&running, output_acknowledged(1, 1), None);
    check_append(&running, output_acknowledged(1, 2), conflict);
    check_append(&running, result_acknowledged(1, NOW), conflict);
    check_append(&ended, result_acknowledged(1, NOW), None);
    let large = "x".repeat(MAX_RECORD_BYTES);
    check_append(&running, output_of(1, 1, json!(large)), Some(JOURNAL_INVALID));
    check_append(&running, output_of(1, 1, json!("\0")), Some(JOURNAL_INVALID));
}

#[test]
fn groups_share_a_sync_and_answer_each_for_itself() {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    let groups: [&[Record]; 4] = [
        &[receipt(1)],
        &[started(1), output(1, 7)],
        &[started(1), output(1, 0)],
        &[output(1, 1), result(1)],
    ];
    let answers = journal.append_groups(&groups);
    let codes: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().err().map(|error| error.code()))
        .collect();
    assert_eq!(codes, [None, Some(JOURNAL_CONFLICT), None, None]);
    drop(journal);
    let (_, recovered) = fixture.open();
    assert_eq!((recovered.runs[0].starts, recovered.runs[0].next_sequence), (1, 2));
}

#[test]
fn a_second_agent_cannot_open_the_same_journal() {
    let fixture = Fixture::new(Limits::default());
    let (_journal, _) = fixture.open();
    assert_eq!(fixture.try_open().unwrap_err().code(), crate::state::STATE_LOCKED);
}

#[tokio::test]
async fn appends_of_many_tasks_are_grouped_and_all_are_there() {
    let fixture = Fixture::new(Limits::default());
    let (writer, thread) = JournalWriter::start(fixture.open().0).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=40 {
        let writer = writer.clone();
        tasks.spawn(async move {
            writer.append(vec![receipt(number)]).await.unwrap();
            writer.append(vec![started(number)]).await.unwrap();
            for sequence in 0..5 {
                writer.append(vec![output(number, sequence)]).await.unwrap();
            }
            let pending = writer
                .with(move |journal| journal.pending(&run(number), 0, 1 << 20))
                .await;
            assert_eq!(pending.unwrap().unwrap().len(), 5);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let refused = writer.append(vec![started(99)]).await.unwrap_err();
    assert_eq!(refused.code(), JOURNAL_CONFLICT);
    drop(writer);
    drop(thread.join().unwrap());
    let (_, recovered) = fixture.open();
    assert_eq!(recovered.runs.len(), 40);
    assert!(
        recovered
            .runs
            .iter()
            .all(|found| (found.starts, found.pending_output) == (1, 5))
    );
}
