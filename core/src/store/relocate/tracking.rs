//! Notes of what is written while a move is under way.

use std::collections::{BTreeSet, VecDeque};

use super::RecordKey;
use crate::store::{Error, Result};

/// A page of notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// The last note of the page: where the next page begins.
    pub upto: u64,
    /// What was written or removed, each once. Empty when nothing was.
    pub keys: Vec<RecordKey>,
}

/// The notes of a store that one process uses. What a shared store notes is in the store itself.
#[derive(Clone, Debug, Default)]
pub struct Tracking {
    /// The number of the last note.
    last: u64,
    notes: VecDeque<RecordKey>,
    /// Notes up to here were lost.
    lost: u64,
}

impl Tracking {
    /// Why nothing is trimmed while notes are taken.
    pub fn refuses_trim() -> Error {
        Error::Refused("a move is under way; rows are trimmed after it".to_owned())
    }

    /// Why there are no notes.
    pub fn is_off() -> Error {
        Error::Refused(
            "nothing is tracked: no move is under way, or the store was opened anew since it began".to_owned(),
        )
    }

    /// Notes that are kept; more of them push the oldest out.
    pub const MOST: usize = 1 << 18;
    /// Notes of one page.
    pub const PAGE: usize = 10_000;

    /// Notes what was written.
    pub fn note(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        for key in keys {
            self.last += 1;
            self.notes.push_back(key);
            if self.notes.len() > Self::MOST {
                self.notes.pop_front();
                self.lost = self.first() - 1;
            }
        }
    }

    /// A page of the notes after a number; those up to it are forgotten.
    pub fn after(&mut self, after: u64) -> Result<Tracked> {
        if after < self.lost {
            return Err(Error::Compacted(self.lost));
        }
        while !self.notes.is_empty() && self.first() <= after {
            self.notes.pop_front();
        }
        let page = self.notes.len().min(Self::PAGE);
        let keys: BTreeSet<RecordKey> = self.notes.iter().take(page).copied().collect();
        Ok(Tracked {
            upto: (self.last - self.notes.len() as u64) + page as u64,
            keys: keys.into_iter().collect(),
        })
    }

    /// The number of the first note that is kept.
    fn first(&self) -> u64 {
        self.last + 1 - self.notes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::Key;

    fn key(n: u128) -> RecordKey {
        RecordKey::Doc(Key::new("thing", Uuid::from_u128(n)))
    }

    #[test]
    fn notes_are_given_once_each_and_forgotten_when_they_were_read() {
        let mut tracking = Tracking::default();
        assert_eq!(tracking.after(0).unwrap(), Tracked::default());
        tracking.note([key(2), key(1), key(2)]);
        let first = tracking.after(0).unwrap();
        assert_eq!((first.upto, &*first.keys), (3, &[key(1), key(2)][..]));
        assert_eq!(tracking.after(0).unwrap(), first, "asking again gives them again");
        tracking.note([key(3)]);
        let second = tracking.after(first.upto).unwrap();
        assert_eq!((second.upto, &*second.keys), (4, &[key(3)][..]));
        assert_eq!(tracking.after(4).unwrap().keys, []);
    }

    #[test]
    fn pages_are_bounded_and_follow_each_other() {
        let mut tracking = Tracking::default();
        tracking.note((0..25_000).map(key));
        let (mut after, mut seen) = (0, 0);
        loop {
            let page = tracking.after(after).unwrap();
            if page.keys.is_empty() {
                break;
            }
            assert!(page.keys.len() <= Tracking::PAGE);
            (after, seen) = (page.upto, seen + page.keys.len());
        }
        assert_eq!((after, seen), (25_000, 25_000));
    }

    #[test]
    fn lost_notes_are_said() {
        let mut tracking = Tracking::default();
        tracking.note((0..Tracking::MOST as u128 + 5).map(key));
        assert!(matches!(tracking.after(4), Err(Error::Compacted(5))));
        assert_eq!(tracking.after(5).unwrap().keys[0], key(5));
    }
}
