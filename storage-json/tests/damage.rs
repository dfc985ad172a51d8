//! Damage: refused with the file and the line, told by a check, and gone on without when that is asked for.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{fs, path::Path, sync::Arc};

use common::{
    Folder, batch,
    disk::{Disk, Luck, Model},
    files::{change, damage, devices, files, filled, find, line_start, refusal},
    id, ingest, open, sample, schema,
};
use fleet_core::{
    kernel::{SystemClock, Timestamp},
    store::{Backend, Batch, Error, Move, Record, Relocate as _, Result, Row, Severity, memory::MemoryStore},
};
use fleet_storage_json::{JsonOptions, JsonStore, Repair, repair_on};
use futures::{StreamExt as _, TryStreamExt as _};

/// Repairs without leaving an account.
fn repair(folder: impl AsRef<Path>) -> Result<Repair> {
    fleet_storage_json::repair(folder, |_| Ok(None))
}

/// Damages a store, which is refused with these words, then repairs it; returns how many devices are left.
async fn check_damage(harm: impl FnOnce(&Path), words: &[&str], set_aside: u64) -> u64 {
    let folder = Folder::new();
    filled(&folder.path()).await;
    harm(&folder.path());
    let before: Vec<_> = files(&folder.path())
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    let error = refusal(&folder.path()).await;
    assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let after: Vec<_> = files(&folder.path())
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    assert_eq!(before, after, "what is refused is not changed");

    let report = repair(folder.path()).unwrap();
    assert_eq!(report.lines, set_aside, "{report:?}");
    assert!(!report.lost.is_empty());
    if set_aside > 0 {
        let aside = files(report.aside.as_ref().unwrap());
        let lines: usize = aside
            .iter()
            .map(|path| fs::read(path).unwrap().split(|byte| *byte == b'\n').count() - 1)
            .sum();
        assert_eq!(lines as u64, set_aside);
    }
    // Once is enough, and the store goes on.
    assert_eq!(repair(folder.path()).unwrap().lost, [""; 0]);
    let left = devices(&folder.path()).await;
    let store = open(&folder.path()).await;
    store.commit(batch(77)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(devices(&folder.path()).await, left + 1);
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_line_of_the_snapshot_is_named_and_can_be_set_aside() {
    let harm = |root: &Path| damage(&find(root, "kinds/device."), 4);
    assert_eq!(check_damage(harm, &["kinds/device.", "line 4"], 1).await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_line_and_a_missing_file_are_noticed() {
    let harm = |root: &Path| {
        change(&find(root, "kinds/device."), |bytes| {
            let start = line_start(bytes, 10);
            bytes.truncate(start);
        });
    };
    assert_eq!(check_damage(harm, &["kinds/device.", "digest"], 0).await, 19);
    let harm = |root: &Path| fs::remove_file(find(root, "kinds/device.")).unwrap();
    assert_eq!(check_damage(harm, &["kinds/device.", "missing"], 0).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_line_within_the_journal_is_named_and_can_be_set_aside() {
    let harm = |root: &Path| damage(&find(root, "journal/"), 5);
    assert_eq!(check_damage(harm, &["journal/", "line 5"], 1).await, 19);
    // The first, and two at once.
    let harm = |root: &Path| {
        damage(&find(root, "journal/"), 1);
        damage(&find(root, "journal/"), 2);
    };
    assert_eq!(check_damage(harm, &["journal/", "line 1"], 2).await, 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_taken_out_of_the_journal_is_missed() {
    let harm = |root: &Path| {
        change(&find(root, "journal/"), |bytes| {
            let (start, end) = (line_start(bytes, 3), line_start(bytes, 4));
            bytes.drain(start..end);
        });
    };
    let folder = Folder::new();
    filled(&folder.path()).await;
    harm(&folder.path());
    let error = refusal(&folder.path()).await;
    assert!(
        matches!(&error, Error::Corrupt(text) if text.contains("line 3")),
        "{error:?}"
    );
    repair(folder.path()).unwrap();
    assert_eq!(devices(&folder.path()).await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_the_journal_is_cut_without_a_word() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    change(&find(&folder.path(), "journal/"), |bytes| {
        // Nobody closed it, and the last write is not all there.
        bytes.truncate(line_start(bytes, 11) - 7)
    });
    assert_eq!(devices(&folder.path()).await, 19);
    assert_eq!(repair(folder.path()).unwrap(), Default::default());
    assert_eq!(devices(&folder.path()).await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_last_line_of_a_store_that_was_closed_is_no_torn_end() {
    let harm = |root: &Path| damage(&find(root, "journal/"), 10);
    assert_eq!(check_damage(harm, &["journal/", "line 10"], 1).await, 19);
    // Of the line that closes it nothing is lost.
    let folder = Folder::new();
    filled(&folder.path()).await;
    change(&find(&folder.path(), "journal/"), |bytes| {
        bytes.truncate(bytes.len() - 7)
    });
    assert_eq!(devices(&folder.path()).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_nothing_leaves_the_journal_as_it_is() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    let journal = || fs::read(find(&folder.path(), "journal/")).unwrap();
    let before = journal();
    assert_eq!(devices(&folder.path()).await, 20);
    assert_eq!(journal(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_was_damaged_below_a_running_store() {
    let folder = Folder::new();
    filled(&folder.path()).await;
    let store = open(&folder.path()).await;
    assert_eq!(store.check().await.unwrap(), []);
    damage(&find(&folder.path(), "kinds/device."), 4);
    damage(&find(&folder.path(), "journal/"), 2);
    let findings = store.check().await.unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Damage));
    assert!(findings[0].subject.starts_with("kinds/device."), "{findings:?}");
    assert!(findings[1].problem.contains("line 2"), "{findings:?}");
    store.close().await.unwrap();
}

/// What a repair leaves: a row of the audit.
fn account(_: &Repair) -> Result<Option<Batch>> {
    let row = Row {
        index: vec![],
        ..sample(0xacc0, 99)
    };
    Ok(Some(Batch {
        id: id(0xacc0),
        writes: vec![],
        rows: vec![("audit", row)],
    }))
}

/// Everything that is stored, as an export.
async fn exported(store: &dyn Backend) -> Vec<Record> {
    store.view().await.unwrap().export().try_collect().await.unwrap()
}

/// The numbers of the audit's chain that have rows.
async fn numbers(store: &dyn Backend) -> Vec<u64> {
    let records = exported(store).await;
    let number = |record: &Record| match record {
        Record::Row("audit", stored) => stored.link.map(|link| link.number),
        _ => None,
    };
    let mut numbers: Vec<_> = records.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The check finds these gaps in the audit's chain, as known, and nothing else.
async fn check_gaps(store: &dyn Backend, gaps: &[&str]) {
    let findings = store.check().await.unwrap();
    assert_eq!(findings.len(), gaps.len(), "{findings:?}");
    for (finding, gap) in findings.iter().zip(gaps) {
        assert_eq!((finding.severity, &*finding.subject), (Severity::Known, "audit"));
        assert!(finding.problem.starts_with(gap), "{gap}: {finding:?}");
    }
}

/// Damages a store of twenty and more devices, each with a row of the audit, and repairs it: these rows of `last` are gone, the
/// account is the next, and whatever becomes of the store or its copies, a check tells the gaps.
async fn check_loss(harm: impl FnOnce(&Path), last: u64, lost: &[u64], gaps: &[&str]) {
    let folder = Folder::new();
    filled(&folder.path()).await;
    let store = open(&folder.path()).await;
    store.ingest(ingest(1, 50)).await.unwrap();
    store.commit(batch(21)).await.unwrap();
    store.ingest(ingest(1, 51)).await.unwrap();
    store.close().await.unwrap();
    harm(&folder.path());
    assert!(matches!(refusal(&folder.path()).await, Error::Corrupt(_)));
    let report = fleet_storage_json::repair(folder.path(), account).unwrap();
    assert!(report.recorded && !report.lost.is_empty(), "{report:?}");

    let left = |upto: u64| -> Vec<u64> { (1..=upto).filter(|number| !lost.contains(number)).collect() };
    let store = open(&folder.path()).await;
    assert_eq!(numbers(&store).await, left(last + 1));
    check_gaps(&store, gaps).await;
    // It goes on, is stored anew, and is opened again.
    store.commit(batch(77)).await.unwrap();
    store.close().await.unwrap();
    let store = open(&folder.path()).await;
    check_gaps(&store, gaps).await;
    store.checkpoint().await.unwrap();
    store.commit(batch(78)).await.unwrap();
    store.close().await.unwrap();
    let store = open(&folder.path()).await;
    assert_eq!(numbers(&store).await, left(last + 3));
    check_gaps(&store, gaps).await;
    // A copy in another engine is sound, and tells the same.
    let copy = MemoryStore::new(Arc::new(SystemClock));
    copy.prepare(&schema()).await.unwrap();
    let records = exported(&store).await.into_iter().map(Ok);
    let copied: &dyn Backend = &copy;
    let origin = origin();
    copied
        .import(origin, futures::stream::iter(records).boxed())
        .await
        .unwrap();
    assert_eq!(numbers(&copy).await, left(last + 3));
    check_gaps(&copy, gaps).await;
    store.close().await.unwrap();
}

fn origin() -> Move {
    Move {
        id: id(1),
        peer: "json:elsewhere".into(),
        at: Timestamp::from_seconds(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_chain_that_the_journal_lost_stay_visible_for_good() {
    let harm = |line: usize| move |root: &Path| damage(&find(root, "journal/"), line);
    check_loss(harm(5), 21, &[15], &["row 15 of"]).await;
    let harm_both = |root: &Path| {
        harm(1)(root);
        harm(2)(root);
        harm(7)(root);
    };
    check_loss(harm_both, 21, &[11, 12, 17], &["rows 11 to 12 of", "row 17 of"]).await;
    let take_out = |root: &Path| {
        change(&find(root, "journal/"), |bytes| {
            let (start, end) = (line_start(bytes, 3), line_start(bytes, 4));
            bytes.drain(start..end);
        });
    };
    check_loss(take_out, 21, &[13], &["row 13 of"]).await;
    // A line without such a row is no loss to the chain.
    check_loss(harm(12), 21, &[], &[]).await;
    // The last that the chain has, with nothing behind it that says so.
    check_loss(harm(13), 21, &[21], &["row 21 of"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_chain_that_the_snapshot_lost_stay_visible_for_good() {
    let harm = |line: usize| move |root: &Path| damage(&find(root, "lanes/audit/"), line);
    check_loss(harm(1), 21, &[1], &["row 1 of"]).await;
    check_loss(harm(4), 21, &[4], &["row 4 of"]).await;
    check_loss(harm(10), 21, &[10], &["row 10 of"]).await;
    let remove = |root: &Path| fs::remove_file(find(root, "lanes/audit/")).unwrap();
    let all: Vec<u64> = (1..=10).collect();
    check_loss(remove, 21, &all, &["rows 1 to 10 of"]).await;
    let both = |root: &Path| {
        harm(10)(root);
        damage(&find(root, "journal/"), 1);
    };
    check_loss(both, 21, &[10, 11], &["rows 10 to 11 of"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_being_filled_is_repaired_without_an_account() {
    let folder = Folder::new();
    let store = open(&folder.path()).await;
    store.fill(origin()).await.unwrap();
    store.checkpoint().await.unwrap();
    store.close().await.unwrap();
    fs::write(folder.path().join("journal/00000000000000000099.ndjson"), "no line\n").unwrap();
    let report = fleet_storage_json::repair(folder.path(), account).unwrap();
    assert!(!report.recorded && !report.lost.is_empty(), "{report:?}");
    let store = open(&folder.path()).await;
    assert_eq!(exported(&store).await.len(), 1, "nothing but the end");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_cut_off_at_any_moment_leaves_one_account_when_it_is_made_again() {
    let root = Path::new("/data/json");
    let on = |disk: &Disk| {
        let files = Arc::new(disk.clone());
        JsonStore::open_on(files, root, JsonOptions::default(), Arc::new(SystemClock))
    };
    let disk = Disk::default();
    let store = on(&disk).await.unwrap();
    store.prepare(&schema()).await.unwrap();
    for n in 1..=4 {
        store.commit(batch(n)).await.unwrap();
    }
    store.checkpoint().await.unwrap();
    for n in 5..=9 {
        store.commit(batch(n)).await.unwrap();
    }
    store.close().await.unwrap();
    let mut image = disk.image(Luck::LOST, root);
    for (path, line) in [("journal/", 3), ("lanes/audit/", 2)] {
        let held = image.files.iter_mut();
        let mut found = held.filter(|(held, _)| held.display().to_string().contains(path));
        let bytes = found.next().unwrap().1;
        let at = line_start(bytes, line) + 60;
        bytes[at] ^= 1;
    }
    let disk = Disk::of(&image);
    assert!(repair_on(Arc::new(disk.clone()), root, account).unwrap().recorded);
    let mut model = Model::of(&image);
    for event in disk.log() {
        model.apply(&event);
        for luck in Luck::all() {
            let cut = Disk::of(&model.image(luck, root));
            repair_on(Arc::new(cut.clone()), root, account).unwrap();
            let store = on(&cut).await.unwrap();
            store.prepare(&schema()).await.unwrap();
            assert_eq!(
                numbers(&store).await,
                [1, 3, 4, 5, 6, 8, 9, 10],
                "after {event:?}, {luck:?}"
            );
            check_gaps(&store, &["row 2 of", "row 7 of"]).await;
            store.close().await.unwrap();
        }
    }
}
