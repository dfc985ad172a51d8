use super::*;

#[tokio::test]
async fn the_token_makes_the_first_administrator_once() {
    let world = World::new().await;
    let access = world.fleet.access();
    let token = access.bootstrap_token().await.unwrap().unwrap();
    let root = access.claim(claim(token.expose(), "Root")).await.unwrap();
    assert_eq!((root.name.as_str(), root.role), ("root", Role::Admin));
    check(world.login("root").await, "ok");

    // Replayed, also under another name.
    check(
        access.claim(claim(token.expose(), "root")).await,
        "auth.bootstrap_invalid",
    );
    check(
        access.claim(claim(token.expose(), "mallory")).await,
        "auth.bootstrap_invalid",
    );
    assert!(access.bootstrap_token().await.unwrap().is_none(), "there is a user");
}

#[tokio::test]
async fn each_start_replaces_the_token_while_there_is_no_user() {
    let mut world = World::new().await;
    let first = world.fleet.access().bootstrap_token().await.unwrap().unwrap();
    world.restart().await;
    let second = world.fleet.access().bootstrap_token().await.unwrap().unwrap();
    check(
        world.fleet.access().claim(claim(first.expose(), "root")).await,
        "auth.bootstrap_invalid",
    );
    check(world.fleet.access().claim(claim(second.expose(), "root")).await, "ok");
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_written_down() {
    let world = World::new().await;
    let access = world.fleet.access();
    check(access.claim(claim("fla1_", "root")).await, "auth.bootstrap_invalid");
    let token = access.bootstrap_token().await.unwrap().unwrap();
    let other = World::open(&world.clock, &Arc::new(MemoryStore::new(world.clock.clone())), 77).await;
    let foreign = other.access().bootstrap_token().await.unwrap().unwrap();
    for wrong in [
        "",
        "fla1_",
        foreign.expose(),
        &token.expose().to_uppercase(),
        &format!("{} ", token.expose()),
    ] {
        check(access.claim(claim(wrong, "root")).await, "auth.bootstrap_invalid");
        assert_eq!(world.audit().await[0].action, "auth.bootstrap.refuse");
    }
    check(access.claim(claim(token.expose(), "root")).await, "ok");
}

#[tokio::test]
async fn a_password_that_breaks_the_rules_does_not_use_the_token_up() {
    let world = World::new().await;
    let access = world.fleet.access();
    let token = access.bootstrap_token().await.unwrap().unwrap();
    let mut weak = claim(token.expose(), "root");
    weak.password = "short".into();
    check(access.claim(weak).await, "request.invalid");
    check(
        access.claim(claim(token.expose(), "no spaces please")).await,
        "request.invalid",
    );
    check(access.claim(claim(token.expose(), "root")).await, "ok");
}

#[tokio::test]
async fn of_many_claims_at_once_one_wins() {
    let world = World::new().await;
    let token = world.fleet.access().bootstrap_token().await.unwrap().unwrap();
    let claims = (0..6).map(|n| {
        let (fleet, claim) = (world.fleet.clone(), claim(token.expose(), &format!("root{n}")));
        tokio::spawn(async move { fleet.access().claim(claim).await.is_ok() })
    });
    let won = futures::future::join_all(claims).await;
    assert_eq!(won.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1);
}
