//! The suite is tested, too: backends that are broken on purpose, each in one way, and each caught by a case that is named
//! here. A fault that escapes is a case that is missing.

mod fault;
mod moving;
mod store;
mod texts;
mod view;

use std::{
    any::Any,
    panic,
    sync::{Arc, Mutex, PoisonError},
};

use fault::{FAULTS, Fault};
use fleet_storage_conformance::{CASES, try_case};
use store::Broken;

/// The wrapper with no fault passes everything, also what needs a store that is opened again: what catches a fault catches the
/// fault and not the wrapper.
mod sound {
    fleet_storage_conformance::conformance_tests!(super::Broken(super::Fault::None));
    fleet_storage_conformance::model_test!(super::Broken(super::Fault::None));
    fleet_storage_conformance::histories_test!(super::Broken(super::Fault::None));
}

/// Panics are expected inside, by the dozen, and not shown.
fn silently<T>(work: impl FnOnce() -> T) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = work();
    panic::set_hook(hook);
    result
}

fn hangs(failure: &(dyn Any + Send)) -> bool {
    failure
        .downcast_ref::<String>()
        .is_some_and(|message| message.contains("hangs"))
}

#[test]
fn every_broken_backend_is_caught_by_its_case() {
    let verdict = |(fault, case): &(Fault, &str)| match CASES.iter().find(|known| format!("{known:?}") == *case) {
        None => Some(format!("{fault:?}: there is no case {case}")),
        Some(found) => match try_case(Arc::new(Broken(*fault)), found) {
            Ok(()) => Some(format!("{fault:?} escapes {case}")),
            Err(failure) if hangs(&*failure) => Some(format!("{fault:?} is caught by {case} only because it hangs")),
            Err(_) => None,
        },
    };
    let escaped: Vec<String> = silently(|| FAULTS.iter().filter_map(verdict).collect());
    println!("caught {} of {}", FAULTS.len() - escaped.len(), FAULTS.len());
    assert!(escaped.is_empty(), "{escaped:#?}");
}

#[test]
fn model_test_catches_broken_backends_that_no_case_was_written_for() {
    let faults = [
        Fault::ThirdRevisionTwice,
        Fault::OrOfThreeLosesOne,
        Fault::TrimTakesTheStreamAlong,
    ];
    let passes =
        |fault: &Fault| panic::catch_unwind(|| fleet_storage_conformance::check_model(Broken(*fault), 1, 400)).is_ok();
    let escaped: Vec<Fault> = silently(|| faults.into_iter().filter(passes).collect());
    assert_eq!(escaped, []);
}

#[test]
fn histories_test_catches_broken_backends() {
    let faults = [
        Fault::LostUpdate,
        Fault::TornBatch,
        Fault::SkewAllowed,
        Fault::IdempotencyForgotten,
        Fault::IdempotencyForgottenByReopening,
        Fault::UniqueIgnored,
        Fault::OldestValueWins,
        Fault::ChainExtendedByRepeats,
        Fault::StaleView,
        Fault::MovingView,
        Fault::ViewOfTheTimeBefore,
        Fault::FeedOutOfOrder,
        Fault::FeedWithoutDeletes,
        Fault::ThirdRevisionTwice,
    ];
    let passes = |fault: &Fault| {
        panic::catch_unwind(|| fleet_storage_conformance::check_histories(Broken(*fault), 1, 24)).is_ok()
    };
    let count = faults.len();
    let escaped: Vec<Fault> = silently(|| faults.into_iter().filter(passes).collect());
    println!("the histories test caught {} of {count}", count - escaped.len());
    assert_eq!(escaped, []);
}
