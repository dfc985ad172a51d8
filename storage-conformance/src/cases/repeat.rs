//! Batch ids: a repeat gets the first answer, a reuse is refused.

use fleet_core::store::{Error, Expect::*};
use futures::future::join_all;

use crate::{Lab, dsl::*};

pub(crate) async fn repeat_answers_the_same_and_changes_nothing(lab: &mut Lab) {
    let first = lab.commit_as(7, [put("a").size(1), row("log", "s", 1)]).await.unwrap();
    let again = lab.commit_as(7, [put("a").size(1), row("log", "s", 1)]).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(lab.rev("a").await, Some(1));
    assert_eq!(lab.seq().await, 1);
}

pub(crate) async fn repeat_holds_after_later_changes(lab: &mut Lab) {
    let first = lab.commit_as(7, [put("a").size(1).expect(Absent)]).await.unwrap();
    lab.ok([put("a").size(2)]).await;
    lab.ok([delete("a")]).await;
    assert_eq!(
        lab.commit_as(7, [put("a").size(1).expect(Absent)]).await.unwrap(),
        first
    );
    assert_eq!(lab.get("a").await, None);
}

pub(crate) async fn repeat_makes_no_feed_entry(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    lab.commit_as(7, [put("a")]).await.unwrap();
    assert_eq!(lab.feed(0).await, ["1 thing/a@1"]);
}

pub(crate) async fn repeat_of_a_delete_does_not_delete_again(lab: &mut Lab) {
    lab.ok([put("a")]).await;
    lab.commit_as(7, [delete("a")]).await.unwrap();
    lab.ok([put("a")]).await;
    lab.commit_as(7, [delete("a")]).await.unwrap();
    assert_eq!(lab.rev("a").await, Some(1));
}

pub(crate) async fn batch_that_changed_nothing_is_remembered(lab: &mut Lab) {
    lab.ok([put("b")]).await;
    let first = lab.commit_as(7, [delete("a")]).await.unwrap();
    lab.ok([put("a")]).await;
    assert_eq!(lab.commit_as(7, [delete("a")]).await.unwrap(), first);
    assert_eq!(lab.rev("a").await, Some(1));
}

pub(crate) async fn reuse_with_other_contents_is_refused(lab: &mut Lab) {
    lab.commit_as(7, [put("a").size(1)]).await.unwrap();
    for other in [
        vec![put("a").size(2)],
        vec![put("b").size(1)],
        vec![put("a").size(1).expect(Absent)],
        vec![put("a").size(1), put("b")],
        vec![put("a").size(1), row("log", "s", 1)],
        vec![delete("a")],
        vec![],
    ] {
        let told = format!("{other:?}");
        let result = lab.commit_as(7, other).await;
        assert!(
            matches!(&result, Err(Error::BatchReused(id)) if id.as_u128() == 7),
            "{told}: {result:?}"
        );
    }
    assert_eq!(lab.seq().await, 1);
}

pub(crate) async fn reuse_comes_before_conflict_and_after_invalid(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    assert_eq!(fails(lab.commit_as(7, [put("a").expect(Absent)]).await), "BatchReused");
    assert_eq!(fails(lab.commit_as(7, [put("a").kind("nothing")]).await), "Invalid");
}

pub(crate) async fn refused_batch_is_not_remembered(lab: &mut Lab) {
    assert_eq!(fails(lab.commit_as(7, [put("a").expect(Present)]).await), "Conflict");
    lab.ok([put("a")]).await;
    assert_eq!(
        lab.commit_as(7, [put("a").expect(Present)]).await.unwrap().revs,
        [Some(2)]
    );
}

pub(crate) async fn refused_batch_leaves_its_id_free(lab: &mut Lab) {
    assert_eq!(fails(lab.commit_as(7, [put("a").expect(Present)]).await), "Conflict");
    assert_eq!(lab.commit_as(7, [put("b")]).await.unwrap().revs, [Some(1)]);
}

pub(crate) async fn equal_contents_under_two_ids_are_two_commits(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    assert_eq!(lab.commit_as(8, [put("a")]).await.unwrap().revs, [Some(2)]);
}

pub(crate) async fn compaction_forgets_batch_ids(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    lab.commit_as(8, [put("b")]).await.unwrap();
    lab.store().compact(1).await.unwrap();
    assert_eq!(
        lab.commit_as(8, [put("b")]).await.unwrap().revs,
        [Some(1)],
        "the second is still known"
    );
    assert_eq!(
        lab.commit_as(7, [put("a")]).await.unwrap().revs,
        [Some(2)],
        "the first is new again"
    );
}

pub(crate) async fn compaction_of_less_than_is_forgotten_forgets_nothing_more(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    lab.store().compact(1).await.unwrap();
    // It changes nothing, so that its place is the one up to which all is forgotten.
    let answer = lab.commit_as(8, []).await.unwrap();
    lab.commit_as(9, [put("b")]).await.unwrap();
    assert_eq!(lab.store().compact(0).await.unwrap(), 0);
    assert_eq!(lab.commit_as(8, []).await.unwrap(), answer);
    lab.store().compact(1).await.unwrap();
    assert_ne!(lab.commit_as(8, []).await.unwrap(), answer);
}

pub(crate) async fn repeats_at_once_are_applied_once(lab: &mut Lab) {
    let commits = (0..16).map(|_| lab.commit_as(7, [put("a").size(1), row("log", "s", 1)]));
    let answers = join_all(commits).await;
    let first = answers[0].as_ref().unwrap();
    assert!(
        answers.iter().all(|answer| answer.as_ref().unwrap() == first),
        "{answers:?}"
    );
    assert_eq!(lab.rev("a").await, Some(1));
    assert_eq!(lab.feed(0).await, ["1 thing/a@1", "1 log/s"]);
}
