//! Who signed in, as wtmp(5) tells: fixed records, the newest last. A file that was rotated away has the older ones.

use fleet_core::kernel::Timestamp;

use crate::actions::{action::Problem, device::Device};

const FILES: [&str; 2] = ["/var/log/wtmp.1", "/var/log/wtmp"];
/// The most of each file that is read, from its end, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// The type of a record of somebody who signed in.
const USER_PROCESS: i16 = 7;
const NAME: std::ops::Range<usize> = 44..76;

/// Where the time stands in a record, and how long a record is: glibc has other types there on processors that never were 32 bits wide.
const fn layout() -> (usize, usize) {
    match cfg!(any(
        target_arch = "aarch64",
        target_arch = "loongarch64",
        target_arch = "riscv64"
    )) {
        true => (344, 400),
        false => (340, 384),
    }
}

/// The records of sign-ins of a device.
#[derive(Debug, Default)]
pub(super) struct SignIns {
    records: Vec<u8>,
    pub(super) is_recorded: bool,
}

impl SignIns {
    pub(super) fn read(device: &Device) -> Result<Self, Problem> {
        let mut sign_ins = Self::default();
        let (_, length) = layout();
        for path in FILES {
            if let Some(bytes) = device.read_end(path, MAX_BYTES, length as u64)? {
                sign_ins.is_recorded = true;
                sign_ins.records.extend_from_slice(&bytes);
            }
        }
        Ok(sign_ins)
    }

    /// When a user first signed in after a time.
    pub(super) fn first_after(&self, user: &str, time: Timestamp) -> Option<Timestamp> {
        let (seconds_at, length) = layout();
        let records = self.records.chunks_exact(length);
        let times = records.filter_map(|record| {
            let kind = i16::from_ne_bytes(record.get(..2)?.try_into().ok()?);
            let name = record.get(NAME)?;
            let name = name.split(|byte| *byte == 0).next()?;
            // As u32 the four bytes reach until 2106, whatever the type says.
            let seconds = u32::from_ne_bytes(record.get(seconds_at..seconds_at + 4)?.try_into().ok()?);
            (kind == USER_PROCESS && name == user.as_bytes()).then(|| Timestamp::from_seconds(i64::from(seconds)))
        });
        times.filter(|at| *at > time).min()
    }
}

#[cfg(test)]
pub(in crate::actions) fn record(user: &str, kind: i16, seconds: u32) -> Vec<u8> {
    let (seconds_at, length) = layout();
    let mut record = vec![0; length];
    record[..2].copy_from_slice(&kind.to_ne_bytes());
    record[NAME.start..NAME.start + user.len()].copy_from_slice(user.as_bytes());
    record[seconds_at..seconds_at + 4].copy_from_slice(&seconds.to_ne_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_in_after_a_time_counts() {
        let records = [
            record("ana", USER_PROCESS, 100),
            record("bob", USER_PROCESS, 150),
            record("ana", 8, 160),
            record("ana", USER_PROCESS, 300),
            record("ana", USER_PROCESS, 200),
            vec![0; 17],
        ];
        let sign_ins = SignIns {
            records: records.concat(),
            is_recorded: true,
        };
        let check = |user: &str, after: i64, expected: Option<i64>| {
            let found = sign_ins.first_after(user, Timestamp::from_seconds(after));
            assert_eq!(found, expected.map(Timestamp::from_seconds), "{user} after {after}");
        };
        check("ana", 0, Some(100));
        check("ana", 100, Some(200));
        check("ana", 300, None);
        check("an", 0, None);
        check("bob", 0, Some(150));
    }
}
