//! Runs cases.

use std::{
    fmt,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet_core::{kernel::ManualClock, store::Backend};
use futures::future::BoxFuture;

use crate::{CASES, Harness, Opened, dsl};

/// No case takes longer unless something hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(120);

/// One case of the suite.
pub struct Case {
    /// Its subject.
    pub group: &'static str,
    /// The behaviour that it demands.
    pub name: &'static str,
    pub(crate) run: for<'lab> fn(&'lab mut Lab) -> BoxFuture<'lab, ()>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// What a case works with: a store of its own.
pub struct Lab {
    harness: Arc<dyn Harness>,
    // None only while it is being reopened.
    opened: Option<Opened>,
    pub(crate) batches: AtomicU64,
    pub(crate) closed: bool,
    case: &'static str,
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("case", &self.case).finish_non_exhaustive()
    }
}

impl Lab {
    pub(crate) async fn open(harness: Arc<dyn Harness>, case: &'static str) -> Self {
        let opened = harness.open().await;
        opened
            .backend
            .prepare(&dsl::schema())
            .await
            .expect("a new store is prepared");
        Self {
            harness,
            opened: Some(opened),
            batches: AtomicU64::new(1),
            closed: false,
            case,
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Backend> {
        &self.opened.as_ref().expect("the store is open").backend
    }

    /// Another store, empty and not prepared.
    pub(crate) async fn another(&self) -> Opened {
        self.harness.open().await
    }

    pub(crate) fn own_clock(&self) -> Option<Arc<ManualClock>> {
        self.opened.as_ref().and_then(|opened| opened.clock.clone())
    }

    pub(crate) fn clock(&self) -> Option<Arc<ManualClock>> {
        let clock = self.own_clock();
        if clock.is_none() {
            self.skip("the backend takes no clock");
        }
        clock
    }

    pub(crate) fn reopens(&self) -> bool {
        self.harness.reopens()
    }

    /// Closes the store and opens it again; false, and said aloud, where it cannot be.
    pub(crate) async fn reopen(&mut self) -> bool {
        self.reopen_unprepared().await && {
            self.store()
                .prepare(&dsl::schema())
                .await
                .expect("a reopened store is prepared");
            true
        }
    }

    pub(crate) async fn reopen_unprepared(&mut self) -> bool {
        if !self.harness.reopens() {
            self.skip("the backend does not reopen");
            return false;
        }
        let Opened { backend, guard, .. } = self.opened.take().expect("the store is open");
        backend.close().await.expect("a store closes");
        drop(backend);
        self.opened = Some(self.harness.reopen(guard).await);
        true
    }

    fn skip(&self, why: &str) {
        // Not through the test harness, which would swallow it.
        drop(writeln!(std::io::stderr(), "skipped {}: {why}", self.case));
    }

    pub(crate) fn next_batch(&self) -> u128 {
        u128::from(self.batches.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs one case on a new store; panics when it fails. The macro [`conformance_tests`](crate::conformance_tests) calls it.
pub fn run_case(harness: impl Harness, group: &str, name: &str) {
    if let Err(failure) = try_case(Arc::new(harness), find(group, name)) {
        std::panic::resume_unwind(failure);
    }
}

fn find(group: &str, name: &str) -> &'static Case {
    CASES
        .iter()
        .find(|case| case.group == group && case.name == name)
        .unwrap_or_else(|| panic!("there is no case {group}::{name}"))
}

/// Runs one case on a new store; the panic is returned when it fails.
pub fn try_case(harness: Arc<dyn Harness>, case: &'static Case) -> std::thread::Result<()> {
    let runtime = runtime();
    let done = runtime.block_on(runtime.spawn(async move {
        let work = async {
            let mut lab = Lab::open(harness, case.name).await;
            (case.run)(&mut lab).await;
            if !lab.closed {
                let findings = lab.store().check().await.expect("a store is checked");
                assert!(findings.is_empty(), "after the case, check() finds: {findings:?}");
            }
        };
        assert!(tokio::time::timeout(HANGS, work).await.is_ok(), "{case:?} hangs");
    }));
    // Tasks that a failed case left behind are not waited for.
    runtime.shutdown_background();
    done.map_err(tokio::task::JoinError::into_panic)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// Expands to one `#[test]` for each case of the suite, named `group::case`, run on stores of the given [`Harness`].
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::__cases! { tests ($harness) }
    };
}

/// Expands to the model test, run on stores of the given [`Harness`].
#[macro_export]
macro_rules! model_test {
    ($harness:expr) => {
        #[test]
        #[allow(clippy::disallowed_methods, clippy::print_stdout)]
        fn answers_like_the_model() {
            let number = |name: &str, default: u64| {
                std::env::var(name).map_or(default, |text| text.parse().expect("the variable holds a number"))
            };
            let sequences = number("CONFORMANCE_SEQUENCES", 64);
            $crate::check_model($harness, number("CONFORMANCE_SEED", 1), sequences);
            println!("{sequences} sequences");
        }
    };
}

/// Expands to the test of concurrent histories, run on stores of the given [`Harness`].
#[macro_export]
macro_rules! histories_test {
    ($harness:expr) => {
        #[test]
        #[allow(clippy::disallowed_methods, clippy::print_stdout)]
        fn answers_are_explained_by_one_order() {
            let number = |name: &str, default: u64| {
                std::env::var(name).map_or(default, |text| text.parse().expect("the variable holds a number"))
            };
            let rounds = number("CONFORMANCE_ROUNDS", 24);
            $crate::check_histories($harness, number("CONFORMANCE_SEED", 1), rounds);
            println!("{rounds} histories");
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __expand {
    (tests ($harness:expr) $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            $(#[test]
            fn $case() {
                $crate::run_case(super::__conformance_harness(), stringify!($group), stringify!($case));
            })*
        })*

        fn __conformance_harness() -> impl $crate::Harness {
            $harness
        }
    };
    (table () $($group:ident { $($case:ident)* })*) => {
        /// Every case of the suite.
        pub static CASES: &[$crate::Case] = &[$($($crate::Case {
            group: stringify!($group),
            name: stringify!($case),
            run: |lab| Box::pin($group::$case(lab)),
        }),*),*];
    };
}
