//! What waits for the writer: bounded, and filled from tasks that must not block while the writer is a thread that does.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fleet_core::store::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Request;
use crate::error::closed;

/// Calls that wait for the writer to look; more of them wait for room. The writer has taken up to as many more.
const ROOM: usize = 4_096;

/// The queue.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    room: Arc<Semaphore>,
}

struct Waiting {
    requests: VecDeque<(Request, Option<OwnedSemaphorePermit>)>,
    closed: bool,
}

/// What the writer finds.
pub(crate) enum Taken {
    /// Something.
    Some,
    /// Nothing came in time.
    Late,
    /// Nothing is left and nothing will come.
    Closed,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                requests: VecDeque::new(),
                closed: false,
            }),
            more: Condvar::new(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }

    // Whoever panics while it holds the lock leaves a queue that is as good as before.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, then hands a request over.
    pub(crate) async fn send(&self, request: Request) -> Result<()> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        waiting.requests.push_back((request, Some(permit)));
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// Hands over what does not come from a caller, whatever waits already.
    pub(crate) fn tell(&self, request: Request) {
        self.lock().requests.push_back((request, None));
        self.more.notify_one();
    }

    /// Everything that waits, in its order; waits for the first until the deadline, or without one for as long as it takes.
    pub(crate) fn take(&self, ready: &mut VecDeque<Request>, deadline: Option<Instant>) -> Taken {
        let mut waiting = self.lock();
        loop {
            if !waiting.requests.is_empty() {
                ready.extend(waiting.requests.drain(..).map(|(request, _)| request));
                return Taken::Some;
            }
            if waiting.closed {
                return Taken::Closed;
            }
            waiting = match deadline {
                None => self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Late;
                    }
                    let waited = self.more.wait_timeout(waiting, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
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
