use super::*;
use crate::{
    access::{Actor, Outcome, sessions::SessionId, users::UserChange},
    kernel::EntityId as _,
};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

#[tokio::test]
async fn signing_in_gives_a_session_with_the_rights_of_the_role() {
    let (world, root) = World::with_root().await;
    let (id, _) = world.signed_in(&root, "anna", Role::Viewer).await;
    let signed_in = world.login("Anna").await.unwrap();
    let context = world.context(&signed_in).await;
    let actor = Actor::User {
        id: id.uuid(),
        name: "anna".to_owned(),
    };
    assert_eq!(
        (context.actor(), context.session()),
        (&actor, Some(signed_in.session.id.uuid()))
    );
    assert_eq!(context.grants(), &Role::Viewer.grants(world.fleet.permissions()));
    assert_eq!(signed_in.session.user_agent.unwrap().len(), 256, "foreign text is cut");

    let entry = world.audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.actor, entry.origin),
        ("auth.login", actor, origin())
    );

    let identity = world.fleet.access().identity(&context).await.unwrap();
    assert_eq!(identity.user.unwrap().id, id);
}

#[tokio::test]
async fn a_session_ends_after_a_day_unused_and_after_a_week_in_any_case() {
    let (world, _) = World::with_root().await;
    let token = world.login("root").await.unwrap().token;
    for _ in 0..6 {
        world.pass(24 * HOUR - 1);
        check(world.authenticate(token.expose()).await, "ok");
    }
    world.pass(23 * HOUR);
    check(world.authenticate(token.expose()).await, "ok");
    world.pass(HOUR + 6);
    check(world.authenticate(token.expose()).await, "auth.session_expired");

    let token = world.login("root").await.unwrap().token;
    world.pass(24 * HOUR);
    check(world.authenticate(token.expose()).await, "auth.session_expired");
}

#[tokio::test]
async fn a_use_is_noted_at_most_every_five_minutes_and_costs_no_commit() {
    let (world, root) = World::with_root().await;
    let signed_in = world.login("root").await.unwrap();
    let began = signed_in.session.created_at;
    let seq = world.fleet.store().reader().await.unwrap().seq();
    let seen = async || {
        world.authenticate(signed_in.token.expose()).await.unwrap();
        let list = world
            .fleet
            .access()
            .sessions()
            .list(&root, None, &PageRequest::default())
            .await;
        let list = list.unwrap().items;
        let session = list.iter().find(|session| session.id == signed_in.session.id).unwrap();
        session.last_seen_at.since(began).as_secs()
    };
    assert_eq!(seen().await, 0);
    world.pass(5 * MINUTE - 1);
    assert_eq!(seen().await, 0);
    world.pass(1);
    assert_eq!(seen().await, 300);
    world.pass(MINUTE);
    assert_eq!(seen().await, 300);
    assert_eq!(world.fleet.store().reader().await.unwrap().seq(), seq);
}

#[tokio::test]
async fn sessions_are_listed_revoked_and_ended_by_their_user() {
    let (world, root) = World::with_root().await;
    let sessions = world.fleet.access().sessions();
    let (anna_id, anna) = world.signed_in(&root, "anna", Role::Viewer).await;
    let (bert_id, bert) = world.signed_in(&root, "bert", Role::Operator).await;
    let second = world.login("anna").await.unwrap();
    let third = world.login("anna").await.unwrap();
    let page = PageRequest::default();

    let own = sessions.list(&anna, None, &page).await.unwrap().items;
    assert_eq!(own.len(), 3);
    assert_eq!(own.iter().filter(|session| session.current).count(), 1);
    check(sessions.list(&bert, Some(anna_id), &page).await, "access.denied");
    assert_eq!(sessions.list(&root, Some(bert_id), &page).await.unwrap().items.len(), 1);

    check(sessions.revoke(&bert, second.session.id).await, "session.not_found");
    check(sessions.revoke(&anna, second.session.id).await, "ok");
    check(sessions.revoke(&anna, second.session.id).await, "session.not_found");
    check(
        sessions.revoke(&anna, SessionId::from_uuid(uuid::Uuid::nil())).await,
        "session.not_found",
    );
    check(world.authenticate(second.token.expose()).await, "auth.required");

    check(sessions.revoke_all(&bert, Some(anna_id)).await, "access.denied");
    assert_eq!(
        sessions.revoke_all(&anna, None).await.unwrap(),
        1,
        "all but the one that asks"
    );
    check(world.authenticate(third.token.expose()).await, "auth.required");
    check(sessions.logout(&anna).await, "ok");
    check(sessions.logout(&anna).await, "session.not_found");
    assert_eq!(sessions.revoke_all(&root, Some(bert_id)).await.unwrap(), 1);
    check(
        sessions.logout(&Context::anonymous(origin())).await,
        "session.not_found",
    );
    check(
        sessions.list(&Context::anonymous(origin()), None, &page).await,
        "auth.required",
    );
}

#[tokio::test]
async fn of_too_many_sessions_the_oldest_gives_way() {
    let (world, _) = World::with_root().await;
    world.pass(1);
    let first = world.login("root").await.unwrap();
    world.pass(1);
    let second = world.login("root").await.unwrap();
    for _ in 0..49 {
        world.login("root").await.unwrap();
    }
    check(world.authenticate(first.token.expose()).await, "auth.required");
    check(world.authenticate(second.token.expose()).await, "ok");
}

#[tokio::test]
async fn what_is_not_a_token_of_ours_proves_nothing() {
    let (world, _) = World::with_root().await;
    let good = world.login("root").await.unwrap().token;
    let good = good.expose();
    let mut altered = good.to_owned();
    let last = if altered.remove(20) == 'A' { 'B' } else { 'A' };
    altered.insert(20, last);
    let long = "x".repeat(1_000_000);
    for text in [
        "",
        "Bearer",
        &altered,
        &good[1..],
        &format!("Bearer {good}"),
        &good.replace("fls", "flk"),
        &long,
    ] {
        check(world.authenticate(text).await, "auth.required");
    }
    check(world.authenticate(good).await, "ok");
}

/// Fails to sign in; the code and the time to come back.
async fn fail(world: &World, name: &str) -> (&'static str, Option<u64>) {
    let error = world.login_with(name, "a wrong guess indeed").await.unwrap_err();
    (error.code().name(), error.retry_after_seconds())
}

#[tokio::test]
async fn the_ladder_outlasts_a_restart_and_a_success_resets_it() {
    const INVALID: (&str, Option<u64>) = ("auth.credentials_invalid", None);
    let (mut world, _) = World::with_root().await;
    for _ in 0..5 {
        assert_eq!(fail(&world, "root").await, INVALID);
    }
    assert_eq!(fail(&world, "root").await, ("auth.locked", Some(60)));
    check(world.login("root").await, "auth.locked");
    world.pass(20);
    world.restart().await;
    assert_eq!(fail(&world, "root").await, ("auth.locked", Some(40)));
    world.pass(40);
    assert_eq!(fail(&world, "root").await, INVALID);
    assert_eq!(fail(&world, "root").await, ("auth.locked", Some(120)));
    world.pass(120);
    check(world.login("root").await, "ok");
    for _ in 0..5 {
        assert_eq!(fail(&world, "root").await, INVALID);
    }
    assert_eq!(
        fail(&world, "root").await,
        ("auth.locked", Some(60)),
        "the ladder begins anew"
    );
}

#[tokio::test]
async fn who_does_not_exist_cannot_sign_in_or_has_no_password_answers_alike() {
    let (world, root) = World::with_root().await;
    let disabled = world.user(&root, "disabled", Role::Viewer).await.id;
    let change = UserChange {
        disabled: Some(true),
        ..UserChange::default()
    };
    world
        .fleet
        .access()
        .users()
        .set(&root, disabled, change, None)
        .await
        .unwrap();
    let mut silent = new_user("silent", Role::Viewer);
    silent.password = None;
    world.fleet.access().users().create(&root, silent).await.unwrap();

    for name in ["root", "nobody", "disabled", "silent", "", "a\0b", &"x".repeat(100_000)] {
        let mut answers = Vec::new();
        for _ in 0..7 {
            let entries = world.audit().await.len();
            let error = world.login_with(name, "a wrong guess indeed").await.unwrap_err();
            let rows = world.audit().await.len() - entries;
            answers.push((
                error.code().name(),
                error.message().to_owned(),
                error.retry_after_seconds(),
                rows,
            ));
        }
        let invalid = |rows| {
            (
                "auth.credentials_invalid",
                "name or password is wrong".to_owned(),
                None,
                rows,
            )
        };
        let locked = (
            "auth.locked",
            "too many failed attempts; try again in 60 seconds".to_owned(),
            Some(60),
            0,
        );
        let mut expected = vec![invalid(1); 4];
        expected.extend([invalid(2), locked.clone(), locked]);
        assert_eq!(answers, expected, "{name:.20}");
    }
    // The right password of a disabled user is no better than a wrong one.
    world.pass(HOUR);
    check(world.login("disabled").await, "auth.credentials_invalid");
}

#[tokio::test]
async fn failures_and_locks_are_written_down_without_what_was_typed() {
    let (world, root) = World::with_root().await;
    for _ in 0..5 {
        fail(&world, "root").await;
    }
    fail(&world, "i typed my password here").await;
    let audit = world.audit().await;
    let summary: Vec<_> = audit[..7]
        .iter()
        .map(|entry| {
            (
                entry.action.as_str(),
                entry.outcome,
                entry.subject.as_ref().map(|subject| subject.id),
            )
        })
        .collect();
    let refused = |subject| ("auth.login.refuse", Outcome::Refused, subject);
    assert_eq!(summary[0], refused(None));
    assert_eq!(
        summary[1..3],
        [refused(root.user()), ("auth.lock", Outcome::Done, root.user())]
    );
    assert_eq!(summary[3..], vec![refused(root.user()); 4]);
    assert!(
        audit[..7]
            .iter()
            .all(|entry| entry.actor == Actor::Anonymous && entry.origin == origin())
    );
    assert!(!serde_json::to_string(&audit).unwrap().contains("typed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_guesses_at_once_no_more_than_the_ladder_allows_are_answered() {
    let (world, _) = World::with_root().await;
    let world = Arc::new(world);
    let guesses = (0..24).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { fail(&world, "root").await.0 })
    });
    let answers = futures::future::join_all(guesses).await;
    let answered = answers
        .into_iter()
        .filter(|answer| *answer.as_ref().unwrap() == "auth.credentials_invalid");
    assert_eq!(answered.count(), 5);
}
