//! Acknowledged means synchronised: shown by the calls to the system.

use std::{fs, process::Stdio};

use fleet_storage_conformance::durability::{Breach, Proof, Rule, Trace, Writers, strace};

use crate::{child::program, common::Folder};

/// Runs a child under a trace, and asks it for the proof.
fn prove(mode: &str, synchronous: &str, writers: Writers) -> Result<Proof, Breach> {
    let folder = Folder::new();
    let data = folder.file().parent().expect("a folder").to_owned();
    fs::create_dir_all(&data).expect("the folder is made");
    let trace = data.with_extension("trace");
    let mut command = strace(&trace).unwrap_or_else(|how| panic!("{how}"));
    let child = command
        .arg(program())
        .args([mode, &folder.file().display().to_string(), synchronous])
        .stdout(Stdio::null())
        .status()
        .expect("strace starts");
    assert!(child.success(), "the child succeeds");
    let trace = Trace::parse(&fs::read(trace).expect("there is a trace")).unwrap_or_else(|error| panic!("{error}"));
    let file = folder.file().display().to_string();
    trace.prove(&Rule {
        // The index of the log (`-shm`) is made anew from it, and the lock holds nothing.
        counts: &|path| path.strip_prefix(&file).is_some_and(|end| ["", "-wal"].contains(&end)),
        acknowledged: &|line| line.strip_prefix("acknowledged ").map(|n| format!("\"device-{n}\"")),
        writers,
    })
}

/// With one writer everything that was written is synchronised at each acknowledgement; with several, what it stands on is.
pub async fn proven() -> String {
    let mut told = Vec::new();
    for (mode, writers, expected) in [("steady", Writers::One, 40), ("crowd", Writers::Many, 96)] {
        let proof = prove(mode, "full", writers).unwrap_or_else(|breach| panic!("{mode}: {breach}"));
        assert_eq!(proof.acknowledged, expected, "{mode}: {proof:?}");
        assert!(proof.syncs > 0 && proof.writes > 0, "{mode}: {proof:?}");
        told.push(format!(
            "{mode}: {} acknowledgements, {} writes, {} syncs",
            proof.acknowledged, proof.writes, proof.syncs
        ));
    }
    told.join("; ")
}

/// The same children, told to synchronise at checkpoints only.
pub async fn planted() -> String {
    for (mode, writers) in [
        ("steady", Writers::One),
        ("steady", Writers::Many),
        ("crowd", Writers::Many),
    ] {
        let caught = prove(mode, "normal", writers);
        assert!(
            matches!(caught, Err(Breach::NotSynced { .. })),
            "{mode}, {writers:?}: {caught:?}"
        );
    }
    "3 of 3 caught".to_owned()
}
