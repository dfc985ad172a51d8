//! The proof that acknowledged means durable, from what a process asked the system to do.
//!
//! Killing a process proves that its commits are whole; it proves nothing about the disk, since what was written and not
//! synchronised survives in the system's cache. So a child process commits and says a line after each acknowledgement, under
//! `strace`, and the trace must show: **before the line was begun, a synchronisation had ended well, of the file that holds
//! what was acknowledged, that was begun after those bytes were written**; and if the file was made meanwhile, one of its
//! folder, too.
//!
//! ```no_run
//! use std::path::Path;
//! use fleet_storage_conformance::durability::{Rule, Trace, Writers, strace};
//!
//! let folder = Path::new("/tmp/store");
//! let mut child = strace(Path::new("/tmp/trace"))?; // says how to install strace where there is none
//! child.arg("my-test").args(["write", "/tmp/store"]); // prints "acknowledged 17" once batch 17 is
//! child.status().map_err(|error| error.to_string())?;
//! let trace = Trace::parse(&std::fs::read("/tmp/trace").map_err(|error| error.to_string())?)?;
//! let proof = trace.prove(&Rule {
//!     counts: &|file| Path::new(file).starts_with(folder),
//!     // What the files hold of the batch, and of no other.
//!     acknowledged: &|line| line.strip_prefix("acknowledged ").map(|n| format!("\"device-{n}\"")),
//!     writers: Writers::Many,
//! });
//! assert!(proof.is_ok_and(|proof| proof.acknowledged == 100));
//! # Ok::<(), String>(())
//! ```
//!
//! What is written through a memory map or `io_uring` does not show in a trace, and then the proof fails as
//! [`Breach::NeverWritten`]; it never passes by mistake.

mod parse;
mod prove;

#[cfg(test)]
mod tests;

use std::{path::Path, process::Command};

pub use self::prove::{Breach, Proof, Rule, Writers};

/// The calls that a trace must hold.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,ftruncate,openat,open,creat";

/// What a process asked the system to do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    calls: Vec<Call>,
}

/// One call. Moments are lines of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    begun: usize,
    /// None when it never returned.
    ended: Option<usize>,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Bytes that reached a file, or the process's standard output.
    Write {
        standard_output: bool,
        file: String,
        bytes: Vec<u8>,
    },
    /// A synchronisation that succeeded.
    Sync { file: String },
    /// A file that may have been made.
    Create { file: String },
}

impl Trace {
    /// Reads what `strace -f -y -s BIG -o FILE` wrote; see [`strace`]. Fails, and says at which line, where bytes were left
    /// out or a line is not understood.
    pub fn parse(trace: &[u8]) -> Result<Self, String> {
        parse::parse(trace).map(|calls| Self { calls })
    }
}

/// A command that runs another one under a trace, which it writes to this file: add the program and its arguments. Where there
/// is no `strace` that may trace, the error says what to do.
pub fn strace(trace: &Path) -> Result<Command, String> {
    let probe = Command::new("strace")
        .args(["-qq", "-f", "-e", "trace=fsync", "-o", "/dev/null", "true"])
        .output();
    match probe {
        Ok(output) if output.status.success() => {
            let mut command = Command::new("strace");
            command
                .args([
                    "-qq",
                    "-f",
                    "-y",
                    "-s",
                    "33554432",
                    "-e",
                    CALLS,
                    "-e",
                    "signal=none",
                    "-o",
                ])
                .arg(trace);
            Ok(command)
        }
        Ok(output) => Err(format!(
            "strace may not trace here ({}); in a container, allow it with --cap-add SYS_PTRACE",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(_) => Err(
            "there is no strace; install it with `cargo xtask setup` (on Debian: apt-get install strace)".to_owned(),
        ),
    }
}
