//! What happened, to all subscribers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};

use super::ResyncReason;

/// How much a hub keeps. All of it is counted in commits; a commit is small.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// How far one subscriber may fall behind before it is told to read again.
    pub behind: usize,
    /// How much of the past is kept for subscribers that come back.
    pub past: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            behind: 1024,
            past: 4096,
        }
    }
}

/// One entry of what drives a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened<T> {
    /// All that one commit did, at its place in the order of commits.
    Commit(u64, Vec<T>),
    /// Entries up to this place may be missing.
    Gap(u64),
}

/// What a subscriber gets.
#[derive(Clone, Debug)]
pub enum Delivery<T> {
    /// All that one commit did.
    Commit {
        /// Its place in the order of commits.
        position: u64,
        /// What it did.
        items: Arc<[T]>,
    },
    /// Something is missing before what comes next.
    Missed {
        /// Where the order of commits stands.
        position: u64,
        /// Why.
        reason: ResyncReason,
    },
}

/// Hands what happens to any number of subscribers, in order, without ever waiting for one: a subscriber reads from a ring
/// of bounded length and learns when it was overtaken.
#[derive(Debug)]
pub struct Hub<T> {
    state: Mutex<State<T>>,
    limits: HubLimits,
}

#[derive(Debug)]
struct State<T> {
    /// None once the hub is closed.
    sender: Option<broadcast::Sender<Entry<T>>>,
    past: VecDeque<(u64, Arc<[T]>)>,
    /// Everything after this place is in `past`.
    complete_after: u64,
    newest: u64,
}

type Entry<T> = Delivery<T>;

impl<T: Clone + Send + Sync + 'static> Hub<T> {
    /// A hub whose first entry will be the one after `start`, where the order of commits stands now.
    pub fn new(start: u64, limits: HubLimits) -> Self {
        Self {
            state: Mutex::new(State {
                sender: Some(broadcast::Sender::new(limits.behind.max(1))),
                past: VecDeque::new(),
                complete_after: start,
                newest: start,
            }),
            limits,
        }
    }

    /// Hands one entry to all subscribers. An entry at or before the newest place was told already and is left out.
    pub fn publish(&self, entry: Happened<T>) {
        let mut state = self.state();
        let delivery = match entry {
            Happened::Commit(position, _) if position <= state.newest => return,
            Happened::Commit(position, items) => {
                let items: Arc<[T]> = items.into();
                state.newest = position;
                state.past.push_back((position, items.clone()));
                while state.past.len() > self.limits.past {
                    if let Some((dropped, _)) = state.past.pop_front() {
                        state.complete_after = dropped;
                    }
                }
                Delivery::Commit { position, items }
            }
            Happened::Gap(position) => {
                state.past.clear();
                state.newest = state.newest.max(position);
                state.complete_after = state.newest;
                Delivery::Missed {
                    position: state.newest,
                    reason: ResyncReason::Gap,
                }
            }
        };
        // Nobody listening is no failure. The lock is still held, so that the ring has the order of the past.
        let _ = state.sender.as_ref().map(|sender| sender.send(delivery));
    }

    /// Publishes all that `source` gives, until its end. The caller owns the task that this runs in.
    pub async fn drive(&self, source: impl Stream<Item = Happened<T>>) {
        let mut source = std::pin::pin!(source);
        while let Some(entry) = source.next().await {
            self.publish(entry);
        }
    }

    /// Subscribes, after the place that a returning subscriber was last told of. None once the hub is closed.
    pub fn subscribe(&self, after: Option<u64>) -> Option<Subscription<T>> {
        let state = self.state();
        let ring = state.sender.as_ref()?.subscribe();
        let mut backlog = VecDeque::new();
        match after {
            None => {}
            Some(after) if after < state.complete_after || after > state.newest => {
                backlog.push_back(Delivery::Missed {
                    position: state.newest,
                    reason: ResyncReason::Expired,
                });
            }
            Some(after) => {
                let first = state.past.partition_point(|(position, _)| *position <= after);
                backlog.extend(state.past.range(first..).map(|(position, items)| Delivery::Commit {
                    position: *position,
                    items: items.clone(),
                }));
            }
        }
        Some(Subscription {
            opened_at: state.newest,
            told: after.unwrap_or(state.newest),
            backlog,
            ring,
        })
    }

    /// Ends all subscriptions, after what they were told already, and takes no new ones.
    pub fn close(&self) {
        self.state().sender = None;
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber's place.
#[derive(Debug)]
pub struct Subscription<T> {
    opened_at: u64,
    told: u64,
    backlog: VecDeque<Entry<T>>,
    ring: broadcast::Receiver<Entry<T>>,
}

impl<T: Clone + Send + Sync + 'static> Subscription<T> {
    /// Where the order of commits stood when this was opened.
    pub fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// The last place that the subscriber was told of: what it comes back with.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// The next delivery; none when the hub was closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery<T>> {
        let delivery = match self.backlog.pop_front() {
            Some(delivery) => delivery,
            None => match self.ring.recv().await {
                Ok(delivery) => delivery,
                Err(RecvError::Lagged(_)) => Delivery::Missed {
                    position: self.told,
                    reason: ResyncReason::Lagged,
                },
                Err(RecvError::Closed) => return None,
            },
        };
        match &delivery {
            Delivery::Commit { position, .. } | Delivery::Missed { position, .. } => self.told = *position,
        }
        Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HubLimits = HubLimits { behind: 4, past: 3 };

    fn hub(commits: std::ops::RangeInclusive<u64>) -> Hub<u64> {
        let hub = Hub::new(commits.start() - 1, LIMITS);
        for position in commits {
            hub.publish(Happened::Commit(position, vec![position * 10]));
        }
        hub
    }

    /// All that the subscription is told until the hub is closed.
    async fn told(hub: &Hub<u64>, mut subscription: Subscription<u64>) -> Vec<String> {
        hub.close();
        let mut out = Vec::new();
        while let Some(delivery) = subscription.next().await {
            out.push(match delivery {
                Delivery::Commit { position, items } => format!("{position}:{items:?}"),
                Delivery::Missed { position, reason } => format!("{position}:{reason:?}"),
            });
        }
        out
    }

    #[tokio::test]
    async fn a_new_subscriber_is_told_what_happens_from_now_on() {
        let hub = hub(1..=2);
        let subscription = hub.subscribe(None).unwrap();
        assert_eq!(subscription.opened_at(), 2);
        hub.publish(Happened::Commit(3, vec![30, 31]));
        assert_eq!(told(&hub, subscription).await, ["3:[30, 31]"]);
        assert!(hub.subscribe(None).is_none());
    }

    #[tokio::test]
    async fn a_returning_subscriber_is_told_what_it_missed_and_then_the_rest() {
        let hub = hub(1..=5);
        let subscription = hub.subscribe(Some(3)).unwrap();
        hub.publish(Happened::Commit(6, vec![60]));
        assert_eq!(told(&hub, subscription).await, ["4:[40]", "5:[50]", "6:[60]"]);
    }

    #[tokio::test]
    async fn a_place_that_is_too_old_or_unknown_means_reading_again() {
        for (after, expected) in [
            (1, vec!["5:Expired"]),
            (2, vec!["3:[30]", "4:[40]", "5:[50]"]),
            (5, vec![]),
            (6, vec!["5:Expired"]),
        ] {
            let hub = hub(1..=5);
            let subscription = hub.subscribe(Some(after)).unwrap();
            assert_eq!(told(&hub, subscription).await, expected, "{after}");
        }
    }

    #[tokio::test]
    async fn a_restart_without_changes_misses_nothing() {
        let hub = Hub::<u64>::new(7, LIMITS);
        let subscription = hub.subscribe(Some(7)).unwrap();
        assert_eq!(told(&hub, subscription).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_once_and_goes_on_with_what_is_left() {
        let hub = hub(1..=1);
        let subscription = hub.subscribe(None).unwrap();
        for position in 2..=10 {
            hub.publish(Happened::Commit(position, vec![position]));
        }
        assert_eq!(
            told(&hub, subscription).await,
            ["1:Lagged", "7:[7]", "8:[8]", "9:[9]", "10:[10]"]
        );
    }

    #[tokio::test]
    async fn a_gap_of_the_source_reaches_those_who_listen_and_those_who_return() {
        let hub = hub(1..=2);
        let listening = hub.subscribe(None).unwrap();
        hub.publish(Happened::Gap(9));
        hub.publish(Happened::Commit(10, vec![1]));
        let returning = hub.subscribe(Some(2)).unwrap();
        assert_eq!(told(&hub, listening).await, ["9:Gap", "10:[1]"]);
        assert_eq!(told(&hub, returning).await, ["10:Expired"]);
    }

    #[tokio::test]
    async fn what_was_told_is_not_told_again() {
        let hub = hub(1..=2);
        let subscription = hub.subscribe(None).unwrap();
        hub.drive(futures::stream::iter([
            Happened::Commit(2, vec![0]),
            Happened::Commit(3, vec![3]),
        ]))
        .await;
        assert_eq!(told(&hub, subscription).await, ["3:[3]"]);
    }
}
