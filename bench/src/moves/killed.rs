//! Moves that are killed at random moments, go on, and must still end with what was there.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::leg::{self, Place};
use crate::storage::Kind;

/// The latest first kill of a move, in milliseconds. Each time it may come a quarter later, so that every move ends.
const FIRST: u64 = 200;

/// Moves there and back while the process is killed again and again; the last stop.
pub fn there_and_back(
    program: &Path,
    folder: &Path,
    first: &Place,
    kills: u32,
    digest: &str,
    say: impl Fn(&str),
) -> Result<Place> {
    let mut from = first.clone();
    let (mut done, mut round, mut dice) = (0, 0, 0);
    while done < kills {
        let name = format!("killed{round}");
        let to = if from.kind == Kind::Json {
            Place::sqlite(folder, &name)
        } else {
            Place::json(folder, &name)
        };
        round += 1;
        let mut longest = FIRST;
        loop {
            dice = next(dice);
            if !leg::killed(program, &from, &to, Duration::from_millis(dice % longest))? {
                break;
            }
            done += 1;
            longest += longest / 4;
        }
        let found = leg::verified(program, &from, &to)?;
        ensure!(
            found == digest,
            "after {done} kills {} holds {found}, not {digest}",
            to.uri
        );
        say(&format!(
            "{} to {}: equal after {done} kills so far",
            from.kind.name(),
            to.kind.name()
        ));
        std::fs::remove_dir_all(from.folder.context("a store without a folder")?)?;
        from = to;
    }
    Ok(from)
}

/// The next of a row of numbers, by splitmix64.
fn next(before: u64) -> u64 {
    let mut mixed = before.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
