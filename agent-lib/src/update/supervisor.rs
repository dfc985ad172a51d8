//! Watches a version on trial, and ends it when it does not prove itself.

use std::{io, path::Path, process::ExitStatus, time::Duration};

use fleet_core::kernel::Clock;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    launch::{LAUNCHED, Launched},
    store::SlotStore,
};

/// How long a version has to prove itself. With the seconds that it is given to end, and its start, the former one is back within a minute.
pub const TRIAL: Duration = Duration::from_secs(45);
/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// An agent that is watched ends with this when the one that watches it should look again which program is to run.
pub const RELAUNCH_EXIT: u8 = 85;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervised {
    /// It has ended, after it had proved itself or because it was told to: with this code, where it has one.
    Ended(Option<i32>),
    /// It did not prove itself, was ended and is remembered; or it asked for it: which program runs now is to be decided anew.
    Relaunch,
}

/// Starts a program and watches it: until it has proved itself, within its time, and then until it ends. Signals to stop are passed on.
///
/// # Errors
/// When the disk does not take what is to be remembered, or signals cannot be heard.
pub async fn supervise(
    store: &SlotStore,
    program: &Path,
    arguments: impl Iterator<Item = std::ffi::OsString>,
    clock: &dyn Clock,
) -> io::Result<Supervised> {
    let returned = |reason: String| {
        tracing::error!(
            reason,
            "a version of the agent did not prove itself; the former one works on"
        );
        store.change(|slots| slots.returned(clock.now(), reason))?;
        Ok(Supervised::Relaunch)
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let started = Command::new(program)
        .args(arguments)
        .env(LAUNCHED, Launched::Watched.value())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return returned(format!("it could not be started: {error}")),
    };
    let deadline = Instant::now() + TRIAL;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut proved, mut stopping) = (false, false);
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                return match (proved || is_proved(store), stopping) {
                    (false, false) => returned(format!("it ended by itself: {status}")),
                    _ if status.code() == Some(RELAUNCH_EXIT.into()) => Ok(Supervised::Relaunch),
                    _ => Ok(Supervised::Ended(code(status))),
                };
            }
            _ = look.tick(), if !proved => proved = is_proved(store),
            () = sleep_until(deadline), if !proved && !stopping => {
                end(&mut child).await?;
                // It may have come at the last moment.
                return match is_proved(store) {
                    true => Ok(Supervised::Relaunch),
                    false => returned(format!("it kept no session within {} seconds", TRIAL.as_secs())),
                };
            }
            _ = terminate.recv() => {
                stopping = true;
                tell(&child, Signal::TERM);
            }
            _ = interrupt.recv() => {
                stopping = true;
                tell(&child, Signal::INT);
            }
        }
    }
}

fn is_proved(store: &SlotStore) -> bool {
    store.load().trial.is_none()
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

fn tell(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It is gone already, which is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// Asks it to end, and then sees to it.
async fn end(child: &mut Child) -> io::Result<()> {
    tell(child, Signal::TERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}
