//! Child processes that never outlive us, and the wish to stop.

use std::{
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(50);

/// Set when somebody asked us to stop (Ctrl-C or a termination).
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on. Whoever listens bounds every wait: nothing else ends the program.
    pub fn listen() -> Result<Self> {
        use signal_hook::{
            consts::{SIGHUP, SIGINT, SIGTERM},
            flag,
        };
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, stop.clone()).context("signals")?;
        }
        Ok(Self(stop))
    }

    /// Whether somebody asked us to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A child in a process group of its own, so that the terminal's Ctrl-C reaches us alone and we end children in order. It is
/// killed when it is dropped.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
}

impl Service {
    /// Starts it.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start ({})", command.get_program().to_string_lossy()))?;
        Ok(Self { name, child })
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.name);
        }
        Ok(())
    }

    /// Asks it to stop and waits until it has; kills it when it takes longer than `patience`.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} had ended by itself: {status}", self.name);
        }
        self.signal(Signal::TERM);
        match wait(&mut self.child, patience)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} did not stop cleanly: {status}", self.name),
            None => bail!(
                "{} did not stop within {} s and was killed",
                self.name,
                patience.as_secs()
            ),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended in between: then there is nobody to tell.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Waits for a child for at most `patience`.
pub fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        sleep(POLL);
    }
}

/// What a bounded command printed.
#[derive(Debug)]
pub struct Printed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
}

/// Runs a command with `input` until `deadline` at most and gives back what it printed.
pub fn run_until(deadline: Instant, stop: &Stop, command: &mut Command, input: &str) -> Result<Printed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut service = Service {
        child: command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} does not start"))?,
        name: "a command",
    };
    if let Some(mut pipe) = service.child.stdin.take() {
        // A command that does not read its input ends without it, and its exit code says how.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = service
        .child
        .stdout
        .take()
        .map(|pipe| thread::spawn(move || text_of(pipe)));
    let errors = service
        .child
        .stderr
        .take()
        .map(|pipe| thread::spawn(move || text_of(pipe)));
    let status = loop {
        if let Some(status) = service.child.try_wait()? {
            break status;
        }
        if stop.is_set() {
            bail!("stopped while {name} was running");
        }
        if Instant::now() >= deadline {
            bail!("{name} had not ended when the time was over");
        }
        sleep(POLL);
    };
    let text = |thread: Option<thread::JoinHandle<String>>| thread.and_then(|it| it.join().ok()).unwrap_or_default();
    Ok(Printed {
        status,
        output: text(output),
        errors: text(errors),
    })
}

fn text_of(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is still worth showing.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Service {
        Service::start("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    fn is_alive(pid: u32) -> bool {
        std::path::Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_service_that_is_dropped_is_gone() {
        let service = shell("sleep 60");
        let pid = service.child.id();
        assert!(is_alive(pid));
        drop(service);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let stop = Stop(Arc::default());
        let soon = Instant::now() + Duration::from_millis(100);
        let error = run_until(soon, &stop, Command::new("sh").args(["-c", "sleep 60"]), "").unwrap_err();
        assert_eq!(error.to_string(), "sh had not ended when the time was over");
        let later = Instant::now() + Duration::from_secs(60);
        let printed = run_until(
            later,
            &stop,
            Command::new("sh").args(["-c", "cat; echo b >&2; exit 3"]),
            "a",
        )
        .unwrap();
        assert_eq!((printed.output.as_str(), printed.errors.as_str()), ("a", "b\n"));
        assert_eq!(printed.status.code(), Some(3));
    }

    #[test]
    fn a_service_that_ends_by_itself_is_noticed() {
        let mut service = shell("exit 3");
        wait(&mut service.child, Duration::from_secs(30)).unwrap();
        let error = service.must_run().unwrap_err().to_string();
        assert_eq!(error, "sh ended by itself: exit status: 3");
    }

    #[test]
    fn a_service_that_does_not_stop_when_asked_is_killed() {
        use std::io::Read as _;
        let mut service = Service::start(
            "sh",
            Command::new("sh")
                .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
                .stdout(std::process::Stdio::piped()),
        )
        .unwrap();
        let pid = service.child.id();
        let mut ready = [0; 6];
        service.child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let error = service.stop(Duration::from_millis(100)).unwrap_err().to_string();
        assert_eq!(error, "sh did not stop within 0 s and was killed");
        assert!(!is_alive(pid));
    }
}
