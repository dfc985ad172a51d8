//! Servers and agents as children that end with us.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What a server prints when it is ready.
const READY: &str = "listening on http://";
/// How long a child may take to become ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A child whose log goes to a file. It is killed when it is dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts it.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().to_string_lossy()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says where it listens.
    pub fn address(&mut self) -> Result<String> {
        let (tell, told) = mpsc::sync_channel(1);
        if let Some(pipe) = self.child.stdout.take() {
            // Ends with the child: its end of the pipe closes then.
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if let Some(address) = line.strip_prefix(READY) {
                        let _ = tell.try_send(address.trim().to_owned());
                    }
                }
            });
        }
        match told.recv_timeout(PATIENCE) {
            Ok(address) => Ok(address),
            Err(_) => bail!("it did not become ready; its log ends with\n{}", self.tail()),
        }
    }

    /// Fails if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended by itself ({status}); its log ends with\n{}", self.tail()),
        }
    }

    /// Asks it to stop, waits until it has, and returns its log.
    pub fn stop(mut self) -> Result<String> {
        self.must_run()?;
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        match wait(&mut self.child, PATIENCE)? {
            Some(status) if status.success() => Ok(fs::read_to_string(&self.log)?),
            Some(status) => bail!("it did not stop cleanly ({status}); its log ends with\n{}", self.tail()),
            None => bail!("it did not stop within {} s", PATIENCE.as_secs()),
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// A program beside this one.
pub fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is not built; run `cargo xtask bench`", path.display());
    }
    Ok(path)
}

/// A command without the settings that the user's own environment has for a fleet elsewhere.
pub fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLEET_") {
            command.env_remove(name);
        }
    }
    command
}
