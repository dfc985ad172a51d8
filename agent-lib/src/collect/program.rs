//! Bounded running of other programs.

use std::{process::Stdio, time::Duration};

use fleet_core::devices::inventory::clean_text;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::{CollectError, files::LineSplitter};

/// Only what the system's administrator installed; the agent's own environment does not reach the program.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const MAX_STDERR_BYTES: usize = 4 << 10;

/// A program to be run for what it writes.
#[derive(Clone, Debug)]
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    pub(super) args: &'a [&'a str],
    pub(super) timeout: Duration,
    /// The most bytes of output that are read; more is an error.
    pub(super) max_output: u64,
}

/// Ends the whole group of the program when it is dropped: what a program has started must not outlive its time.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended by itself; then there is nobody to kill.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Program<'_> {
    /// Runs it and hands out the lines of its output as they come. Its environment is only `PATH` and `LC_ALL=C`, its input is
    /// empty. An error when it cannot be started, ends with another status than 0, writes or takes too much.
    pub(super) async fn for_each_line(&self, each: impl FnMut(&str) + Send) -> Result<(), CollectError> {
        match tokio::time::timeout(self.timeout, self.run(each)).await {
            Ok(result) => result,
            Err(_) => Err(self.failed(
                &format!("no end within {} seconds", self.timeout.as_secs()),
                b"it was killed",
            )),
        }
    }

    async fn run(&self, each: impl FnMut(&str) + Send) -> Result<(), CollectError> {
        let mut child = Command::new(self.name)
            .args(self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| CollectError::read(self.name.as_ref(), cause))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut group = Group(pid);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (read, stderr) = tokio::join!(self.read_output(stdout, each), read_start(stderr));
        read?;
        let status = child.wait().await.map_err(|cause| CollectError::System {
            what: "cannot wait for a program",
            cause,
        })?;
        // Reaped: its number may soon be another's.
        group.0 = None;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&status.to_string(), &stderr))
        }
    }

    async fn read_output(
        &self,
        output: Option<impl AsyncRead + Unpin + Send>,
        mut each: impl FnMut(&str) + Send,
    ) -> Result<(), CollectError> {
        let Some(mut output) = output else {
            return Ok(());
        };
        let mut lines = LineSplitter::default();
        let mut left = self.max_output;
        let mut chunk = vec![0; 16 << 10];
        loop {
            let count = output.read(&mut chunk).await.map_err(|cause| CollectError::System {
                what: "cannot read a program's output",
                cause,
            })?;
            if count == 0 {
                lines.finish(each);
                return Ok(());
            }
            left = left.checked_sub(count as u64).ok_or_else(|| CollectError::TooLarge {
                what: format!("the output of {}", self.name),
                limit: self.max_output,
            })?;
            lines.push(&chunk[..count], &mut each);
        }
    }

    fn failed(&self, status: &str, stderr: &[u8]) -> CollectError {
        CollectError::Program {
            program: self.name.to_owned(),
            status: status.to_owned(),
            stderr: clean_text(&String::from_utf8_lossy(stderr), 256),
        }
    }
}

/// The start of a stream, which is read to its end all the same, so that nobody blocks on it.
async fn read_start(stream: Option<impl AsyncRead + Unpin + Send>) -> Vec<u8> {
    let mut start = Vec::new();
    let Some(mut stream) = stream else {
        return start;
    };
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let room = MAX_STDERR_BYTES - start.len();
        start.extend_from_slice(&chunk[..count.min(room)]);
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str, max_output: u64, timeout: Duration) -> Result<Vec<String>, CollectError> {
        let mut lines = Vec::new();
        let program = Program {
            name: "sh",
            args: &["-c", script],
            timeout,
            max_output,
        };
        program.for_each_line(|line| lines.push(line.to_owned())).await?;
        Ok(lines)
    }

    #[tokio::test]
    async fn a_program_sees_nothing_of_our_environment() {
        let lines = run(
            "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; cat",
            10_000,
            Duration::from_secs(60),
        )
        .await;
        assert_eq!(lines.unwrap(), ["LC_ALL=C", &format!("PATH={PATH}")]);
    }

    #[tokio::test]
    async fn failures_say_what_the_program_said() {
        let error = run("echo cannot frob >&2; exit 3", 100, Duration::from_secs(60))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "sh ended with exit status: 3: cannot frob");
    }

    #[tokio::test]
    async fn endless_output_and_endless_time_are_ended() {
        let endless = run("yes", 100_000, Duration::from_secs(60)).await;
        assert!(matches!(endless, Err(CollectError::TooLarge { .. })));
        let slow = run("sleep 1000", 100, Duration::from_millis(20)).await;
        assert!(matches!(slow, Err(CollectError::Program { .. })));
    }

    #[tokio::test]
    async fn what_a_program_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! >{}; wait", pid_file.display());
        let started = async {
            loop {
                match std::fs::read_to_string(&pid_file) {
                    Ok(pid) if pid.ends_with('\n') => return pid,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        // Given up, as at the time limit of a section.
        let pid = tokio::select! {
            pid = started => pid,
            ended = run(&script, 100, Duration::from_secs(600)) => panic!("{ended:?}"),
        };
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok();
        while stat().is_some_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
