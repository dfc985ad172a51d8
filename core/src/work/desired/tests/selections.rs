//! What is available, and what is chosen of it.

use super::{keeping::user, *};
use crate::{
    access::{Actor, Context, DENIED, Grants, Origin, Scope, users::UserId},
    devices::{device::DEVICE_NOT_FOUND, testing::fails},
    work::desired::{
        owners::OwnersChange,
        selections::{AvailableView, SelectionChange},
    },
};

async fn choose(desired: &Desired, context: &Context, source: impl Into<Source>, selected: bool) -> Result<()> {
    let change = SelectionChange {
        source: source.into(),
        selected,
    };
    desired
        .desired()
        .selections()
        .set(context, desired.devices[0], &change)
        .await
}

async fn available(desired: &Desired, context: &Context) -> Result<Vec<AvailableView>> {
    let selections = desired.desired().selections();
    let page = selections
        .list(context, desired.devices[0], &PageRequest::default())
        .await?;
    Ok(page.items)
}

#[tokio::test]
async fn what_is_chosen_is_applied_and_what_is_not_any_more_is_taken_back() {
    let desired = Desired::new(1).await;
    let admin = desired.test.admin();
    let ann = desired.action_of(REVERTED_KIND, "ann").await.unwrap().id;
    let set = desired.set("Extras", &[ann]).await;
    desired
        .assign(Source::ActionSet(set.id), device(desired.devices[0]), Mode::Available)
        .await;
    desired.check(&["none"]).await;
    let shown = available(&desired, &admin).await.unwrap();
    assert_eq!(
        (shown[0].name.as_str(), &shown[0].actions[..], shown[0].selected),
        ("Extras", &[ann][..], false)
    );
    fails(choose(&desired, &admin, ann, true).await, SELECTION_NOT_AVAILABLE);
    choose(&desired, &admin, Source::ActionSet(set.id), true).await.unwrap();
    desired.check(&["1: action_set[ann]"]).await;
    assert!(available(&desired, &admin).await.unwrap()[0].selected);
    choose(&desired, &admin, Source::ActionSet(set.id), false)
        .await
        .unwrap();
    desired.check(&["2: ~ann-"]).await;
}

fn signed_in(user: UserId) -> Context {
    let actor = Actor::User {
        id: user.uuid(),
        name: "ann".into(),
    };
    Context::new(
        actor,
        Origin::default(),
        Arc::new(Grants::of([(SELECTIONS_WRITE, Scope::All)])),
    )
}

#[tokio::test]
async fn users_choose_on_devices_that_belong_to_them_and_see_no_others() {
    let desired = Desired::new(1).await;
    let admin = desired.test.admin();
    let (ann, eve) = (user(&desired, "ann").await, user(&desired, "eve").await);
    let a = desired.action("a").await;
    desired.assign(a, Target::User(ann), Mode::Available).await;
    fails(choose(&desired, &signed_in(ann), a, true).await, DEVICE_NOT_FOUND);
    let change = OwnersChange { users: vec![ann] };
    desired
        .desired()
        .owners()
        .set(&admin, desired.devices[0], None, &change)
        .await
        .unwrap();
    choose(&desired, &signed_in(ann), a, true).await.unwrap();
    desired.check(&["1: a"]).await;
    assert_eq!(available(&desired, &signed_in(ann)).await.unwrap().len(), 1);
    fails(choose(&desired, &signed_in(eve), a, false).await, DEVICE_NOT_FOUND);
    fails(available(&desired, &signed_in(eve)).await, DEVICE_NOT_FOUND);
    fails(choose(&desired, &desired.test.nobody(), a, false).await, DENIED);
}
