//! What `/proc` says of this machine and of a process.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// CPU time of a process, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// In the program.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

impl Cpu {
    /// What was used since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }

    /// Both together.
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

/// The CPU time of a process so far.
pub fn cpu(pid: u32) -> Result<Cpu> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    cpu_of(&stat, rustix::param::clock_ticks_per_second()).with_context(|| format!("{path} reads otherwise"))
}

/// Fields 14 and 15 of proc_pid_stat(5). The name, field 2, may hold spaces and brackets.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Cpu> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut seconds = || -> Option<f64> { Some(fields.next()?.parse::<f64>().ok()? / ticks_per_second as f64) };
    Some(Cpu {
        user: seconds()?,
        system: seconds()?,
    })
}

/// Memory of a process that is in RAM, in kB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, so far.
    pub peak: u64,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    memory_of(&status).with_context(|| format!("{path} reads otherwise"))
}

fn memory_of(status: &str) -> Option<Memory> {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    };
    Some(Memory {
        resident: kilobytes("VmRSS")?,
        peak: kilobytes("VmHWM")?,
    })
}

/// How often all threads of a process gave up the CPU to wait, so far: an upper bound of its wake-ups.
pub fn waits(pid: u32) -> Result<u64> {
    let mut waits = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end in between.
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        waits += line
            .and_then(|count| count.trim().parse::<u64>().ok())
            .unwrap_or_default();
    }
    Ok(waits)
}

/// The load average of one minute: figures of a machine that does other things too are worth less.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194560 900 0 0 0 250 50 7 8 20 0 5 0 1234 99 88";
        assert_eq!(cpu_of(stat, 100), Some(Cpu { user: 2.5, system: 0.5 }));
        assert_eq!(cpu_of("4242 (a) S 1", 100), None);
        assert!(cpu(std::process::id()).unwrap().total() >= 0.0);
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        let status = "Name:\tx\nVmHWM:\t   12288 kB\nVmRSS:\t    8192 kB\n";
        assert_eq!(
            memory_of(status),
            Some(Memory {
                resident: 8_192,
                peak: 12_288
            })
        );
        assert_eq!(memory_of("VmRSS: many"), None);
        assert!(memory(std::process::id()).unwrap().resident > 0);
    }
}
