//! Actions that are carried out once.

use uuid::Uuid;

use super::*;
use crate::{
    access::Actor,
    devices::testing::fails,
    kernel::INVALID,
    work::{
        BatchRequest, BatchView, GivenParams,
        batch::{KEY_REUSED, Targets, batch_id_for_key},
        desired::actions::ActionChange,
        operations::UNKNOWN_KIND,
    },
};

impl Desired {
    /// An action of a script, as absent or not.
    async fn kept(&self, state: DesiredState) -> ActionId {
        let new = NewAction {
            name: "Motd".into(),
            description: String::new(),
            operation: "file".into(),
            params: json!({"path": "/etc/motd", "content": "hello\n"}).into(),
            state,
            timeout_seconds: Some(77),
            rhythm: None,
        };
        let made = self.desired().actions().create(&self.test.admin(), &new).await;
        made.unwrap().id
    }

    fn once(&self, action: ActionId) -> BatchRequest {
        BatchRequest {
            action: Some(action),
            targets: Targets::devices(vec![self.devices[0]]),
            ..BatchRequest::default()
        }
    }

    async fn ask(&self, request: &BatchRequest) -> Result<BatchView> {
        self.test
            .fleet
            .batches()
            .create(&self.test.admin(), request, None)
            .await
    }
}

/// With what an action in a state is carried out.
async fn check(state: DesiredState, expected: serde_json::Value) {
    let desired = Desired::new(1).await;
    let action = desired.kept(state).await;
    let batch = desired.ask(&desired.once(action)).await.unwrap();
    let run = desired.runs().await.remove(0);
    assert_eq!((batch.action, run.batch), (Some(action), Some(batch.id)));
    assert_eq!((run.operation.as_str(), run.timeout_seconds), ("file", 77));
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(run.params.get(member).unwrap_or(&json!(null)), value, "{}", run.params);
    }
}

#[tokio::test]
async fn an_action_is_carried_out_with_its_parameters_in_its_state_and_time() {
    check(
        DesiredState::Present,
        json!({"path": "/etc/motd", "content": "hello\n", "state": null}),
    )
    .await;
    check(DesiredState::Absent, json!({"path": "/etc/motd", "state": "absent"})).await;
}

#[tokio::test]
async fn what_the_action_says_is_not_said_besides() {
    let desired = Desired::new(1).await;
    let once = desired.once(desired.kept(DesiredState::Present).await);
    let with_kind = BatchRequest {
        operation: "file".into(),
        ..once.clone()
    };
    fails(desired.ask(&with_kind).await, INVALID);
    let with_params = BatchRequest {
        params: GivenParams::from(json!({})),
        ..once.clone()
    };
    fails(desired.ask(&with_params).await, INVALID);
    let nothing = BatchRequest { action: None, ..once };
    fails(desired.ask(&nothing).await, UNKNOWN_KIND);
    let gone = desired.once(ActionId::from_uuid(Uuid::nil()));
    fails(desired.ask(&gone).await, ACTION_NOT_FOUND);
}

#[tokio::test]
async fn a_repeat_means_the_action_as_it_was() {
    let desired = Desired::new(1).await;
    let (batches, admin) = (desired.test.fleet.batches(), desired.test.admin());
    let action = desired.kept(DesiredState::Present).await;
    let once = desired.once(action);
    let key = Some(batch_id_for_key(&Actor::Anonymous, "/batches", "k"));
    let first = batches.create(&admin, &once, key).await.unwrap().id;
    assert_eq!(batches.create(&admin, &once, key).await.unwrap().id, first);
    let change = ActionChange {
        params: Some(json!({"path": "/etc/motd", "content": "bye\n"}).into()),
        ..ActionChange::default()
    };
    desired
        .desired()
        .actions()
        .set(&admin, action, None, &change)
        .await
        .unwrap();
    fails(batches.create(&admin, &once, key).await, KEY_REUSED);
}
