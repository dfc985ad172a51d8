//! Leases and their fences.

use std::time::Duration;

use fleet_core::store::limits;
use futures::future::join_all;

use crate::{Lab, dsl::*};

const MINUTE: Duration = Duration::from_secs(60);

async fn take(lab: &Lab, name: &str, holder: &str, ttl: Duration) -> Option<u64> {
    lab.store()
        .lease(name, id(holder), ttl)
        .await
        .expect("the lease is asked for")
}

pub(crate) async fn free_lease_is_given(lab: &mut Lab) {
    assert!(take(lab, "job", "a", MINUTE).await.is_some());
}

pub(crate) async fn held_lease_is_given_to_nobody_else(lab: &mut Lab) {
    let fence = take(lab, "job", "a", MINUTE).await;
    assert_eq!(take(lab, "job", "b", MINUTE).await, None);
    assert_eq!(take(lab, "job", "a", MINUTE).await, fence, "the holder still has it");
}

pub(crate) async fn renewal_keeps_the_fence(lab: &mut Lab) {
    let fence = take(lab, "job", "a", MINUTE).await;
    for _ in 0..3 {
        assert_eq!(take(lab, "job", "a", MINUTE).await, fence);
    }
}

pub(crate) async fn names_are_apart(lab: &mut Lab) {
    assert!(take(lab, "job", "a", MINUTE).await.is_some());
    assert!(take(lab, "Job", "b", MINUTE).await.is_some());
    assert!(take(lab, "job ", "c", MINUTE).await.is_some());
    assert!(take(lab, "j%", "d", MINUTE).await.is_some());
}

pub(crate) async fn lease_given_up_goes_to_another_with_a_greater_fence(lab: &mut Lab) {
    let first = take(lab, "job", "a", MINUTE).await;
    assert_eq!(take(lab, "job", "a", Duration::ZERO).await, None);
    let second = take(lab, "job", "b", MINUTE).await;
    assert!(second > first, "{second:?} > {first:?}");
}

pub(crate) async fn lease_given_up_and_taken_again_has_a_greater_fence(lab: &mut Lab) {
    let first = take(lab, "job", "a", MINUTE).await;
    take(lab, "job", "a", Duration::ZERO).await;
    let second = take(lab, "job", "a", MINUTE).await;
    assert!(second > first, "{second:?} > {first:?}");
}

pub(crate) async fn only_the_holder_gives_it_up(lab: &mut Lab) {
    let fence = take(lab, "job", "a", MINUTE).await;
    assert_eq!(take(lab, "job", "b", Duration::ZERO).await, None);
    assert_eq!(take(lab, "job", "c", MINUTE).await, None);
    assert_eq!(take(lab, "job", "a", MINUTE).await, fence);
}

pub(crate) async fn giving_up_nothing_is_no_error(lab: &mut Lab) {
    assert_eq!(take(lab, "job", "a", Duration::ZERO).await, None);
    assert!(take(lab, "job", "b", MINUTE).await.is_some());
}

pub(crate) async fn lapse_frees_the_lease_and_raises_the_fence(lab: &mut Lab) {
    let Some(clock) = lab.clock() else { return };
    let first = take(lab, "job", "a", MINUTE).await;
    clock.advance(MINUTE - Duration::from_micros(1));
    assert_eq!(take(lab, "job", "b", MINUTE).await, None, "a microsecond is left");
    clock.advance(Duration::from_micros(1));
    let second = take(lab, "job", "b", MINUTE).await;
    assert!(second > first, "{second:?} > {first:?}");
    assert_eq!(take(lab, "job", "a", MINUTE).await, None);
}

pub(crate) async fn lapse_raises_the_fence_of_the_same_holder(lab: &mut Lab) {
    let Some(clock) = lab.clock() else { return };
    let first = take(lab, "job", "a", MINUTE).await;
    clock.advance(MINUTE);
    let second = take(lab, "job", "a", MINUTE).await;
    assert!(second > first, "{second:?} > {first:?}");
}

pub(crate) async fn renewal_counts_from_its_own_time(lab: &mut Lab) {
    let Some(clock) = lab.clock() else { return };
    let fence = take(lab, "job", "a", MINUTE).await;
    clock.advance(MINUTE / 2);
    assert_eq!(take(lab, "job", "a", MINUTE).await, fence);
    clock.advance(MINUTE / 2 + Duration::from_secs(1));
    assert_eq!(take(lab, "job", "b", MINUTE).await, None);
    assert_eq!(
        take(lab, "job", "a", Duration::from_secs(1)).await,
        fence,
        "a renewal may shorten it"
    );
    clock.advance(Duration::from_secs(1));
    assert!(take(lab, "job", "b", MINUTE).await > fence);
}

pub(crate) async fn longest_lease_is_taken(lab: &mut Lab) {
    let fence = take(lab, "job", "a", Duration::MAX).await;
    assert!(fence.is_some());
    assert_eq!(take(lab, "job", "b", MINUTE).await, None);
}

pub(crate) async fn names_have_limits(lab: &mut Lab) {
    let longest = "x".repeat(limits::TEXT);
    assert!(take(lab, &longest, "a", MINUTE).await.is_some());
    for name in [String::new(), "x\0".to_owned(), "x".repeat(limits::TEXT + 1)] {
        assert_eq!(
            fails(lab.store().lease(&name, id("a"), MINUTE).await),
            "Invalid",
            "{name:?}"
        );
    }
}

pub(crate) async fn one_of_many_at_once_gets_it(lab: &mut Lab) {
    let names: Vec<String> = (0..12).map(|n| format!("h{n}")).collect();
    let answers = join_all(names.iter().map(|name| take(lab, "job", name, MINUTE))).await;
    assert_eq!(answers.iter().flatten().count(), 1, "{answers:?}");
}

pub(crate) async fn leases_take_no_place(lab: &mut Lab) {
    take(lab, "job", "a", MINUTE).await;
    assert_eq!(lab.seq().await, 0);
    assert_eq!(lab.ok([put("a")]).await.seq, 1);
}
