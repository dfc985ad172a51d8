//! Runs that devices begin by themselves, and what they tell of their manifests.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    protocol::{
        Applied, Failing, Finished, ManifestAnswer, ManifestRequest, OccurrencePart, Originated, RunResult, assemble,
    },
    work::{
        BatchRequest, Run, RunFilter, RunId, RunView, State,
        batch::{RUN_OF_ITS_DEVICE, Targets},
        delivery::{Answer, Told},
        forgetting::{forget_ended, forget_some},
    },
};

impl Desired {
    /// A device tells of a run that it has begun for an occurrence, and how that ended; what became of each.
    async fn tell(&self, device: usize, occurrence: Uuid, at: Timestamp) -> Vec<Answer> {
        let id = self.devices[device];
        self.tell_as(device, RunId::originated(id, occurrence, at), occurrence, at)
            .await
    }

    async fn tell_as(&self, device: usize, run: RunId, occurrence: Uuid, at: Timestamp) -> Vec<Answer> {
        let originated = Originated {
            run,
            occurrence,
            version: 1,
            at,
        };
        let finished = Finished {
            run,
            result: RunResult::Succeeded,
            exit_code: None,
            signal: None,
            code: None,
            message: None,
            changed: Some(true),
            summary: None,
            started_at: Some(at),
            finished_at: at.plus(Duration::from_secs(5)),
            chunks: 0,
            truncated_bytes: 0,
        };
        let told = [
            Told::Originated(originated),
            Told::Started(at),
            Told::Finished(finished),
        ];
        let delivery = self.test.fleet.delivery();
        delivery.tell(self.devices[device], run, &told).await.unwrap()
    }

    pub(super) async fn runs(&self) -> Vec<RunView> {
        let (runs, all) = (self.test.fleet.runs(), RunFilter::default());
        let page = runs.list(&self.test.admin(), &all, &PageRequest::default()).await;
        page.unwrap().items
    }

    async fn occurrences(&self, device: usize) -> Vec<manifest::Occurrence> {
        let manifest = self.manifest(self.devices[device]).await.unwrap();
        let groups = manifest.groups.into_iter().flat_map(|group| group.occurrences);
        groups.chain(manifest.reverts).collect()
    }

    async fn asked(&self, device: usize, have: Option<String>) -> ManifestAnswer {
        let request = ManifestRequest {
            nonce: "n".into(),
            have,
        };
        let manifests = self.desired().manifests();
        let answer = manifests
            .of_agent(self.devices[device], &request, &self.test.key())
            .await;
        answer.unwrap()
    }
}

use Answer::{Rejected, Repeat, Stored};

#[tokio::test]
async fn a_run_that_a_device_began_for_its_manifest_is_stored_once_with_what_stands_there() {
    let desired = Desired::new(2).await;
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let occurrence = desired.occurrences(0).await.remove(0);
    let at = desired.test.clock_now();
    desired.test.advance(3 * 86_400);
    assert_eq!(desired.tell(0, occurrence.id, at).await, [Stored, Stored, Stored]);
    let run = desired.runs().await.remove(0);
    assert_eq!((run.batch, run.state, run.created_at), (None, State::Succeeded, at));
    assert_eq!(
        (run.operation.as_str(), &run.params),
        ("test_file", &occurrence.params.shown())
    );
    assert_eq!(run.origin.unwrap().action, action);
    assert_eq!(run.ending.unwrap().changed, Some(true));
    let seq = desired.test.seq().await;
    assert_eq!(desired.tell(0, occurrence.id, at).await, [Repeat, Repeat, Repeat]);
    assert_eq!(desired.test.seq().await, seq, "what is told twice changes nothing");
    assert_eq!(desired.runs().await.len(), 1);
    let of_action = async |action| {
        let filter = RunFilter {
            action: Some(action),
            ..RunFilter::default()
        };
        let runs = desired.test.fleet.runs();
        let page = runs.list(&desired.test.admin(), &filter, &PageRequest::default()).await;
        page.unwrap().items.len()
    };
    let other = desired.action("other").await;
    assert_eq!((of_action(action).await, of_action(other).await), (1, 0));
    let batches = desired.test.fleet.batches();
    let again = batches.retry_run(&desired.test.admin(), run.id, None).await;
    assert_eq!(again.unwrap_err().code(), RUN_OF_ITS_DEVICE, "nobody asked for it");
}

#[tokio::test]
async fn what_a_device_did_by_itself_is_forgotten_after_a_year() {
    let desired = Desired::new(1).await;
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let occurrence = desired.occurrences(0).await.remove(0);
    desired.tell(0, occurrence.id, desired.test.clock_now()).await;
    for (days, kept) in [(364, 1), (2, 0)] {
        desired.test.advance(days * 86_400);
        forget_ended(desired.test.fleet.clone()).await.unwrap();
        assert_eq!(desired.runs().await.len(), kept);
    }
}

#[tokio::test]
async fn what_a_device_did_by_itself_is_forgotten_however_much_other_work_is_kept() {
    let desired = Desired::new(1).await;
    let (test, admin) = (&desired.test, desired.test.admin());
    // Older, and still to begin.
    let kept = BatchRequest {
        operation: "shell".into(),
        params: json!({"script": "true"}).into(),
        targets: Targets::devices(test.devices(MAX_LIMIT + 1).await),
        start_at: Some(test.clock_now().plus(Duration::from_secs(366 * 86_400))),
        confirm_devices: Some(MAX_LIMIT as u64 + 1),
        ..BatchRequest::default()
    };
    let kept = test.fleet.batches().create(&admin, &kept, None).await.unwrap();
    test.advance(60);
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let occurrence = desired.occurrences(0).await.remove(0);
    let told = test.clock_now();
    desired.tell(0, occurrence.id, told).await;
    let own = RunId::originated(desired.devices[0], occurrence.id, told);
    for (days, is_there) in [(364, true), (2, false)] {
        test.advance(days * 86_400);
        forget_some(&test.fleet, 1).await.unwrap();
        let found = test.fleet.store().get::<Run>(own).await.unwrap();
        assert_eq!(found.is_some(), is_there);
    }
    assert_eq!(
        test.fleet.batches().show(&admin, kept.id).await.unwrap().runs,
        MAX_LIMIT as u64 + 1
    );
}

#[tokio::test]
async fn what_never_stood_in_its_manifest_is_rejected() {
    let desired = Desired::new(2).await;
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let (occurrence, at) = (desired.occurrences(0).await.remove(0), desired.test.clock_now());
    let rejected = [Rejected, Rejected, Rejected];
    assert_eq!(desired.tell(1, occurrence.id, at).await, rejected, "of another device");
    assert_eq!(desired.tell(0, Uuid::from_u128(1), at).await, rejected, "of nobody");
    // The id of a run follows from device, occurrence and time, and nothing else is taken for it.
    let run = RunId::originated(desired.devices[1], occurrence.id, at);
    assert_eq!(desired.tell_as(0, run, occurrence.id, at).await, rejected);
    assert!(desired.runs().await.is_empty());
}

#[tokio::test]
async fn what_stood_in_an_earlier_version_is_told_of_late_and_also_what_was_taken_back() {
    let desired = Desired::new(1).await;
    let target = device(desired.devices[0]);
    let ann = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let assigned = desired.assign(ann, target, Mode::Required).await;
    desired.check(&["1: ann"]).await;
    let before = desired.occurrences(0).await.remove(0);
    let (service, admin) = (desired.desired(), desired.test.admin());
    service.assignments().delete(&admin, assigned.id, None).await.unwrap();
    desired.check(&["2: ~ann-"]).await;
    let revert = desired.occurrences(0).await.remove(0);
    let manifests = service.manifests();
    manifests
        .confirm_reverts(desired.devices[0], &[revert.id])
        .await
        .unwrap();
    desired.check(&["3: "]).await;
    let at = desired.test.clock_now();
    assert_eq!(desired.tell(0, before.id, at).await, [Stored, Stored, Stored]);
    assert_eq!(desired.tell(0, revert.id, at).await, [Stored, Stored, Stored]);
    let states: Vec<_> = desired
        .runs()
        .await
        .iter()
        .map(|run| run.params["state"].clone())
        .collect();
    assert!(states.contains(&json!("absent")), "{states:?}");
}

#[tokio::test]
async fn a_run_whose_device_vanished_in_the_middle_ends_and_its_result_still_lands() {
    let desired = Desired::new(1).await;
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let (occurrence, at) = (desired.occurrences(0).await.remove(0), desired.test.clock_now());
    let run = RunId::originated(desired.devices[0], occurrence.id, at);
    let originated = Originated {
        run,
        occurrence: occurrence.id,
        version: 1,
        at,
    };
    let delivery = desired.test.fleet.delivery();
    let told = [Told::Originated(originated), Told::Started(at)];
    delivery.tell(desired.devices[0], run, &told).await.unwrap();
    assert_eq!(desired.runs().await[0].state, State::Running);
    desired.test.advance(86_400);
    crate::work::delivery::sweep(desired.test.fleet.clone()).await.unwrap();
    assert_eq!(desired.runs().await[0].state, State::Lost);
    assert_eq!(desired.tell(0, occurrence.id, at).await, [Repeat, Repeat, Stored]);
    assert_eq!(desired.runs().await[0].state, State::Succeeded);
}

#[tokio::test]
async fn an_agent_is_sent_what_it_lacks() {
    let desired = Desired::new(1).await;
    let target = device(desired.devices[0]);
    let nothing = desired.asked(0, None).await;
    assert_eq!((nothing.body.version, nothing.body.digest.as_str()), (0, ""));
    assert_eq!(assemble(&[], &nothing), Some(Vec::new()));
    let first = desired.action("motd").await;
    desired.assign(first, target, Mode::Required).await;
    desired.keep().await;
    let whole = desired.asked(0, None).await;
    let had = assemble(&[], &whole).unwrap();
    assert_eq!(had, desired.manifest(desired.devices[0]).await.unwrap().groups);
    let second = desired.action("hosts").await;
    desired.assign(second, target, Mode::Required).await;
    desired.keep().await;
    let rest = desired.asked(0, Some(whole.body.digest.clone())).await;
    let is_whole = |part: &OccurrencePart| matches!(part, OccurrencePart::Whole(_));
    let sent = rest
        .parts
        .groups
        .iter()
        .map(|group| (group.name.as_str(), is_whole(&group.occurrences[0])));
    assert_eq!(sent.collect::<Vec<_>>(), [("motd", false), ("hosts", true)]);
    assert_eq!(
        assemble(&had, &rest).unwrap(),
        desired.manifest(desired.devices[0]).await.unwrap().groups
    );
    let unknown = desired.asked(0, Some("f".repeat(64))).await;
    assert!(
        assemble(&[], &unknown).is_some(),
        "all of it to whom nothing is known of"
    );
}

#[tokio::test]
async fn what_a_device_tells_of_its_manifest_is_shown_beside_it() {
    let desired = Desired::new(1).await;
    let action = desired.action("motd").await;
    desired.assign(action, device(desired.devices[0]), Mode::Required).await;
    desired.keep().await;
    let shown = async || desired.manifest(desired.devices[0]).await.unwrap().state;
    assert_eq!(shown().await, None);
    let failing = Failing {
        occurrence: Uuid::from_u128(1),
        since: desired.test.clock_now(),
        code: Some("x".repeat(65)),
    };
    let applied = Applied {
        version: 1,
        digest: "d".into(),
        failed: 99,
        failing: vec![failing; 99],
        ..Applied::default()
    };
    let manifests = desired.desired().manifests();
    manifests
        .note_applied(desired.devices[0], applied.clone())
        .await
        .unwrap();
    let state = shown().await.unwrap();
    assert_eq!((state.applied.failed, state.applied.failing.len()), (99, 20));
    assert_eq!(state.applied.failing[0].code, None, "foreign text is bounded");
    let long = Applied {
        digest: "d".repeat(65),
        ..applied
    };
    assert!(manifests.note_applied(desired.devices[0], long).await.is_err());
    let devices = desired.test.fleet.devices();
    devices
        .delete(&desired.test.admin(), desired.devices[0], None)
        .await
        .unwrap();
    let mut reader = desired.test.fleet.store().reader().await.unwrap();
    let state = reader
        .latest::<manifest::ManifestState>(&desired.devices)
        .await
        .unwrap();
    assert_eq!(state, [None], "gone with its device");
}
