//! What is remembered, and what makes it be forgotten.

use std::time::Duration;

use super::*;
use crate::kernel::{SeededRandom, SigningKey};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn found(is_idle: bool) -> Found<'static> {
    Found { is_idle, manifest: "" }
}

fn id(seed: u64) -> DeviceId {
    DeviceId::new(NOW, &SeededRandom::new(seed))
}

fn device(seed: u64, disabled: bool) -> Arc<KnownDevice> {
    let key = SigningKey::generate(&SeededRandom::new(seed)).public();
    Arc::new(KnownDevice {
        id: id(seed),
        name: "web".into(),
        key,
        verifier: key.verifier(),
        disabled,
        revoked: false,
        pending: false,
        certificate: None,
    })
}

fn is_idle(known: &KnownDevices, device: DeviceId, now: Timestamp) -> bool {
    known.is_settled(device, 0, now)
}

fn following(capacity: usize) -> KnownDevices {
    let known = KnownDevices::new(capacity);
    known.begin_anew(true);
    known
}

/// What is remembered of device 1 after it was read, with nothing due, and `between` happened since the ticket: whether it
/// is known, whether it is idle.
#[track_caller]
fn check(between: impl FnOnce(&KnownDevices), after: impl FnOnce(&KnownDevices), expected: (bool, bool)) {
    let known = following(10);
    let ticket = known.ticket(id(1));
    between(&known);
    known.remember(ticket, device(1, false), Some(found(true)), NOW);
    after(&known);
    let got = (known.find(id(1), NOW).is_some(), is_idle(&known, id(1), NOW));
    assert_eq!(got, expected);
}

#[test]
fn what_was_read_is_remembered_until_it_is_dropped() {
    check(|_| {}, |_| {}, (true, true));
    check(|_| {}, |known| assert!(known.wake(id(1))), (true, false));
    check(|_| {}, |known| known.forget(id(1)), (false, false));
    check(|_| {}, |known| known.begin_anew(true), (false, false));
    check(|_| {}, |known| known.forget(id(2)), (true, true));
}

#[test]
fn what_was_dropped_while_it_was_read_is_not_remembered() {
    check(|known| assert!(!known.wake(id(1))), |_| {}, (false, false));
    check(|known| known.forget(id(1)), |_| {}, (false, false));
    check(|known| known.begin_anew(true), |_| {}, (false, false));
}

#[test]
fn nothing_is_remembered_while_nobody_follows_the_feed() {
    check(|_| {}, |known| known.begin_anew(false), (false, false));
    let known = KnownDevices::new(10);
    known.remember(known.ticket(id(1)), device(1, false), Some(found(true)), NOW);
    assert!(known.find(id(1), NOW).is_none());
}

#[test]
fn reading_the_device_alone_says_nothing_of_what_is_due() {
    let known = following(10);
    known.remember(known.ticket(id(1)), device(1, false), None, NOW);
    assert!(!is_idle(&known, id(1), NOW));
    known.remember(known.ticket(id(1)), device(1, false), Some(found(true)), NOW);
    known.remember(known.ticket(id(1)), device(1, false), None, NOW);
    assert!(is_idle(&known, id(1), NOW));
    known.remember(known.ticket(id(1)), device(1, false), Some(found(false)), NOW);
    assert!(!is_idle(&known, id(1), NOW));
}

#[test]
fn what_is_noted_of_work_holds_as_long_as_what_is_known_of_the_device() {
    let known = following(10);
    known.note(known.ticket(id(1)), found(true));
    assert!(
        !is_idle(&known, id(1), NOW) && !known.is_let_in(id(1), NOW),
        "nothing is known of it"
    );
    known.remember(known.ticket(id(1)), device(1, false), Some(found(false)), NOW);
    assert!(known.is_let_in(id(1), NOW));
    let ticket = known.ticket(id(1));
    known.note(ticket, found(true));
    assert!(is_idle(&known, id(1), NOW) && !is_idle(&known, id(1), NOW.plus(MAX_AGE + Duration::from_secs(1))));
    known.wake(id(1));
    known.note(ticket, found(true));
    assert!(!is_idle(&known, id(1), NOW), "one of its runs was written meanwhile");
    known.remember(known.ticket(id(2)), device(2, true), Some(found(false)), NOW);
    assert!(!known.is_let_in(id(2), NOW), "it is kept out");
}

#[test]
fn a_device_that_is_disabled_is_never_idle() {
    let known = following(10);
    known.remember(known.ticket(id(1)), device(1, true), Some(found(true)), NOW);
    assert!(known.find(id(1), NOW).is_some_and(|device| device.disabled));
    assert!(!is_idle(&known, id(1), NOW));
}

#[test]
fn nothing_is_believed_for_longer_than_five_minutes_nor_after_the_clock_was_set_back() {
    let known = following(10);
    known.remember(known.ticket(id(1)), device(1, false), Some(found(true)), NOW);
    assert!(is_idle(&known, id(1), NOW.plus(MAX_AGE)));
    assert!(!is_idle(&known, id(1), NOW.plus(MAX_AGE + Duration::from_secs(1))));
    assert!(known.find(id(1), NOW.minus(Duration::from_secs(1))).is_none());
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let known = following(10);
    for seed in 1..=100 {
        known.remember(known.ticket(id(seed)), device(seed, false), Some(found(true)), NOW);
        assert!(known.find(id(1), NOW).is_some(), "{seed}");
    }
    let memory = known.memory();
    assert!(memory.young.len() <= 10 && memory.old.len() <= 10);
}
