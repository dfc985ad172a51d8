//! The fleet's windows, and those of the device's own policy, hold what a device does by itself. It is 08:00.

use fleet_core::work::windows::{Outside, WindowId, WindowKind, WindowTimes};

use super::*;

/// A window in words: `maintenance` or `blackout`, hours such as `09-11`, then what it does outside, and which kinds it concerns.
fn window(text: &str) -> HeldWindow {
    let mut words = text.split_whitespace();
    let kind = match words.next() {
        Some("blackout") => WindowKind::Blackout,
        _ => WindowKind::Maintenance,
    };
    let (from, until) = words.next().unwrap().split_once('-').unwrap();
    let at = |hour: &str| format!("2027-01-15T{hour}:00:00Z").parse().unwrap();
    let outside = match words.next() {
        Some("allow") => Outside::Allow,
        Some("postpone") => Outside::Postpone {
            give_up_after_seconds: 60,
        },
        _ => Outside::Gate,
    };
    HeldWindow {
        id: WindowId::from_uuid(named_uuid("test", text)),
        name: text.into(),
        kind,
        when: WindowTimes::Once {
            starts_at: at(from),
            ends_at: at(until),
        },
        outside,
        operations: words.map(str::to_owned).collect(),
    }
}

/// What is applied at 08:00, and then each half hour until 10:30, of `web,db` and what is to be taken back.
async fn check(windows: &[&str], expected: &str) {
    let mut world = World::new("").await;
    world.assign("old");
    world.turn().await;
    *world.server.windows.lock().unwrap() = windows.iter().map(|text| window(text)).collect();
    world.assign("web,db ~old");
    let mut applied = vec![world.turn().await];
    for _ in 0..5 {
        world.told().await;
        applied.push(world.turn_after(1_800).await);
    }
    let applied = applied.join("|");
    assert_eq!(applied, expected, "{windows:?}");
    // Whatever was held was done in the end, and nothing was said to be done that was not.
    assert_eq!(world.has("old"), world.keeper().applied().unwrap().reverting > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_waits_for_the_fleets_windows_connected_or_not() {
    check(&[], "old- web db||web db||web db|").await;
    check(&["maintenance 09-11"], "||old- web db||web db|").await;
    check(&["blackout 07-10"], "||||old- web db|").await;
    check(&["maintenance 08-11", "blackout 07-09"], "||old- web db||web db|").await;
    check(&["maintenance 05-06"], "|||||").await;
    check(&["blackout 07-09 gate broken"], "old- web db||web db||web db|").await;
    check(&["blackout 07-09 gate thing"], "||old- web db||web db|").await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_lets_work_pass_does_so_and_what_is_kept_is_never_given_up() {
    check(&["blackout 07-10 allow"], "old- web db||web db||web db|").await;
    check(&["blackout 07-10 postpone"], "||||old- web db|").await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_of_and_can_be_ordered_all_the_same() {
    let world = World::new("").await;
    *world.server.windows.lock().unwrap() = vec![window("blackout 07-10")];
    world.assign("web,db mail");
    assert_eq!(world.turn().await, "");
    assert_eq!(world.keeper().applied().unwrap().held, 3);
    let order = async |ignore_windows| {
        let keeper = world.keeper().clone();
        let ordered = tokio::spawn(async move { keeper.requests().apply_all(ignore_windows).await });
        tokio::task::yield_now().await;
        let executed = world.turn().await;
        (executed, ordered.await.unwrap().unwrap())
    };
    let (executed, applied) = order(false).await;
    assert_eq!(executed, "");
    assert!(
        applied.lines[0].contains("blackout “blackout 07-10” lasts"),
        "{applied:?}"
    );
    let (executed, applied) = order(true).await;
    assert_eq!((executed.as_str(), applied.changed), ("web db mail", 3));
    assert_eq!(world.keeper().applied().unwrap().held, 0);
}

#[tokio::test(start_paused = true)]
async fn other_windows_alone_are_no_reason_to_look() {
    let mut world = World::new("").await;
    world.assign("web");
    assert_eq!(world.turn().await, "web");
    *world.server.windows.lock().unwrap() = vec![window("blackout 12-13")];
    world.assign("web");
    assert_eq!(world.turn().await, "");
    // They outlive a restart with the server down.
    world.server.is_down.store(true, Ordering::SeqCst);
    world.start().await;
    assert_eq!(world.turn_after(4 * 3_600).await, "", "it is 12:00");
    assert_eq!(world.turn_after(3_600).await, "web");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_taken_back_waits_for_the_devices_own_window_too() {
    let world = World::new("[[windows]]\nkinds = [\"thing\"]\nfrom = \"08:00\"\nuntil = \"09:00\"").await;
    world.assign("web");
    assert_eq!(world.turn().await, "web");
    world.clock.advance(Duration::from_secs(3_600));
    world.assign("~web");
    assert_eq!(world.turn().await, "");
    assert!(world.has("web"));
    assert!(world.keeper().reverted().is_empty(), "nothing was taken back");
    assert_eq!(world.turn_after(23 * 3_600).await, "web-");
    assert_eq!(world.keeper().reverted().len(), 1);
}
