//! What stays and what goes as the file fills, over long histories.

use std::collections::BTreeMap;

use fleet_core::kernel::{SeededRandom, random_bytes};

use super::*;

#[test]
fn finished_runs_are_remembered_in_bounded_number_and_for_a_bounded_time() {
    let fixture = Fixture::new(Limits {
        file_bytes: 1 << 20,
        ..SMALL
    });
    let (mut journal, _) = fixture.open();
    for number in 1..=5 {
        let at = NOW.plus(Duration::from_secs(number as u64));
        journal
            .append(&[receipt(number), result(number), result_acknowledged(number, at)])
            .unwrap();
    }
    let known = |journal: &Journal| {
        (1..=9)
            .filter(|n| journal.status(&run(*n)).is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(known(&journal), [3, 4, 5]);
    let later = NOW.plus(Duration::from_secs(64));
    journal
        .append(&[receipt(6), result(6), result_acknowledged(6, later)])
        .unwrap();
    assert_eq!(known(&journal), [4, 5, 6]);
    // A late repeat of an acknowledgement of a forgotten run is absorbed.
    journal
        .append(&[result_acknowledged(1, later), output_acknowledged(1, 4)])
        .unwrap();
    assert_eq!(known(&journal), [4, 5, 6]);
}

#[test]
fn the_file_is_rewritten_when_most_of_it_is_garbage() {
    let fixture = Fixture::new(SMALL);
    let (mut journal, _) = fixture.open();
    journal.append(&[receipt(1), started(1)]).unwrap();
    let mut largest = 0;
    for sequence in 0..500 {
        journal.append(&[output(1, sequence)]).unwrap();
        if sequence >= 2 {
            journal.append(&[output_acknowledged(1, sequence - 1)]).unwrap();
        }
        largest = largest.max(journal.file_bytes());
    }
    assert!(largest < 8 << 10, "{largest}");
    drop(journal);
    let (mut journal, recovered) = fixture.open();
    assert_eq!(recovered.runs[0].next_sequence, 500);
    let pending = journal.pending(&run(1), 0, 1 << 20).unwrap();
    assert!(matches!(
        pending[..],
        [
            Pending::Chunk { sequence: 498, .. },
            Pending::Chunk { sequence: 499, .. }
        ]
    ));
    assert!(!Path::exists(&fixture.folder.path().join("journal.new")));
}

#[test]
fn beyond_the_cap_the_oldest_output_goes_and_its_loss_is_announced() {
    let fixture = Fixture::new(SMALL);
    let (mut journal, _) = fixture.open();
    journal
        .append(&[receipt(1), started(1), receipt(2), started(2), receipt(3)])
        .unwrap();
    for sequence in 0..300 {
        let records = [output(1, sequence), output(2, sequence)];
        journal.append(&records).unwrap();
        assert!(journal.file_bytes() <= SMALL.file_bytes);
    }
    journal.append(&[result(1)]).unwrap();
    for reopened in [false, true] {
        if reopened {
            drop(journal);
            journal = fixture.open().0;
        }
        for number in [1, 2] {
            let pending = journal.pending(&run(number), 0, 1 << 20).unwrap();
            let Pending::Lost { from: 0, before, bytes } = pending[0] else {
                panic!("{:?}", pending[0])
            };
            assert!(before > 100 && bytes > 100 * 60, "{before} {bytes}");
            let kept: Vec<u64> = pending[1..]
                .iter()
                .map(|item| match item {
                    Pending::Chunk { sequence, .. } => *sequence,
                    lost => panic!("{lost:?}"),
                })
                .collect();
            assert_eq!(kept, (before..300).collect::<Vec<_>>());
        }
        assert_eq!(journal.status(&run(3)), Some(Status::Received));
        assert_eq!(journal.runs_with_result(), [run(1)]);
        assert_eq!(journal.runs_with_output(), [run(1), run(2)]);
    }
}

#[test]
fn when_only_receipts_are_left_no_further_run_is_taken_but_every_result_is() {
    let fixture = Fixture::new(SMALL);
    let (mut journal, _) = fixture.open();
    let mut taken = 0;
    let refused = loop {
        match journal.append(&[receipt(taken + 1)]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), JOURNAL_FULL);
    assert!(taken > 50, "{taken}");
    for number in 1..=taken {
        journal.append(&[started(number)]).unwrap();
        journal.append(&[output(number, 0), result(number)]).unwrap();
    }
    drop(journal);
    let (mut journal, recovered) = fixture.open();
    assert_eq!(recovered.runs.len() as u128, taken);
    assert_eq!(journal.runs_with_result().len() as u128, taken);
    assert!(
        recovered
            .runs
            .iter()
            .all(|found| found.next_sequence == 1 && found.pending_output == 1)
    );
    let last = journal.pending(&run(taken), 0, 1_000).unwrap();
    assert!(
        matches!(last[..], [Pending::Lost { from: 0, before: 1, .. }]),
        "{last:?}"
    );
}

#[test]
fn output_is_read_in_pages_that_make_progress() {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    let records: Vec<_> = (0..20).map(|sequence| output(1, sequence)).collect();
    journal.append(&[receipt(1), started(1)]).unwrap();
    journal.append(&records).unwrap();
    let mut from = 0;
    while from < 20 {
        let page = journal.pending(&run(1), from, 300).unwrap();
        assert!((1..=4).contains(&page.len()));
        assert!(matches!(page[0], Pending::Chunk { sequence, .. } if sequence == from));
        from += page.len() as u64;
    }
    assert_eq!(journal.pending(&run(1), 0, 0).unwrap().len(), 1);
    assert_eq!(journal.pending(&run(1), 20, 300).unwrap(), []);
}

/// What a run should look like, kept in the simplest way.
#[derive(Debug, Default, PartialEq)]
struct Simple {
    started: bool,
    output: Vec<u64>,
    next: u64,
    ended: bool,
}

#[test]
fn random_histories_survive_restarts_and_rewrites() {
    for seed in 0..8 {
        let random = SeededRandom::new(seed);
        let fixture = Fixture::new(Limits {
            file_bytes: 1 << 20,
            finished_runs: 1_000,
            garbage_bytes: 1 << 10,
            ..SMALL
        });
        let mut journal = fixture.open().0;
        let mut model: BTreeMap<u128, Simple> = BTreeMap::new();
        let mut next_run = 1;
        for _ in 0..400 {
            let [what, which] = random_bytes::<2>(&random);
            let number = 1 + u128::from(which) % next_run.max(1);
            let record = match (what % 16, model.get_mut(&number)) {
                (0, _) if next_run < 30 => {
                    next_run += 1;
                    model.insert(next_run, Simple::default());
                    receipt(next_run)
                }
                (1, Some(state)) if !state.ended => {
                    state.started = true;
                    started(number)
                }
                (2..=9, Some(state)) if state.started && !state.ended => {
                    state.output.push(state.next);
                    state.next += 1;
                    output(number, state.next - 1)
                }
                (10..=12, Some(state)) => {
                    let before = state.next.saturating_sub(u64::from(which % 3));
                    state.output.retain(|sequence| *sequence >= before);
                    output_acknowledged(number, before)
                }
                (13, Some(state)) if !state.ended && which < 64 => {
                    state.ended = true;
                    result(number)
                }
                (14, _) => {
                    drop(journal);
                    journal = fixture.open().0;
                    continue;
                }
                _ => continue,
            };
            journal.append(&[record]).unwrap();
        }
        drop(journal);
        let (mut journal, recovered) = fixture.open();
        assert_eq!(recovered.damage, []);
        for (number, expected) in &model {
            let pending = journal.pending(&run(*number), 0, 1 << 20).unwrap();
            let output = pending.iter().map(|item| match item {
                Pending::Chunk { sequence, .. } => *sequence,
                lost => panic!("{lost:?}"),
            });
            let found = recovered.runs.iter().find(|found| found.run == run(*number)).unwrap();
            let got = Simple {
                started: found.starts > 0,
                output: output.collect(),
                next: found.next_sequence,
                ended: found.result.is_some(),
            };
            assert_eq!(got, *expected, "seed {seed}, run {number}");
        }
    }
}
