//! Panics of the code under test: a runtime catches those of tasks, and nobody would hear of them.

use std::{cell::RefCell, panic, sync::Once};

/// What a planted panic says; it is noted like any other and not shown, since whoever looks for a cause would take it for one.
pub const PLANTED: &str = "planted";

thread_local! {
    /// The first panic on this thread, which simulates one thing at a time.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics from now on, and forgets those before.
pub fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|panic| panic.get_or_insert_with(|| info.to_string()).len());
            if info.payload_as_str() != Some(PLANTED) {
                before(info);
            }
        }));
    });
    take();
}

/// The first panic since.
pub fn take() -> Option<String> {
    PANIC.with_borrow_mut(Option::take)
}
