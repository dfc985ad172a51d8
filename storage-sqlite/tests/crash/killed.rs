//! Killed in the middle of a load.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    child::{check, program},
    common::Folder,
    knob,
};

/// Kills a child that writes, each time after another number of acknowledgements, on a store that gets a new file now and then.
pub async fn killed_often() -> String {
    let kills = knob("CRASH_KILLS", 24);
    let (mut all_commits, mut all_ingests) = (0, 0);
    let mut kill = 0_u64;
    while kill < kills {
        let folder = Folder::new();
        let (mut commits, mut ingests) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..8_u64.min(kills - kill) {
            kill_once(&folder, round, kill, &mut commits, &mut ingests);
            check(&folder.file(), &commits, &ingests).await;
            kill += 1;
        }
        all_commits += commits.len();
        all_ingests += ingests.len();
    }
    format!("{kills} kills; {all_commits} commits and {all_ingests} ingests were acknowledged")
}

fn kill_once(folder: &Folder, round: u64, kill: u64, commits: &mut BTreeSet<u128>, ingests: &mut BTreeSet<u128>) {
    let first = (1 + u128::from(round) * 1_000_000).to_string();
    let mut child = Command::new(program())
        .args(["write", &folder.file().display().to_string(), &first])
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
                commits.insert(n)
            } else {
                ingests.insert(n)
            };
        }
    };
    for _ in 0..(1 + kill * 61 % 257) {
        take(lines.next().expect("the child goes on").expect("a line"));
    }
    child.kill().expect("SIGKILL is sent");
    lines.map_while(Result::ok).for_each(take);
    child.wait().expect("the child ends");
}
