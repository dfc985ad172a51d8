//! Whether the server hears of a run, and how the manifest stands. Pure.

use std::time::Duration;

use fleet_core::{
    kernel::Timestamp,
    protocol::{Applied, Failing, MAX_FAILING, RunResult},
};

use super::progress::{Last, Manifest, Progress};
use crate::runs::{Ending, OwnEnd};

/// What fails again and again in the same way is told of so often.
const AGAIN: Duration = Duration::from_secs(3_600);

/// Whether an end is one to be content with.
pub(super) fn is_content(result: RunResult) -> bool {
    matches!(result, RunResult::Succeeded | RunResult::SucceededWithIssues)
}

/// Whether the server hears of a run that ended so: of what was changed, of what went wrong, and of what goes well again.
pub(super) fn tells(last: Option<&Last>, end: &OwnEnd, skip_unchanged: bool) -> bool {
    let ending = &end.ending;
    let is_new = last.is_none_or(|last| !is_alike(last, ending));
    match (ending.result, ending.changed) {
        (RunResult::Succeeded, Some(false)) => is_new && last.is_some(),
        // Whether it changed anything is not known, or it did.
        (RunResult::Succeeded, _) => {
            let is_printed_anew = last.is_none_or(|last| last.printed != end.printed);
            is_new || !skip_unchanged || is_printed_anew
        }
        (RunResult::NotApplicable, _) => is_new,
        _ => {
            let told_at = last.and_then(|last| last.told_at);
            let is_long_ago = |told_at: Timestamp| told_at > end.at || end.at.since(told_at) >= AGAIN;
            is_new || ending.changed == Some(true) || told_at.is_none_or(is_long_ago)
        }
    }
}

fn is_alike(last: &Last, ending: &Ending) -> bool {
    (last.result, &last.code, last.exit_code) == (ending.result, &ending.code, ending.exit_code)
}

/// What is remembered of an end.
pub(super) fn last(before: Option<&Last>, end: &OwnEnd, is_told: bool) -> Last {
    let ending = &end.ending;
    let same = before.filter(|before| before.result == ending.result);
    Last {
        at: end.at,
        since: same.map_or(end.at, |same| same.since.min(end.at)),
        result: ending.result,
        code: ending.code.clone(),
        exit_code: ending.exit_code,
        printed: end.printed.clone(),
        told_at: match is_told {
            true => Some(end.at),
            false => before
                .filter(|before| is_alike(before, ending))
                .and_then(|before| before.told_at),
        },
    }
}

/// How the manifest stands, of which so many occurrences wait for a window.
pub(super) fn applied(manifest: &Manifest, progress: &Progress, held: usize) -> Applied {
    let mut applied = Applied {
        version: manifest.version,
        digest: manifest.digest.clone(),
        unreported: progress.unreported,
        held: u32::try_from(held).unwrap_or(u32::MAX),
        ..Applied::default()
    };
    for occurrence in manifest.occurrences() {
        match progress.occurrences.get(&occurrence.id) {
            None => applied.waiting += 1,
            Some(last) if is_content(last.result) => applied.kept += 1,
            Some(last) if last.result == RunResult::NotApplicable => applied.not_applicable += 1,
            Some(last) => {
                applied.failed += 1;
                if applied.failing.len() < MAX_FAILING {
                    applied.failing.push(Failing {
                        occurrence: occurrence.id,
                        since: last.since,
                        code: last.code.clone(),
                    });
                }
            }
        }
    }
    let open = manifest
        .reverts
        .iter()
        .filter(|revert| !progress.reverted.contains(&revert.id));
    applied.reverting = u32::try_from(open.count()).unwrap_or(u32::MAX);
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// An end in a word: `s`ucceeded, `f`ailed, `n`ot applicable; then `+` changed, `-` unchanged, `?` not known; then what it printed.
    fn end(word: &str, seconds: i64) -> OwnEnd {
        let mut chars = word.chars();
        let result = match chars.next() {
            Some('s') => RunResult::Succeeded,
            Some('f') => RunResult::Failed,
            _ => RunResult::NotApplicable,
        };
        let changed = match chars.next() {
            Some('+') => Some(true),
            Some('-') => Some(false),
            _ => None,
        };
        OwnEnd {
            at: Timestamp::from_seconds(NOW + seconds),
            ending: Ending {
                changed,
                ..Ending::of(result)
            },
            printed: chars.collect(),
            is_lost: false,
        }
    }

    /// Looks of every ten minutes; which of them the server hears of.
    #[track_caller]
    fn check(skip_unchanged: bool, looks: &str, expected: &str) {
        let (mut before, mut told) = (None, String::new());
        for (at, word) in looks.split_whitespace().enumerate() {
            let end = end(word, 600 * at as i64);
            let is_told = tells(before.as_ref(), &end, skip_unchanged);
            told.push(if is_told { 'T' } else { '.' });
            before = Some(last(before.as_ref(), &end, is_told));
        }
        assert_eq!(told, expected, "{looks}");
    }

    #[test]
    fn of_what_is_as_it_shall_be_nothing_is_heard() {
        check(false, "s- s- s-", "...");
        check(false, "s+ s- s-", "T..");
        check(false, "s- s+ s- s+", ".T.T");
    }

    #[test]
    fn what_fails_in_the_same_way_is_heard_once_an_hour_and_that_it_goes_well_again() {
        check(false, "f- f- f- f- f- f- f- f- s- s-", "T.....T.T.");
        check(false, "f+ f+", "TT");
    }

    #[test]
    fn what_does_not_concern_the_device_is_heard_once() {
        check(false, "n- n- s+ n-", "T.TT");
    }

    #[test]
    fn a_plain_script_is_heard_each_time_unless_it_printed_the_same() {
        check(false, "s?a s?a s?b", "TTT");
        check(true, "s?a s?a s?b s?b", "T.T.");
        check(true, "s+a s+a s-a s+a", "T...");
    }
}
