//! What waits for the writer: bounded, and filled from tasks that must not block while the writer is a thread that does.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fleet_core::store::Result;
use tokio::sync::Semaphore;

use super::{Request, flush::Flushed};
use crate::error::closed;

/// Calls that wait for the writer to look; more of them wait for room. The writer has taken up to as many more.
const ROOM: usize = 4_096;

/// The queue.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// How many of them have taken room.
    roomed: usize,
    /// Their latest values and rows; other requests count as one.
    weight: usize,
    /// Whether one of them waits for no company.
    pressing: bool,
    /// The group whose write has ended.
    flushed: Option<Box<Flushed>>,
    /// No group will be written any more.
    broken: bool,
    /// What the writer waits for, while it does.
    patience: Option<Patience>,
    closed: bool,
}

/// What wakes the writer, besides the end of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// It looks then, whatever waits; none: it waits for as long as it takes.
    pub(super) until: Option<Instant>,
    /// Requests of this weight. Each waking costs as much as a few of them.
    pub(super) enough: usize,
    /// Whether a request that waits for no company is enough.
    pub(super) pressing: bool,
}

/// What the writer finds.
pub(super) enum Taken {
    /// Requests.
    Some,
    /// The group that was being written.
    Flushed(Box<Flushed>),
    /// Too little came in time; what there is was taken.
    Late,
    /// Nothing is left and nothing will come.
    Closed,
    /// Groups cannot be written any more.
    Broken,
}

impl Waiting {
    fn is_enough(&self, patience: &Patience) -> bool {
        self.flushed.is_some()
            || self.broken
            || self.weight >= patience.enough
            || (patience.pressing && self.pressing)
            || (self.closed && patience.pressing)
    }

    fn push(&mut self, request: Request) -> bool {
        self.weight += request.weight();
        self.pressing |= request.is_pressing();
        self.requests.push_back(request);
        self.wakes()
    }

    /// Whether the writer waits for what there is now.
    fn wakes(&self) -> bool {
        self.patience.as_ref().is_some_and(|patience| self.is_enough(patience))
    }
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            more: Condvar::new(),
            room: Semaphore::new(ROOM),
        }
    }

    // Whoever panics while it holds the lock leaves a queue that is as good as before.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, then hands a request over.
    pub(crate) async fn send(&self, request: Request) -> Result<()> {
        // Given back when the writer takes the request.
        self.room.acquire().await.map_err(|_| closed())?.forget();
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        waiting.roomed += 1;
        let wakes = waiting.push(request);
        drop(waiting);
        if wakes {
            self.more.notify_one();
        }
        Ok(())
    }

    /// Hands over what does not come from a caller, whatever waits already.
    pub(crate) fn tell(&self, request: Request) {
        if self.lock().push(request) {
            self.more.notify_one();
        }
    }

    /// Hands over the group whose write has ended.
    pub(super) fn flushed(&self, flushed: Flushed) {
        self.lock().flushed = Some(Box::new(flushed));
        self.more.notify_one();
    }

    /// Says that no group will be written any more.
    pub(super) fn broken(&self) {
        self.lock().broken = true;
        self.more.notify_one();
    }

    /// Waits until there is enough, and takes everything that waits, in its order.
    pub(super) fn take(&self, ready: &mut VecDeque<Request>, patience: Patience) -> Taken {
        let mut waiting = self.lock();
        let mut late = false;
        while !late && !waiting.is_enough(&patience) {
            waiting.patience = Some(patience);
            waiting = match patience.until {
                None => self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    late = left.is_zero();
                    let waited = self.more.wait_timeout(waiting, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        waiting.patience = None;
        let taken = waiting.requests.len();
        ready.extend(waiting.requests.drain(..));
        self.room.add_permits(std::mem::take(&mut waiting.roomed));
        (waiting.weight, waiting.pressing) = (0, false);
        if let Some(flushed) = waiting.flushed.take() {
            Taken::Flushed(flushed)
        } else if waiting.broken {
            Taken::Broken
        } else if taken > 0 {
            Taken::Some
        } else if waiting.closed {
            Taken::Closed
        } else {
            Taken::Late
        }
    }

    /// Accepts nothing more from callers. What waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.more.notify_all();
    }

    /// Drops what waits, so that nobody waits for an answer that does not come.
    pub(crate) fn abandon(&self) {
        self.close();
        let requests = std::mem::take(&mut self.lock().requests);
        drop(requests);
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
