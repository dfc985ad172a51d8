//! Drives the hub from the store's feed of changes.

use std::{sync::OnceLock, time::Duration};

use fleet_core::{
    Fleet,
    store::{Change, Error, Seq, Touched},
};
use futures::{Stream, StreamExt as _};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Happened, Hub, HubLimits, LiveItem, Slot, Slots, Subscription};
use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// A commit is told as a whole when nothing more of it came for this long.
const SETTLED: Duration = Duration::from_millis(20);
/// How long to wait before the feed is followed anew.
const AGAIN: Duration = Duration::from_secs(1);
/// Streams of one session or key.
const STREAMS_EACH: usize = 8;
/// Streams in all.
const STREAMS: usize = 4_096;

/// What happens in a fleet, to all subscribers. Nobody is told anything before somebody drives it.
#[derive(Debug)]
pub struct LiveFeed {
    hub: OnceLock<Hub<LiveItem>>,
    slots: Slots<Uuid>,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self {
            hub: OnceLock::new(),
            slots: Slots::new(STREAMS_EACH, STREAMS),
        }
    }
}

/// Why a following of the feed broke off.
enum Broken {
    /// Changes up to here are gone.
    Compacted(Seq),
    Failed(String),
}

impl LiveFeed {
    /// Follows the store's changes and tells them, until the store is closed. The caller owns the task that this runs in, and
    /// may drop it at any time.
    pub async fn drive(&self, fleet: &Fleet) {
        let mut told = None;
        loop {
            match self.follow(fleet, &mut told).await {
                Ok(()) => return,
                Err(Broken::Compacted(upto)) => {
                    tracing::warn!(upto, "live events were overtaken; subscribers read again");
                    told = Some(upto);
                    if let Some(hub) = self.hub.get() {
                        hub.publish(Happened::Gap(upto));
                    }
                }
                Err(Broken::Failed(error)) => {
                    tracing::warn!(error, "live events broke off and go on in a moment");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn follow(&self, fleet: &Fleet, told: &mut Option<Seq>) -> Result<(), Broken> {
        let failed = |error: fleet_core::kernel::Error| Broken::Failed(error.log());
        let after = match *told {
            Some(told) => told,
            None => {
                let newest = fleet.store().reader().await.map_err(failed)?.seq();
                // Whoever drove before may not have told all of it.
                if let Some(hub) = self.hub.get() {
                    hub.publish(Happened::Gap(newest));
                }
                *told.insert(newest)
            }
        };
        let hub = self.hub.get_or_init(|| Hub::new(after, HubLimits::default()));
        let changes = fleet.store().changes(after).await.map_err(failed)?;
        tell(hub, changes, told.insert(after)).await
    }

    /// A place for one more stream of a session or key, and its subscription after the place that it was last told of.
    pub(crate) fn subscribe(&self, key: Uuid, after: Option<u64>) -> ApiResult<(Slot<Uuid>, Subscription<LiveItem>)> {
        let slot = self.slots.take(key)?;
        let subscription = self.hub.get().and_then(|hub| hub.subscribe(after));
        let subscription = subscription
            .ok_or_else(|| ApiError::new(codes::NOT_READY, "the server starts or stops; come back in a moment"))?;
        Ok((slot, subscription))
    }

    /// Ends all streams, after what they were told already.
    pub fn close(&self) {
        if let Some(hub) = self.hub.get() {
            hub.close();
        }
    }
}

/// Publishes whole commits, until the changes end. `told` is the last one that was.
async fn tell(
    hub: &Hub<LiveItem>,
    mut changes: impl Stream<Item = fleet_core::store::Result<Change>> + Unpin,
    told: &mut Seq,
) -> Result<(), Broken> {
    let mut commit: Option<(Seq, Vec<Touched>)> = None;
    loop {
        let next = match &commit {
            None => changes.next().await,
            Some(_) => match timeout(SETTLED, changes.next()).await {
                Ok(next) => next,
                Err(_) => {
                    publish(hub, &mut commit, told);
                    continue;
                }
            },
        };
        match next {
            None => {
                publish(hub, &mut commit, told);
                return Ok(());
            }
            // What is not published is read again.
            Some(Err(Error::Compacted(upto))) => return Err(Broken::Compacted(upto)),
            Some(Err(error)) => return Err(Broken::Failed(error.to_string())),
            // The rest of a commit that was slow to come and is told already.
            Some(Ok(change)) if change.seq <= *told => hub.publish(Happened::Gap(*told)),
            Some(Ok(change)) => {
                if commit.as_ref().is_some_and(|(seq, _)| *seq != change.seq) {
                    publish(hub, &mut commit, told);
                }
                commit
                    .get_or_insert_with(|| (change.seq, Vec::new()))
                    .1
                    .push(change.touched);
            }
        }
    }
}

fn publish(hub: &Hub<LiveItem>, commit: &mut Option<(Seq, Vec<Touched>)>, told: &mut Seq) {
    let Some((seq, touched)) = commit.take() else {
        return;
    };
    *told = seq;
    let items = LiveItem::of_commit(&touched);
    // Most commits of the server itself concern nobody; the past that the hub keeps is for those that do.
    if !items.is_empty() {
        hub.publish(Happened::Commit(seq, items));
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::store::Key;
    use futures::stream;

    use super::*;
    use crate::live::Delivery;

    fn run(seq: Seq, id: u128) -> fleet_core::store::Result<Change> {
        Ok(Change {
            seq,
            touched: Touched::Document {
                key: Key::new("run", Uuid::from_u128(id)),
                rev: 1,
                deleted: false,
            },
        })
    }

    fn inner(seq: Seq) -> fleet_core::store::Result<Change> {
        Ok(Change {
            seq,
            touched: Touched::Document {
                key: Key::new("package_set", Uuid::nil()),
                rev: 1,
                deleted: false,
            },
        })
    }

    /// What a subscriber is told of these changes: place and number of items, or the reason why something is missing.
    async fn told(
        changes: impl Stream<Item = fleet_core::store::Result<Change>> + Unpin,
    ) -> (Vec<String>, Seq, Result<(), Broken>) {
        let hub = Hub::new(0, HubLimits::default());
        let mut subscription = hub.subscribe(None).unwrap();
        let mut place = 0;
        let outcome = tell(&hub, changes, &mut place).await;
        hub.close();
        let mut out = Vec::new();
        while let Some(delivery) = subscription.next().await {
            out.push(match delivery {
                Delivery::Commit { position, items } => format!("{position}:{}", items.len()),
                Delivery::Missed { position, reason } => format!("{position}:{reason:?}"),
            });
        }
        (out, place, outcome)
    }

    #[tokio::test]
    async fn a_commit_is_told_as_one_and_what_concerns_nobody_is_left_out() {
        let (out, place, outcome) = told(stream::iter([run(1, 1), run(1, 2), inner(2), run(3, 1), inner(4)])).await;
        assert_eq!((out, place), (vec!["1:2".to_owned(), "3:1".to_owned()], 4));
        assert!(outcome.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_commit_is_told_while_the_feed_waits() {
        let changes = stream::iter([run(1, 1), run(1, 2)]).chain(stream::pending());
        let hub = Hub::new(0, HubLimits::default());
        let mut subscription = hub.subscribe(None).unwrap();
        let mut place = 0;
        let telling = tell(&hub, Box::pin(changes), &mut place);
        tokio::select! {
            _ = telling => panic!("the feed has not ended"),
            delivery = subscription.next() => {
                assert!(matches!(delivery, Some(Delivery::Commit { position: 1, items }) if items.len() == 2));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_comes_in_slow_parts_means_reading_again() {
        let late = stream::once(async {
            sleep(Duration::from_secs(5)).await;
            run(1, 2)
        });
        let changes = stream::iter([run(1, 1)]).chain(late).chain(stream::iter([run(2, 3)]));
        let (out, place, _) = told(Box::pin(changes)).await;
        assert_eq!((out, place), (vec!["1:1".into(), "1:Gap".into(), "2:1".into()], 2));
    }

    #[tokio::test]
    async fn what_was_not_told_before_a_failure_is_read_again() {
        let (out, place, outcome) = told(stream::iter([run(1, 1), run(2, 1), Err(Error::Compacted(7))])).await;
        assert_eq!((out, place), (vec!["1:1".to_owned()], 1));
        assert!(matches!(outcome, Err(Broken::Compacted(7))));
        let broken = Err(Error::Unavailable("gone".into()));
        let (_, _, outcome) = told(stream::iter([broken])).await;
        assert!(matches!(outcome, Err(Broken::Failed(_))));
    }
}
