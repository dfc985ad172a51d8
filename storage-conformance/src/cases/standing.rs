//! What a store is for: serving, frozen, being filled; and who may do what meanwhile.

use std::time::Duration;

use fleet_core::store::{Column, ColumnType, Error, Filter, LatestSchema, Move, Patch, Phase, Seq, Standing, limits};
use futures::{StreamExt as _, future::join_all};

use crate::{Lab, dsl::*, random::Random};

async fn some(lab: &Lab) {
    lab.ok([
        put("a").name("x").size(1).code("c"),
        put("b").size(2),
        row("ledger", "s", 1),
        row("log", "s", 1).level(1),
    ])
    .await;
    lab.ingest([latest("gauge", "a", 1), row("log", "s", 2)]).await.unwrap();
}

async fn freeze(lab: &Lab, n: u128) -> Seq {
    lab.store().freeze(origin(n)).await.expect("the store is frozen")
}

async fn phase(lab: &Lab) -> Phase {
    lab.store().standing().await.expect("a store says what it is for").phase
}

/// How each call that changes something is answered.
async fn answers_to_writes(lab: &Lab) -> Vec<(&'static str, &'static str)> {
    let store = lab.store();
    vec![
        ("commit", fails(lab.commit([put("n")]).await)),
        ("commit of rows", fails(lab.commit([row("log", "n", 1)]).await)),
        ("commit without a change", fails(lab.commit([delete("nothing")]).await)),
        ("ingest of a value", fails(lab.ingest([latest("gauge", "n", 1)]).await)),
        ("ingest of rows", fails(lab.ingest([row("log", "n", 1)]).await)),
        ("trim", fails(store.trim("log", 1).await)),
        ("compact", fails(store.compact(1).await)),
        ("lease", fails(store.lease("job", id("n"), PATIENCE).await)),
    ]
}

async fn check_refuses_every_write(lab: &Lab) {
    let before = lab.export().await;
    for (what, answer) in answers_to_writes(lab).await {
        assert_eq!(answer, "NotServing", "{what}");
    }
    assert_eq!(lab.export().await, before, "nothing has changed");
}

pub(crate) async fn new_store_serves_and_came_from_nowhere(lab: &mut Lab) {
    assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
    some(lab).await;
    assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
}

pub(crate) async fn frozen_store_refuses_every_write(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    check_refuses_every_write(lab).await;
}

pub(crate) async fn frozen_store_refuses_repeats_too(lab: &mut Lab) {
    let first = lab.commit_as(7, [put("a")]).await.unwrap();
    freeze(lab, 1).await;
    assert_eq!(fails(lab.commit_as(7, [put("a")]).await), "NotServing");
    lab.store().serve().await.unwrap();
    assert_eq!(lab.commit_as(7, [put("a")]).await.unwrap(), first);
}

pub(crate) async fn frozen_store_reads_as_before(lab: &mut Lab) {
    some(lab).await;
    let before = lab.export().await;
    let mut view = lab.view().await;
    freeze(lab, 1).await;
    for mut view in [lab.view().await, view_of(&mut view, lab).await] {
        assert_eq!(view.seq(), 1);
        assert_eq!(listed(&mut *view, all().by("size").down()).await, "b a");
        assert_eq!(listed(&mut *view, list(eq("name", "x"))).await, "a");
        assert_eq!(tallied(&mut *view, Filter::All, "size").await, "1:1 2:1");
        assert_eq!(read_all(&mut *view, read("log")).await, "s@1.0 s@2.0");
        assert_eq!(
            view.chain_head("ledger").await.unwrap().map(|link| link.number),
            Some(1)
        );
        assert_eq!(view.latest_page("gauge", None, 9).await.unwrap().len(), 1);
    }
    assert_eq!(lab.export().await, before);
    let mut changes = lab.store().changes(0).await.unwrap();
    assert_eq!(tell(&changes.next().await.unwrap().unwrap()), "1 thing/a@1");
}

/// A view that was taken before goes on; this one takes its place.
async fn view_of(view: &mut Box<dyn fleet_core::store::View>, lab: &Lab) -> Box<dyn fleet_core::store::View> {
    std::mem::replace(view, lab.view().await)
}

pub(crate) async fn freezing_tells_where_commit_order_stands(lab: &mut Lab) {
    some(lab).await;
    lab.ok([put("a")]).await;
    assert_eq!(freeze(lab, 1).await, 2);
    assert_eq!(freeze(lab, 1).await, 2, "freezing again for the same move is no error");
}

pub(crate) async fn frozen_store_says_for_which_move(lab: &mut Lab) {
    freeze(lab, 1).await;
    assert_eq!(phase(lab).await, Phase::Frozen(origin(1)));
    let Err(Error::NotServing(told)) = lab.commit([put("a")]).await else {
        panic!("a frozen store refuses");
    };
    assert_eq!(*told, Phase::Frozen(origin(1)));
}

pub(crate) async fn freezing_for_another_move_is_refused(lab: &mut Lab) {
    freeze(lab, 1).await;
    assert_eq!(fails(lab.store().freeze(origin(2)).await), "NotServing");
    assert_eq!(phase(lab).await, Phase::Frozen(origin(1)));
}

pub(crate) async fn one_of_two_moves_at_once_freezes(lab: &mut Lab) {
    some(lab).await;
    for round in 0..6_u128 {
        let answers = join_all((1..=4).map(|n| lab.store().freeze(origin(round * 10 + n)))).await;
        let won: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.is_ok())
            .map(|(n, _)| n)
            .collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert_eq!(phase(lab).await, Phase::Frozen(origin(round * 10 + 1 + won[0] as u128)));
        lab.store().serve().await.unwrap();
    }
}

pub(crate) async fn frozen_store_serves_again(lab: &mut Lab) {
    some(lab).await;
    let mut changes = lab.store().changes(1).await.unwrap();
    freeze(lab, 1).await;
    lab.store().serve().await.unwrap();
    assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
    assert_eq!(lab.ok([put("a")]).await.seq, 2, "commit order goes on");
    let next = tokio::time::timeout(PATIENCE, changes.next())
        .await
        .expect("the feed goes on");
    assert_eq!(tell(&next.unwrap().unwrap()), "2 thing/a@2");
    for (what, answer) in answers_to_writes(lab).await {
        assert_eq!(answer, "no error", "{what}");
    }
}

pub(crate) async fn serving_a_store_that_serves_is_no_error(lab: &mut Lab) {
    some(lab).await;
    lab.store().serve().await.unwrap();
    assert_eq!(lab.ok([put("a")]).await.seq, 2);
}

pub(crate) async fn preparing_a_frozen_store_changes_nothing_or_is_refused(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    let same = lab
        .store()
        .prepare(&schema())
        .await
        .expect("the same schema needs no change");
    assert_eq!(same, fleet_core::store::SchemaReport::default());
    let more = schema().with_latest(LatestSchema { name: "more" }).unwrap();
    assert_eq!(fails(lab.store().prepare(&more).await), "NotServing");
    let kinds = schema()
        .with_kind(kind("novel", vec![Column::one("size", ColumnType::Int)]))
        .unwrap();
    assert_eq!(fails(lab.store().prepare(&kinds).await), "NotServing");
    lab.store().serve().await.unwrap();
    assert_eq!(lab.store().prepare(&more).await.unwrap().created, ["more"]);
    lab.store().close().await.unwrap();
    lab.closed = true;
}

pub(crate) async fn writes_in_flight_at_freezing_are_in_or_refused(lab: &mut Lab) {
    let mut random = Random::new(17);
    for round in 0..4_u128 {
        let writers: Vec<_> = (0..30_u128)
            .map(|n| {
                let (store, name) = (lab.store().clone(), format!("d{round}x{n}"));
                tokio::spawn(async move {
                    let steps = [put(&name), row("log", &name, 1)];
                    let answer = if n % 3 == 0 {
                        store
                            .ingest(ingest([latest("gauge", &name, 1), row("log", &name, 1)]))
                            .await
                    } else {
                        store.commit(batch(round * 1_000 + n + 1, steps)).await.map(drop)
                    };
                    (n, name, answer)
                })
            })
            .collect();
        for _ in 0..random.below(4) {
            tokio::task::yield_now().await;
        }
        let seq = freeze(lab, round).await;
        // Whatever is acknowledged is in what is there now, although its writer may hear of it only later.
        let frozen = lab.export().await;
        assert_eq!(lab.seq().await, seq);
        for writer in writers {
            let (n, name, answer) = writer.await.unwrap();
            let there = !lab.rows(read("log").stream(&name)).await.is_empty();
            match answer {
                Ok(()) => assert!(there, "write {n} was acknowledged and is not in the frozen store"),
                Err(Error::NotServing(_)) => assert!(!there, "write {n} was refused and is in the frozen store"),
                Err(error) => panic!("write {n}: {error}"),
            }
        }
        assert_eq!(lab.export().await, frozen, "a frozen store does not change");
        lab.store().serve().await.unwrap();
    }
}

pub(crate) async fn upkeep_in_flight_at_freezing_is_done_or_refused(lab: &mut Lab) {
    let mut random = Random::new(4);
    for round in 0..12_i64 {
        lab.ok((0..40).map(|at| row("log", "s", round * 100 + at))).await;
        // Behind these in the queue, so that the upkeep is still waiting when the store is frozen.
        let busy = join_all((0..random.below(6)).map(|n| lab.commit([put(&format!("d{n}"))])));
        let upkeep = async {
            let trim = lab.store().trim("log", (round + 1) * 100);
            let compact = lab.store().compact(lab.seq().await);
            let lease = lab
                .store()
                .lease("job", id(&format!("h{round}")), Duration::from_secs(1));
            futures::join!(trim, compact, lease)
        };
        let frozen = async {
            for _ in 0..random.below(5) {
                tokio::task::yield_now().await;
            }
            freeze(lab, round as u128).await;
            (oldest(lab).await, lab.export().await)
        };
        let (_, (trim, compact, lease), frozen) = futures::join!(busy, upkeep, frozen);
        for (what, answer) in [
            ("trim", fails(trim)),
            ("compact", fails(compact)),
            ("lease", fails(lease)),
        ] {
            assert!(["no error", "NotServing"].contains(&answer), "{what}: {answer}");
        }
        assert!(
            (oldest(lab).await, lab.export().await) == frozen,
            "a frozen store does not change, round {round}"
        );
        lab.store().serve().await.unwrap();
    }
}

/// The newest place that the feed has forgotten, told by who asks for all of it.
async fn oldest(lab: &Lab) -> Option<Seq> {
    match lab.store().changes(0).await.expect("the feed is followed").next().await {
        Some(Err(Error::Compacted(oldest))) => Some(oldest),
        _ => None,
    }
}

pub(crate) async fn empty_store_is_filled(lab: &mut Lab) {
    lab.store().fill(origin(1)).await.unwrap();
    let standing = lab.store().standing().await.unwrap();
    assert_eq!(
        (standing.phase, standing.origin),
        (Phase::Filling(origin(1)), Some(origin(1)))
    );
    check_refuses_every_write(lab).await;
    assert_eq!(lab.store().check().await.unwrap(), []);
    assert_eq!(lab.list(all()).await, "");
}

pub(crate) async fn store_that_holds_something_is_not_filled(lab: &mut Lab) {
    for steps in [
        vec![latest("gauge", "a", 1)],
        vec![row("log", "s", 1)],
        vec![put("a")],
        vec![delete("a")],
    ] {
        if steps.iter().all(Step::is_ingest) {
            lab.ingest(steps.clone()).await.unwrap();
        } else {
            lab.ok(steps.clone()).await;
        }
        let before = lab.export().await;
        assert_eq!(
            fails(lab.store().fill(origin(1)).await),
            "Refused",
            "it holds {steps:?}"
        );
        assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
        assert_eq!(lab.export().await, before);
        lab.ok([drop_latest("gauge", "a")]).await;
        lab.store().trim("log", 9).await.unwrap();
    }
}

pub(crate) async fn filling_goes_on_for_the_same_move_only(lab: &mut Lab) {
    lab.store().fill(origin(1)).await.unwrap();
    let first = Patch {
        seq: 4,
        records: vec![record(put("a"), 2, 4)],
        ..Patch::default()
    };
    lab.store().patch(first).await.unwrap();
    lab.store().fill(origin(1)).await.expect("the same move goes on");
    assert_eq!(lab.rev("a").await, Some(2), "with what it has stored");
    assert_eq!(fails(lab.store().fill(origin(2)).await), "NotServing");
    assert_eq!(fails(lab.store().freeze(origin(1)).await), "NotServing");
    assert_eq!(phase(lab).await, Phase::Filling(origin(1)));
}

pub(crate) async fn frozen_store_is_filled_over_what_it_holds(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    lab.store().fill(origin(2)).await.unwrap();
    assert_eq!(lab.list(all()).await, "a b", "the way back needs only what changed");
    let back = Patch {
        seq: 9,
        removed: vec![record_key(&put("b"))],
        records: vec![record(put("a").size(7), 5, 9)],
    };
    lab.store().patch(back).await.unwrap();
    lab.store().serve().await.unwrap();
    assert_eq!(lab.list(list(eq("size", 7))).await, "a");
    assert_eq!(lab.list(all()).await, "a");
    assert_eq!(lab.rows(read("log")).await, "s@1.0 s@2.0");
    assert_eq!(lab.store().standing().await.unwrap().origin, Some(origin(2)));
    assert_eq!(lab.ok([put("a")]).await.revs, [Some(6)]);
}

pub(crate) async fn filling_forgets_batch_ids_and_leases(lab: &mut Lab) {
    lab.commit_as(7, [put("a")]).await.unwrap();
    lab.store().lease("job", id("h1"), PATIENCE).await.unwrap();
    freeze(lab, 1).await;
    lab.store().fill(origin(2)).await.unwrap();
    lab.store().serve().await.unwrap();
    assert!(
        lab.store().lease("job", id("h2"), PATIENCE).await.unwrap().is_some(),
        "the lease is free"
    );
    assert_eq!(lab.commit_as(7, [put("b")]).await.unwrap().seq, 2, "the id is free");
    let old = lab.store().changes(0).await.unwrap().next().await;
    assert!(matches!(old, Some(Err(Error::Compacted(1)))), "{old:?}");
}

pub(crate) async fn clearing_makes_a_filled_store_new(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    lab.store().fill(origin(2)).await.unwrap();
    let more = Patch {
        seq: 9,
        removed: Vec::new(),
        records: vec![
            record(put("z").code("z").tags(["t"]), 5, 9),
            record(latest("state", "z", 1), 0, 0),
        ],
    };
    lab.store().patch(more).await.unwrap();
    lab.store().clear().await.unwrap();
    assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
    assert_eq!(lab.export().await, [fleet_core::store::ExportDigest::default().end(0)]);
    assert_eq!(lab.count(eq("tag", "t")).await, 0);
    assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), None);
    let committed = lab
        .ok([put("a").code("z"), row("ledger", "s", 1), row("log", "s", 1).level(9)])
        .await;
    assert_eq!((committed.seq, committed.revs), (1, vec![Some(1)]), "as in a new store");
    assert_eq!(lab.feed(0).await, ["1 thing/a@1", "1 ledger/s", "1 log/s"]);
}

pub(crate) async fn only_a_store_that_is_filled_is_cleared(lab: &mut Lab) {
    some(lab).await;
    let before = lab.export().await;
    assert_eq!(fails(lab.store().clear().await), "Refused");
    freeze(lab, 1).await;
    assert_eq!(fails(lab.store().clear().await), "Refused");
    assert_eq!(phase(lab).await, Phase::Frozen(origin(1)));
    assert_eq!(lab.export().await, before);
}

pub(crate) async fn only_a_store_that_is_filled_is_patched(lab: &mut Lab) {
    some(lab).await;
    let before = lab.export().await;
    let patch = || Patch {
        seq: 9,
        removed: vec![record_key(&put("b"))],
        records: vec![record(put("z"), 1, 9)],
    };
    assert_eq!(fails(lab.store().patch(patch()).await), "Refused");
    freeze(lab, 1).await;
    assert_eq!(fails(lab.store().patch(patch()).await), "NotServing");
    assert_eq!(lab.export().await, before);
}

pub(crate) async fn served_store_remembers_where_it_came_from(lab: &mut Lab) {
    lab.store().fill(origin(1)).await.unwrap();
    lab.store().serve().await.unwrap();
    let from = |phase| Standing {
        phase,
        origin: Some(origin(1)),
        ..Standing::default()
    };
    assert_eq!(lab.store().standing().await.unwrap(), from(Phase::Serving));
    lab.ok([put("a")]).await;
    freeze(lab, 2).await;
    assert_eq!(lab.store().standing().await.unwrap(), from(Phase::Frozen(origin(2))));
    if lab.reopen().await {
        assert_eq!(lab.store().standing().await.unwrap(), from(Phase::Frozen(origin(2))));
    }
}

pub(crate) async fn frozen_store_is_frozen_when_it_is_opened_again(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    let before = lab.export().await;
    if lab.reopen().await {
        assert_eq!(phase(lab).await, Phase::Frozen(origin(1)));
        check_refuses_every_write(lab).await;
        assert_eq!(lab.export().await, before);
        assert_eq!(freeze(lab, 1).await, 1);
        lab.store().serve().await.unwrap();
        assert_eq!(lab.ok([put("a")]).await.seq, 2);
    }
}

pub(crate) async fn filling_goes_on_when_the_store_is_opened_again(lab: &mut Lab) {
    lab.store().fill(origin(1)).await.unwrap();
    let part = |n: u64| Patch {
        seq: n,
        removed: Vec::new(),
        records: vec![record(put(&format!("d{n}")).size(n as i64), 1, n)],
    };
    lab.store().patch(part(1)).await.unwrap();
    if lab.reopen().await {
        assert_eq!(phase(lab).await, Phase::Filling(origin(1)));
        check_refuses_every_write(lab).await;
        lab.store().fill(origin(1)).await.unwrap();
        lab.store().patch(part(2)).await.unwrap();
        lab.store().serve().await.unwrap();
        assert_eq!(lab.list(all().by("size")).await, "d1 d2");
        assert_eq!(lab.ok([put("a")]).await.seq, 3);
    }
}

pub(crate) async fn cleared_and_served_stores_stay_so(lab: &mut Lab) {
    lab.store().fill(origin(1)).await.unwrap();
    let patch = Patch {
        seq: 3,
        removed: Vec::new(),
        records: vec![record(put("a"), 1, 3)],
    };
    lab.store().patch(patch).await.unwrap();
    lab.store().clear().await.unwrap();
    if lab.reopen().await {
        assert_eq!(lab.store().standing().await.unwrap(), Standing::default());
        assert_eq!(lab.export().await.len(), 1);
        lab.ok([put("a")]).await;
        freeze(lab, 2).await;
        lab.store().serve().await.unwrap();
        lab.reopen().await;
        assert_eq!(phase(lab).await, Phase::Serving);
        assert_eq!(lab.ok([put("a")]).await.seq, 2);
    }
}

pub(crate) async fn name_of_the_peer_may_be_any_text(lab: &mut Lab) {
    let peers = [
        "",
        "sqlite:/var/lib/it's \"here\"/ü 😀.db",
        "postgres://u@h/db?x=1&y={}",
        "\u{202e}\\'; --",
    ];
    for (n, peer) in (0..).zip(peers) {
        let to = Move {
            peer: peer.to_owned(),
            ..origin(n)
        };
        lab.store().freeze(to.clone()).await.unwrap();
        assert_eq!(phase(lab).await, Phase::Frozen(to));
        lab.store().serve().await.unwrap();
    }
}

pub(crate) async fn frozen_store_still_says_what_is_invalid_or_not_served(lab: &mut Lab) {
    some(lab).await;
    freeze(lab, 1).await;
    assert_eq!(fails(lab.page(all().by("wheels")).await), "NoIndex");
    assert_eq!(fails(lab.page(all().limit(limits::PAGE + 1)).await), "Invalid");
}
