//! Which program `fleet-agent run` becomes: the rules are the library's, the processes are made here.

use std::{os::unix::process::CommandExt as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use fleet_agent_lib::{
    VERSION,
    update::{LAUNCHED, Launch, Launched, SlotStore, Supervised, next, supervise},
};
use fleet_bins_common::logging;
use fleet_core::kernel::{Clock as _, SystemClock};

use crate::{commands::runtime, config::Config};

/// Becomes the program that is to run, or watches it; nothing when that is this very one.
pub(crate) fn launch(config: &Config) -> anyhow::Result<Option<ExitCode>> {
    if !config.state.exists() {
        return Ok(None);
    }
    let store = SlotStore::new(&config.state);
    let own = VERSION.parse().context("this program has no version")?;
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let cannot = "what is remembered of updates cannot be written";
    match next(&store, &program, &own, SystemClock.now()).context(cannot)? {
        Launch::Work => Ok(None),
        Launch::Become(path) => Err(become_program(&path, Launched::Chosen)),
        Launch::Try(path) => {
            // Who works writes the log file; who watches has little to say.
            logging::start(config.log_format);
            let arguments = std::env::args_os().skip(1);
            let supervised = runtime()?.block_on(supervise(&store, &path, arguments, &SystemClock));
            match supervised.context("the agent on trial cannot be watched")? {
                Supervised::Ended(code) => {
                    let code = code.and_then(|code| u8::try_from(code).ok());
                    Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)))
                }
                Supervised::Relaunch => Err(begin_anew(Launched::First)),
            }
        }
    }
}

/// Starts this program anew in its own place; returns only when that fails.
pub(crate) fn begin_anew(launched: Launched) -> anyhow::Error {
    match std::env::current_exe() {
        Ok(program) => become_program(&program, launched),
        Err(error) => anyhow::Error::new(error).context("this program does not know where it is"),
    }
}

fn become_program(program: &Path, launched: Launched) -> anyhow::Error {
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(LAUNCHED, launched.value())
        .exec();
    anyhow::Error::new(error).context(format!(
        "{} cannot be started; start the agent again",
        program.display()
    ))
}

/// An agent that is watched ends when the one that watches it dies: nobody else would start it again.
pub(crate) fn end_with_watcher() -> anyhow::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM)).context("the end of the watcher cannot be heard")
}
