//! Passphrases of encrypted volumes, with the real cryptsetup on a volume in a file. Nothing is opened: that needs the device mapper.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use fleet_core::{escrow::EscrowState, protocol::RunResult, work::secrets::SecretText};
use serde_json::{Value, json};

use super::{
    CHANGED, Done, SAME, Scratch, absent,
    escrow::{Asked, Failure},
    tool,
};

pub(super) const INITIAL: &str = "correct horse: battery";
/// Otherwise each key takes seconds.
const QUICK: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
/// The same of passphrases that people choose.
const QUICKLY: &str = r#"
    case "$*" in *--key-slot*) set -- "$@" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 ;; esac
    REAL "$@""#;
/// The volume, on the device.
pub(super) const PATH: &str = "/srv/volume.img";

/// A device with an encrypted volume.
pub(super) struct Disk {
    pub(super) device: Scratch,
}

impl Disk {
    pub(super) fn new() -> Self {
        let device = Scratch::new().with(PATH, "").with_tools(&["lsblk"]);
        let file = fs::File::options().write(true).open(device.path(PATH)).unwrap();
        file.set_len(20 << 20).unwrap();
        let disk = Self { device }.with_faults();
        let format = [&["luksFormat", "--type", "luks2"][..], &QUICK].concat();
        assert!(disk.cryptsetup(&format, INITIAL).0);
        disk
    }

    fn with_faults(self) -> Self {
        let real = tool("cryptsetup").expect("this machine has no cryptsetup: cargo xtask setup");
        self.count("cryptsetup", &QUICKLY.replace("REAL", real.to_str().unwrap()));
        self
    }

    /// A program of it counts its calls, keeps its arguments, and is stopped before or after one of them.
    pub(super) fn count(&self, program: &str, real: &str) {
        let script = r#"
            at="$(($(cat $ROOT/../faults/count 2>/dev/null || echo 0) + 1))"
            echo $at > $ROOT/../faults/count
            echo "$@" >> $ROOT/../faults/calls
            fault="$(cat $ROOT/../faults/fault 2>/dev/null)"
            if [ "$fault" = "before $at" ]; then exit 137; fi
            WORK
            code=$?
            if [ "$fault" = "after $at" ]; then exit 137; fi
            exit $code"#;
        self.device.beside("faults");
        self.device.replace_by_fake(program, &script.replace("WORK", real));
    }

    /// What it counts is stopped at a call, from here on; never where nothing is said.
    pub(super) fn stop_at(&self, fault: Option<(&str, usize)>) {
        let text = fault.map(|(when, at)| format!("{when} {at}")).unwrap_or_default();
        let faults = self.device.beside("faults");
        fs::write(faults.join("fault"), text).unwrap();
        fs::write(faults.join("count"), "0").unwrap();
    }

    /// How often it was called since then.
    pub(super) fn calls(&self) -> usize {
        let count = fs::read_to_string(self.device.beside("faults").join("count")).unwrap();
        count.trim().parse().unwrap()
    }

    /// Whether the machine's own cryptsetup succeeds, and what it says.
    pub(super) fn cryptsetup(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new(tool("cryptsetup").unwrap())
            .args(arguments)
            .args(["--batch-mode"])
            .arg(self.device.path(PATH))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    pub(super) fn opens(&self, key: &str) -> bool {
        self.cryptsetup(&["open", "--test-passphrase"], key).0
    }

    fn uuid(&self) -> String {
        self.cryptsetup(&["luksUUID"], "").1.trim().to_owned()
    }

    /// How many keys open it.
    pub(super) fn slots(&self) -> usize {
        self.header()["keyslots"].as_object().unwrap().len()
    }

    pub(super) fn header(&self) -> Value {
        serde_json::from_str(&self.cryptsetup(&["luksDump", "--dump-json-metadata"], "").1).unwrap()
    }

    /// What the server keeps, a line each, without the volume's name.
    fn kept(&self) -> Vec<String> {
        let uuid = format!("{} ", self.uuid());
        let lines = self.device.server.lines();
        lines.iter().map(|line| line.replace(&uuid, "")).collect()
    }

    /// The passphrase that the server says is in use.
    pub(super) fn current(&self) -> SecretText {
        let mut all = self.device.server.all().into_iter();
        let found = all.find(|(_, state)| *state == EscrowState::Current);
        found.expect("the server keeps none").0.secret
    }

    pub(super) async fn run(&self, params: &Value) -> Done {
        self.device.run("disk.encryption", params).await
    }

    /// Applies it, and checks how that ended, what the server keeps then, and by how many passphrases the volume opens.
    pub(super) async fn check(&self, params: Value, expected: &'static str, kept: &[&str], slots: usize) {
        self.device.check("disk.encryption", params, expected).await;
        assert_eq!(self.kept(), kept);
        assert_eq!(self.slots(), slots);
    }
}

fn params() -> Value {
    json!({"volume": PATH, "initial_key": INITIAL, "interval_days": 30})
}

#[tokio::test]
async fn the_server_keeps_what_opens_the_volume_and_the_initial_key_does_no_more() {
    let disk = Disk::new();
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    assert!(disk.opens(disk.current().reveal()) && !disk.opens(INITIAL));
}

#[tokio::test]
async fn the_initial_key_stays_where_that_is_wanted() {
    let disk = Disk::new();
    let mut params = params();
    params["keep_initial_key"] = json!(true);
    disk.check(params.clone(), CHANGED, &["current initial"], 2).await;
    assert!(disk.opens(disk.current().reveal()) && disk.opens(INITIAL));
    disk.device.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    disk.check(params, CHANGED, &["superseded initial", "current scheduled"], 2)
        .await;
    assert!(disk.opens(INITIAL));
}

#[tokio::test]
async fn another_passphrase_takes_its_place_when_its_time_is_over() {
    let disk = Disk::new();
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    let before = disk.current();
    disk.device.clock.advance(Duration::from_secs(30 * 24 * 3_600 - 1));
    disk.check(params(), SAME, &["current initial"], 1).await;
    disk.device.clock.advance(Duration::from_secs(1));
    // The initial key is needed no more.
    let params = json!({"volume": PATH, "interval_days": 30});
    disk.check(params, CHANGED, &["superseded initial", "current scheduled"], 1)
        .await;
    assert!(disk.opens(disk.current().reveal()) && !disk.opens(before.reveal()));
}

#[tokio::test]
async fn what_the_server_keeps_already_is_taken_up() {
    let disk = Disk::new();
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    fs::remove_dir_all(disk.device.beside("state")).unwrap();
    let params = json!({"volume": PATH});
    disk.check(params, CHANGED, &["current initial"], 1).await;
}

#[tokio::test]
async fn what_opens_by_no_passphrase_that_is_known_is_left_alone() {
    let disk = Disk::new();
    let wrong = json!({"volume": PATH, "initial_key": "wrong horse"});
    let unknown = "Failed disk.key_unknown, the same";
    disk.check(wrong, unknown, &[], 1).await;
    disk.check(json!({"volume": PATH}), unknown, &[], 1).await;
    // Somebody has replaced by hand what the server keeps.
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    let input = format!("{}\n{INITIAL}\n", disk.current().reveal());
    assert!(disk.cryptsetup(&[&["luksAddKey"][..], &QUICK].concat(), &input).0);
    assert!(disk.cryptsetup(&["luksRemoveKey"], disk.current().reveal()).0);
    disk.device.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    disk.check(
        json!({"volume": PATH, "interval_days": 30}),
        unknown,
        &["current initial"],
        1,
    )
    .await;
    disk.check(params(), CHANGED, &["superseded initial", "current scheduled"], 1)
        .await;
}

#[tokio::test]
async fn without_the_server_nothing_is_touched_and_what_is_kept_needs_none() {
    let disk = Disk::new();
    disk.device.server.fail(Some((Asked::Current, Failure::Away)));
    let away = "Failed escrow.unreachable, the same";
    disk.check(params(), away, &[], 1).await;
    assert!(disk.opens(INITIAL));
    disk.device.server.fail(None);
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    disk.device.server.fail(Some((Asked::Current, Failure::Away)));
    disk.check(params(), SAME, &["current initial"], 1).await;
}

#[tokio::test]
async fn what_the_server_does_not_give_back_opens_nothing_in_the_end() {
    let disk = Disk::new();
    disk.device.server.fail(Some((Asked::Deposit, Failure::Forgets)));
    let done = disk.run(&params()).await;
    assert_eq!(done.verdict(), "Failed disk.key_unproven, the same", "{}", done.output);
    assert!(disk.slots() == 1 && disk.opens(INITIAL));
}

#[tokio::test]
async fn absent_alters_neither_the_volume_nor_what_the_server_keeps() {
    let disk = Disk::new();
    disk.check(absent(&params()), SAME, &[], 1).await;
    disk.check(params(), CHANGED, &["current initial"], 1).await;
    disk.check(
        json!({"volume": "/dev/other", "state": "absent"}),
        SAME,
        &["current initial"],
        1,
    )
    .await;
    disk.check(absent(&params()), CHANGED, &["current initial"], 1).await;
    assert!(disk.opens(disk.current().reveal()));
    disk.check(params(), CHANGED, &["current initial"], 1).await;
}

#[tokio::test]
async fn the_volume_is_found_and_missed_when_it_is_gone() {
    let mut disk = Disk::new();
    let listing = |blocks: Value| format!("echo '{}'", json!({"blockdevices": blocks}));
    let without = json!({"initial_key": INITIAL});
    disk.device = disk.device.with_fake("lsblk", &listing(json!([])));
    disk.check(without.clone(), "NotApplicable, the same", &[], 1).await;
    let found = json!([{"path": PATH, "fstype": "crypto_LUKS", "mountpoints": ["/"]}]);
    disk.device = disk.device.with_fake("lsblk", &listing(found));
    disk.check(without.clone(), CHANGED, &["current initial"], 1).await;
    // What is not found any more is where it was.
    disk.device = disk.device.with_fake("lsblk", &listing(json!([])));
    disk.check(without.clone(), SAME, &["current initial"], 1).await;
    disk.device = disk.device.with("/srv/plain.img", "no header");
    let plain = json!({"volume": "/srv/plain.img"});
    let not_luks = "Failed disk.not_luks, the same";
    disk.check(plain, not_luks, &["current initial"], 1).await;
    // Somebody has set the device up anew, and believes that it is encrypted.
    fs::write(disk.device.path(PATH), "no header").unwrap();
    let done = disk.run(&without).await;
    assert_eq!(done.verdict(), not_luks, "{}", done.output);
}

#[tokio::test]
async fn passphrases_are_neither_arguments_nor_printed() {
    let disk = Disk::new();
    let done = disk.run(&params()).await;
    let calls = fs::read_to_string(disk.device.beside("faults").join("calls")).unwrap();
    let state = fs::read_to_string(disk.device.beside("state").join("actions/disk.encryption.json")).unwrap();
    let current = disk.current();
    for secret in [INITIAL, current.reveal()] {
        for text in [&calls, &state, &done.output, &format!("{:?}", done.ending)] {
            assert!(!text.contains(secret), "{secret:?} in {text}");
        }
    }
    assert!(calls.contains("luksAddKey") && state.contains(&disk.uuid()));
}

/// What stops a run.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// cryptsetup is killed before or after its work, at a call.
    Program(&'static str, usize),
    /// The server fails at a question of a sort, the first or a later one.
    Server(Asked, usize, Failure),
}

/// Stops a run in one way; then something opens the volume that the server shows, or the initial key does while it has to. The next run
/// ends well. Says whether the fault struck.
async fn check_interrupted(fault: Fault, rotates: bool) -> bool {
    let disk = Disk::new();
    if rotates {
        assert_eq!(disk.run(&params()).await.verdict(), CHANGED);
        disk.device.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    }
    disk.stop_at(None);
    match fault {
        Fault::Program(when, at) => disk.stop_at(Some((when, at))),
        Fault::Server(asked, after, failure) => disk.device.server.fail_after(after, Some((asked, failure))),
    }
    let done = disk.run(&params()).await;
    let struck = match fault {
        Fault::Program(_, at) => disk.calls() >= at,
        Fault::Server(..) => disk.device.server.has_failed(),
    };
    let shown = disk.device.server.all().into_iter();
    let mut shown = shown.filter(|(_, state)| state.may_be_in_use());
    let by_server = shown.any(|(deposit, _)| disk.opens(deposit.secret.reveal()));
    let context = format!(
        "{fault:?}, {rotates}: {}, {:?}\n{}",
        done.verdict(),
        done.ending.message,
        done.output
    );
    assert!(
        by_server || (!rotates && disk.opens(INITIAL)),
        "nobody can open it; {context}"
    );

    disk.stop_at(None);
    disk.device.server.fail(None);
    let again = disk.run(&params()).await;
    assert_eq!(
        again.ending.result,
        RunResult::Succeeded,
        "{context}\n{}\n{:?}",
        again.output,
        again.ending.message
    );
    assert!(
        disk.opens(disk.current().reveal()) && disk.slots() == 1,
        "{context}\n{}",
        again.output
    );
    let shown = disk.device.server.all().into_iter();
    let shown = shown.filter(|(_, state)| state.may_be_in_use()).count();
    assert_eq!(shown, 1, "nothing is doubtful any more; {context}");
    assert_eq!(disk.run(&params()).await.verdict(), SAME, "{context}");
    struck
}

async fn check_interruptions(rotates: bool) {
    let mut stopped = 0;
    for when in ["before", "after"] {
        for at in 1.. {
            if !check_interrupted(Fault::Program(when, at), rotates).await {
                break;
            }
            stopped += 1;
        }
    }
    for failure in [Failure::Away, Failure::AnswerLost] {
        for (asked, after) in [
            (Asked::Current, 0),
            (Asked::Current, 1),
            (Asked::Deposit, 0),
            (Asked::Conclude, 0),
        ] {
            assert!(
                check_interrupted(Fault::Server(asked, after, failure), rotates).await,
                "{asked:?} {after}"
            );
            stopped += 1;
        }
    }
    assert!(stopped > 16, "{stopped} interruptions are not all");
}

#[tokio::test]
async fn wherever_the_first_run_stops_somebody_can_open_the_volume() {
    check_interruptions(false).await;
}

#[tokio::test]
async fn wherever_a_replacement_stops_the_server_has_what_opens_the_volume() {
    check_interruptions(true).await;
}
