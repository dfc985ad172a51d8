//! Where everything stands in the folder of a store.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use fleet_core::kernel::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const MANIFEST: &str = "MANIFEST.json";
pub(crate) const MANIFEST_NEXT: &str = "MANIFEST.json.tmp";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const KINDS: &str = "kinds";
pub(crate) const LATEST: &str = "latest";
pub(crate) const LANES: &str = "lanes";
pub(crate) const ORDER: &str = "order";
pub(crate) const DAMAGED: &str = "damaged";

/// The folders that a store has besides one for each lane.
pub(crate) const FOLDERS: [&str; 5] = [JOURNAL, KINDS, LATEST, LANES, ORDER];

/// What the name of every file of lines ends with.
pub(crate) const LINES: &str = ".ndjson";

/// What is added to the name of a file that is to take the place of another.
pub(crate) const UNFINISHED: &str = ".tmp";

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Places in commit order that share one file of the feed and one of remembered batches.
const BLOCK: u64 = 1 << 14;

/// A part of the snapshot, which has a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The documents of a kind.
    Kind(String),
    /// The latest values of a set.
    Latest(String),
    /// The rows of a lane within one day, counted from 1970.
    Rows { lane: String, day: i64 },
    /// A block of the feed.
    Feed(u64),
    /// The remembered batches of a block.
    Batches(u64),
    /// All leases.
    Leases,
}

/// The day of a row.
pub(crate) fn day(at: i64) -> i64 {
    at.div_euclid(DAY)
}

/// The first and the last microsecond of a day.
pub(crate) fn day_bounds(day: i64) -> (i64, i64) {
    let first = day.saturating_mul(DAY);
    // At the ends of time a day is cut short.
    (
        first,
        if first == i64::MIN {
            day_end(day)
        } else {
            first.saturating_add(DAY - 1)
        },
    )
}

fn day_end(day: i64) -> i64 {
    (day + 1).saturating_mul(DAY) - 1
}

/// The block of a place in commit order.
pub(crate) fn block(seq: u64) -> u64 {
    seq / BLOCK
}

/// The first and the last place of a block.
pub(crate) fn block_bounds(block: u64) -> (u64, u64) {
    let first = block.saturating_mul(BLOCK);
    (first, first.saturating_add(BLOCK - 1))
}

impl Part {
    /// Its file, from the root. The number is that of the checkpoint that wrote it; the manifest says which one counts.
    pub(crate) fn file(&self, checkpoint: u64) -> String {
        let name = match self {
            Self::Kind(kind) => format!("{KINDS}/{kind}"),
            Self::Latest(set) => format!("{LATEST}/{set}"),
            Self::Rows { lane, day } => format!("{LANES}/{lane}/{}", day_name(*day)),
            Self::Feed(block) => format!("{ORDER}/feed.{block}"),
            Self::Batches(block) => format!("{ORDER}/batches.{block}"),
            Self::Leases => format!("{ORDER}/leases"),
        };
        format!("{name}.{checkpoint}{LINES}")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(name) | Self::Latest(name) => f.write_str(name),
            Self::Rows { lane, day } => write!(f, "{lane} of {}", day_name(*day)),
            Self::Feed(block) => write!(f, "feed {block}"),
            Self::Batches(block) => write!(f, "batches {block}"),
            Self::Leases => f.write_str("leases"),
        }
    }
}

/// `2026-11-21`, or the number of a day that no calendar has.
fn day_name(day: i64) -> String {
    let (first, _) = day_bounds(day);
    if first < Timestamp::MIN.as_micros() || first > Timestamp::MAX.as_micros() {
        return format!("day{day}");
    }
    let mut name = Timestamp::from_micros(first).to_string();
    name.truncate("2026-11-21".len());
    name
}

/// The segment of the journal that begins with a line.
pub(crate) fn segment(first: u64) -> String {
    format!("{first:020}{LINES}")
}

/// The number of the first line of a segment.
pub(crate) fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(LINES)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The folder above a path.
pub(crate) fn above(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_cover_all_of_time_without_gap() {
        for at in [
            i64::MIN,
            i64::MIN + 1,
            -DAY - 1,
            -DAY,
            -1,
            0,
            DAY - 1,
            DAY,
            i64::MAX - 1,
            i64::MAX,
        ] {
            let (first, last) = day_bounds(day(at));
            assert!(first <= at && at <= last, "{at}: {first} to {last}");
            assert!(first == i64::MIN || day(first - 1) == day(at) - 1, "{at}");
            assert!(last == i64::MAX || day(last + 1) == day(at) + 1, "{at}");
        }
    }

    #[test]
    fn files_have_readable_names() {
        let rows = |day| Part::Rows {
            lane: "audit".into(),
            day,
        };
        assert_eq!(Part::Kind("device".into()).file(3), "kinds/device.3.ndjson");
        assert_eq!(rows(20_778).file(7), "lanes/audit/2026-11-21.7.ndjson");
        assert_eq!(rows(day(i64::MIN)).file(7), "lanes/audit/day-106751992.7.ndjson");
        assert_eq!(segment_first(&segment(42)), Some(42));
        assert_eq!(segment_first("42.ndjson"), None);
    }
}
