//! Counts and tallies.

use fleet_core::store::{Filter, Filter::*};

use crate::{Lab, dsl::*};

async fn some(lab: &Lab) {
    lab.ok([
        put("a").name("x").size(2).tags(["p", "q"]).owner("o2"),
        put("b").name("X").size(10).tags(["q"]).owner("o1"),
        put("c").name("x").tags(["q", "r"]).owner("o1"),
        put("d").size(-1),
    ])
    .await;
}

pub(crate) async fn empty_store_counts_nothing(lab: &mut Lab) {
    assert_eq!(lab.count(All).await, 0);
    assert_eq!(lab.tally(All, "name").await, "");
}

pub(crate) async fn count_is_the_length_of_the_list(lab: &mut Lab) {
    some(lab).await;
    for (filter, count) in [
        (All, 4),
        (eq("name", "x"), 2),
        (null("size"), 1),
        (one_of("tag", ["p", "q", "r"]), 3),
        (not(eq("tag", "q")), 1),
        (Or(vec![eq("tag", "p"), eq("tag", "q")]), 3),
    ] {
        assert_eq!(lab.count(filter.clone()).await, count, "{filter:?}");
    }
}

pub(crate) async fn count_follows_changes(lab: &mut Lab) {
    some(lab).await;
    lab.ok([delete("a"), put("d").name("x")]).await;
    assert_eq!(lab.count(All).await, 3);
    assert_eq!(lab.count(eq("name", "x")).await, 2);
    assert_eq!(lab.count(eq("tag", "p")).await, 0);
}

pub(crate) async fn tally_is_in_the_order_of_values_with_null_first(lab: &mut Lab) {
    some(lab).await;
    assert_eq!(lab.tally(All, "size").await, "null:1 -1:1 2:1 10:1");
    assert_eq!(lab.tally(All, "name").await, "null:1 X:1 x:2");
    assert_eq!(lab.tally(All, "owner").await, "null:1 o1:2 o2:1");
}

pub(crate) async fn tally_counts_each_of_many_values(lab: &mut Lab) {
    some(lab).await;
    assert_eq!(lab.tally(All, "tag").await, "p:1 q:3 r:1");
    assert_eq!(lab.tally(All, "mark").await, "");
}

pub(crate) async fn tally_counts_what_the_filter_leaves(lab: &mut Lab) {
    some(lab).await;
    assert_eq!(lab.tally(eq("name", "x"), "size").await, "null:1 2:1");
    assert_eq!(lab.tally(eq("tag", "q"), "tag").await, "p:1 q:3 r:1");
    assert_eq!(lab.tally(one_of("tag", ["p", "q"]), "name").await, "X:1 x:2");
    assert_eq!(lab.tally(not(eq("owner", id("o1"))), "owner").await, "null:1 o2:1");
    assert_eq!(lab.tally(Filter::Or(vec![]), "owner").await, "");
}

pub(crate) async fn tally_adds_up_to_the_count(lab: &mut Lab) {
    lab.ok((0..300).map(|n| put(&format!("{n:03}")).size(n % 7).name(["a", "b"][n as usize % 2])))
        .await;
    let tally = lab.view().await.tally("thing", &eq("name", "a"), "size").await.unwrap();
    assert_eq!(
        tally.iter().map(|(_, count)| count).sum::<u64>(),
        lab.count(eq("name", "a")).await
    );
    assert_eq!(tally.len(), 7);
}

pub(crate) async fn tally_is_checked(lab: &mut Lab) {
    let mut view = lab.view().await;
    assert_eq!(fails(view.tally("nothing", &All, "size").await), "Invalid");
    assert_eq!(fails(view.count("nothing", &All).await), "Invalid");
    assert_eq!(fails(view.tally("bare", &All, "size").await), "NoIndex");
}
