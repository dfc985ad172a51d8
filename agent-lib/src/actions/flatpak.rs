//! `flatpak`: applications for all users of the device.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::flatpak::FlatpakParams,
};

use super::{
    action::{Action, Problem},
    device::{Call, Device},
};

/// The device knows no remote of this name.
pub(super) const REMOTE_UNKNOWN: Code = Code::new("flatpak.remote_unknown", Class::NotFound);

/// Keeps an application.
pub(super) struct Flatpak;

/// What is done with it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is installed.
    Install { app: String, remote: String },
    /// It is removed; what it kept for its users stays with them.
    Remove(String),
    /// Updates leave it as it is from now on.
    Pin(String),
    /// Updates do not any more.
    Unpin(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install { app, remote } => write!(f, "install {app} from {remote}"),
            Self::Remove(app) => write!(f, "remove {app}"),
            Self::Pin(app) => write!(f, "pin {app}"),
            Self::Unpin(app) => write!(f, "unpin {app}"),
        }
    }
}

#[async_trait]
impl Action for Flatpak {
    type Params = FlatpakParams;
    type Step = Step;

    async fn look(params: &FlatpakParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("flatpak")?;
        let root = device.scratch_root();
        let app = params.app_id.clone();
        let is_installed = listed(device, &installed(root)).await?.contains(&app);
        let is_pinned = match params.pin || params.state.is_absent() {
            true => listed(device, &pins(root)).await?.contains(&app),
            false => false,
        };
        if params.state.is_absent() {
            let unpin = is_pinned.then(|| Step::Unpin(app.clone()));
            let remove = is_installed.then_some(Step::Remove(app));
            return Ok(unpin.into_iter().chain(remove).collect());
        }
        let mut steps = Vec::new();
        if !is_installed {
            let remote = params.remote.clone();
            if !listed(device, &remotes(root)).await?.contains(&remote) {
                let why =
                    format!("this device knows no remote {remote}; add it with flatpak remote-add --system first");
                return Err(Problem::new(REMOTE_UNKNOWN, why));
            }
            steps.push(Step::Install {
                app: app.clone(),
                remote,
            });
        }
        if params.pin && !is_pinned {
            steps.push(Step::Pin(app));
        }
        Ok(steps)
    }

    async fn act(_: &FlatpakParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let root = device.scratch_root();
        match step {
            Step::Install { app, remote } => must(device, &install(root, remote, app)).await,
            Step::Remove(app) => must(device, &uninstall(root, app)).await,
            Step::Pin(app) | Step::Unpin(app) => {
                let answer = device.run(&pin(root, app, matches!(step, Step::Pin(_)))).await?;
                if !answer.succeeded() {
                    device.warn(format!("could not {step}: {}", answer.last_words())).await;
                }
                Ok(())
            }
        }
    }

    /// A pin that failed is a warning already.
    fn is_lasting(step: &Step) -> bool {
        matches!(step, Step::Install { .. } | Step::Remove(_))
    }
}

/// Does what has to succeed. Where it fails, what may be broken is repaired, and it is tried once more.
async fn must(device: &Device, call: &Call) -> Result<(), Problem> {
    if device.run(call).await?.succeeded() {
        return Ok(());
    }
    device
        .say("that failed; repairing what Flatpak has on this device\n")
        .await;
    // Whether it helped shows when all is tried again.
    device.run(&repair(device.scratch_root())).await?;
    device.say("trying again\n").await;
    device.must(call).await.map(drop)
}

/// The lines of an answer, each a name.
async fn listed(device: &Device, call: &Call) -> Result<Vec<String>, Problem> {
    let answer = device.ask(call).await?;
    match answer.succeeded() {
        true => Ok(answer.stdout.lines().map(|line| line.trim().to_owned()).collect()),
        false => Err(call.failed(&answer)),
    }
}

fn flatpak<'a>(root: Option<&str>, arguments: impl IntoIterator<Item = &'a str>) -> Call {
    let call = Call::new("flatpak", arguments);
    match root {
        Some(root) => call
            .env("FLATPAK_SYSTEM_DIR", &format!("{root}/var/lib/flatpak"))
            .env("FLATPAK_CONFIG_DIR", &format!("{root}/etc/flatpak")),
        None => call,
    }
}

fn installed(root: Option<&str>) -> Call {
    flatpak(root, ["list", "--system", "--columns=application"])
}

fn remotes(root: Option<&str>) -> Call {
    flatpak(root, ["remotes", "--system", "--columns=name"])
}

fn pins(root: Option<&str>) -> Call {
    flatpak(root, ["mask", "--system"])
}

fn install(root: Option<&str>, remote: &str, app: &str) -> Call {
    flatpak(
        root,
        ["install", "--system", "--noninteractive", "--assumeyes", remote, app],
    )
}

fn uninstall(root: Option<&str>, app: &str) -> Call {
    flatpak(root, ["uninstall", "--system", "--noninteractive", "--assumeyes", app])
}

fn pin(root: Option<&str>, app: &str, pinned: bool) -> Call {
    let remove = (!pinned).then_some("--remove");
    flatpak(root, ["mask", "--system"].into_iter().chain(remove).chain([app]))
}

fn repair(root: Option<&str>) -> Call {
    flatpak(root, ["repair", "--system"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(call: Call, expected: &str) {
        assert_eq!(call.program, "flatpak");
        assert_eq!(call.arguments.join(" "), expected);
        assert!(call.environment.is_empty());
    }

    #[test]
    fn flatpak_is_told_of_the_whole_device_and_asks_nothing() {
        check(installed(None), "list --system --columns=application");
        check(remotes(None), "remotes --system --columns=name");
        check(pins(None), "mask --system");
        check(
            install(None, "flathub", "org.gimp.GIMP"),
            "install --system --noninteractive --assumeyes flathub org.gimp.GIMP",
        );
        check(
            uninstall(None, "org.gimp.GIMP"),
            "uninstall --system --noninteractive --assumeyes org.gimp.GIMP",
        );
        check(pin(None, "org.gimp.GIMP", true), "mask --system org.gimp.GIMP");
        check(
            pin(None, "org.gimp.GIMP", false),
            "mask --system --remove org.gimp.GIMP",
        );
        check(repair(None), "repair --system");
    }

    #[test]
    fn another_root_is_told_to_flatpak() {
        let call = installed(Some("/r"));
        let told = ("FLATPAK_SYSTEM_DIR".to_owned(), "/r/var/lib/flatpak".to_owned());
        assert!(call.environment.contains(&told));
    }
}
