//! Files that were cut, overwritten or made by others.

use fleet_core::kernel::{Randomness, SeededRandom, random_bytes};

use super::{
    super::{
        frame::{Class, Head, checksum, decode},
        index::Index,
        scan::{End, Found, Location, scan},
    },
    *,
};

/// The history's file, and where each record ends (the header first).
fn history_file() -> (Vec<u8>, Vec<usize>) {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(&history()).unwrap();
    let bytes = std::fs::read(fixture.path()).unwrap();
    let mut ends = Vec::new();
    scan(bytes.as_slice(), |found| match found {
        Found::Record(_, location) => ends.push((location.offset + u64::from(location.length)) as usize),
        Found::Damage(damage) => panic!("{damage:?}"),
    })
    .unwrap();
    assert_eq!(ends.len(), history().len() + 1);
    (bytes, ends)
}

/// The records that a scan finds, as their bytes.
fn records_of(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Damage>, End) {
    let mut records = Vec::new();
    let mut damage = Vec::new();
    let end = scan(bytes, |found| match found {
        Found::Record(_, location) => {
            let start = location.offset as usize;
            records.push(bytes[start..start + location.length as usize].to_vec());
        }
        Found::Damage(place) => damage.push(place),
    })
    .unwrap();
    (records, damage, end)
}

#[test]
fn a_file_cut_at_any_byte_gives_all_whole_records_and_reports_the_rest() {
    let (bytes, ends) = history_file();
    let (all, _, _) = records_of(&bytes);
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let good = if whole == 0 { 0 } else { ends[whole - 1] };
        let (records, damage, end) = records_of(&bytes[..cut]);
        assert_eq!(records, all[..whole], "cut at {cut}");
        assert_eq!(damage, [], "cut at {cut}");
        let expected = End {
            good: good as u64,
            torn: (cut - good) as u64,
        };
        assert_eq!(end, expected, "cut at {cut}");
    }
}

#[test]
fn blocks_that_were_never_written_are_torn_and_not_damage() {
    let (bytes, ends) = history_file();
    let (all, _, _) = records_of(&bytes);
    for cut in ends[3]..bytes.len() {
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        zeroed.extend([0; 5_000]);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let (records, damage, end) = records_of(&zeroed);
        assert_eq!(records, all[..whole], "zero from {cut}");
        assert_eq!(damage, [], "zero from {cut}");
        assert_eq!(end.torn, (zeroed.len() - ends[whole - 1]) as u64, "zero from {cut}");
    }
}

#[test]
fn a_flipped_byte_costs_its_own_record_and_is_reported_as_damage() {
    let (bytes, ends) = history_file();
    let (all, _, _) = records_of(&bytes);
    for place in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[place] ^= mask;
            let hit = ends.iter().filter(|end| **end <= place).count();
            let start = if hit == 0 { 0 } else { ends[hit - 1] };
            let (records, damage, end) = records_of(&flipped);
            let expected: Vec<_> = all
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != hit)
                .map(|(_, r)| r.clone())
                .collect();
            assert_eq!(records, expected, "byte {place} ^ {mask:#x}");
            let expected = Damage {
                offset: start as u64,
                bytes: (ends[hit] - start) as u64,
            };
            assert_eq!(damage, [expected], "byte {place} ^ {mask:#x}");
            assert_eq!(end.torn, 0, "byte {place} ^ {mask:#x}");
        }
    }
}

#[test]
fn after_damage_no_run_that_may_have_started_is_executed_again() {
    let (bytes, ends) = history_file();
    // Whatever single record is damaged: of the runs that had been started, none is ever to be executed.
    for hit in 0..ends.len() {
        let fixture = Fixture::new(Limits::default());
        let mut damaged = bytes.clone();
        damaged[ends[hit] - 1] ^= 0x20;
        std::fs::write(fixture.path(), &damaged).unwrap();
        let (_, recovered) = fixture.open();
        assert_eq!(recovered.damage.len(), 1, "record {hit}");
        for found in &recovered.runs {
            if matches!(found.run.as_u128(), 1 | 2 | 4 | 6) {
                assert_ne!(decide(found, NOW), Recovery::Execute, "record {hit}: {found:?}");
            }
        }
        assert_eq!(
            std::fs::read(fixture.folder.path().join("journal.damaged")).unwrap(),
            damaged
        );
        // What was found stays so, also when the agent stops again before it has acted on it.
        let (_, again) = fixture.open();
        assert_eq!(again.damage, [], "record {hit}");
        assert_eq!(again.runs, recovered.runs, "record {hit}");
    }
}

#[test]
fn damaged_output_is_announced_as_lost() {
    let (bytes, ends) = history_file();
    let fixture = Fixture::new(Limits::default());
    let mut damaged = bytes;
    // The header is record 0: output 1 of run 1 is record 4.
    damaged[ends[4] - 3] ^= 1;
    std::fs::write(fixture.path(), &damaged).unwrap();
    let (mut journal, _) = fixture.open();
    let pending = journal.pending(&run(1), 0, 1 << 20).unwrap();
    assert_eq!(
        pending,
        [
            Pending::Lost {
                from: 1,
                before: 2,
                bytes: 0
            },
            Pending::Chunk {
                sequence: 2,
                body: json!({ "text": "line 2" })
            },
        ]
    );
    journal.append(&[output_acknowledged(1, 2)]).unwrap();
    assert_eq!(journal.pending(&run(1), 0, 1 << 20).unwrap().len(), 1);
}

#[test]
fn a_crash_at_every_record_through_the_real_file_and_back() {
    let (bytes, ends) = history_file();
    for end in &ends {
        for cut in [end - 3, end + 3] {
            let fixture = Fixture::new(Limits::default());
            let cut = cut.min(bytes.len());
            std::fs::write(fixture.path(), &bytes[..cut]).unwrap();
            let (mut journal, first) = fixture.open();
            assert_eq!(first.damage, [], "cut at {cut}");
            // The journal goes on where the last whole record ended.
            journal.append(&[receipt(50)]).unwrap();
            drop(journal);
            let (_, second) = fixture.open();
            assert_eq!((second.torn_bytes, second.damage.len()), (0, 0), "cut at {cut}");
            assert_eq!(second.runs[..first.runs.len()], first.runs, "cut at {cut}");
            assert_eq!(second.runs.last().map(|found| found.run), Some(run(50)));
        }
    }
}

#[test]
fn a_text_cannot_pass_for_a_record() {
    let mut forged = Vec::new();
    Head {
        at: Some(NOW),
        ..Head::new(Class::Started, run(3))
    }
    .encode(&mut forged)
    .unwrap();
    assert!(decode(&forged).is_some());
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(&[receipt(1), started(1)]).unwrap();
    let hurt = journal.file_bytes() as usize;
    let text: String = forged
        .iter()
        .map(|byte| if *byte == 0 { ' ' } else { char::from(*byte) })
        .collect();
    journal.append(&[output_of(1, 0, json!(text)), receipt(3)]).unwrap();
    drop(journal);
    let mut bytes = std::fs::read(fixture.path()).unwrap();
    bytes[hurt] ^= 0x40;
    let (records, damage, _) = records_of(&bytes);
    assert_eq!((records.len(), damage.len()), (4, 1));
    assert_eq!(
        decode(&records[3]).map(|head| (head.class, head.run)),
        Some((Class::Receipt, run(3)))
    );
}

#[test]
fn foreign_bytes_are_damage_and_never_a_panic() {
    let random = SeededRandom::new(7);
    for size in [1, 7, 8, 9, 100, 70_000, 200_000] {
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        bytes[size - 1] |= 1;
        let (records, damage, end) = records_of(&bytes);
        assert!(records.is_empty());
        let lost: u64 = damage.iter().map(|place| place.bytes).sum::<u64>() + end.torn;
        assert_eq!(lost, size as u64);
    }
}

#[test]
fn records_of_a_later_version_are_passed_over_but_a_later_format_is_refused() {
    let fixture = Fixture::new(Limits::default());
    let (mut journal, _) = fixture.open();
    journal.append(&[receipt(1)]).unwrap();
    drop(journal);
    let append = |json: &str| {
        let mut bytes = std::fs::read(fixture.path()).unwrap();
        let length = json.len() as u32;
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(length, json.as_bytes()).to_le_bytes());
        bytes.extend(json.as_bytes());
        std::fs::write(fixture.path(), bytes).unwrap();
    };
    append(r#"{"class":"progress","run":"00000000-0000-0000-0000-000000000001","percent":3}"#);
    let (journal, recovered) = fixture.open();
    assert_eq!(
        (recovered.unknown, recovered.damage.len(), recovered.runs.len()),
        (1, 0, 1)
    );
    drop(journal);
    append(r#"{"class":"header","v":2}"#);
    assert_eq!(fixture.try_open().unwrap_err().code(), JOURNAL_NEWER);
}

#[test]
fn an_index_takes_records_in_any_order_without_a_panic() {
    let random = SeededRandom::new(3);
    let mut heads: Vec<Head> = history().iter().map(Record::to_head).collect();
    for _ in 0..500 {
        // Any history with any records missing or moved is what damage could leave.
        let place = random_bytes::<1>(&random)[0] as usize % heads.len();
        let head = heads.remove(place);
        heads.push(head);
        let mut index = Index::default();
        for (at, head) in heads.iter().enumerate() {
            let location = Location {
                offset: at as u64 * 100,
                length: 100,
            };
            index.apply(head, location);
        }
        let output: u64 = index.in_order().iter().map(|(_, run)| run.pending.len() as u64).sum();
        assert!(index.live <= output * 100 + 10 * 100);
        index.drop_output(0);
        while index.forget_oldest() {}
    }
}
