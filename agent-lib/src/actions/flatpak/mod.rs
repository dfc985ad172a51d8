//! `flatpak`: applications for all users of the device, or for single ones.
//!
//! ```text
//! calls.rs   what flatpak is told (pure)
//! whose.rs   whose installation is meant
//! ```

mod calls;
mod whose;

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::flatpak::{FlatpakParams, FlatpakScope},
};

use self::{calls::Flatpaks, whose::Whose};
use super::{
    action::{Action, Problem},
    device::{Call, Device},
};

/// The installation knows no remote of this name.
pub(super) const REMOTE_UNKNOWN: Code = Code::new("flatpak.remote_unknown", Class::NotFound);

/// Keeps an application.
pub(super) struct Flatpak;

/// What is done with it, and whose it is.
#[derive(PartialEq, Eq)]
pub(super) struct Step {
    whose: Whose,
    what: What,
}

#[derive(PartialEq, Eq)]
enum What {
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
        match &self.what {
            What::Install { app, remote } => write!(f, "install {app} from {remote}")?,
            What::Remove(app) => write!(f, "remove {app}")?,
            What::Pin(app) => write!(f, "pin {app}")?,
            What::Unpin(app) => write!(f, "unpin {app}")?,
        }
        match &self.whose {
            Whose::All => Ok(()),
            Whose::User(user) => write!(f, " for {}", user.name),
        }
    }
}

#[async_trait]
impl Action for Flatpak {
    type Params = FlatpakParams;
    type Step = Step;

    async fn look(params: &FlatpakParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("flatpak")?;
        match params.scope {
            FlatpakScope::System => left(params, device, &Whose::All).await,
            FlatpakScope::Users => left_for_users(params, device).await,
        }
    }

    async fn act(_: &FlatpakParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let flatpaks = Flatpaks::new(device, &step.whose);
        let done = match &step.what {
            What::Install { app, remote } => must(device, &flatpaks, &flatpaks.install(remote, app)).await,
            What::Remove(app) => must(device, &flatpaks, &flatpaks.uninstall(app)).await,
            What::Pin(app) | What::Unpin(app) => {
                let answer = device
                    .run(&flatpaks.pin(app, matches!(step.what, What::Pin(_))))
                    .await?;
                if !answer.succeeded() {
                    device.warn(format!("could not {step}: {}", answer.last_words())).await;
                }
                Ok(())
            }
        };
        match (done, &step.whose) {
            // What goes wrong for one does not stop what is done for others: the second look finds it left.
            (Err(Problem::Failed { message, .. }), Whose::User(_)) => {
                device.warn(format!("could not {step}: {message}")).await;
                Ok(())
            }
            (done, _) => done,
        }
    }

    /// A pin that failed is a warning already.
    fn is_lasting(step: &Step) -> bool {
        matches!(step.what, What::Install { .. } | What::Remove(_))
    }
}

/// What is left to do in one installation.
async fn left(params: &FlatpakParams, device: &Device, whose: &Whose) -> Result<Vec<Step>, Problem> {
    let flatpaks = Flatpaks::new(device, whose);
    let app = params.app_id.clone();
    let is_installed = listed(device, &flatpaks.installed()).await?.contains(&app);
    let is_pinned = match params.pin || params.state.is_absent() {
        true => listed(device, &flatpaks.pins()).await?.contains(&app),
        false => false,
    };
    let mut what = Vec::new();
    if params.state.is_absent() {
        what.extend(is_pinned.then(|| What::Unpin(app.clone())));
        what.extend(is_installed.then_some(What::Remove(app)));
    } else {
        if !is_installed {
            let remote = params.remote.clone();
            if !listed(device, &flatpaks.remotes()).await?.contains(&remote) {
                return Err(Problem::new(REMOTE_UNKNOWN, whose.lacks_remote(&remote)));
            }
            let app = app.clone();
            what.push(What::Install { app, remote });
        }
        what.extend((params.pin && !is_pinned).then_some(What::Pin(app)));
    }
    let whose = |what| Step {
        whose: whose.clone(),
        what,
    };
    Ok(what.into_iter().map(whose).collect())
}

/// What is left to do for single users. Where it cannot be done for one, it is done for the others first.
async fn left_for_users(params: &FlatpakParams, device: &Device) -> Result<Vec<Step>, Problem> {
    let users = match params.state.is_absent() {
        true => whose::who_has_installations(device).await?,
        false => {
            let users = device.desktop_users().await?;
            if users.is_empty() {
                device
                    .defer("skipped: nobody is signed in to a desktop; it is done at the first pass after somebody is");
            }
            users
        }
    };
    let (mut steps, mut failed) = (Vec::new(), None);
    for user in users {
        if let Err(refusal) = device.policy().permits_running_as(&user.name) {
            device.warn(format!("{} is passed over: {refusal}", user.name)).await;
            continue;
        }
        match left(params, device, &Whose::User(user)).await {
            Ok(left) => steps.extend(left),
            Err(problem @ Problem::Failed { .. }) => drop(failed.get_or_insert(problem)),
            Err(problem) => return Err(problem),
        }
    }
    match failed {
        Some(problem) if steps.is_empty() => Err(problem),
        Some(Problem::Failed { message, .. }) => {
            device.warn(message).await;
            Ok(steps)
        }
        _ => Ok(steps),
    }
}

/// Does what has to succeed. Where it fails, what may be broken is repaired, and it is tried once more.
async fn must(device: &Device, flatpaks: &Flatpaks<'_>, call: &Call) -> Result<(), Problem> {
    if device.run(call).await?.succeeded() {
        return Ok(());
    }
    device
        .say("that failed; repairing what Flatpak has on this device\n")
        .await;
    // Whether it helped shows when all is tried again.
    device.run(&flatpaks.repair()).await?;
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
