//! The services of `work`.

use super::Fleet;
use crate::work::{
    ApprovalService, BatchService, PlanService, RolloutService, RunService,
    batch::{Release, WindowsSeen},
    bell::RunBell,
    desired::Catalogues,
    output::OutputService,
    rollouts::Rollouts,
    secrets::{SecretHolder, Vault},
    windows::WindowService,
};

impl Fleet {
    pub(crate) fn vault(&self) -> Vault<'_> {
        Vault {
            store: &self.inner.store,
            sealer: &self.inner.sealer,
        }
    }

    pub(crate) fn secret_holders(&self) -> impl Iterator<Item = SecretHolder> {
        self.inner.secret_holders.iter().copied()
    }

    /// Creates and reads batches.
    pub fn batches(&self) -> BatchService<'_> {
        BatchService::new(
            self.vault(),
            &self.inner.operations,
            &self.inner.settings,
            &self.inner.dynamic_groups,
            self.direct_offers(),
            &self.inner.run_signals,
        )
    }

    /// Reads, changes and starts plans.
    pub fn plans(&self) -> PlanService<'_> {
        PlanService::new(self.vault(), &self.inner.operations, self.batches())
    }

    /// What somebody has to agree to.
    pub fn approvals(&self) -> ApprovalService<'_> {
        ApprovalService::new(self.batches())
    }

    /// Work that goes from wave to wave.
    pub fn rollouts(&self) -> RolloutService<'_> {
        RolloutService::new(self.rollouts_at_work())
    }

    pub(crate) fn rollouts_at_work(&self) -> Rollouts<'_> {
        Rollouts {
            release: self.release(),
        }
    }

    pub(crate) fn run_bell(&self) -> &RunBell {
        &self.inner.run_bell
    }

    pub(crate) fn rollout_windows_seen(&self) -> &WindowsSeen {
        &self.inner.rollout_windows_seen
    }

    /// Reads and changes windows, and says what follows from them.
    pub fn windows(&self) -> WindowService<'_> {
        WindowService::new(&self.inner.store, &self.inner.operations, &self.inner.catalogues)
    }

    pub(crate) fn catalogues(&self) -> &Catalogues {
        &self.inner.catalogues
    }

    /// Reads and cancels runs.
    pub fn runs(&self) -> RunService<'_> {
        RunService::new(&self.inner.store, &self.inner.device_signals, &self.inner.run_signals)
    }

    /// Reads and watches what runs print.
    pub fn output(&self) -> OutputService<'_> {
        OutputService::new(&self.inner.store, &self.inner.run_signals)
    }

    pub(crate) fn windows_seen(&self) -> &WindowsSeen {
        &self.inner.windows_seen
    }

    pub(crate) fn release(&self) -> Release<'_> {
        Release {
            store: &self.inner.store,
            operations: &self.inner.operations,
            presence: &self.inner.presence,
            devices: &self.inner.device_signals,
            runs: &self.inner.run_signals,
        }
    }
}
