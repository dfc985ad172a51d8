//! Risky work on many devices, which whoever asks for it confirms.

use serde_json::json;

use super::{approvals::user, *};
use crate::{
    access::Role,
    devices::testing::fails,
    work::{
        batch::{BatchRetry, KEY_REUSED, NOT_CONFIRMED},
        plans::{NewPlan, PlanChange},
    },
};

/// A fleet of so many devices, in which risky work on more than three is confirmed.
struct Many {
    work: Work,
    devices: Vec<DeviceId>,
}

impl Many {
    async fn new(devices: usize) -> Self {
        let work = Work::new().await;
        work.set("work.confirm_above", json!(3)).await;
        let devices = work.test.devices(devices).await;
        Self { work, devices }
    }

    fn request(&self, operation: &str, devices: usize, said: Option<u64>) -> BatchRequest {
        let params = match operation {
            "shell" => json!({"script": "true"}),
            "file" => json!({"path": "/etc/motd", "content": "welcome\n"}),
            _ => json!({}),
        };
        BatchRequest {
            operation: operation.into(),
            params: params.into(),
            targets: Targets::devices(self.devices[..devices].to_vec()),
            confirm_devices: said,
            ..BatchRequest::default()
        }
    }

    /// A request is taken, or refused with the number that it means.
    #[track_caller]
    fn check(&self, request: BatchRequest, refused_with: Option<u64>) -> impl Future<Output = ()> + use<'_> {
        let place = std::panic::Location::caller();
        async move {
            let (batches, admin) = (self.work.test.fleet.batches(), self.work.test.admin());
            match (batches.create(&admin, &request, None).await, refused_with) {
                (Ok(_), None) => {}
                (Err(refused), Some(devices)) => {
                    assert_eq!(refused.code(), NOT_CONFIRMED, "{place}");
                    let field = &refused.fields()[0];
                    let expected = ("/confirm_devices", devices.to_string());
                    assert_eq!((field.pointer.as_str(), field.message.clone()), expected, "{place}");
                    assert!(refused.message().contains(&devices.to_string()), "{place}");
                }
                (result, _) => panic!("{place}: {result:?}"),
            }
        }
    }
}

#[tokio::test]
async fn risky_work_on_many_devices_is_confirmed_with_their_number() {
    let many = Many::new(5).await;
    for (operation, devices, said, refused_with) in [
        ("shell", 3, None, None),
        ("shell", 4, None, Some(4)),
        ("shell", 4, Some(4), None),
        ("shell", 4, Some(5), Some(4)),
        ("reboot", 4, None, Some(4)),
        ("file", 5, None, Some(5)),
        // Nothing can go wrong.
        ("inventory.refresh", 5, None, None),
        // A number that was said is right, or nothing is done.
        ("inventory.refresh", 5, Some(4), Some(5)),
        ("shell", 1, Some(2), Some(1)),
        ("shell", 1, Some(1), None),
    ] {
        many.check(many.request(operation, devices, said), refused_with).await;
    }
}

#[tokio::test]
async fn everything_at_once_is_confirmed_however_few_that_are() {
    let many = Many::new(1).await;
    let all = |said| BatchRequest {
        targets: Targets {
            all: true,
            ..Targets::default()
        },
        ..many.request("shell", 1, said)
    };
    // The one that the fleet began with is there, too.
    many.check(all(None), Some(2)).await;
    many.check(all(Some(2)), None).await;
    let alone = Work::new().await;
    let request = BatchRequest {
        targets: all(None).targets,
        ..alone.request("true")
    };
    let (batches, admin) = (alone.test.fleet.batches(), alone.test.admin());
    batches.create(&admin, &request, None).await.unwrap();
}

#[tokio::test]
async fn what_only_looks_needs_no_confirmation_unless_looking_runs_code() {
    let many = Many::new(4).await;
    let file = many.request("file", 4, None);
    let mut dry = file.clone();
    dry.params["dry_run"] = json!(true);
    many.check(dry, None).await;
    let first = BatchRequest {
        dry_run_first: true,
        ..file
    };
    many.check(first, None).await;
    let mut code = many.request("shell", 4, None);
    code.params["check_script"] = json!("true");
    code.dry_run_first = true;
    many.check(code, Some(4)).await;
}

#[tokio::test]
async fn a_repeat_is_absorbed_and_the_number_makes_no_other_request_of_it() {
    let many = Many::new(4).await;
    let (batches, admin) = (many.work.test.fleet.batches(), many.work.test.admin());
    let key = Some(BatchId::new(many.work.now(), &crate::kernel::SeededRandom::new(9)));
    let silent = many.request("shell", 4, None);
    fails(batches.create(&admin, &silent, key).await, NOT_CONFIRMED);
    let said = many.request("shell", 4, Some(4));
    let made = batches.create(&admin, &said, key).await.unwrap();
    assert_eq!(batches.create(&admin, &silent, key).await.unwrap().id, made.id);
    let other = many.request("shell", 3, None);
    fails(batches.create(&admin, &other, key).await, KEY_REUSED);
}

#[tokio::test]
async fn what_comes_of_confirmed_work_is_not_asked_again() {
    let many = Many::new(4).await;
    let batch = many.work.create(&many.request("shell", 4, Some(4))).await.unwrap();
    let (batches, admin) = (many.work.test.fleet.batches(), many.work.test.admin());
    batches.cancel(&admin, batch.id).await.unwrap();
    let states = vec![State::Cancelled];
    let again = batches.retry(&admin, batch.id, &BatchRetry { states }, None).await;
    assert_eq!(again.unwrap().runs, 4);
}

#[tokio::test]
async fn a_plan_is_confirmed_when_it_is_set_and_not_each_time() {
    let many = Many::new(4).await;
    let (plans, asks) = (many.work.test.fleet.plans(), user(&many.work, 1, Role::Operator));
    let new = |said: Option<u64>| -> NewPlan {
        let mut new = json!({"name": "Clean up", "operation": "shell", "params": {"script": "true"}, "targets": {"devices": many.devices}});
        if let Some(said) = said {
            new["confirm_devices"] = json!(said);
        }
        serde_json::from_value(new).unwrap()
    };
    fails(plans.create(&asks, &new(None)).await, NOT_CONFIRMED);
    fails(plans.create(&asks, &new(Some(3))).await, NOT_CONFIRMED);
    let plan = plans.create(&asks, &new(Some(4))).await.unwrap();
    assert_eq!(plans.start(&asks, plan.id, None).await.unwrap().runs, 4);

    let set = async |change: serde_json::Value| {
        let change: PlanChange = serde_json::from_value(change).unwrap();
        plans.set(&asks, plan.id, None, &change).await
    };
    // Neither other work nor other devices.
    set(json!({"name": "Tidy up", "approvals": 1})).await.unwrap();
    let script = json!({"script": "rm -r /var/tmp/x"});
    fails(set(json!({"params": script})).await, NOT_CONFIRMED);
    set(json!({"params": script, "confirm_devices": 4})).await.unwrap();
    fails(set(json!({"targets": {"all": true}})).await, NOT_CONFIRMED);
    set(json!({"targets": {"devices": [many.devices[0]]}})).await.unwrap();
    // A group that nobody is in yet means nothing to confirm.
    let query = json!({"targets": {"query": "name equals nobody"}});
    set(query).await.unwrap();
}
