//! What decides beside the manifest: the device's policy, the server's signature, what is on disk; and who asks for all of it now.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_policy_of_the_device_decides_here_too() {
    let mut world = World::new("forbid_kinds = [\"thing\"]").await;
    world.assign("web");
    assert_eq!(world.turn().await, "");
    assert_eq!(world.told().await, "failed?");
    assert_eq!(
        world.keeper().applied().unwrap().failing[0].code.as_deref(),
        Some("policy.forbidden")
    );
    let mut world = World::new("[[windows]]\nkinds = [\"thing\"]\nfrom = \"22:00\"\nuntil = \"23:00\"").await;
    world.assign("script,web");
    assert_eq!(world.turn().await, "", "the whole of it waits for the window");
    assert_eq!(world.told().await, "");
    // NOW is 08:00 UTC.
    assert_eq!(world.turn_after(14 * 3_600).await, "script web");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_this_agent_does_not_know_fails_aloud() {
    let mut world = World::new("").await;
    world.assign("unknown,web");
    assert_eq!(world.turn().await, "web");
    assert_eq!(world.told().await, "failed? succeeded+");
}

/// A manifest on whose way somebody has meddled; whether it was taken.
async fn is_taken(lie: fn(&mut ManifestAnswer)) -> bool {
    let world = World::new("").await;
    *world.server.lie.lock().unwrap() = Some(lie);
    world.assign("web");
    world.turn().await == "web"
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_not_signed_for_this_question_is_not_taken() {
    assert!(is_taken(|_| {}).await);
    assert!(!is_taken(|answer| answer.body.device = DeviceId::from_uuid(uuid::Uuid::nil())).await);
    assert!(!is_taken(|answer| answer.body.nonce = "another".into()).await);
    assert!(!is_taken(|answer| answer.parts.groups[0].on_failure = OnFailure::Stop).await);
    assert!(!is_taken(|answer| answer.parts.reverts = vec![occurrence("revert", "root-")]).await);
    assert!(
        !is_taken(|answer| {
            let again = ManifestAnswer::sign(
                answer.body.clone(),
                answer.parts.clone(),
                &SigningKey::from_bytes(&[9; 32]),
            );
            answer.signature = again.unwrap().signature;
        })
        .await
    );
}

#[tokio::test(start_paused = true)]
async fn all_is_applied_now_on_request_and_who_asked_hears_what_became_of_it() {
    let world = World::new("").await;
    world.assign("web broken");
    world.turn().await;
    let keeper = world.keeper().clone();
    let asked = tokio::spawn(async move { keeper.requests().apply_all(false).await });
    tokio::task::yield_now().await;
    assert_eq!(world.turn().await, "web broken");
    let all = asked.await.unwrap().unwrap();
    assert_eq!((all.changed, all.failed), (0, 1));
    assert_eq!(
        all.lines,
        [
            "Set web, WEB (thing): as it shall be",
            "Set broken, BROKEN (broken): failed: it is broken"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn another_name_is_taken_over_and_applies_nothing_again() {
    let world = World::new("").await;
    world.assign("web,db");
    assert_eq!(world.turn().await, "web db");
    let mut renamed = group("web,db");
    renamed.name = "Front".into();
    renamed.occurrences[1].name = "Base of data".into();
    world.compiled(vec![renamed.clone()], Vec::new());
    assert_eq!(world.turn().await, "");
    let applied = world.keeper().applied().unwrap();
    assert_eq!((applied.version, applied.kept, applied.waiting), (2, 2, 0));
    // What the name is of is another.
    renamed.occurrences[1].operation = "script".into();
    world.compiled(vec![renamed], Vec::new());
    assert_eq!(world.turn().await, "web db", "the group is looked at");
    let keeper = world.keeper().clone();
    let asked = tokio::spawn(async move { keeper.requests().apply_all(false).await });
    tokio::task::yield_now().await;
    world.turn().await;
    let all = asked.await.unwrap().unwrap();
    assert!(all.lines[1].starts_with("Front, Base of data (script): "), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_no_time_is_asked_for_the_manifest_when_it_said() {
    let world = World::new("").await;
    let stay_away = |seconds| *world.server.stay_away.lock().unwrap() = seconds;
    let asked = || world.server.asked.load(Ordering::SeqCst);
    stay_away(Some(120));
    world.assign("web");
    assert_eq!((world.turn().await.as_str(), asked()), ("", 1));
    tokio::time::advance(Duration::from_secs(119)).await;
    assert_eq!((world.turn().await.as_str(), asked()), ("", 1));
    stay_away(None);
    // Up to a quarter later: devices that were told the same do not come at one moment.
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!((world.turn().await.as_str(), asked()), ("web", 2));
}

#[tokio::test(start_paused = true)]
async fn files_of_another_identity_or_damaged_ones_are_asked_for_anew() {
    for damage in ["", "{\"v\":1", "{\"v\":1,\"device_key\":\"x\"}"] {
        let mut world = World::new("").await;
        world.assign("web");
        world.turn().await;
        world.told().await;
        let path = world.folder.path().join("manifest.json");
        assert!(Path::new(&path).exists());
        std::fs::write(path, damage).unwrap();
        world.start().await;
        assert_eq!(world.keeper().digest(), None);
        world.assign("web");
        assert_eq!(world.turn().await, "web", "nobody knows whether it was looked at");
        assert_eq!(world.told().await, "");
        assert_eq!(
            world.standing(),
            "1 kept, 0 failed, 0 not applicable, 0 waiting, 0 reverting"
        );
    }
}
