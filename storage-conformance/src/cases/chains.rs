//! Chained lanes.

use fleet_core::store::{Link, StoredRow, verify_chain};
use futures::future::join_all;

use crate::{Lab, dsl::*};

/// The rows of the ledger in the order of their links.
async fn chain(lab: &Lab) -> Vec<StoredRow> {
    let mut rows = lab.stored_rows(read("ledger").limit(10_000)).await;
    rows.sort_by_key(|stored| stored.link.map(|link| link.number));
    rows
}

async fn check_chain(lab: &Lab, length: u64) -> Vec<StoredRow> {
    let rows = chain(lab).await;
    let last = verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link))).expect("the chain holds");
    assert_eq!(last.map_or(0, |link| link.number), length);
    assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), last);
    rows
}

pub(crate) async fn empty_chain_has_no_head(lab: &mut Lab) {
    check_chain(lab, 0).await;
}

pub(crate) async fn first_link_covers_zeros_and_the_row(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 5).level(1)]).await;
    let rows = check_chain(lab, 1).await;
    assert_eq!(rows[0].link, Some(Link::after(None, &rows[0].row)));
}

pub(crate) async fn links_follow_commits_and_the_order_within(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 9), row("ledger", "s", 3), row("ledger", "t", 1)])
        .await;
    lab.ok([row("ledger", "a", 0)]).await;
    let rows = check_chain(lab, 4).await;
    let order: Vec<_> = rows
        .iter()
        .map(|stored| (name(stored.row.stream), stored.row.at))
        .collect();
    assert_eq!(
        order,
        [("s", 9), ("s", 3), ("t", 1), ("a", 0)].map(|(name, at)| (name.to_owned(), at))
    );
    assert_eq!(lab.rows(read("ledger")).await, "a@0.0 t@1.0 s@3.0 s@9.0");
}

pub(crate) async fn repeated_row_does_not_extend_the_chain(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 1), row("ledger", "s", 1)]).await;
    lab.ok([row("ledger", "s", 1)]).await;
    check_chain(lab, 1).await;
    lab.ok([row("ledger", "s", 1), row("ledger", "s", 2)]).await;
    check_chain(lab, 2).await;
}

pub(crate) async fn refused_batch_does_not_extend_the_chain(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 1).level(1)]).await;
    lab.refused([
        row("ledger", "s", 2),
        put("a").expect(fleet_core::store::Expect::Present),
    ])
    .await;
    lab.refused([row("ledger", "s", 2), row("ledger", "s", 1).level(2)])
        .await;
    check_chain(lab, 1).await;
    lab.ok([row("ledger", "s", 2)]).await;
    check_chain(lab, 2).await;
}

pub(crate) async fn repeated_batch_does_not_extend_the_chain(lab: &mut Lab) {
    for _ in 0..3 {
        lab.commit_as(7, [row("ledger", "s", 1)]).await.unwrap();
    }
    check_chain(lab, 1).await;
}

pub(crate) async fn chained_rows_come_only_by_commit(lab: &mut Lab) {
    assert_eq!(fails(lab.ingest([row("ledger", "s", 1)]).await), "Invalid");
    check_chain(lab, 0).await;
}

pub(crate) async fn chained_lane_is_not_trimmed(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 1)]).await;
    assert_eq!(fails(lab.store().trim("ledger", 5).await), "Invalid");
    check_chain(lab, 1).await;
}

pub(crate) async fn chained_lane_is_not_trimmed_whatever_the_store_is_for(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 1)]).await;
    lab.store().track(true).await.unwrap();
    assert_eq!(fails(lab.store().trim("ledger", 5).await), "Invalid", "tracked");
    lab.store().freeze(origin(1)).await.unwrap();
    assert_eq!(
        fails(lab.store().trim("ledger", 5).await),
        "Invalid",
        "frozen and tracked"
    );
    lab.store().track(false).await.unwrap();
    assert_eq!(fails(lab.store().trim("ledger", 5).await), "Invalid", "frozen");
    check_chain(lab, 1).await;
}

pub(crate) async fn only_chained_lanes_have_links(lab: &mut Lab) {
    lab.ok([row("log", "s", 1), row("ledger", "s", 1)]).await;
    assert_eq!(lab.stored_rows(read("log")).await[0].link, None);
    assert!(lab.stored_rows(read("ledger").stream("s")).await[0].link.is_some());
    assert_eq!(lab.view().await.chain_head("log").await.unwrap(), None);
    assert_eq!(fails(lab.view().await.chain_head("nothing").await), "Invalid");
}

pub(crate) async fn chain_holds_under_concurrency(lab: &mut Lab) {
    let commits = (0..60).map(|n| lab.ok([row("ledger", &format!("s{}", n % 5), n), row("ledger", "all", n)]));
    join_all(commits).await;
    check_chain(lab, 120).await;
}

pub(crate) async fn view_shows_the_head_of_its_place(lab: &mut Lab) {
    lab.ok([row("ledger", "s", 1)]).await;
    let mut view = lab.view().await;
    lab.ok([row("ledger", "s", 2)]).await;
    assert_eq!(view.chain_head("ledger").await.unwrap().unwrap().number, 1);
    assert_eq!(read_all(&mut *view, read("ledger")).await, "s@1.0");
}
