//! Many devices at the same moment: one commit for all, and nobody pays for another.

use futures::future::join_all;
use tokio::task::JoinSet;

use super::*;
use crate::{
    devices::device::DEVICE_GONE,
    protocol::Offer,
    work::{
        delivery::{Answer, Told},
        run::RunEvent,
    },
};

/// A fleet whose deliveries are driven, with one run for each of its devices.
struct Crowd {
    work: Work,
    devices: Vec<DeviceId>,
    _drivers: JoinSet<()>,
}

impl Crowd {
    async fn new(size: usize) -> Self {
        let work = Work::new().await;
        let mut devices = Vec::new();
        for n in 0..size {
            devices.push(work.test.device(&format!("crowd-{n}")).await);
        }
        let targets = Targets::devices(devices.clone());
        let request = BatchRequest {
            targets,
            ..work.request("uname -a")
        };
        work.create(&request).await.unwrap();
        let mut drivers = JoinSet::new();
        let fleet = work.test.fleet.clone();
        drivers.spawn(async move { fleet.delivery().drive().await });
        tokio::task::yield_now().await;
        Self {
            work,
            devices,
            _drivers: drivers,
        }
    }

    /// How many commits were made meanwhile.
    async fn commits<R>(&self, what: impl Future<Output = R>) -> (R, u64) {
        let store = self.work.test.fleet.store();
        let before = store.reader().await.unwrap().seq();
        let outcome = what.await;
        (outcome, store.reader().await.unwrap().seq() - before)
    }

    /// All devices ask at once.
    async fn offers(&self, epoch: u64) -> Vec<Result<Vec<Offer>>> {
        let (fleet, dispatch) = (&self.work.test.fleet, &self.work.dispatch);
        let asks = self.devices.iter().map(async |device| {
            let pending = fleet.delivery().pending(*device, epoch, dispatch).await;
            pending.map(|pending| pending.offers)
        });
        join_all(asks).await
    }

    /// All devices tell something of their runs at once.
    async fn tell(&self, runs: &[RunId], told: impl Fn(usize, RunId) -> Vec<Told> + Sync) -> Vec<Result<Vec<Answer>>> {
        let pairs = self.devices.iter().zip(runs).enumerate();
        let fleet = &self.work.test.fleet;
        let told =
            pairs.map(async |(place, (device, run))| fleet.delivery().tell(*device, *run, &told(place, *run)).await);
        join_all(told).await
    }

    /// The output that is stored of a run.
    async fn printed(&self, run: RunId) -> Vec<String> {
        let (fleet, admin) = (&self.work.test.fleet, self.work.test.admin());
        let page = fleet.output().page(&admin, run, &PageRequest::default()).await.unwrap();
        page.items.into_iter().map(|chunk| chunk.text).collect()
    }
}

fn runs(offers: Vec<Result<Vec<Offer>>>) -> Vec<RunId> {
    offers
        .into_iter()
        .flat_map(|offers| offers.unwrap())
        .map(|offer| offer.body.run)
        .collect()
}

#[tokio::test]
async fn devices_that_ask_and_tell_at_once_share_commits_and_each_has_its_own() {
    let crowd = Crowd::new(20).await;
    let (offers, commits) = crowd.commits(crowd.offers(1)).await;
    assert_eq!(commits, 1, "one commit offers to all");
    for (offers, device) in offers.iter().zip(&crowd.devices) {
        let offers = offers.as_ref().unwrap();
        assert_eq!(offers.len(), 1);
        assert_eq!(offers[0].body.device, *device);
    }
    let runs = runs(offers);
    let now = crowd.work.now();
    let begin = |_, _| vec![Told::Accepted, Told::Started(now)];
    let (answers, commits) = crowd.commits(crowd.tell(&runs, begin)).await;
    assert_eq!(commits, 1);
    assert!(
        answers
            .iter()
            .all(|answers| *answers.as_ref().unwrap() == [Answer::Stored; 2])
    );
    let end = |place, run| {
        let printed = output(run, vec![chunk(0, &format!("I am {place}"))]);
        vec![
            Told::Output(printed),
            Told::Finished(crowd.work.finished(run, RunResult::Succeeded)),
        ]
    };
    let (answers, commits) = crowd.commits(crowd.tell(&runs, end)).await;
    assert_eq!(commits, 1);
    assert!(
        answers
            .iter()
            .all(|answers| *answers.as_ref().unwrap() == [Answer::Stored; 2])
    );
    for (place, run) in runs.iter().enumerate() {
        assert_eq!(crowd.printed(*run).await, [format!("I am {place}")]);
        assert_eq!(
            crowd.work.moves(*run).await,
            [
                "queued>offered",
                "offered>accepted",
                "accepted>running",
                "running>succeeded"
            ]
        );
    }
    // Told again, as after a lost answer: nothing is stored twice.
    let (answers, commits) = crowd.commits(crowd.tell(&runs, end)).await;
    assert_eq!(commits, 0);
    assert!(
        answers
            .iter()
            .all(|answers| *answers.as_ref().unwrap() == [Answer::Stored, Answer::Repeat])
    );
}

#[tokio::test]
async fn a_device_that_sends_other_output_again_keeps_nobody_from_being_heard() {
    let crowd = Crowd::new(3).await;
    let runs = runs(crowd.offers(1).await);
    let first = |_, run| vec![Told::Accepted, Told::Output(output(run, vec![chunk(0, "so")]))];
    crowd.tell(&runs, first).await;
    let end = |place, run| {
        let text = if place == 1 { "otherwise" } else { "so" };
        vec![
            Told::Output(output(run, vec![chunk(0, text), chunk(1, "then")])),
            Told::Finished(crowd.work.finished(run, RunResult::Succeeded)),
        ]
    };
    let answers = crowd.tell(&runs, end).await;
    assert!(
        answers
            .iter()
            .all(|answers| *answers.as_ref().unwrap() == [Answer::Stored; 2])
    );
    for run in runs {
        assert_eq!(crowd.printed(run).await, ["so", "then"], "what is stored stays");
        assert_eq!(crowd.work.state(run).await, State::Succeeded);
    }
}

#[tokio::test]
async fn a_device_that_is_gone_or_lies_is_answered_for_itself() {
    let crowd = Crowd::new(3).await;
    let (fleet, admin) = (&crowd.work.test.fleet, crowd.work.test.admin());
    let gone = crowd.devices[1];
    fleet.devices().delete(&admin, gone, None).await.unwrap();
    let offers = crowd.offers(1).await;
    assert_eq!(offers[1].as_ref().unwrap_err().code(), DEVICE_GONE);
    let (one, other) = (
        offers[0].as_ref().unwrap()[0].body.run,
        offers[2].as_ref().unwrap()[0].body.run,
    );
    // The first tells of the third's run, the third of its own.
    let lie = [Told::Accepted];
    let delivery = fleet.delivery();
    let (lied, told) = tokio::join!(
        delivery.tell(crowd.devices[0], other, &lie),
        delivery.tell(crowd.devices[2], other, &lie)
    );
    assert_eq!(lied.unwrap(), [Answer::Rejected]);
    assert_eq!(told.unwrap(), [Answer::Stored]);
    assert_eq!(crowd.work.state(one).await, State::Offered);
    assert_eq!(crowd.work.state(other).await, State::Accepted);
}

#[tokio::test]
async fn of_two_sessions_that_ask_at_once_one_is_offered_the_work() {
    let crowd = Crowd::new(1).await;
    let (fleet, dispatch, device) = (&crowd.work.test.fleet, &crowd.work.dispatch, crowd.devices[0]);
    let delivery = fleet.delivery();
    let (old, new) = tokio::join!(
        delivery.pending(device, 1, dispatch),
        delivery.pending(device, 2, dispatch)
    );
    assert_eq!(old.unwrap().offers.len() + new.unwrap().offers.len(), 1);
    // Whoever is the newest hears of it in the end.
    let run = crowd
        .work
        .show(delivery.pending(device, 3, dispatch).await.unwrap().offers[0].body.run)
        .await;
    assert_eq!((run.state, run.delivery.epoch), (State::Offered, Some(3)));
    let events = fleet
        .runs()
        .events(&crowd.work.test.admin(), run.id, &PageRequest::default())
        .await
        .unwrap();
    let reasons: Vec<_> = events
        .items
        .iter()
        .map(|event: &RunEvent| event.reason.as_deref())
        .collect();
    assert_eq!(reasons, [None, Some("offered again")]);
}
