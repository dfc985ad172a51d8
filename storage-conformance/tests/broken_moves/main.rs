//! The migration suite is tested, too: moves that are broken on purpose, each in one way, each caught by a case that is named
//! here. What an engine might forget (to drain, to verify, to freeze) is planted in the stores that it stands on: a store that
//! tells nothing of its notes once it is frozen makes of a sound engine one that does not drain.

use std::{
    any::Any,
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fleet_core::{
    kernel::{ManualClock, Timestamp},
    store::{Patch, Record, RecordKey, Result, Tracked, memory::MemoryStore},
};
use fleet_storage_conformance::{Harness, MOVE_CASES, Opened, Tap, Tapped, async_trait, try_move_case};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Some keys that were written are not noted.
    NotesLost,
    /// Notes of deletes are forgotten.
    DeletesNotNoted,
    /// What was written just before the freeze is never drained.
    NotDrained,
    /// The notes of hot writes are forgotten.
    HotWritesNotNoted,
    /// Notes are not taken from the beginning on.
    TrackedTooLate,
    /// The source takes writes on while the target serves.
    NotFrozen,
    /// The target is made to serve without having been verified, and lost a record.
    FlippedUnverified,
    /// What the source no longer has stays in the target.
    RemovalsForgotten,
    /// Every patch loses its last record.
    PatchesTorn,
    /// Patches store one body as another.
    BodiesAltered,
    RevisionsLost,
    ChainsForged,
    LatestValuesLeftOut,
    PlaceInCommitOrderLost,
    /// Pages of a store lose a record.
    PagesTorn,
    /// A store that was given up keeps what it holds.
    ClearForgotten,
    /// The source stays frozen when a move is given up.
    NeverThawed,
    /// The target does not serve in the end, and says that it does.
    NeverServes,
}

/// Each fault with a case that catches it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::NotesLost, "online::writes_between_all_steps_arrive"),
    (Fault::DeletesNotNoted, "online::writes_between_all_steps_arrive"),
    (Fault::NotDrained, "online::writes_between_all_steps_arrive"),
    (Fault::HotWritesNotNoted, "online::writes_between_all_steps_arrive"),
    (Fault::TrackedTooLate, "online::writes_between_all_steps_arrive"),
    (Fault::NotFrozen, "online::quiet_store_is_moved"),
    (Fault::FlippedUnverified, "online::writers_wait_and_lose_nothing"),
    (Fault::RemovalsForgotten, "way_back::carries_what_was_written_since"),
    (Fault::PatchesTorn, "whole::everything_is_moved"),
    (Fault::BodiesAltered, "whole::adversarial_text_survives"),
    (Fault::RevisionsLost, "whole::target_goes_on_where_the_source_stood"),
    (Fault::ChainsForged, "whole::chains_go_on"),
    (Fault::LatestValuesLeftOut, "whole::everything_is_moved"),
    (Fault::PlaceInCommitOrderLost, "whole::store_that_only_deleted_is_moved"),
    (Fault::PagesTorn, "whole::report_says_what_was_moved"),
    (
        Fault::ClearForgotten,
        "interruption::move_broken_off_at_every_call_can_be_abandoned",
    ),
    (
        Fault::NeverThawed,
        "interruption::move_broken_off_at_every_call_can_be_abandoned",
    ),
    (Fault::NeverServes, "whole::everything_is_moved"),
];

/// A tap with a fault, in each of the two stores.
#[derive(Debug)]
struct Broken {
    fault: Fault,
    frozen: AtomicBool,
    serves: AtomicU64,
    notes: AtomicU64,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

#[async_trait]
impl Tap for Broken {
    async fn before(&self, call: &'static str) -> Result<()> {
        match call {
            "freeze" => self.frozen.store(true, Ordering::SeqCst),
            "serve" => self.frozen.store(false, Ordering::SeqCst),
            _ => {}
        }
        Ok(())
    }

    fn skips(&self, call: &'static str) -> bool {
        match self.fault {
            Fault::NotFrozen => call == "freeze",
            Fault::ClearForgotten => call == "clear",
            Fault::NeverThawed | Fault::NeverServes => {
                call == "serve" && self.serves.fetch_add(1, Ordering::SeqCst) == 0
            }
            _ => false,
        }
    }

    fn patch(&self, mut patch: Patch) -> Patch {
        match self.fault {
            Fault::FlippedUnverified | Fault::LatestValuesLeftOut => {
                patch.records.retain(|record| !matches!(record, Record::Latest(_)));
            }
            Fault::RemovalsForgotten => patch.removed.clear(),
            Fault::PatchesTorn => drop(patch.records.pop()),
            Fault::PlaceInCommitOrderLost if patch.records.is_empty() => patch.seq = 0,
            Fault::BodiesAltered => {
                for record in &mut patch.records {
                    if let Record::Doc(doc) = record
                        && doc.key.kind == "bare"
                    {
                        doc.body = Bytes::from_static(b"{}");
                    }
                }
            }
            Fault::RevisionsLost => {
                for record in &mut patch.records {
                    if let Record::Doc(doc) = record {
                        doc.rev = 1;
                    }
                }
            }
            Fault::ChainsForged => {
                for record in &mut patch.records {
                    if let Record::Row(_, stored) = record
                        && let Some(link) = &mut stored.link
                    {
                        link.hash[0] ^= 1;
                    }
                }
            }
            _ => {}
        }
        patch
    }

    fn tracked(&self, mut tracked: Tracked) -> Tracked {
        match self.fault {
            Fault::NotesLost => tracked
                .keys
                .retain(|_| !self.notes.fetch_add(1, Ordering::SeqCst).is_multiple_of(7)),
            Fault::DeletesNotNoted => tracked.keys.retain(|key| key.name() != "bare"),
            Fault::HotWritesNotNoted => tracked.keys.retain(|key| matches!(key, RecordKey::Doc(_))),
            Fault::NotDrained if self.frozen.load(Ordering::SeqCst) => tracked.keys.clear(),
            Fault::TrackedTooLate if self.notes.fetch_add(1, Ordering::SeqCst) == 0 => tracked.keys.clear(),
            _ => {}
        }
        tracked
    }

    fn records(&self, mut records: Vec<Record>) -> Vec<Record> {
        if self.has(Fault::PagesTorn) && records.len() > 1 {
            records.remove(0);
        }
        // Blind to what is missing: as if nobody had looked.
        if self.has(Fault::FlippedUnverified) {
            records.retain(|record| !matches!(record, Record::Latest(_)));
        }
        records
    }
}

#[derive(Clone, Copy)]
struct Stores(Fault);

#[async_trait]
impl Harness for Stores {
    async fn open(&self) -> Opened {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_000_000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let tap = Broken {
            fault: self.0,
            frozen: AtomicBool::new(false),
            serves: AtomicU64::new(0),
            notes: AtomicU64::new(0),
        };
        Opened {
            backend: Tapped::over(store, Arc::new(tap)),
            clock: Some(clock),
            guard: Box::new(()),
        }
    }
}

/// The tap with no fault passes everything: what catches a fault catches the fault and not the tap.
mod sound {
    fleet_storage_conformance::migration_tests!(super::Stores(super::Fault::None), super::Stores(super::Fault::None));
}

fn hangs(failure: &(dyn Any + Send)) -> bool {
    failure
        .downcast_ref::<String>()
        .is_some_and(|message| message.contains("hangs"))
}

#[test]
fn every_broken_move_is_caught_by_its_case() {
    let verdict = |(fault, case): &(Fault, &str)| match MOVE_CASES.iter().find(|known| format!("{known:?}") == *case) {
        None => Some(format!("{fault:?}: there is no case {case}")),
        Some(found) => match try_move_case(Arc::new(Stores(*fault)), Arc::new(Stores(*fault)), found) {
            Ok(()) => Some(format!("{fault:?} escapes {case}")),
            Err(failure) if hangs(&*failure) => Some(format!("{fault:?} is caught by {case} only because it hangs")),
            Err(_) => None,
        },
    };
    // Panics are expected, by the dozen, and not shown.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let escaped: Vec<String> = FAULTS.iter().filter_map(verdict).collect();
    panic::set_hook(hook);
    println!(
        "caught {} of {} broken moves",
        FAULTS.len() - escaped.len(),
        FAULTS.len()
    );
    assert!(escaped.is_empty(), "{escaped:#?}");
}
