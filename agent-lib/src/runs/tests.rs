//! Runs on a disk without room, and runs from before a restart whose device does not know the time.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::{
    devices::DeviceId,
    kernel::{EntityId as _, ManualClock, Timestamp},
    protocol::{AgentFrame, Finished, OfferBody, OutputStream, RunResult},
    work::{RunId, secrets::ResolvedParams},
};
use uuid::Uuid;

use super::{Cancellation, Ending, Execute, OutputSink, Own, OwnEnd, Owner, Runs, Sent, Taken};
use crate::{
    clock::ServerClock,
    disk::{Disk, DiskFile},
    journal::{JOURNAL_DISK_FULL, Journal, JournalWriter, Limits, Record},
    policy::Policy,
    state::StateDirectory,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// What the server holds for now where a device's clock is years behind.
const YEARS_LATER: Timestamp = Timestamp::from_seconds(1_900_000_000);

/// A disk that takes nothing while it is full.
#[derive(Debug)]
struct Filling {
    disk: StateDirectory,
    full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FillingFile {
    file: Box<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

impl Disk for Filling {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FillingFile {
            file: Disk::open(&self.disk, name)?,
            full: self.full.clone(),
        }))
    }

    fn find(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        Disk::find(&self.disk, name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Disk::remove(&self.disk, name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Disk::rename(&self.disk, from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        Disk::link(&self.disk, from, to)
    }

    fn sync(&self) -> io::Result<()> {
        Disk::sync(&self.disk)
    }
}

impl DiskFile for FillingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, bytes)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Prints `during` while the disk is full, if it is to fill, and succeeds.
#[derive(Debug, Default)]
struct Printing {
    /// What it says at its end.
    message: Option<&'static str>,
    executed: AtomicUsize,
    /// Whether it takes up what was interrupted.
    takes_up: bool,
    fills: Option<Arc<AtomicBool>>,
    during: &'static [&'static str],
}

#[async_trait]
impl Execute for Printing {
    fn kinds(&self) -> Vec<String> {
        vec!["shell".into()]
    }

    fn takes_up(&self, kind: &str) -> bool {
        self.takes_up && kind == "shell"
    }

    async fn take_up(&self, _: &OfferBody, output: OutputSink, mut cancellation: Cancellation) -> Ending {
        output.write(OutputStream::Stdout, "after\n").await;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => Ending::of(RunResult::Succeeded),
            () = cancellation.requested() => Ending::of(RunResult::Cancelled),
        }
    }

    async fn execute(&self, _: &OfferBody, output: OutputSink, _: Cancellation) -> Ending {
        self.executed.fetch_add(1, Ordering::SeqCst);
        output.write(OutputStream::Stdout, "before\n").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(full) = &self.fills {
            full.store(true, Ordering::SeqCst);
        }
        for text in self.during {
            output.write(OutputStream::Stdout, text).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ending {
            message: self.message.map(str::to_owned),
            ..Ending::of(RunResult::Succeeded)
        }
    }
}

/// An offer that ends an hour after [`NOW`].
fn offer(idempotent: bool) -> OfferBody {
    OfferBody {
        run: RunId::from_uuid(Uuid::from_u128(1)),
        device: DeviceId::from_uuid(Uuid::nil()),
        epoch: 1,
        kind: "shell".into(),
        secrets: Vec::new(),
        params: serde_json::json!({"script": "true"}).into(),
        expires_at: NOW.plus(Duration::from_secs(3_600)),
        timeout_seconds: 60,
        output_limit_bytes: 1_000,
        idempotent,
        exclusive: true,
    }
}

/// An agent as it starts on a folder, with what its device holds for now.
async fn start(folder: &Path, full: &Arc<AtomicBool>, execute: Arc<Printing>) -> (Runs, Arc<ServerClock>) {
    let disk = Filling {
        disk: StateDirectory::open(folder).unwrap(),
        full: full.clone(),
    };
    let clock = Arc::new(ServerClock::new(Arc::new(ManualClock::new(NOW))));
    let (journal, recovered) = Journal::open(Arc::new(disk), Limits::default(), NOW).unwrap();
    let (writer, keeper) = JournalWriter::new(journal);
    tokio::spawn(keeper.keep());
    let policy = Policy::permissive("root");
    let runs = Runs::recover(writer, recovered, clock.clone(), policy, execute);
    (runs.await.unwrap(), clock)
}

/// What is on the disk by now, for another start beside the agent that holds the folder.
fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("journal"), copy.path().join("journal")).unwrap();
    copy
}

/// What a session tells within this time: the texts of output, and the end.
async fn told(runs: &Runs, within: Duration) -> (Vec<String>, Option<Finished>) {
    let (mut sent, mut texts, mut end) = (Sent::default(), Vec::new(), None);
    let collect = async {
        while end.is_none() {
            for frame in runs.due(&mut sent).await.unwrap() {
                match frame {
                    AgentFrame::Output(output) => texts.extend(output.chunks.into_iter().map(|chunk| chunk.text)),
                    AgentFrame::Finished(finished) => end = Some(finished),
                    _ => {}
                }
            }
            runs.changed().await;
        }
    };
    // Time is paused: it passes when nobody has anything to do.
    let _ = tokio::time::timeout(within, collect).await;
    (texts, end)
}

/// A run prints `during` on a disk that fills, and ends. Nothing is told of its end before there is room; then `expected` was printed.
async fn check_full(during: &'static [&'static str], expected: &[&str]) {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let execute = Arc::new(Printing {
        fills: Some(full.clone()),
        during,
        ..Printing::default()
    });
    let (runs, _) = start(folder.path(), &full, execute).await;
    assert_eq!(runs.take(offer(false)).await.unwrap(), Taken::Accepted);
    let (_, end) = told(&runs, Duration::from_secs(24 * 3_600)).await;
    assert_eq!(end, None);
    assert!(runs.holds(offer(false).run));

    full.store(false, Ordering::SeqCst);
    let (texts, end) = told(&runs, Duration::from_secs(60)).await;
    let end = end.unwrap();
    assert_eq!(texts, expected);
    assert_eq!(
        (end.result, end.chunks as usize),
        (RunResult::Succeeded, expected.len())
    );

    // It is on the disk now: the next start knows it.
    let copy = copy_of(folder.path());
    let (again, _) = start(copy.path(), &full, Arc::default()).await;
    assert_eq!(told(&again, Duration::from_secs(60)).await.1, Some(end));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_waits_for_room_for_as_long_as_it_takes() {
    check_full(&[], &["before\n"]).await;
}

#[tokio::test(start_paused = true)]
async fn output_that_found_no_room_is_counted_in_a_remark() {
    let remark = "[10 bytes of output were lost: the device's journal did not take them]\n";
    check_full(&["1234\n", "6789\n"], &["before\n", remark]).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_start_found_no_room_is_not_executed_and_says_so_when_there_is_room() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let execute = Arc::new(Printing::default());
    let (runs, _) = start(folder.path(), &full, execute.clone()).await;
    assert_eq!(runs.take(offer(false)).await.unwrap(), Taken::Accepted);
    full.store(true, Ordering::SeqCst);
    assert_eq!(told(&runs, Duration::from_secs(3_600)).await.1, None);
    full.store(false, Ordering::SeqCst);
    let end = told(&runs, Duration::from_secs(60)).await.1.unwrap();
    assert_eq!(end.result, RunResult::Failed);
    assert_eq!(end.code.as_deref(), Some(JOURNAL_DISK_FULL.name()));
    assert_eq!(execute.executed.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_finds_no_room_is_neither_accepted_nor_refused() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let (runs, _) = start(folder.path(), &full, Arc::default()).await;
    full.store(true, Ordering::SeqCst);
    let error = runs.take(offer(false)).await.unwrap_err();
    assert_eq!(error.code(), JOURNAL_DISK_FULL);
    assert!(!runs.holds(offer(false).run));
}

/// What became of a run that the journal remembers: nothing before the server has signed what time it is, and then this.
async fn check_recovered(idempotent: bool, was_started: bool, server: Timestamp, expected: (RunResult, usize)) {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    {
        let disk = Arc::new(StateDirectory::open(folder.path()).unwrap());
        let (mut journal, _) = Journal::open(disk, Limits::default(), NOW).unwrap();
        let run = offer(idempotent).run.uuid();
        let mut records = vec![Record::Receipt {
            run,
            at: NOW,
            expires_at: Some(offer(idempotent).expires_at),
            idempotent,
            offer: serde_json::to_value(offer(idempotent)).unwrap(),
        }];
        if was_started {
            records.push(Record::Started { run, at: NOW });
        }
        journal.append(&records).unwrap();
    }
    let execute = Arc::new(Printing::default());
    let (runs, clock) = start(folder.path(), &full, execute.clone()).await;
    let (_, end) = told(&runs, Duration::from_secs(24 * 3_600)).await;
    assert_eq!((end, execute.executed.load(Ordering::SeqCst)), (None, 0));

    clock.learn(server);
    let end = told(&runs, Duration::from_secs(60)).await.1.unwrap();
    assert_eq!(
        (end.result, execute.executed.load(Ordering::SeqCst)),
        expected,
        "{end:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_never_began_waits_for_the_time_and_begins_while_its_offer_is_valid() {
    check_recovered(false, false, NOW, (RunResult::Succeeded, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_offer_has_long_ended_for_the_server_does_not_begin() {
    check_recovered(false, false, YEARS_LATER, (RunResult::Failed, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_may_be_done_again_waits_for_the_time_too() {
    check_recovered(true, true, NOW, (RunResult::Succeeded, 1)).await;
    check_recovered(true, true, YEARS_LATER, (RunResult::Indeterminate, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_the_end_of_needs_no_time_to_say_so() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let before = Arc::new(Printing::default());
    let (runs, _) = start(folder.path(), &full, before.clone()).await;
    runs.take(offer(false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(before.executed.load(Ordering::SeqCst), 1);
    let copy = copy_of(folder.path());
    let (again, _) = start(copy.path(), &full, Arc::default()).await;
    let end = told(&again, Duration::from_secs(60)).await.1.unwrap();
    assert_eq!(end.result, RunResult::Indeterminate);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_up_goes_on_at_each_start_and_is_not_executed_again() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let (runs, _) = start(folder.path(), &full, Arc::default()).await;
    runs.take(offer(false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taking = Arc::new(Printing {
        takes_up: true,
        ..Printing::default()
    });
    let once = copy_of(folder.path());
    let (runs, clock) = start(once.path(), &full, taking.clone()).await;
    // However late it is.
    clock.learn(YEARS_LATER);
    let (texts, end) = told(&runs, Duration::from_secs(30)).await;
    assert_eq!((texts.last().map(String::as_str), end), (Some("after\n"), None));
    let twice = copy_of(once.path());
    let (runs, _) = start(twice.path(), &full, taking.clone()).await;
    let end = told(&runs, Duration::from_secs(90)).await.1.unwrap();
    assert_eq!(
        (end.result, taking.executed.load(Ordering::SeqCst)),
        (RunResult::Succeeded, 0)
    );
    // That is its end, and stays so.
    let settled = copy_of(twice.path());
    let (runs, _) = start(settled.path(), &full, Arc::default()).await;
    assert_eq!(told(&runs, Duration::from_secs(60)).await.1, Some(end));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_up_can_be_stopped() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let (runs, _) = start(folder.path(), &full, Arc::default()).await;
    runs.take(offer(false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let copy = copy_of(folder.path());
    let taking = Arc::new(Printing {
        takes_up: true,
        ..Printing::default()
    });
    let (runs, _) = start(copy.path(), &full, taking).await;
    assert_eq!(runs.cancel(offer(false).run), None);
    let end = told(&runs, Duration::from_secs(30)).await.1.unwrap();
    assert_eq!(end.result, RunResult::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_comes_after_its_run_was_stopped_is_not_executed() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let execute = Arc::new(Printing::default());
    let (runs, _) = start(folder.path(), &full, execute.clone()).await;
    let run = offer(false).run;
    assert!(matches!(runs.cancel(run), Some(AgentFrame::Finished(end)) if end.result == RunResult::Cancelled));
    assert!(matches!(runs.take(offer(false)).await.unwrap(), Taken::Refused(refused) if refused.run == run));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(execute.executed.load(Ordering::SeqCst), 0);
    assert!(!runs.holds(run));
}

/// An offer with a secret.
fn secret_offer() -> OfferBody {
    OfferBody {
        params: serde_json::json!({"script": "true", "secret_env": {"TOKEN": "hunter2-hunter2"}}).into(),
        secrets: vec!["/secret_env/TOKEN".into()],
        ..offer(true)
    }
}

/// Prints it in two pieces, its beginning at the end, and says it.
fn leaking() -> Arc<Printing> {
    Arc::new(Printing {
        message: Some("it was hunter2-hunter2"),
        during: &["a hunter2-hun", "ter2 b", "hunter2-hunt"],
        ..Printing::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_run_is_neither_written_down_nor_told_however_it_is_cut() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let (runs, clock) = start(folder.path(), &full, leaking()).await;
    clock.learn(NOW);
    assert!(matches!(runs.take(secret_offer()).await.unwrap(), Taken::Accepted));
    let (texts, end) = told(&runs, Duration::from_secs(60)).await;
    assert_eq!(texts.concat(), "before\na ******** bhunter2-hunt");
    assert_eq!(end.unwrap().message.as_deref(), Some("it was ********"));
    // The offer itself holds it, since the run may have to go on after a restart; nothing else does.
    let journal = std::fs::read(folder.path().join("journal")).unwrap();
    let found = String::from_utf8_lossy(&journal).matches("hunter2-hunter2").count();
    assert_eq!(found, 1);
}

/// Tells of everything.
#[derive(Debug)]
struct Telling;

#[async_trait]
impl Owner for Telling {
    async fn making(&self) -> fleet_core::kernel::Result<()> {
        Ok(())
    }

    fn tells(&self, _: &OwnEnd) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn nor_is_that_of_a_run_of_the_devices_own() {
    let (folder, full) = (tempfile::tempdir().unwrap(), Arc::default());
    let (runs, clock) = start(folder.path(), &full, leaking()).await;
    clock.learn(NOW);
    let offer = secret_offer();
    let own = Own {
        device: offer.device,
        occurrence: Uuid::from_u128(7),
        version: 1,
        kind: offer.kind,
        params: ResolvedParams {
            params: offer.params,
            secrets: offer.secrets,
        },
        timeout_seconds: 60,
        is_hidden: false,
        instead: None,
    };
    let end = runs.apply(own, Arc::new(Telling)).await.unwrap();
    assert_eq!(end.ending.message.as_deref(), Some("it was ********"));
    assert_eq!(
        end.printed,
        blake3::hash(b"before\na ******** bhunter2-hunt").to_hex().to_string()
    );
    let journal = std::fs::read(folder.path().join("journal")).unwrap();
    let journal = String::from_utf8_lossy(&journal);
    assert_eq!(journal.matches("hunter2-hunter2").count(), 1, "in the offer");
    assert!(journal.contains("it was ********"));
}
