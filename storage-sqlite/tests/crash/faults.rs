//! Disks that are full, read-only or broken.

use std::{collections::BTreeSet, fs, process::Command};

use fleet_core::store::Backend as _;
use fleet_storage_conformance::durability::strace;

use crate::{
    child::{check, program, under_shell, whole},
    common::{Folder, batch, open},
};

/// What a child said.
struct Said {
    committed: BTreeSet<u128>,
    /// With whether it certainly was not written.
    failed: Vec<(u128, bool)>,
    refused: bool,
}

fn listen(mut command: Command) -> Said {
    let output = command.output().expect("the child starts");
    let said = String::from_utf8(output.stdout).expect("it says text");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.ends_with("end\n"),
        "{said}\n{complaint}"
    );
    let (mut committed, mut failed, mut refused) = (BTreeSet::new(), Vec::new(), false);
    for line in said.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["c", n, _] => drop(committed.insert(n.parse().expect("a number"))),
            ["f", n, how] => failed.push((n.parse().expect("a number"), how == "certainly")),
            ["refused", ..] => refused = true,
            _ => {}
        }
    }
    Said {
        committed,
        failed,
        refused,
    }
}

/// What was acknowledged is there, what certainly was not written is not, and all that failed succeeds when it is sent again.
async fn check_said(folder: &Folder, said: &Said) {
    let failed: BTreeSet<u128> = said.failed.iter().map(|(n, _)| *n).collect();
    let most = said.committed.iter().chain(&failed).max().copied().unwrap_or(0);
    let there = whole(&folder.file(), most).await;
    assert!(
        there.is_superset(&said.committed),
        "acknowledged and lost: {:?}",
        said.committed.difference(&there)
    );
    for (n, certainly) in &said.failed {
        assert!(
            !(*certainly && there.contains(n)),
            "commit {n} was certainly not written, and is there"
        );
    }
    assert!(
        there.difference(&said.committed).all(|n| failed.contains(n)),
        "what nobody wrote is there"
    );
    let store = open(&folder.file()).await;
    for n in &failed {
        store.commit(batch(*n)).await.expect("the disk works again");
    }
    store.close().await.expect("it closes");
    check(
        &folder.file(),
        &said.committed.union(&failed).copied().collect(),
        &BTreeSet::new(),
    )
    .await;
}

/// Limits the size of files and, where we may, mounts a small disk.
pub async fn full() -> String {
    let mut told = Vec::new();
    // The signal is ignored, so that a write fails instead.
    let folder = Folder::new();
    let file = folder.file().display().to_string();
    let said = listen(under_shell("trap '' XFSZ; ulimit -f 2000", &["fill", &file, "5000"]));
    assert_eq!(said.failed.len(), 3, "the files are as large as they may be");
    check_said(&folder, &said).await;
    told.push(format!("files limited: after {} commits", said.committed.len()));

    let folder = Folder::new();
    let data = folder.file().parent().expect("a folder").to_owned();
    fs::create_dir_all(&data).expect("the folder is made");
    let mount = |arguments: &[&str]| {
        Command::new("mount")
            .args(arguments)
            .arg(&data)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if mount(&["-t", "tmpfs", "-o", "size=2m", "fleet-test"]) {
        let mut child = Command::new(program());
        child.args(["fill", &folder.file().display().to_string(), "5000"]);
        let said = listen(child);
        let full = said.failed.len() == 3;
        let roomier = mount(&["-o", "remount,size=64m"]);
        if full && roomier {
            check_said(&folder, &said).await;
        }
        let read_only = mount(&["-o", "remount,ro"]);
        let mut child = Command::new(program());
        child.args(["fill", &folder.file().display().to_string(), "5"]);
        let refused = listen(child).refused;
        let unmounted = Command::new("umount")
            .arg(&data)
            .status()
            .is_ok_and(|status| status.success());
        assert!(
            full && roomier && read_only && unmounted,
            "{full} {roomier} {read_only} {unmounted}"
        );
        assert!(refused, "a read-only disk is refused at opening");
        told.push(format!(
            "small disk: after {} commits; read-only: refused",
            said.committed.len()
        ));
    } else {
        told.push("no right to mount a small disk here; the same errors are injected in the next test".to_owned());
    }
    told.join("; ")
}

/// The calls that fail: at opening, at the first commits and later; the n-th of them, or (`+`) all from the n-th on.
const FAULTS: &[(&str, &[&str], &[&str])] = &[
    ("pwrite64", &["ENOSPC", "EIO", "EROFS"], &["20", "61+", "120", "300+"]),
    ("fsync", &["ENOSPC", "EIO"], &["2", "9", "15+", "30"]),
    ("ftruncate", &["EIO"], &["3"]),
];

/// Makes calls to the system fail, once or from some moment on.
pub async fn injected() -> String {
    let (mut committed, mut failures, mut refused) = (0, 0, 0);
    let mut cases = 0;
    for (call, errors, moments) in FAULTS {
        for (error, when) in errors
            .iter()
            .flat_map(|error| moments.iter().map(move |when| (error, when)))
        {
            let folder = Folder::new();
            let trace = folder.file().with_file_name("trace");
            fs::create_dir_all(folder.file().parent().expect("a folder")).expect("the folder is made");
            let mut command = strace(&trace).unwrap_or_else(|how| panic!("{how}"));
            command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
            command
                .arg(program())
                .args(["fill", &folder.file().display().to_string(), "40"]);
            let said = listen(command);
            let trace = fs::read(trace).expect("there is a trace");
            let injected = trace.windows(10).any(|ten| ten == b"(INJECTED)");
            assert!(injected, "{call} never failed with {error} at {when}");
            cases += 1;
            committed += said.committed.len();
            failures += said.failed.len();
            refused += usize::from(said.refused);
            check_said(&folder, &said).await;
        }
    }
    assert!(
        committed > 0 && failures > 0 && refused > 0,
        "{committed} commits, {failures} failures, {refused} refused"
    );
    format!("{cases} faults: {committed} commits acknowledged, {failures} failed, {refused} openings refused")
}
