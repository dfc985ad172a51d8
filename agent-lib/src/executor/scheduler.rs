//! Lets tasks wait for their turn in the lanes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fleet_core::{
    kernel::{Clock, Result, Timestamp},
    work::operations::Lane,
};
use tokio::sync::Notify;

use super::lanes::{LaneLimits, Lanes, Ticket};

/// The longest sleep before the clock is read again: machines' clocks jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The lanes of this device, shared by the tasks that execute runs.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    lanes: Lanes,
    /// Whose turn it is, but who has not noticed yet.
    called: HashSet<Ticket>,
}

/// A place in the queue, then on the lane; dropping it makes room for the next one.
#[derive(Debug)]
pub struct Turn {
    ticket: Ticket,
    shared: Arc<Shared>,
}

impl Scheduler {
    /// Empty lanes.
    pub fn new(limits: LaneLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    lanes: Lanes::new(limits),
                    called: HashSet::new(),
                }),
                changed: Notify::new(),
                clock,
            }),
        }
    }

    /// Takes a place in the queue, at once: the order among runs is that of these calls and their due times.
    ///
    /// # Errors
    /// [`LANE_FULL`](super::LANE_FULL) when too many wait already.
    pub fn enter(&self, lane: Lane, due: Timestamp) -> Result<Turn> {
        let ticket = self.shared.state().lanes.enter(lane, due)?;
        self.shared.changed.notify_waiters();
        Ok(Turn {
            ticket,
            shared: self.shared.clone(),
        })
    }
}

impl Turn {
    /// Waits until the run may begin. It keeps its lane until this value is dropped.
    pub async fn wait(&mut self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let sleep = {
                let now = self.shared.clock.now();
                let mut state = self.shared.state();
                let begun = state.lanes.begin(now);
                let others = begun.iter().any(|ticket| *ticket != self.ticket);
                state.called.extend(begun);
                if state.called.remove(&self.ticket) {
                    drop(state);
                    if others {
                        self.shared.changed.notify_waiters();
                    }
                    return;
                }
                let due = state.lanes.next_due();
                drop(state);
                if others {
                    self.shared.changed.notify_waiters();
                }
                due.map_or(LONGEST_SLEEP, |due| due.since(now).min(LONGEST_SLEEP))
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(1))) => {}
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.called.remove(&self.ticket);
        state.lanes.leave(self.ticket);
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::{ManualClock, SystemClock};

    use super::*;

    fn scheduler(shared: usize) -> Scheduler {
        Scheduler::new(LaneLimits { shared, waiting: 500 }, Arc::new(SystemClock))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_at_once_than_the_lane_allows_and_all_get_their_turn() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
        for (lane, places) in [(Lane::Exclusive, 1), (Lane::Shared, 3)] {
            let scheduler = scheduler(3);
            let running = Arc::new(AtomicUsize::new(0));
            let most = Arc::new(AtomicUsize::new(0));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..200 {
                let mut turn = scheduler.enter(lane, Timestamp::EPOCH).unwrap();
                let (running, most) = (running.clone(), most.clone());
                tasks.spawn(async move {
                    turn.wait().await;
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, SeqCst);
                });
            }
            let mut done = 0;
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
                done += 1;
            }
            assert_eq!(done, 200);
            assert!(most.load(SeqCst) <= places);
        }
    }

    #[tokio::test]
    async fn one_that_gives_up_lets_the_next_one_in() {
        let scheduler = scheduler(1);
        let mut first = scheduler.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        let mut second = scheduler.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        let mut third = scheduler.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        first.wait().await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), second.wait());
        assert!(waiting.await.is_err());
        drop(second);
        drop(first);
        third.wait().await;
    }

    #[tokio::test]
    async fn one_that_was_called_but_never_looked_frees_its_place_too() {
        let scheduler = scheduler(1);
        let first = scheduler.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        let mut second = scheduler.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        // The waiting of the second calls the first, which is then dropped.
        let waiting = tokio::time::timeout(Duration::from_millis(20), second.wait());
        assert!(waiting.await.is_err());
        drop(first);
        second.wait().await;
    }

    #[tokio::test]
    async fn nothing_begins_before_it_is_due() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(10)));
        let scheduler = Scheduler::new(LaneLimits::default(), clock.clone());
        let mut later = scheduler.enter(Lane::Exclusive, Timestamp::from_seconds(11)).unwrap();
        let mut now = scheduler.enter(Lane::Exclusive, Timestamp::from_seconds(10)).unwrap();
        now.wait().await;
        drop(now);
        let waiting = tokio::time::timeout(Duration::from_millis(20), later.wait());
        assert!(waiting.await.is_err());
        clock.set(Timestamp::from_seconds(11));
        later.wait().await;
    }
}
