//! What the actions about packages have in common.

use super::manager::Manager;
use crate::actions::{
    action::Problem,
    device::{Call, Device},
};

impl Manager {
    /// The version of a package that the device has.
    pub(super) async fn version_on(self, device: &Device, name: &str) -> Result<Option<String>, Problem> {
        let answer = device.ask(&self.installed(device.scratch_root(), name)).await?;
        Ok(self.installed_version(name, &answer))
    }

    /// Whether a package is pinned on the device; nothing where its manager pins nothing.
    pub(super) async fn is_pinned_on(self, device: &Device, name: &str) -> Result<Option<bool>, Problem> {
        let Some(call) = self.pins(device.scratch_root()) else {
            return Ok(None);
        };
        let answer = device.ask(&call).await?;
        Ok(Some(answer.succeeded() && self.is_pinned(name, &answer)))
    }

    /// Reads anew what there is to install. Without it, what is known from before may do: a failure is a warning.
    pub(super) async fn refresh_on(self, device: &Device) -> Result<(), Problem> {
        let answer = device.run(&self.refresh(device.scratch_root())).await?;
        if !answer.succeeded() {
            device
                .warn(format!(
                    "the lists of packages could not be read anew: {}",
                    answer.last_words()
                ))
                .await;
        }
        Ok(())
    }

    /// Does what has to succeed. Where it fails, what may be broken is repaired, and it is tried once more.
    pub(super) async fn must_on(self, device: &Device, call: &Call) -> Result<(), Problem> {
        let first = device.run(call).await?;
        if first.succeeded() {
            return Ok(());
        }
        device.say("that failed; repairing the package manager\n").await;
        for repair in self.repairs(device.scratch_root()) {
            if device.has_program(&repair.program) {
                // Each may fail: whether it helped shows when all is tried again.
                device.run(&repair).await?;
            }
        }
        device.say("trying again\n").await;
        device.must(call).await.map(drop)
    }
}
