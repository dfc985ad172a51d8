//! The feed.

use std::{collections::VecDeque, ops::Bound};

use futures::{Stream, stream};
use tokio::sync::watch;

use super::State;
use crate::store::{Change, Error, Phase, Result, Seq};

/// How many commits a follower reads at a time.
const COMMITS: usize = 256;

/// Some changes in commit order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes.
    pub changes: Vec<Change>,
    /// They are all changes up to this place.
    pub upto: Seq,
    /// None will follow: the store is frozen.
    pub last: bool,
}

impl State {
    /// The changes of the first commits after a place, at most `most` commits; [`Error::Compacted`] when the feed no longer
    /// reaches back.
    pub fn changes(&self, after: Seq, most: usize) -> Result<Changes> {
        if after < self.floor {
            return Err(Error::Compacted(self.floor));
        }
        let mut found = Changes {
            changes: Vec::new(),
            upto: after,
            last: false,
        };
        let mut commits = 0;
        for (seq, touched) in self.feed.range((Bound::Excluded(after), Bound::Unbounded)).take(most) {
            commits += 1;
            found.upto = *seq;
            found.changes.extend(touched.iter().map(|touched| Change {
                seq: *seq,
                touched: touched.clone(),
            }));
        }
        if commits < most {
            // The last commits may have touched nothing that the feed tells of.
            found.upto = found.upto.max(self.seq);
            found.last = matches!(self.standing.phase, Phase::Frozen(_));
        }
        Ok(found)
    }
}

/// Turns readings of a feed into a stream that goes on with each wake-up. `read` gives the changes after a place, at most so
/// many commits, or none when the store is closed; the stream ends then, after an error, and when the waker is gone.
pub fn follow<W: Send + Sync + 'static>(
    read: impl Fn(Seq, usize) -> Option<Result<Changes>> + Send + 'static,
    wake: watch::Receiver<W>,
    after: Seq,
) -> impl Stream<Item = Result<Change>> + Send + 'static {
    let follower = Follower {
        read,
        wake,
        after,
        ready: VecDeque::new(),
        ended: false,
    };
    stream::unfold(follower, |mut follower| async move {
        Some((follower.next().await?, follower))
    })
}

struct Follower<R, W> {
    read: R,
    wake: watch::Receiver<W>,
    /// Everything up to here was read.
    after: Seq,
    /// What was read and not yet given out; at most what [`COMMITS`] commits touched.
    ready: VecDeque<Change>,
    ended: bool,
}

impl<R: Fn(Seq, usize) -> Option<Result<Changes>> + Send, W: Send + Sync> Follower<R, W> {
    async fn next(&mut self) -> Option<Result<Change>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            if self.ended {
                return None;
            }
            // Marked as seen before reading: a commit in between wakes us again rather than being missed.
            self.wake.mark_unchanged();
            match (self.read)(self.after, COMMITS)? {
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Ok(found) => {
                    self.after = found.upto;
                    self.ended = found.last;
                    self.ready = found.changes.into();
                }
            }
            if self.ready.is_empty() && !self.ended {
                self.wake.changed().await.ok()?;
            }
        }
    }
}
