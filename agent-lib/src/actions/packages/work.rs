//! What the actions about packages have in common.

use fleet_core::{
    devices::inventory::{DPKG, version_key},
    kernel::{Class, Code},
};

use super::{manager::Manager, versions::rpm_order};
use crate::actions::{
    action::Problem,
    device::{Answer, Call, Device},
};

/// The version is older than the one that is installed.
pub(in crate::actions) const DOWNGRADE: Code = Code::new("package.downgrade", Class::Conflict);

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
        if self.did(&first) {
            self.pass_on(device, &first).await;
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
        let second = device.run(call).await?;
        if !self.did(&second) {
            return Err(call.failed(&second));
        }
        self.pass_on(device, &second).await;
        Ok(())
    }

    async fn pass_on(self, device: &Device, answer: &Answer) {
        if let Some(remark) = self.remark(answer) {
            device.warn(remark.to_owned()).await;
        }
    }

    /// Whether a version is older than the one that is installed.
    pub(super) async fn is_older_on(self, device: &Device, version: &str, installed: &str) -> Result<bool, Problem> {
        Ok(match self {
            Self::Apt => version_key(DPKG, version) < version_key(DPKG, installed),
            Self::Dnf | Self::Zypper => rpm_order(version, installed).is_lt(),
            Self::Apk => {
                let answer = device
                    .ask(&Call::new("apk", ["version", "--test", version, installed]))
                    .await?;
                answer.stdout.trim() == "<"
            }
            // It installs the newest version, and no other.
            Self::Pacman => false,
        })
    }

    /// Fails when a version is older than the one that is installed.
    pub(super) async fn check_downgrade(
        self,
        device: &Device,
        name: &str,
        version: &str,
        installed: &str,
    ) -> Result<(), Problem> {
        match self.is_older_on(device, version, installed).await? {
            true => {
                let why = format!(
                    "{name} {version} is older than {installed}, which is installed; say allow_downgrade, if it is meant"
                );
                Err(Problem::new(DOWNGRADE, why))
            }
            false => Ok(()),
        }
    }
}
