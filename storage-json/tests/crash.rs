//! A process that writes is killed, or its disk is full: what it acknowledged is there, and nothing is half there.
//!
//! Without arguments this is the test; with `write FILE FIRST` it is the process that is killed, with `steady FILE` one that
//! commits one batch after the other, to be watched, and with `fill FILE` one that does so until it fails.

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use common::{Folder, batch, device, id, ingest, open, schema};
use fleet_core::{
    kernel::SystemClock,
    store::{Backend as _, Direction, Error, Filter, Key, ReadRows},
};
use fleet_storage_json::{JsonOptions, JsonStore};

/// Tasks that write at the same time.
const WRITERS: u128 = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match &arguments[1..] {
        [mode, file, first] if mode == "write" => {
            runtime.block_on(write(Path::new(file), first.parse().expect("a number")));
        }
        [mode, file] if mode == "steady" => runtime.block_on(steady(Path::new(file))),
        [mode, file] if mode == "fill" => runtime.block_on(fill(Path::new(file))),
        arguments => as_a_test_runner_asks(&runtime, arguments),
    }
}

const TESTS: [&str; 3] = [
    "killed_again_and_again",
    "each_acknowledgement_follows_a_sync",
    "a_full_disk_loses_nothing",
];

/// The little of libtest's interface that runners use: `--list` (with `--ignored`, of which there are none), and names with
/// `--exact`.
fn as_a_test_runner_asks(runtime: &tokio::runtime::Runtime, arguments: &[String]) {
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if asked("--list") {
        for test in TESTS.iter().filter(|_| !asked("--ignored")) {
            say(&format!("{test}: test\n"));
        }
        return;
    }
    let names: Vec<_> = arguments
        .iter()
        .filter(|argument| TESTS.contains(&argument.as_str()))
        .collect();
    for test in TESTS
        .iter()
        .filter(|test| names.is_empty() || names.iter().any(|name| name == *test))
    {
        match *test {
            "killed_again_and_again" => runtime.block_on(killed_again_and_again()),
            "each_acknowledgement_follows_a_sync" => runtime.block_on(each_acknowledgement_follows_a_sync()),
            _ => runtime.block_on(a_full_disk_loses_nothing()),
        }
    }
}

/// Says one line at once: what was said was acknowledged before.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.expect("the parent listens");
}

/// Writes until it is killed. Each task has numbers of its own and goes up.
async fn write(file: &Path, first: u128) {
    // Small enough that checkpoints and new segments are among what is interrupted.
    let options = JsonOptions {
        checkpoint_bytes: 100_000,
        segment_bytes: 30_000,
        ..JsonOptions::default()
    };
    let store = JsonStore::open(file, options, Arc::new(SystemClock))
        .await
        .expect("the store opens");
    store.prepare(&schema()).await.expect("the schema is prepared");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            for n in (first + writer..).step_by(WRITERS as usize + 1) {
                if n.is_multiple_of(2) {
                    let committed = store.commit(batch(n)).await.expect("the commit succeeds");
                    say(&format!("c {n} {}\n", committed.seq));
                } else {
                    store.ingest(ingest(n, 9)).await.expect("the ingest succeeds");
                    say(&format!("i {n} 0\n"));
                }
            }
        });
    }
    tasks.join_all().await;
}

/// After so many kills everything that was ever acknowledged is looked for.
const WHOLE: u128 = 25;

/// How often the process is killed; `CRASH_KILLS` asks for more.
fn kills() -> u128 {
    let asked = std::env::vars().find(|(name, _)| name == "CRASH_KILLS");
    asked.and_then(|(_, kills)| kills.parse().ok()).unwrap_or(30)
}

async fn killed_again_and_again() {
    let folder = Folder::new();
    let (mut commits, mut ingests) = (BTreeSet::new(), BTreeSet::new());
    // What was acknowledged since the last kill; all of it is looked at now and then, and at the end: else it takes hours.
    let (mut new_commits, mut new_ingests) = (BTreeSet::new(), BTreeSet::new());
    for kill in 0..kills() {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([
                "write",
                &folder.path().display().to_string(),
                &(1 + kill * 1_000_000).to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut take = |line: String| {
            let fields: Vec<&str> = line.split(' ').collect();
            // The last line may be cut short by the kill.
            if let [what, n, _] = fields[..] {
                let n: u128 = n.parse().expect("a number");
                if what == "c" {
                    new_commits.insert(n)
                } else {
                    new_ingests.insert(n)
                };
            }
        };
        // Not the same moment of a group, a checkpoint or a start each time.
        for _ in 0..(1 + kill * 67 % 501) {
            take(lines.next().expect("the child goes on").expect("a line"));
        }
        child.kill().expect("SIGKILL is sent");
        lines.map_while(Result::ok).for_each(take);
        child.wait().expect("the child ends");
        let is_whole = (kill + 1).is_multiple_of(WHOLE) || kill + 1 == kills();
        if !is_whole {
            check(&folder.path(), &new_commits, &new_ingests).await;
        }
        commits.append(&mut new_commits);
        ingests.append(&mut new_ingests);
        if is_whole {
            check(&folder.path(), &commits, &ingests).await;
        }
    }
    say(&format!(
        "test killed_again_and_again ... ok ({} kills; {} commits and {} ingests were acknowledged)\n",
        kills(),
        commits.len(),
        ingests.len()
    ));
}

/// Everything acknowledged is there, each batch as a whole, and nothing is damaged.
async fn check(file: &Path, commits: &BTreeSet<u128>, ingests: &BTreeSet<u128>) {
    let store = open(file).await;
    let mut view = store.view().await.expect("a view");
    for n in commits {
        let found = view.get(&[device(*n)]).await.expect("it can be read");
        assert!(found[0].is_some(), "commit {n} was acknowledged and is lost");
        assert_eq!(rows(&mut *view, "audit", *n).await, 1, "commit {n} is there by half");
    }
    for n in ingests {
        let found = view.latest(&[Key::new("state", id(*n))]).await.expect("it can be read");
        assert!(found[0].is_some(), "ingest {n} was acknowledged and is lost");
        assert_eq!(rows(&mut *view, "sample", *n).await, 1, "ingest {n} is there by half");
    }
    let documents = view.count("device", &Filter::All).await.expect("it can be counted");
    let head = view.chain_head("audit").await.expect("it can be read");
    assert_eq!(
        head.map_or(0, |link| link.number),
        documents,
        "a batch is there by half"
    );
    assert_eq!(view.seq(), documents);
    drop(view);
    assert_eq!(store.check().await.expect("a check"), []);
    store.close().await.expect("it closes");
}

async fn rows(view: &mut dyn fleet_core::store::View, lane: &'static str, stream: u128) -> usize {
    let read = ReadRows {
        lane,
        stream: Some(id(stream)),
        filter: Filter::All,
        from: None,
        to: None,
        direction: Direction::Ascending,
        after: None,
        limit: 10,
    };
    view.rows(&read).await.expect("it can be read").rows.len()
}

/// Commits one batch after the other, and says so after each.
async fn steady(file: &Path) {
    let store = open(file).await;
    say("begin\n");
    for n in 1..=20 {
        store.commit(batch(n)).await.expect("the commit succeeds");
        say("committed\n");
        store.ingest(ingest(n, 9)).await.expect("the ingest succeeds");
        say("ingested\n");
    }
    say("end\n");
    store.close().await.expect("it closes");
}

/// Watches the calls to the system: between two acknowledgements there is a synchronisation.
async fn each_acknowledgement_follows_a_sync() {
    let folder = Folder::new();
    let trace = folder.path().with_extension("trace");
    std::fs::create_dir_all(folder.path().parent().expect("a folder")).expect("the folder is made");
    let ran = Command::new("strace")
        .args(["-f", "-e", "trace=write,fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().expect("a path"))
        .args(["steady", &folder.path().display().to_string()])
        .stdout(Stdio::null())
        .status();
    if !ran.is_ok_and(|status| status.success()) {
        say("test each_acknowledgement_follows_a_sync ... left out, there is no strace that works\n");
        return;
    }
    let trace = std::fs::read_to_string(trace).expect("the trace is there");
    let (mut synced, mut acknowledged) = (false, 0);
    for line in trace.lines() {
        // A call that another thread interrupts is written in two lines; the second says how it ended.
        let sync = line.contains("fdatasync(") || line.contains("fsync(") || line.contains("sync resumed");
        if sync && line.ends_with("= 0") {
            synced = true;
        } else if line.contains("\"begin\\n\"") {
            synced = false;
        } else if line.contains("\"committed\\n\"") || line.contains("\"ingested\\n\"") {
            assert!(synced, "acknowledgement {acknowledged} came before a synchronisation");
            (synced, acknowledged) = (false, acknowledged + 1);
        }
    }
    assert_eq!(acknowledged, 40);
    say("test each_acknowledgement_follows_a_sync ... ok\n");
}

/// Commits one batch after the other until the disk is full, and then twice more.
async fn fill(file: &Path) {
    let store = open(file).await;
    let mut failed = 0;
    for n in 1..=5_000 {
        match store.commit(batch(n)).await {
            Ok(_) => say(&format!("c {n} 0\n")),
            Err(error @ (Error::Unknown(_) | Error::Unavailable(_))) => {
                say(&format!("f {n} {}\n", error.certainly_not_written()));
                failed += 1;
            }
            Err(other) => panic!("a full disk is no reason for {other:?}"),
        }
        if failed == 3 {
            break;
        }
    }
    // Reading goes on.
    let mut view = store.view().await.expect("a view");
    assert!(view.get(&[device(1)]).await.expect("it can be read")[0].is_some());
}

/// Limits the size of files, which is what a full disk looks like, and looks at what is left.
async fn a_full_disk_loses_nothing() {
    let folder = Folder::new();
    let file = folder.path().display().to_string();
    let program = std::env::current_exe().expect("a path");
    // The signal is ignored, so that a write fails instead.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" fill \"$1\"";
    let ran = Command::new("sh").args(["-c", script]).arg(program).arg(&file).output();
    let output = ran.expect("there is a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("it says text");
    let numbers = |what: &str| -> BTreeSet<u128> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(what));
        let number = |line: &str| line.split(' ').next().and_then(|n| n.parse().ok());
        lines.filter_map(number).collect()
    };
    let (committed, failed) = (numbers("c "), numbers("f "));
    assert_eq!(failed.len(), 3, "{said}");
    check(&folder.path(), &committed, &BTreeSet::new()).await;
    // Sent again, what failed is committed, whether it had been or not.
    let store = open(&folder.path()).await;
    for n in &failed {
        store.commit(batch(*n)).await.expect("there is room again");
    }
    store.close().await.expect("it closes");
    check(
        &folder.path(),
        &committed.union(&failed).copied().collect(),
        &BTreeSet::new(),
    )
    .await;
    say(&format!(
        "test a_full_disk_loses_nothing ... ok (after {} commits)\n",
        committed.len()
    ));
}
