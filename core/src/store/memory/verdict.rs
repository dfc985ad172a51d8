//! What is found out about a batch before anything changes: so that a backend can write it down between the decision and the
//! change, and hand it over by value.

use crate::store::{Committed, Rev, Seq};

/// The decision on a batch that nothing stands in the way of.
#[derive(Debug)]
pub enum Judged {
    /// It was committed before, with this answer.
    Repeat(Committed),
    /// It can be committed.
    New(Verdict),
}

/// What becomes of a batch.
#[derive(Debug)]
pub struct Verdict {
    /// Its place in commit order; where it changes nothing, that of the newest commit.
    pub(super) seq: Seq,
    /// The revisions of the documents that its writes name, in their order.
    pub(super) was: Vec<Option<Rev>>,
    pub(super) fresh: Fresh,
    pub(super) fingerprint: [u8; 16],
}

impl Verdict {
    /// The place in commit order that it answers with.
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

/// Which of some rows are not stored yet.
#[derive(Debug)]
pub enum Fresh {
    /// All of them: the common case.
    All,
    /// Those that are true, by position.
    Some(Vec<bool>),
}

impl Fresh {
    pub(super) fn is(&self, position: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(fresh) => fresh.get(position).copied().unwrap_or_default(),
        }
    }

    /// Leaves one of `count` out.
    pub(super) fn without(&mut self, position: usize, count: usize) {
        if matches!(self, Self::All) {
            *self = Self::Some(vec![true; count]);
        }
        if let Self::Some(fresh) = self
            && let Some(fresh) = fresh.get_mut(position)
        {
            *fresh = false;
        }
    }

    /// Whether any of `count` is fresh.
    pub(super) fn any(&self, count: usize) -> bool {
        match self {
            Self::All => count > 0,
            Self::Some(fresh) => fresh.contains(&true),
        }
    }
}
