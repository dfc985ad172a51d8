//! What the agent takes of a device at most, and each process that it starts. Children inherit both bounds, so that they hold from
//! their first instruction on; a service manager may bound all of them together besides.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit},
    system::sysinfo,
};

/// The least memory that a process is bounded to when nobody says otherwise, in bytes: package managers take some hundred megabytes.
const LEAST: u64 = 1 << 30;
/// How much the agent gives way to others when nobody says otherwise (nice, 0 to 19).
const NICENESS: i32 = 5;

/// The bounds of each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The memory of its own that a process may have, in bytes (`RLIMIT_DATA`, setrlimit(2)); 0 for no bound. By default half of the device's memory, and at
    /// least 1 GiB.
    pub memory_bytes: Option<u64>,
    /// How much it gives way to others (nice, 0 to 19); 5 by default.
    pub niceness: Option<u8>,
}

impl Limits {
    fn memory(self, total: u64) -> Option<u64> {
        match self.memory_bytes {
            Some(0) => None,
            Some(bytes) => Some(bytes),
            None => Some((total / 2).max(LEAST)),
        }
    }

    fn niceness(self) -> i32 {
        self.niceness.map_or(NICENESS, |niceness| i32::from(niceness.min(19)))
    }

    /// Bounds this process, and those that it starts from now on. What is bounded more tightly already stays so.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn apply(self) -> io::Result<()> {
        let system = sysinfo();
        // The C library's numbers have the width of the machine's words.
        #[allow(clippy::useless_conversion, reason = "on 32 bits they are narrower")]
        let total = u64::from(system.totalram).saturating_mul(u64::from(system.mem_unit));
        let before = getrlimit(Resource::Data);
        let tightest = [self.memory(total), before.current].into_iter().flatten().min();
        if tightest != before.current {
            setrlimit(
                Resource::Data,
                Rlimit {
                    current: tightest,
                    maximum: before.maximum,
                },
            )?;
        }
        if getpriority_process(None)? < self.niceness() {
            setpriority_process(None, self.niceness())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limits: Limits, total: u64, memory: Option<u64>, niceness: i32) {
        assert_eq!((limits.memory(total), limits.niceness()), (memory, niceness));
    }

    #[test]
    fn a_process_gets_half_of_the_memory_unless_somebody_says_otherwise() {
        let said = |memory_bytes, niceness| Limits {
            memory_bytes: Some(memory_bytes),
            niceness: Some(niceness),
        };
        check(Limits::default(), 8 << 30, Some(4 << 30), 5);
        check(Limits::default(), 512 << 20, Some(1 << 30), 5);
        check(said(300 << 20, 0), 8 << 30, Some(300 << 20), 0);
        check(said(0, 200), 8 << 30, None, 19);
    }
}
