//! What holds back what is due: the windows of this device's own policy, and those of the fleet that concern it.

use std::collections::BTreeSet;

use fleet_core::work::{
    desired::Occurrence,
    operations::Lane,
    windows::{Question, WindowHandling, WindowSet},
};

use super::keeper::Keeper;
use crate::policy::Refusal;

/// Whether the fleet's windows count. A device's own always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FleetWindows {
    Heeded,
    Ignored,
}

impl Keeper {
    /// Why these wait, for people; nothing when they may begin. They begin together or not at all, so that their order stays.
    pub(super) fn held(&self, occurrences: &[Occurrence], fleet: FleetWindows) -> Option<String> {
        let outside = Err(Refusal::OutsideWindows);
        let waits_for_own = |one: &Occurrence| self.runs().permits_own(&one.operation, &one.params.shown()) == outside;
        if occurrences.iter().any(waits_for_own) {
            return Some("waits for this device's window".into());
        }
        if fleet == FleetWindows::Ignored {
            return None;
        }
        let windows = self.look(|manifest, _| WindowSet::of_device(&manifest.windows));
        let (at, device, nowhere) = (self.now(), self.device(), BTreeSet::new());
        let kinds: BTreeSet<_> = occurrences.iter().map(|one| one.operation.as_str()).collect();
        kinds.into_iter().find_map(|operation| {
            let decision = windows.decide(&Question {
                device,
                groups: &nowhere,
                operation,
                // Whatever stands in a manifest changes the device.
                lane: Lane::Exclusive,
                at,
            });
            match decision.handling {
                WindowHandling::Wait | WindowHandling::WaitAtMost { .. } => Some(decision.reason),
                WindowHandling::RunNoted => {
                    tracing::info!(operation, reason = decision.reason, "applied outside of a window");
                    None
                }
                WindowHandling::Run => None,
            }
        })
    }
}
