//! `package`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::package::PackageParams,
};

use super::manager::Manager;
use crate::actions::{
    action::{Action, Problem},
    device::Device,
};

/// The device's package manager pins nothing.
pub(in crate::actions) const NO_PINS: Code = Code::new("package.no_pins", Class::Invalid);
/// The device's package manager knows the newest version only.
pub(in crate::actions) const NO_VERSIONS: Code = Code::new("package.no_versions", Class::Invalid);

/// Keeps a package.
pub(in crate::actions) struct Package;

/// What is done with it.
#[derive(PartialEq, Eq)]
pub(in crate::actions) enum Step {
    /// It is installed, or becomes this version.
    Install {
        name: String,
        version: Option<String>,
        instead_of: Option<String>,
    },
    /// It is removed.
    Remove { name: String, version: String },
    /// Upgrades leave it as it is from now on.
    Pin(String),
    /// Upgrades do not any more.
    Unpin(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install {
                name,
                version,
                instead_of,
            } => {
                write!(f, "install {name}")?;
                version.iter().try_for_each(|version| write!(f, " {version}"))?;
                instead_of
                    .iter()
                    .try_for_each(|version| write!(f, " instead of {version}"))
            }
            Self::Remove { name, version } => write!(f, "remove {name} {version}"),
            Self::Pin(name) => write!(f, "pin {name}"),
            Self::Unpin(name) => write!(f, "unpin {name}"),
        }
    }
}

#[async_trait]
impl Action for Package {
    type Params = PackageParams;
    type Step = Step;

    async fn look(params: &PackageParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let manager = Manager::of(device)?;
        let name = name(params, manager)?.to_owned();
        let installed = manager.version_on(device, &name).await?;
        let pinned = match params.pin || params.state.is_absent() || params.version.is_some() {
            true => manager.is_pinned_on(device, &name).await?,
            false => None,
        };
        if params.state.is_absent() {
            let Some(version) = installed else {
                return Ok(Vec::new());
            };
            let unpin = (pinned == Some(true)).then(|| Step::Unpin(name.clone()));
            return Ok(unpin.into_iter().chain([Step::Remove { name, version }]).collect());
        }
        let mut steps = Vec::new();
        let mut is_lifted = false;
        if installed.is_none() || params.version.is_some() && params.version != installed {
            if manager == Manager::Pacman && params.version.is_some() {
                return Err(Problem::new(
                    NO_VERSIONS,
                    "pacman installs the newest version and no other; leave version out",
                ));
            }
            if let (Some(version), Some(installed), false) = (&params.version, &installed, params.allow_downgrade) {
                manager.check_downgrade(device, &name, version, installed).await?;
            }
            // Another version that is asked for by name is stronger than a pin, which is there again afterwards.
            is_lifted = pinned == Some(true) && installed.is_some();
            if is_lifted && manager.keeps_pins() {
                steps.push(Step::Unpin(name.clone()));
            }
            steps.push(Step::Install {
                name: name.clone(),
                version: params.version.clone(),
                instead_of: installed,
            });
        }
        match pinned {
            _ if !params.pin && !is_lifted => {}
            None => {
                return Err(Problem::new(
                    NO_PINS,
                    "this device's package manager pins nothing; leave pin out",
                ));
            }
            Some(true) if steps.is_empty() => {}
            // apt lets go of a package whose version it changes.
            Some(_) => steps.push(Step::Pin(name)),
        }
        Ok(steps)
    }

    async fn act(params: &PackageParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let manager = Manager::of(device)?;
        let root = device.scratch_root();
        match step {
            Step::Install { name, version, .. } => {
                manager.refresh_on(device).await?;
                let call = manager.install(root, name, version.as_deref(), params.allow_downgrade);
                manager.must_on(device, &call).await
            }
            Step::Remove { name, .. } => manager.must_on(device, &manager.remove(root, name)).await,
            Step::Pin(name) => match manager.pin(root, name, true) {
                Some(call) => device.must(&call).await.map(drop),
                None => Ok(()),
            },
            Step::Unpin(name) => {
                if let Some(call) = manager.pin(root, name, false) {
                    let answer = device.run(&call).await?;
                    if !answer.succeeded() {
                        device
                            .warn(format!("{name} could not be unpinned: {}", answer.last_words()))
                            .await;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The name that this manager knows the package by.
fn name(params: &PackageParams, manager: Manager) -> Result<&str, Problem> {
    let own = match manager {
        Manager::Apt => &params.apt_name,
        Manager::Dnf => &params.dnf_name,
        Manager::Zypper => &params.zypper_name,
        Manager::Pacman => &params.pacman_name,
        Manager::Apk => &params.apk_name,
    };
    match own.as_deref().unwrap_or(&params.name) {
        "" => Err(Problem::not_applicable(
            "the package has no name for this device's package manager",
        )),
        name => Ok(name),
    }
}
