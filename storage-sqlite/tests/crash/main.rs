//! A process that writes is killed, its disk fails or is full, its log is torn, its file is damaged: what it acknowledged is
//! there, nothing is half there, and nothing is silently wrong.
//!
//! Without arguments this is the test; the other modes are the children that it watches (`child.rs`). `CRASH_KILLS` says how
//! often a child is killed (24 by default; 500 is the long mode).

#[path = "../common/mod.rs"]
mod common;

mod child;
mod damage;
mod durable;
mod faults;
mod killed;
mod torn;

use std::{future::Future, path::Path, pin::Pin};

use child::say;

type Test = fn() -> Pin<Box<dyn Future<Output = String>>>;

/// Each says at its end what it saw.
const TESTS: [(&str, Test); 7] = [
    ("killed_at_any_moment_nothing_acknowledged_is_lost", || {
        Box::pin(killed::killed_often())
    }),
    ("each_acknowledgement_follows_a_sync_of_what_it_stands_on", || {
        Box::pin(durable::proven())
    }),
    ("an_early_acknowledgement_is_caught", || Box::pin(durable::planted())),
    ("a_full_disk_loses_nothing", || Box::pin(faults::full())),
    ("disk_errors_lose_nothing_and_tell_the_truth", || {
        Box::pin(faults::injected())
    }),
    ("a_log_torn_anywhere_leaves_what_came_before", || {
        Box::pin(torn::torn_anywhere())
    }),
    ("a_damaged_page_is_refused_or_found", || {
        Box::pin(damage::damaged_pages())
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let words: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match words[..] {
        ["write", file, first] => runtime.block_on(child::write(Path::new(file), first.parse().expect("a number"))),
        ["steady", file, synchronous] => runtime.block_on(child::steady(Path::new(file), synchronous)),
        ["crowd", file, synchronous] => runtime.block_on(child::crowd(Path::new(file), synchronous)),
        ["fill", file, most] => runtime.block_on(child::fill(Path::new(file), most.parse().expect("a number"))),
        _ => as_a_test_runner_asks(&runtime, &words),
    }
}

/// The little of libtest's interface that runners use: `--list` (with `--ignored`, of which there are none), and names with
/// `--exact`.
fn as_a_test_runner_asks(runtime: &tokio::runtime::Runtime, words: &[&str]) {
    if words.contains(&"--list") {
        for (test, _) in TESTS.iter().filter(|_| !words.contains(&"--ignored")) {
            say(&format!("{test}: test\n"));
        }
        return;
    }
    let named = |test: &str| {
        words
            .iter()
            .any(|word| *word == test || (!words.contains(&"--exact") && !word.starts_with('-') && test.contains(word)))
    };
    let any = words
        .iter()
        .any(|word| !word.starts_with('-') && word.parse::<u64>().is_err());
    for (test, run) in TESTS.iter().filter(|(test, _)| !any || named(test)) {
        let saw = runtime.block_on(run());
        say(&format!("test {test} ... ok ({saw})\n"));
    }
}

/// A number from the environment.
#[expect(clippy::disallowed_methods, reason = "who runs the tests decides how long they take")]
pub fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("the variable holds a number"))
}
