//! Keys of a TPM, with the real systemd-cryptenroll and a TPM in software, swtpm.

use std::{fs, process::Command};

use fleet_core::protocol::RunResult;
use serde_json::{Value, json};

use super::{
    CHANGED, SAME, Scratch, absent,
    disks::{Disk, INITIAL, PATH},
    escrow::{Asked, Failure},
    tool,
};

/// The device's TPM. It is started for each enrolment: nothing shares it out and tidies up, as the kernel does.
const WITH_TPM: &str = r#"
    TPM=$ROOT/../tpm
    rm -f $TPM/socket $TPM/socket.ctrl
    SWTPM socket --tpm2 --tpmstate dir=$TPM --server type=unixio,path=$TPM/socket --ctrl type=unixio,path=$TPM/socket.ctrl \
        --flags not-need-init,startup-clear >/dev/null 2>&1 &
    until [ -S $TPM/socket -a -S $TPM/socket.ctrl ]; do sleep 0.02; done
    for word; do
        shift
        case $word in --tpm2-device=auto) word=--tpm2-device=swtpm:path=$TPM/socket ;; esac
        set -- "$@" "$word"
    done
    REAL "$@" 2>&1
    code=$?
    kill $!
    wait
    (exit $code)"#;

/// A volume on a device that has a TPM.
pub(super) fn disk() -> Disk {
    let mut disk = Disk::new();
    disk.device = disk.device.with_folder("/sys/class/tpmrm/tpmrm0");
    disk.device.beside("tpm");
    enrol_with(&disk, WITH_TPM);
    disk
}

fn enrol_with(disk: &Disk, script: &str) {
    let at = |name: &str| tool(name).unwrap_or_else(|| panic!("this machine has no {name}: cargo xtask setup"));
    let script = script.replace("SWTPM", at("swtpm").to_str().unwrap());
    let script = script.replace("REAL", at("systemd-cryptenroll").to_str().unwrap());
    disk.count("systemd-cryptenroll", &script);
}

fn params(device_key: &str) -> Value {
    json!({"volume": PATH, "initial_key": INITIAL, "interval_days": 30, "device_key": device_key})
}

/// By how many keys the TPM opens the volume.
pub(super) fn tokens(disk: &Disk) -> usize {
    let header = disk.header();
    let tokens = header["tokens"].as_object().unwrap();
    assert!(
        tokens.values().all(|token| token["type"] == "systemd-tpm2"),
        "{tokens:?}"
    );
    assert!(
        tokens
            .values()
            .all(|token| token["keyslots"].as_array().unwrap().len() == 1),
        "{tokens:?}"
    );
    tokens.len()
}

/// Somebody at the device calls systemd-cryptenroll.
fn by_hand(device: &Scratch, password: &str, argument: &str) {
    let done = Command::new(device.path("/usr/bin/systemd-cryptenroll"))
        .env("PASSWORD", password)
        .arg(argument)
        .arg(device.path(PATH))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test]
async fn the_tpm_gets_a_key_beside_the_servers_and_loses_it_again() {
    let disk = disk();
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    assert!(tokens(&disk) == 1 && disk.opens(disk.current().reveal()));
    assert_eq!(disk.header()["tokens"]["0"]["tpm2-pcrs"], json!([7]));
    disk.check(params("none"), CHANGED, &["current initial"], 1).await;
    assert!(tokens(&disk) == 0 && disk.opens(disk.current().reveal()));
    disk.check(params("none"), SAME, &["current initial"], 1).await;
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
}

#[tokio::test]
async fn it_stays_when_the_passphrase_is_replaced_and_when_nobody_looks_after_the_volume_any_more() {
    let disk = disk();
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    let before = disk.header()["tokens"].clone();
    disk.device
        .clock
        .advance(std::time::Duration::from_secs(30 * 24 * 3_600));
    let kept = ["superseded initial", "current scheduled"];
    disk.check(params("tpm2"), CHANGED, &kept, 2).await;
    assert_eq!(disk.header()["tokens"], before);
    disk.check(params("none"), CHANGED, &kept, 1).await;
    disk.check(params("tpm2"), CHANGED, &kept, 2).await;
    let before = disk.header()["tokens"].clone();
    disk.check(absent(&params("tpm2")), CHANGED, &kept, 2).await;
    assert_eq!(disk.header()["tokens"], before);
}

#[tokio::test]
async fn keys_that_somebody_else_has_enrolled_are_left_alone() {
    let disk = disk();
    by_hand(&disk.device, INITIAL, "--tpm2-device=auto");
    let before = disk.header()["tokens"].clone();
    disk.check(params("none"), CHANGED, &["current initial"], 2).await;
    // It serves, and the server is told so: nothing else is done.
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    disk.check(params("none"), CHANGED, &["current initial"], 2).await;
    assert_eq!(disk.device.server.told(), ["tpm2", "none"]);
    assert_eq!(disk.header()["tokens"], before);
    // One that is enrolled where ours never came to be is none of ours either.
    by_hand(&disk.device, "", "--wipe-slot=tpm2");
    enrol_with(&disk, "(exit 1)");
    assert_eq!(disk.run(&params("tpm2")).await.ending.result, RunResult::Failed);
    disk.check(params("none"), CHANGED, &["current initial"], 1).await;
    enrol_with(&disk, WITH_TPM);
    by_hand(&disk.device, disk.current().reveal(), "--tpm2-device=auto");
    disk.check(params("none"), SAME, &["current initial"], 2).await;
}

#[tokio::test]
async fn one_that_somebody_took_away_is_made_again() {
    let disk = disk();
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    by_hand(&disk.device, "", "--wipe-slot=tpm2");
    assert_eq!(disk.slots(), 1);
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    // Without its token no TPM opens it.
    assert!(disk.cryptsetup(&["token", "remove", "--token-id", "0"], "").0);
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    assert_eq!(tokens(&disk), 1);
    assert!(disk.cryptsetup(&["token", "remove", "--token-id", "0"], "").0);
    disk.check(params("none"), CHANGED, &["current initial"], 1).await;
}

#[tokio::test]
async fn without_a_tpm_the_server_keeps_the_passphrase_all_the_same() {
    let disk = disk();
    fs::remove_dir(disk.device.path("/sys/class/tpmrm/tpmrm0")).unwrap();
    let unavailable = "Failed disk.tpm_unavailable";
    disk.check(
        params("tpm2"),
        "Failed disk.tpm_unavailable, changed",
        &["current initial"],
        1,
    )
    .await;
    let done = disk.run(&params("tpm2")).await;
    assert_eq!(done.verdict(), format!("{unavailable}, the same"));
    assert!(done.ending.message.unwrap().contains("no TPM 2.0"));
    disk.check(params("none"), SAME, &["current initial"], 1).await;
    // LUKS 1 has no place for what the TPM is to know.
    let disk = self::disk();
    let luks1 = ["luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000"];
    assert!(disk.cryptsetup(&luks1, INITIAL).0);
    let done = disk.run(&params("tpm2")).await;
    assert_eq!(done.verdict(), format!("{unavailable}, changed"), "{}", done.output);
    assert!(disk.opens(disk.current().reveal()));
}

#[tokio::test]
async fn without_the_servers_passphrase_the_key_is_neither_made_nor_taken_away() {
    let disk = disk();
    disk.check(params("none"), CHANGED, &["current initial"], 1).await;
    let away = Some((Asked::Current, Failure::Away));
    disk.device.server.fail(away);
    let held = "Failed escrow.unreachable, the same";
    disk.check(params("tpm2"), held, &["current initial"], 1).await;
    disk.device.server.fail(None);
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
    disk.device.server.fail(away);
    disk.check(params("none"), held, &["current initial"], 2).await;
    disk.check(params("tpm2"), SAME, &["current initial"], 2).await;
    // Somebody has replaced by hand what the server keeps: the TPM may be all that opens the volume.
    disk.device.server.fail(None);
    assert!(disk.cryptsetup(&["luksRemoveKey"], disk.current().reveal()).0);
    let unknown = "Failed disk.key_unknown, the same";
    disk.check(params("none"), unknown, &["current initial"], 1).await;
}

#[tokio::test]
async fn an_enrolment_that_hangs_is_stopped_and_made_up_for() {
    let disk = disk();
    disk.check(params("none"), CHANGED, &["current initial"], 1).await;
    enrol_with(&disk, "sleep 1000");
    let done = disk
        .device
        .run_within("disk.encryption", &params("tpm2"), 3, false)
        .await;
    assert_eq!(done.ending.result, RunResult::TimedOut, "{}", done.output);
    enrol_with(&disk, WITH_TPM);
    disk.check(params("tpm2"), CHANGED, &["current initial"], 2).await;
}

#[tokio::test]
async fn the_passphrase_is_neither_an_argument_nor_printed() {
    let disk = disk();
    let made = disk.run(&params("tpm2")).await;
    let taken_away = disk.run(&params("none")).await;
    let calls = fs::read_to_string(disk.device.beside("faults").join("calls")).unwrap();
    let state = fs::read_to_string(disk.device.beside("state").join("actions/disk.encryption.json")).unwrap();
    for text in [&calls, &state, &made.output, &taken_away.output] {
        assert!(!text.contains(disk.current().reveal()), "{text}");
    }
    assert!(calls.contains("--tpm2-device=auto"), "{calls}");
    // In batch mode it would ask for no passphrase that opens another slot.
    let mut emptied = calls.lines().filter(|call| call.starts_with("luksKillSlot"));
    assert!(
        emptied.next().is_some_and(|call| !call.contains("--batch-mode")),
        "{calls}"
    );
}

/// What stops a run.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// cryptsetup or systemd-cryptenroll is killed before or after its work, at a call.
    Program(&'static str, usize),
    /// The server fails to give its passphrase.
    Server(Failure),
}

/// What a run is to do that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// It makes the key.
    Makes,
    /// It takes it away.
    TakesAway,
    /// The same, of one that an interrupted run has made, which does not know it for its own yet.
    TakesAwayUnknown,
}

impl Work {
    fn wanted(self) -> &'static str {
        match self {
            Self::Makes => "tpm2",
            Self::TakesAway | Self::TakesAwayUnknown => "none",
        }
    }

    /// A volume that it has work on.
    async fn prepare(self) -> Disk {
        let disk = disk();
        assert_eq!(disk.run(&params("none")).await.verdict(), CHANGED);
        match self {
            Self::Makes => {}
            Self::TakesAway => assert_eq!(disk.run(&params("tpm2")).await.verdict(), CHANGED),
            Self::TakesAwayUnknown => {
                enrol_with(&disk, &format!("{WITH_TPM}; (exit 137)"));
                assert_eq!(disk.run(&params("tpm2")).await.ending.result, RunResult::Failed);
                enrol_with(&disk, WITH_TPM);
                assert_eq!(tokens(&disk), 1);
            }
        }
        disk
    }
}

/// Stops a run. The server's passphrase opens the volume at all times, and the next run ends well. Says whether the fault struck.
async fn check_interrupted(fault: Fault, work: Work) -> bool {
    let disk = work.prepare().await;
    let wanted = work.wanted();
    let slots = if work == Work::Makes { 2 } else { 1 };
    disk.stop_at(None);
    match fault {
        Fault::Program(when, at) => disk.stop_at(Some((when, at))),
        Fault::Server(failure) => disk.device.server.fail(Some((Asked::Current, failure))),
    }
    let done = disk.run(&params(wanted)).await;
    let struck = match fault {
        Fault::Program(_, at) => disk.calls() >= at,
        Fault::Server(_) => disk.device.server.has_failed(),
    };
    let context = format!("{fault:?}, {work:?}: {}\n{}", done.verdict(), done.output);
    assert!(disk.opens(disk.current().reveal()), "{context}");

    disk.stop_at(None);
    disk.device.server.fail(None);
    let again = disk.run(&params(wanted)).await;
    assert_eq!(again.ending.result, RunResult::Succeeded, "{context}\n{}", again.output);
    assert!(disk.opens(disk.current().reveal()), "{context}");
    assert_eq!(
        (disk.slots(), tokens(&disk)),
        (slots, slots - 1),
        "{context}\n{}",
        again.output
    );
    assert_eq!(disk.run(&params(wanted)).await.verdict(), SAME, "{context}");
    struck
}

async fn check_interruptions(work: Work, at_least: usize) {
    let mut stopped = 0;
    for when in ["before", "after"] {
        for at in 1.. {
            if !check_interrupted(Fault::Program(when, at), work).await {
                break;
            }
            stopped += 1;
        }
    }
    for failure in [Failure::Away, Failure::AnswerLost] {
        assert!(check_interrupted(Fault::Server(failure), work).await);
    }
    assert!(stopped >= at_least, "{stopped} interruptions are not all");
}

#[tokio::test]
async fn wherever_an_enrolment_stops_the_servers_passphrase_opens_the_volume_and_one_key_is_made() {
    check_interruptions(Work::Makes, 16).await;
}

#[tokio::test]
async fn wherever_taking_it_away_stops_the_servers_passphrase_opens_the_volume_and_nothing_is_left() {
    check_interruptions(Work::TakesAway, 14).await;
}

#[tokio::test]
async fn the_same_of_a_key_that_an_interrupted_run_has_made() {
    check_interruptions(Work::TakesAwayUnknown, 12).await;
}
