//! What is applied when, what is told of it, and what is taken back.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_assigned_is_applied_at_once_and_looked_at_again_in_time() {
    let mut world = World::new("").await;
    assert_eq!(world.turn().await, "", "it was never given anything");
    world.assign("web,db");
    assert_eq!(world.turn().await, "web db");
    assert_eq!(world.told().await, "succeeded+ succeeded+");
    assert_eq!(
        world.standing(),
        "2 kept, 0 failed, 0 not applicable, 0 waiting, 0 reverting"
    );
    assert_eq!(world.turn_after(3_599).await, "");
    assert_eq!(world.turn_after(1).await, "web db");
    assert_eq!(world.told().await, "", "nothing was to be done, and nothing is told");
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_by_hand_is_put_right_while_the_server_is_down_and_told_of_once() {
    let mut world = World::new("").await;
    world.assign("web");
    world.turn().await;
    world.told().await;
    world.server.is_down.store(true, Ordering::SeqCst);
    world.device.there.lock().unwrap().clear();
    world.start().await;
    assert_eq!(world.turn().await, "", "a restart is no reason to look");
    assert_eq!(world.turn_after(3_600).await, "web");
    assert!(world.has("web"));
    // The network breaks before the server confirms, and the agent is killed.
    let first = world.tell().await;
    assert_eq!(shown(&first), "succeeded+");
    world.start().await;
    let again = world.tell().await;
    assert_eq!(again, first, "the same run, in the same words");
    world.sent = Sent::default();
    assert_eq!(world.told().await, "succeeded+");
    world.sent = Sent::default();
    assert_eq!(world.told().await, "");
    world.start().await;
    assert_eq!(world.told().await, "");
}

#[tokio::test(start_paused = true)]
async fn only_the_difference_comes_and_only_what_it_concerns_is_applied() {
    let mut world = World::new("").await;
    world.assign("web,db mail=");
    assert_eq!(world.turn().await, "web db", "the other group waits for its time");
    assert_eq!(*world.server.sent_whole.lock().unwrap(), 3);
    world.assign("web,db mail= ftp");
    assert_eq!(world.turn().await, "ftp");
    assert_eq!(*world.server.sent_whole.lock().unwrap(), 1);
    // What the server believes that it has is not what it has: it asks for all.
    *world.server.had.lock().unwrap() = vec![group("web,db"), group("dns")];
    world.assign("web,db mail= ftp dns");
    assert_eq!(world.turn().await, "dns");
    assert_eq!(*world.server.sent_whole.lock().unwrap(), 5);
    assert_eq!(world.turn_after(3_600).await, "web db mail ftp dns");
    world.told().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_it_has_made_is_taken_back_and_one_that_was_there_stays() {
    let mut world = World::new("").await;
    world.device.there.lock().unwrap().insert("ann".into());
    world.assign("ann bob");
    world.turn().await;
    assert_eq!(world.told().await, "succeeded+", "ann was there");
    world.start().await;
    world.assign("~ann ~bob");
    assert_eq!(world.turn().await, "bob-");
    assert!(world.has("ann") && !world.has("bob"));
    assert_eq!(world.told().await, "not_applicable- succeeded+");
    assert_eq!(world.keeper().reverted().len(), 2, "until the server knows");
    world.start().await;
    assert_eq!(world.turn_after(7_200).await, "", "once");
    assert_eq!(world.keeper().reverted().len(), 2);
    world.assign("");
    world.turn().await;
    assert_eq!(world.keeper().reverted().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_about_another_account_takes_back_what_it_made_and_nothing_else() {
    let mut world = World::new("").await;
    world.device.there.lock().unwrap().insert("bob".into());
    world.assign("one:ann");
    assert_eq!(world.turn().await, "ann");
    world.assign("one:bob ~one:ann");
    assert_eq!(world.turn().await, "ann- bob");
    assert!(world.has("bob") && !world.has("ann"));
    world.told().await;
    world.start().await;
    world.assign("~one:bob");
    assert_eq!(world.turn().await, "");
    assert!(world.has("bob"), "it was there before");
}

#[tokio::test(start_paused = true)]
async fn what_one_action_made_is_taken_back_when_the_last_one_that_is_about_it_goes() {
    let world = World::new("").await;
    world.assign("one:ann");
    world.turn().await;
    world.assign("one:ann two:ann");
    world.turn().await;
    world.assign("two:ann");
    world.turn().await;
    assert!(world.has("ann"));
    world.assign("~two:ann");
    assert_eq!(world.turn().await, "ann-");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_made_after_it_was_taken_away_stays() {
    let world = World::new("").await;
    world.assign("ann");
    world.turn().await;
    world.assign("ann-");
    assert_eq!(world.turn().await, "ann-", "uninstalled: whoever made it");
    world.device.there.lock().unwrap().insert("ann".into());
    world.assign("~ann");
    assert_eq!(world.turn().await, "");
    assert!(world.has("ann"));
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_group_waits_where_one_failed_if_it_shall() {
    let mut world = World::new("").await;
    world.assign("web,broken,db! broken2,mail");
    assert_eq!(world.turn().await, "web broken broken2 mail");
    assert_eq!(world.told().await, "succeeded+ failed? failed? succeeded+");
    assert_eq!(
        world.standing(),
        "2 kept, 2 failed, 0 not applicable, 1 waiting, 0 reverting"
    );
    let failing = world.keeper().applied().unwrap().failing;
    assert_eq!(failing[0].code.as_deref(), Some("test.broken"));
    world.turn_after(1).await;
    assert_eq!(world.turn_after(3_600).await, "web broken broken2 mail");
}

#[tokio::test(start_paused = true)]
async fn what_was_interrupted_is_told_of_and_looked_at_again() {
    let mut world = World::new("").await;
    world.assign("hangs");
    let keeper = world.keeper().clone();
    let turn = tokio::spawn(async move { keeper.turn().await });
    while !world.has("hangs") {
        tokio::task::yield_now().await;
    }
    world.start().await;
    turn.abort();
    assert_eq!(world.told().await, "indeterminate?");
    // It was about to be made, so it is this agent's to take back.
    world.assign("~thing_of_hangs");
    assert!(world.keeper().applied().is_some());
}

#[tokio::test(start_paused = true)]
async fn exclusive_work_that_waits_behind_it_is_not_said_to_be_here_before_its_time_can_begin() {
    let world = World::new("").await;
    world.assign("hangs");
    let keeper = world.keeper().clone();
    let turn = tokio::spawn(async move { keeper.turn().await });
    while !world.has("hangs") {
        tokio::task::yield_now().await;
    }
    let (_, runs) = world.agent.as_ref().unwrap();
    let offer = OfferBody {
        run: RunId::from_uuid(uuid::Uuid::from_u128(1)),
        device: device(),
        epoch: 1,
        kind: "thing".into(),
        secrets: Vec::new(),
        params: json!({"name": "web"}).into(),
        expires_at: NOW.plus(Duration::from_secs(3_600)),
        timeout_seconds: 60,
        output_limit_bytes: 1_000,
        idempotent: false,
        exclusive: true,
    };
    let run = offer.run;
    runs.take(offer).await.unwrap();
    let is_said = async |sent: &mut Sent| {
        let frames = runs.due(sent).await.unwrap();
        frames
            .iter()
            .any(|frame| matches!(frame, AgentFrame::Accepted(accepted) if accepted.run == run))
    };
    let mut sent = Sent::default();
    assert!(!is_said(&mut sent).await, "the server's clock for it would run");
    turn.abort();
    let _ = turn.await;
    assert!(is_said(&mut sent).await);
}

#[tokio::test(start_paused = true)]
async fn a_time_of_day_is_met_once_whatever_happens() {
    let mut world = World::new("").await;
    world.assign("script@=");
    assert_eq!(world.turn().await, "", "it waits for its time");
    // NOW is 08:00 UTC; the next half past two is 18.5 hours later.
    assert_eq!(world.turn_after(18 * 3_600).await, "");
    assert_eq!(world.turn_after(1_800).await, "script");
    world.start().await;
    assert_eq!(world.turn_after(60).await, "", "met, though the agent was killed");
    assert_eq!(world.turn_after(3 * 86_400).await, "script", "three were missed: once");
    assert_eq!(world.told().await, "succeeded? succeeded?");
}

#[tokio::test(start_paused = true)]
async fn a_script_that_prints_the_same_is_told_of_once_if_it_shall() {
    let mut world = World::new("").await;
    world.assign("script%");
    world.turn().await;
    assert_eq!(world.told().await, "succeeded?");
    assert_eq!(world.turn_after(3_600).await, "script");
    assert_eq!(world.told().await, "");
    world.start().await;
    assert_eq!(world.told().await, "", "nor after a restart");
}
