//! What `/proc` says of this machine and of a process.

use std::{collections::HashMap, fs, hint::black_box, time::Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::figures::{median, quantile};

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

/// What the threads of a process did since it is watched. The kernel's sums forget threads that have ended, so each is
/// followed by itself: what one does between the last look and its end is missed.
#[derive(Debug)]
pub struct Threads {
    pid: u32,
    /// What each thread had done at the last look.
    last: HashMap<u64, Doing>,
    done: Doing,
}

/// What threads did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// Nanoseconds on a CPU.
    pub nanos: u64,
    /// How often it gave the CPU up to wait: an upper bound of its wake-ups.
    pub waits: u64,
}

impl Threads {
    /// Begins to watch.
    pub fn watch(pid: u32) -> Result<Self> {
        let last = doings(pid)?;
        Ok(Self {
            pid,
            last,
            done: Doing::default(),
        })
    }

    /// What was done until now. To be called more often than threads come and go.
    pub fn look(&mut self) -> Result<Doing> {
        let now = doings(self.pid)?;
        self.take(now);
        Ok(self.done)
    }

    fn take(&mut self, now: HashMap<u64, Doing>) {
        for (thread, doing) in &now {
            let before = self.last.get(thread).copied().unwrap_or_default();
            // A number may be given to another thread, which begins at nothing.
            let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            self.done.nanos += since(doing.nanos, before.nanos);
            self.done.waits += since(doing.waits, before.waits);
        }
        self.last = now;
    }
}

fn doings(pid: u32) -> Result<HashMap<u64, Doing>> {
    let mut doings = HashMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        let number = thread.file_name().to_string_lossy().parse();
        // A thread may end in between.
        let read = |name: &str| fs::read_to_string(thread.path().join(name));
        if let (Ok(number), Ok(status), Ok(schedule)) = (number, read("status"), read("schedstat")) {
            doings.insert(number, doing_of(&status, &schedule).context("/proc reads otherwise")?);
        }
    }
    Ok(doings)
}

/// Of proc_pid_status(5), and of a thread's schedstat: time on a CPU, time of waiting for one, number of turns.
fn doing_of(status: &str, schedule: &str) -> Option<Doing> {
    let name = "voluntary_ctxt_switches:";
    let waits = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(Doing {
        nanos: schedule.split_whitespace().next()?.parse().ok()?,
        waits: waits.trim().parse().ok()?,
    })
}

/// Milliseconds for which the machine may take the processor away in one of a hundred cases; beyond, latencies say nothing.
const TOO_MUCH_JITTER_MS: f64 = 10.0;

/// How much longer than usual plain work takes: what other programs take away.
#[derive(Debug, Default)]
pub struct Jitter(Vec<f64>);

impl Jitter {
    /// Does about a millisecond of work that waits for nothing.
    pub fn look(&mut self) {
        let begun = Instant::now();
        let sum = (0..1_000_000_u64).fold(0, |sum: u64, n| black_box(sum.wrapping_mul(31) ^ n));
        black_box(sum);
        self.0.push(begun.elapsed().as_secs_f64() * 1e3);
    }

    /// Milliseconds that it took longer than usual, in one of a hundred cases.
    pub fn ms(&self) -> f64 {
        quantile(self.0.clone(), 0.99) - median(self.0.clone())
    }

    /// Whether a latency that was measured meanwhile says nothing.
    pub fn is_too_much(ms: f64) -> bool {
        ms > TOO_MUCH_JITTER_MS
    }
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

    fn doing(nanos: u64, waits: u64) -> Doing {
        Doing { nanos, waits }
    }

    #[test]
    fn what_a_thread_did_is_read_from_both_of_its_files() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t99\n";
        assert_eq!(doing_of(status, "345 6 7\n"), Some(doing(345, 12)));
        assert_eq!(doing_of("Name:\tx\n", "345 6 7\n"), None);
        assert_eq!(doing_of(status, ""), None);
    }

    #[test]
    fn threads_that_end_take_nothing_away_from_the_sum() {
        let mut threads = Threads {
            pid: 0,
            last: HashMap::from([(1, doing(1_000, 10)), (2, doing(9_000, 500))]),
            done: Doing::default(),
        };
        // The second has ended, a third has come.
        threads.take(HashMap::from([(1, doing(1_100, 12)), (3, doing(50, 3))]));
        assert_eq!(threads.done, doing(150, 5));
        // The third's number was given to another.
        threads.take(HashMap::from([(1, doing(1_100, 12)), (3, doing(20, 1))]));
        assert_eq!(threads.done, doing(170, 6));
    }

    #[test]
    fn a_thread_that_sleeps_and_works_is_seen() {
        let mut threads = Threads::watch(std::process::id()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut sum = 0_u64;
        for n in 0..2_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31) + n);
        }
        let done = threads.look().unwrap();
        assert!(done.waits >= 1 && done.nanos > 0, "{done:?} {sum}");
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
