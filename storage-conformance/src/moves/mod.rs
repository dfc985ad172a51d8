//! The migration suite: what every pair of backends must be able to do with each other.
//!
//! ```text
//!   moves/mod.rs    the list of cases, and how they are run
//!   moves/pair.rs   two stores and moves between them
//!   moves/tap.rs    a store with somebody in between, who breaks off calls or breaks the store
//!   moves/writers.rs   writers who remember what was acknowledged
//!   whole, refusal, interruption, way_back, online, exchange: the cases
//! ```

mod exchange;
mod interruption;
mod online;
mod pair;
mod refusal;
mod tap;
mod way_back;
mod whole;
mod writers;

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

pub use self::{
    pair::Pair,
    tap::{Tap, Tapped},
};
use crate::{
    Harness,
    run::{HANGS, runtime},
};

/// One case of the migration suite.
pub struct MoveCase {
    /// Its subject.
    pub group: &'static str,
    /// The behaviour that it demands.
    pub name: &'static str,
    pub(crate) run: for<'pair> fn(&'pair mut Pair) -> BoxFuture<'pair, ()>,
}

impl fmt::Debug for MoveCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// Runs one case between new stores; panics when it fails. The macro [`migration_tests`](crate::migration_tests) calls it.
pub fn run_move_case(from: impl Harness, to: impl Harness, group: &str, name: &str) {
    let case = MOVE_CASES
        .iter()
        .find(|case| case.group == group && case.name == name)
        .unwrap_or_else(|| panic!("there is no case {group}::{name}"));
    if let Err(failure) = try_move_case(Arc::new(from), Arc::new(to), case) {
        std::panic::resume_unwind(failure);
    }
}

/// Runs one case between new stores; the panic is returned when it fails.
pub fn try_move_case(from: Arc<dyn Harness>, to: Arc<dyn Harness>, case: &'static MoveCase) -> std::thread::Result<()> {
    let runtime = runtime();
    let done = runtime.block_on(runtime.spawn(async move {
        let work = async {
            let mut pair = Pair::open(from, to, case.name).await;
            (case.run)(&mut pair).await;
        };
        assert!(tokio::time::timeout(HANGS, work).await.is_ok(), "{case:?} hangs");
    }));
    runtime.shutdown_background();
    done.map_err(tokio::task::JoinError::into_panic)
}

/// Expands to one `#[test]` for each case of the migration suite, named `group::case`, between stores of two
/// [`Harness`](crate::Harness)es. Once for each directed pair:
///
/// ```ignore
/// mod memory_to_mine { fleet_storage_conformance::migration_tests!(super::Memory, super::Mine); }
/// mod mine_to_memory { fleet_storage_conformance::migration_tests!(super::Mine, super::Memory); }
/// ```
#[macro_export]
macro_rules! migration_tests {
    ($from:expr, $to:expr) => {
        $crate::__moves! { tests ($from, $to) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __expand_moves {
    (tests ($from:expr, $to:expr) $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            $(#[test]
            fn $case() {
                let (from, to) = super::__migration_harnesses();
                $crate::run_move_case(from, to, stringify!($group), stringify!($case));
            })*
        })*

        fn __migration_harnesses() -> (impl $crate::Harness, impl $crate::Harness) {
            ($from, $to)
        }
    };
    (table () $($group:ident { $($case:ident)* })*) => {
        /// Every case of the migration suite.
        pub static MOVE_CASES: &[$crate::MoveCase] = &[$($($crate::MoveCase {
            group: stringify!($group),
            name: stringify!($case),
            run: |pair| Box::pin($group::$case(pair)),
        }),*),*];
    };
}

/// The list, and there is no other.
#[doc(hidden)]
#[macro_export]
macro_rules! __moves {
    ($mode:ident ($($harness:expr),*)) => {
        $crate::__expand_moves! {
            $mode ($($harness),*)
            whole {
                everything_is_moved
                source_is_unaltered_but_for_its_mark
                target_goes_on_where_the_source_stood
                chains_go_on
                page_tokens_go_on
                feed_goes_on
                unique_values_stay_taken
                empty_store_is_moved
                store_that_only_deleted_is_moved
                adversarial_text_survives
                extreme_keys_survive
                bodies_of_a_megabyte_survive
                many_records_are_moved
                report_says_what_was_moved
                plan_counts_and_changes_nothing
                comparison_names_the_first_difference
                progress_is_told
                moved_store_moves_on
            }
            refusal {
                target_that_is_not_empty
                target_that_was_emptied_by_deletes
                one_store_twice
                source_that_was_moved_elsewhere
                target_that_is_filled_from_elsewhere
                source_that_is_being_filled
                target_of_another_version
                closed_stores
                way_back_by_running
                way_back_to_a_stranger
                way_back_to_a_store_that_serves
                refused_moves_change_nothing
            }
            interruption {
                move_broken_off_at_every_call_goes_on
                move_whose_answer_is_lost_at_every_call_goes_on
                move_broken_off_at_every_call_can_be_abandoned
                reopened_stores_go_on
                finished_move_is_not_made_again
                abandoned_move_leaves_the_source_serving
                finished_move_cannot_be_abandoned
                target_that_loses_a_record_never_serves
                target_that_alters_a_body_never_serves
                target_that_keeps_a_surplus_never_serves
                source_that_is_damaged_stops_the_move
                target_emptied_at_the_last_moment_is_noticed
            }
            way_back {
                carries_what_was_written_since
                writes_only_what_differs
                trimmed_rows_stay_away
                unique_values_that_changed_hands_arrive
                broken_off_at_every_call_goes_on
                there_and_back_and_there_again
                two_moves_are_taken_back_one_after_the_other
                abandoned_way_back_leaves_the_newer_store_serving
            }
            online {
                quiet_store_is_moved
                writers_wait_and_lose_nothing
                writers_of_the_source_itself_lose_nothing
                way_back_is_online_too
                writes_between_all_steps_arrive
                notes_that_were_lost_are_begun_anew
                pause_that_grows_too_long_is_put_off
                failure_during_the_pause_lets_the_source_serve
                target_that_does_not_answer_the_last_step_leaves_the_source_frozen
                difference_without_a_note_ends_the_move
                broken_off_at_every_call_goes_on
                frozen_source_is_finished_and_exchanged
                another_store_than_the_one_in_use_is_refused
            }
            exchange {
                followers_see_every_commit_once
                followers_from_the_past_get_the_old_part
                followers_outlive_a_move_that_was_put_off
                followers_learn_that_an_old_store_was_closed
                writes_wait_while_the_gate_is_shut
                impatient_writes_fail_unwritten
                reads_do_not_wait
                leases_begin_anew
                closing_closes_all_stores
            }
        }
    };
}

__moves! { table () }
