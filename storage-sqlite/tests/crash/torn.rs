//! A log that ends anywhere.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fleet_core::store::Backend as _;

use crate::{
    child::{program, whole},
    common::{Folder, open},
};

/// Where the frames of a log end, and how many transactions are complete there.
/// By <https://sqlite.org/fileformat2.html#the_write_ahead_log>.
fn frames(log: &[u8]) -> Vec<(usize, usize)> {
    let word = |at: usize| u32::from_be_bytes([log[at], log[at + 1], log[at + 2], log[at + 3]]);
    let frame = 24 + word(8) as usize;
    let mut complete = 0;
    let mut ends = vec![(32, 0)];
    for begin in (32..log.len().saturating_sub(frame - 1)).step_by(frame) {
        // Frames of the log's last round have its salts.
        if (word(begin + 8), word(begin + 12)) != (word(16), word(20)) {
            break;
        }
        complete += usize::from(word(begin + 4) > 0);
        ends.push((begin + frame, complete));
    }
    ends
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Kills a child that commits one batch after the other, and cuts the log that it left at every frame and in between.
pub async fn torn_anywhere() -> String {
    let folder = Folder::new();
    // What is in the file itself when the log begins.
    open(&folder.file()).await.close().await.expect("it closes");
    let mut child = Command::new(program())
        .args(["fill", &folder.file().display().to_string(), "1000000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for _ in 0..12 {
        lines.next().expect("the child goes on").expect("a line");
    }
    child.kill().expect("SIGKILL is sent");
    let acknowledged = 12 + lines.map_while(Result::ok).filter(|line| line.ends_with(" 0")).count();
    child.wait().expect("the child ends");

    let data = fs::read(folder.file()).expect("the file");
    let log = fs::read(beside(&folder.file(), "-wal")).expect("its log");
    let ends = frames(&log);
    let transactions = ends.last().map_or(0, |(_, complete)| *complete);
    // One transaction for each commit, after those that the opening took.
    let all = cut_at(&data, &log, log.len(), acknowledged + 2).await;
    assert!(
        all.len() >= acknowledged,
        "{acknowledged} were acknowledged, {} are there",
        all.len()
    );
    let opening = transactions - all.len();

    let mut cuts = ends.clone();
    // Between the ends: in a frame's header, in its page, one byte before its end.
    for (number, pair) in ends.windows(2).enumerate().step_by(5) {
        let inside = [7, 24, 24 + number * 37 % 4_000, pair[1].0 - pair[0].0 - 1][number / 5 % 4];
        cuts.push((pair[0].0 + inside, pair[0].1));
    }
    for (cut, complete) in &cuts {
        let there = cut_at(&data, &log, *cut, acknowledged + 2).await;
        let expected: BTreeSet<u128> = (1..=complete.saturating_sub(opening) as u128).collect();
        assert_eq!(
            there,
            expected,
            "cut at {cut} of {}, {complete} transactions",
            log.len()
        );
    }
    format!(
        "{} cuts of a log of {} frames, {acknowledged} commits acknowledged",
        cuts.len(),
        ends.len() - 1
    )
}

/// What is there when the log ends here.
async fn cut_at(data: &[u8], log: &[u8], cut: usize, most: usize) -> BTreeSet<u128> {
    let copy = Folder::new();
    fs::create_dir_all(copy.file().parent().expect("a folder")).expect("the folder is made");
    fs::write(copy.file(), data).expect("a copy");
    fs::write(beside(&copy.file(), "-wal"), &log[..cut]).expect("a copy");
    whole(&copy.file(), most as u128).await
}
