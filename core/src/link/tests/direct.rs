//! Runs that are offered as they are made, and what happens when something comes between.

use super::*;
use crate::{
    kernel::PageRequest,
    protocol::{Finished, RunResult},
    work::{RunFilter, RunId, RunView, State},
};

impl World {
    /// A session that has found nothing to do.
    async fn settled(&self) -> Session {
        let session = self.session().await;
        assert!(self.due(&session).await.is_empty() && self.is_settled(&session));
        session
    }

    fn is_settled(&self, session: &Session) -> bool {
        let (known, now) = (self.here.fleet.known_devices(), self.here.clock.now());
        known.is_settled(self.device, session.epoch, now)
    }

    async fn ask(&self) -> RunView {
        // So that the newest run is the first one.
        self.here.advance(1);
        ask_for_work(&self.here.fleet, self.device).await;
        self.newest().await
    }

    async fn newest(&self) -> RunView {
        let (runs, system) = (self.here.fleet.runs(), Context::system("test"));
        let page = runs.list(&system, &RunFilter::default(), &PageRequest::default()).await;
        page.unwrap().items.remove(0)
    }

    async fn finish(&self, run: &RunView) {
        let finished = Finished {
            run: run.id,
            result: RunResult::Succeeded,
            exit_code: Some(0),
            signal: None,
            code: None,
            message: None,
            changed: None,
            summary: None,
            started_at: None,
            finished_at: self.here.clock.now(),
            chunks: 0,
            truncated_bytes: 0,
        };
        self.here
            .fleet
            .delivery()
            .finished(self.device, finished)
            .await
            .unwrap();
    }

    /// The offers that are due, each verified as the agent does; nothing else is.
    async fn offered(&self, session: &Session) -> Vec<RunId> {
        let now = self.here.clock.now();
        let due = self.due(session).await;
        let offers = due.iter().map(|frame| match frame {
            ServerFrame::Offer(offer) => {
                assert_eq!(offer.verify(&session.dispatch, self.device, session.epoch, now), Ok(()));
                offer.body.run
            }
            other => panic!("{other:?}"),
        });
        offers.collect()
    }
}

/// How a run stands once it is made for a device that has settled and listens, and to which this happened then.
async fn check<F: Future<Output = ()>>(happens: impl FnOnce(&World) -> F, expected: State) {
    let world = World::new().await;
    let session = world.settled().await;
    let link = world.here.fleet.link();
    let _listening = link.listen(&session);
    happens(&world).await;
    assert_eq!(world.ask().await.state, expected);
}

#[tokio::test]
async fn a_run_is_offered_by_the_commit_that_makes_it_and_is_sent_without_a_look() {
    let world = World::new().await;
    let session = world.settled().await;
    let link = world.here.fleet.link();
    let _listening = link.listen(&session);
    let before = world.here.seq().await;
    let run = world.ask().await;
    assert_eq!((run.state, run.delivery.epoch), (State::Offered, Some(session.epoch)));
    assert!(world.is_settled(&session), "there is nothing to look for");
    assert_eq!(world.offered(&session).await, [run.id]);
    assert_eq!(world.offered(&session).await, []);
    assert_eq!(world.here.seq().await, before + 1);
    let (runs, system) = (world.here.fleet.runs(), Context::system("test"));
    let events = runs.events(&system, run.id, &PageRequest::default()).await.unwrap();
    let moves = events.items.iter().map(|event| (event.from, event.to));
    assert_eq!(moves.collect::<Vec<_>>(), [(State::Queued, State::Offered)]);

    // The feed tells of it once more, which is no news.
    world.until(|| world.here.fleet.known_devices().untold() == 0).await;
    assert!(world.is_settled(&session));
    world.finish(&run).await;
    assert!(world.is_settled(&session), "nothing is open");
    assert_eq!(
        world.ask().await.state,
        State::Offered,
        "and so the next one goes the same way"
    );
}

#[tokio::test]
async fn a_run_is_queued_where_its_device_may_have_something_else_to_do_or_is_not_sure_to_get_it() {
    check(|_| async {}, State::Offered).await;
    let busy = |world: &World| {
        let (fleet, device) = (world.here.fleet.clone(), world.device);
        async move { ask_for_work(&fleet, device).await }
    };
    check(busy, State::Queued).await;
    let not_known = |world: &World| {
        world.here.fleet.known_devices().wake(world.device);
        async {}
    };
    check(not_known, State::Queued).await;
    let nobody_follows = |world: &World| {
        world.here.fleet.known_devices().begin_anew(false);
        async {}
    };
    check(nobody_follows, State::Queued).await;
    let long_ago = |world: &World| {
        world.here.advance(301);
        async {}
    };
    check(long_ago, State::Queued).await;
    let claimed = |world: &World| {
        let mut claims = world.here.fleet.direct_offers().begin();
        let other = RunId::new(world.here.clock.now(), &*world.here.random);
        assert!(claims.claim(world.device, other).is_some());
        std::mem::forget(claims);
        async {}
    };
    check(claimed, State::Queued).await;
}

#[tokio::test]
async fn a_run_is_queued_for_a_device_that_polls_or_whose_socket_is_of_an_older_session() {
    let world = World::new().await;
    world.settled().await;
    assert_eq!(world.ask().await.state, State::Queued);

    let world = World::new().await;
    let (link, older) = (world.here.fleet.link(), world.settled().await);
    let _listening = link.listen(&older);
    let newer = world.settled().await;
    let run = world.ask().await;
    assert_eq!(run.state, State::Queued);
    assert_eq!(world.offered(&newer).await, [run.id]);
}

#[tokio::test]
async fn a_run_is_queued_for_a_session_that_was_told_another_dispatch_key() {
    let world = World::new().await;
    let (link, session) = (world.here.fleet.link(), world.settled().await);
    let _listening = link.listen(&session);
    world.here.advance(366 * 86_400);
    world.here.fleet.keys().turn_over().await.unwrap();
    assert!(
        world
            .due(&session)
            .await
            .iter()
            .all(|frame| matches!(frame, ServerFrame::Bye(_)))
    );
    assert_eq!(world.ask().await.state, State::Queued);
}

#[tokio::test]
async fn what_was_handed_to_a_session_that_ends_is_offered_in_the_next() {
    let world = World::new().await;
    let (link, session) = (world.here.fleet.link(), world.settled().await);
    let listening = link.listen(&session);
    let run = world.ask().await;
    drop(listening);
    let next = world.session().await;
    let _listening = link.listen(&next);
    assert_eq!(world.offered(&next).await, [run.id]);
    assert_eq!(world.newest().await.delivery.epoch, Some(next.epoch));
}

#[tokio::test]
async fn what_was_handed_is_not_sent_to_a_device_that_is_kept_out_since() {
    for (is_kept_out, by_another) in [(true, false), (true, true), (false, false)] {
        let world = World::new().await;
        let (link, session) = (world.here.fleet.link(), world.settled().await);
        let _listening = link.listen(&session);
        let run = world.ask().await;
        let server = if by_another { &world.there } else { &world.here };
        disable(&server.fleet, world.device, true).await;
        world.until(|| !world.is_known()).await;
        if is_kept_out {
            assert!(matches!(world.due(&session).await[..], [ServerFrame::Bye(_)]));
        } else {
            disable(&server.fleet, world.device, false).await;
            assert_eq!(
                world.offered(&session).await,
                [run.id],
                "it was read again, and offered again"
            );
        }
    }
}

#[tokio::test]
async fn what_was_handed_and_is_cancelled_is_stopped() {
    let world = World::new().await;
    let (link, session) = (world.here.fleet.link(), world.settled().await);
    let _listening = link.listen(&session);
    let run = world.ask().await;
    assert_eq!(world.offered(&session).await, [run.id]);
    let runs = world.here.fleet.runs();
    runs.cancel(&Context::system("test"), run.id).await.unwrap();
    assert!(matches!(&world.due(&session).await[..], [ServerFrame::Cancel(cancel)] if cancel.run == run.id));
}

#[tokio::test]
async fn nobody_looks_while_a_run_is_made_and_whoever_waits_is_woken_then() {
    let world = World::new().await;
    let (link, session) = (world.here.fleet.link(), world.settled().await);
    let _listening = link.listen(&session);
    let mut claims = world.here.fleet.direct_offers().begin();
    let made = RunId::new(world.here.clock.now(), &*world.here.random);
    assert_eq!(claims.claim(world.device, made), Some(session.epoch));
    let run = world.ask().await;
    assert_eq!(
        world.offered(&session).await,
        [],
        "the one that is being made may be the first"
    );
    let mut signal = world.here.fleet.device_signals().subscribe(world.device);
    drop(claims);
    assert!(timeout(Duration::from_secs(30), signal.signalled()).await.is_ok());
    assert!(
        world.here.fleet.inboxes().is_in_doubt(&session),
        "its outcome is not known here"
    );
    assert_eq!(world.offered(&session).await, [run.id]);
}

#[tokio::test]
async fn what_was_made_while_nobody_waited_for_it_is_offered_by_the_look() {
    let world = World::new().await;
    let (link, session) = (world.here.fleet.link(), world.settled().await);
    let _listening = link.listen(&session);
    // As if the request had gone away before its commit was heard of: the run is there, and nobody handed it over.
    let run = world.ask().await;
    assert!(world.here.fleet.inboxes().take(&session).is_some());
    world.here.fleet.inboxes().doubt(world.device);
    world.here.fleet.known_devices().wake(world.device);
    assert_eq!(world.offered(&session).await, [run.id]);
    world.here.fleet.known_devices().wake(world.device);
    assert_eq!(world.offered(&session).await, [], "once");
    assert_eq!(world.newest().await.delivery.attempts, 2);
}
