//! What devices answer, in order and out of it.

use super::*;
use crate::{
    protocol::Refused,
    work::{
        delivery::{Answer, Told},
        output::Seen,
    },
};

#[tokio::test]
async fn a_run_goes_its_way_and_every_move_is_recorded() {
    let work = Work::new().await;
    let run = work.run_in(State::Succeeded).await;
    assert_eq!(
        work.moves(run).await,
        [
            "queued>offered",
            "offered>accepted",
            "accepted>running",
            "running>succeeded"
        ]
    );
    let view = work.show(run).await;
    assert!(view.terminal && view.finished_at.is_some() && view.delivery.receipt_at.is_some());
    assert_eq!(view.ending.unwrap().exit_code, Some(0));
}

#[tokio::test]
async fn an_offer_is_signed_and_committed_before_it_is_handed_out() {
    let work = Work::new().await;
    let run = work.run().await;
    let pending = work.pending(7).await;
    let offer = &pending.offers[0];
    assert_eq!(
        offer.verify(&work.dispatch.public(), work.device, 7, work.now()),
        Ok(())
    );
    assert_eq!((offer.body.run, work.state(run).await), (run, State::Offered));
    assert!(work.pending(7).await.offers.is_empty(), "once a session");
    let again = work.pending(8).await.offers;
    assert_eq!(
        (again.len(), again[0].body.epoch),
        (1, 8),
        "a new session offers again what was not confirmed"
    );
    assert_eq!(work.show(run).await.delivery.attempts, 2);
}

#[tokio::test]
async fn a_confirmed_run_is_not_offered_again() {
    let work = Work::new().await;
    for state in [State::Accepted, State::Running, State::Succeeded] {
        work.run_in(state).await;
        assert!(work.pending(50).await.offers.is_empty(), "{state:?}");
        work.advance(4_000);
        work.sweep().await;
    }
}

#[tokio::test]
async fn repeated_answers_change_nothing() {
    let work = Work::new().await;
    let run = work.run_in(State::Succeeded).await;
    let delivery = work.test.fleet.delivery();
    let before = work.test.fleet.runs().show(&work.test.admin(), run).await.unwrap();
    assert_eq!(delivery.accepted(work.device, run).await.unwrap(), Answer::Repeat);
    assert_eq!(
        delivery.started(work.device, run, work.now()).await.unwrap(),
        Answer::Repeat
    );
    assert_eq!(
        delivery
            .finished(work.device, work.finished(run, RunResult::Succeeded))
            .await
            .unwrap(),
        Answer::Repeat
    );
    assert_eq!(
        work.test.fleet.runs().show(&work.test.admin(), run).await.unwrap(),
        before
    );
}

#[tokio::test]
async fn an_acceptance_and_a_start_that_come_together_are_two_moves() {
    for (from, expected) in [
        (State::Offered, [Answer::Stored; 2]),
        (State::Accepted, [Answer::Repeat, Answer::Stored]),
        (State::Running, [Answer::Repeat; 2]),
    ] {
        let work = Work::new().await;
        let run = work.run_in(from).await;
        let delivery = work.test.fleet.delivery();
        let told = [Told::Accepted, Told::Started(work.now())];
        let answers = delivery.tell(work.device, run, &told).await;
        assert_eq!(answers.unwrap(), expected, "{from:?}");
        let moves = ["queued>offered", "offered>accepted", "accepted>running"];
        assert_eq!(work.moves(run).await, moves, "{from:?}");
    }
    let work = Work::new().await;
    let queued = work.run().await;
    let delivery = work.test.fleet.delivery();
    let told = [Told::Accepted, Told::Started(work.now())];
    let answers = delivery.tell(work.device, queued, &told).await;
    assert_eq!(answers.unwrap(), [Answer::Rejected; 2]);
    assert_eq!(work.state(queued).await, State::Queued);
}

#[tokio::test]
async fn an_end_that_contradicts_another_is_rejected() {
    let work = Work::new().await;
    let run = work.run_in(State::Succeeded).await;
    let delivery = work.test.fleet.delivery();
    assert_eq!(
        delivery
            .finished(work.device, work.finished(run, RunResult::Failed))
            .await
            .unwrap(),
        Answer::Rejected
    );
    assert_eq!(work.state(run).await, State::Succeeded);
}

#[tokio::test]
async fn the_end_stands_even_when_its_forerunners_were_lost() {
    let work = Work::new().await;
    let run = work.run_in(State::Offered).await;
    let finished = Finished {
        started_at: Some(work.now()),
        ..work.finished(run, RunResult::Failed)
    };
    assert_eq!(
        work.test
            .fleet
            .delivery()
            .finished(work.device, finished)
            .await
            .unwrap(),
        Answer::Stored
    );
    assert_eq!(work.moves(run).await, ["queued>offered", "offered>failed"]);
}

#[tokio::test]
async fn another_devices_run_cannot_be_touched() {
    let work = Work::new().await;
    let other = work.test.device("mallory").await;
    let run = work.run_in(State::Running).await;
    let delivery = work.test.fleet.delivery();
    assert_eq!(delivery.accepted(other, run).await.unwrap(), Answer::Rejected);
    assert_eq!(
        delivery
            .finished(other, work.finished(run, RunResult::Failed))
            .await
            .unwrap(),
        Answer::Rejected
    );
    delivery
        .output(other, &output(run, vec![chunk(0, "lies")]))
        .await
        .unwrap();
    assert_eq!(work.state(run).await, State::Running);
    assert!(text(&work, run).await.is_empty());
}

#[tokio::test]
async fn a_result_for_a_run_that_was_never_offered_is_rejected() {
    let work = Work::new().await;
    let run = work.run().await;
    assert_eq!(
        work.test
            .fleet
            .delivery()
            .finished(work.device, work.finished(run, RunResult::Succeeded))
            .await
            .unwrap(),
        Answer::Rejected
    );
    assert_eq!(work.state(run).await, State::Queued);
}

#[tokio::test]
async fn a_refusal_ends_the_run_with_its_code() {
    let work = Work::new().await;
    for (code, state) in [("policy.forbidden", State::Failed), ("offer.expired", State::Expired)] {
        let run = work.run_in(State::Offered).await;
        let refused = Refused {
            run,
            code: code.into(),
            message: "no".into(),
        };
        work.test.fleet.delivery().refused(work.device, refused).await.unwrap();
        let view = work.show(run).await;
        assert_eq!((view.state, view.ending.unwrap().code.as_deref()), (state, Some(code)));
    }
}

#[tokio::test]
async fn a_devices_clock_cannot_put_a_run_outside_its_life() {
    let work = Work::new().await;
    let run = work.run_in(State::Accepted).await;
    work.test
        .fleet
        .delivery()
        .started(work.device, run, Timestamp::MAX)
        .await
        .unwrap();
    assert_eq!(work.show(run).await.started_at, Some(work.now()));
    let finished = Finished {
        finished_at: Timestamp::MIN,
        ..work.finished(run, RunResult::Succeeded)
    };
    work.test
        .fleet
        .delivery()
        .finished(work.device, finished)
        .await
        .unwrap();
    assert_eq!(work.show(run).await.finished_at, Some(work.now()));
}

#[tokio::test]
async fn a_servers_clock_that_was_set_back_stops_no_answer() {
    let work = Work::new().await;
    let run = work.run_in(State::Accepted).await;
    work.test.clock.set(work.now().minus(Duration::from_secs(3_600)));
    let delivery = work.test.fleet.delivery();
    assert_eq!(
        delivery.started(work.device, run, work.now()).await.unwrap(),
        Answer::Stored
    );
    let finished = work.finished(run, RunResult::Succeeded);
    assert_eq!(delivery.finished(work.device, finished).await.unwrap(), Answer::Stored);
    let run = work.show(run).await;
    assert_eq!(
        (run.state, run.started_at, run.finished_at),
        (State::Succeeded, Some(work.now()), Some(work.now()))
    );
}

async fn text(work: &Work, run: RunId) -> String {
    let page = work
        .test
        .fleet
        .output()
        .page(&work.test.admin(), run, &PageRequest::default())
        .await
        .unwrap();
    page.items.into_iter().map(|chunk| chunk.text).collect()
}

#[tokio::test]
async fn output_is_kept_in_order_and_repeats_are_absorbed() {
    let work = Work::new().await;
    let run = work.run_in(State::Running).await;
    let delivery = work.test.fleet.delivery();
    assert_eq!(
        delivery
            .output(work.device, &output(run, vec![chunk(1, "b"), chunk(2, "c")]))
            .await
            .unwrap(),
        3
    );
    assert_eq!(
        delivery
            .output(work.device, &output(run, vec![chunk(0, "a"), chunk(1, "b")]))
            .await
            .unwrap(),
        2
    );
    delivery
        .output(work.device, &output(run, vec![chunk(1, "X"), chunk(3, "d")]))
        .await
        .unwrap();
    assert_eq!(
        text(&work, run).await,
        "abcd",
        "what is stored stays, and the rest is stored"
    );
}

#[tokio::test]
async fn hostile_output_is_bounded() {
    let work = Work::new().await;
    let run = work.run_in(State::Running).await;
    let delivery = work.test.fleet.delivery();
    delivery
        .output(
            work.device,
            &output(run, vec![chunk(u32::MAX, "far"), chunk(70_000, "far")]),
        )
        .await
        .unwrap();
    delivery
        .output(
            work.device,
            &output(run, vec![chunk(0, &"x".repeat(crate::protocol::MAX_CHUNK + 1))]),
        )
        .await
        .unwrap();
    assert_eq!(text(&work, run).await, "");
    delivery
        .output(work.device, &output(run, vec![chunk(0, "nul\u{0}")]))
        .await
        .unwrap();
    assert_eq!(text(&work, run).await, "nul\u{fffd}");
    let piece = "y".repeat(crate::protocol::MAX_CHUNK);
    for sequence in 1..3_000 {
        delivery
            .output(work.device, &output(run, vec![chunk(sequence, &piece)]))
            .await
            .unwrap();
    }
    let stored = work
        .test
        .fleet
        .output()
        .page(&work.test.admin(), run, &PageRequest::new(Some(500), None).unwrap())
        .await
        .unwrap();
    assert!(stored.next.is_some());
    let bytes: usize = all(&work, run).await.iter().map(|chunk| chunk.text.len()).sum();
    assert!(bytes <= 13 * 1024 * 1024, "{bytes}");
}

async fn all(work: &Work, run: RunId) -> Vec<crate::work::output::ChunkView> {
    let (mut chunks, mut token) = (Vec::new(), None);
    loop {
        let page = work
            .test
            .fleet
            .output()
            .page(&work.test.admin(), run, &PageRequest::new(Some(500), token).unwrap())
            .await
            .unwrap();
        chunks.extend(page.items);
        token = page.next;
        if token.is_none() {
            return chunks;
        }
    }
}

#[tokio::test]
async fn a_watch_sees_everything_once_and_then_the_end() {
    let work = Work::new().await;
    let run = work.run_in(State::Running).await;
    let delivery = work.test.fleet.delivery();
    delivery
        .output(work.device, &output(run, vec![chunk(0, "early ")]))
        .await
        .unwrap();
    let mut watch = work
        .test
        .fleet
        .output()
        .watch(&work.test.admin(), run, 0)
        .await
        .unwrap();
    let watching = async {
        let mut seen = String::new();
        loop {
            match watch.next().await.unwrap() {
                Some(Seen::Chunks(chunks)) => seen.extend(chunks.into_iter().map(|chunk| chunk.text)),
                Some(Seen::Ended(view)) => break (seen, view.state),
                None => panic!("the end comes once"),
            }
        }
    };
    let telling = async {
        for sequence in 1..1_200 {
            delivery
                .output(work.device, &output(run, vec![chunk(sequence, "x")]))
                .await
                .unwrap();
        }
        delivery
            .finished(work.device, work.finished(run, RunResult::Succeeded))
            .await
            .unwrap();
    };
    let ((seen, state), ()) = tokio::join!(watching, telling);
    assert_eq!((seen.len(), state), ("early ".len() + 1_199, State::Succeeded));
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test]
async fn cancelling_reaches_the_device_and_its_answer_ends_the_run() {
    let work = Work::new().await;
    let (fleet, admin) = (&work.test.fleet, work.test.admin());
    let queued = work.run_in(State::Queued).await;
    assert_eq!(
        fleet.runs().cancel(&admin, queued).await.unwrap().state,
        State::Cancelled
    );
    for state in [State::Offered, State::Accepted, State::Running] {
        let run = work.run_in(state).await;
        assert_eq!(fleet.runs().cancel(&admin, run).await.unwrap().state, state);
        assert!(fleet.runs().cancel(&admin, run).await.is_ok(), "again changes nothing");
        assert_eq!(work.pending(60).await.cancels, [run]);
        assert!(work.pending(61).await.offers.is_empty(), "it is not offered any more");
        fleet
            .delivery()
            .finished(work.device, work.finished(run, RunResult::Cancelled))
            .await
            .unwrap();
        assert_eq!(work.state(run).await, State::Cancelled);
    }
    let ended = work.run_in(State::Succeeded).await;
    assert_eq!(
        fleet.runs().cancel(&admin, ended).await.unwrap().state,
        State::Succeeded
    );
    let cancels = work
        .test
        .actions()
        .await
        .into_iter()
        .filter(|action| action == "run.cancel")
        .count();
    assert_eq!(
        cancels, 4,
        "one audit entry for each run that there was something to stop of"
    );
}

/// What is stored of a summary that a device reports.
async fn check_summary(summary: serde_json::Value, is_stored: bool) {
    let work = Work::new().await;
    let run = work.run_in(State::Running).await;
    let finished = Finished {
        summary: Some(summary.clone()),
        ..work.finished(run, RunResult::Succeeded)
    };
    let answer = work.test.fleet.delivery().finished(work.device, finished).await;
    assert_eq!(answer.unwrap(), Answer::Stored);
    let ending = work.show(run).await.ending.unwrap();
    assert_eq!(ending.summary, is_stored.then_some(summary));
}

#[tokio::test]
async fn what_a_kind_reports_is_kept_as_far_as_it_fits() {
    check_summary(serde_json::json!({"steps": ["write /etc/motd"], "more": 0}), true).await;
    check_summary(serde_json::json!(["write /etc/motd"]), false).await;
    check_summary(serde_json::json!({"text": "a".repeat(17_000)}), false).await;
    check_summary(serde_json::json!({"text": "a\u{0}b"}), false).await;
}
