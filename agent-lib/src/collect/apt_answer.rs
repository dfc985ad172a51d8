//! apt's last answer, kept as long as nothing has changed that it follows from: working it out costs seconds of a core.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fleet_core::{devices::inventory::ContentHash, kernel::Timestamp};

use super::{CollectContext, CollectError, apt::Update};

/// What apt reads when it works out an upgrade: what is installed, the lists of the archives, and its configuration. Folders are looked
/// into one level deep, as apt does.
const INPUTS: [&str; 8] = [
    "/var/lib/dpkg/status",
    "/var/lib/apt/lists",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d",
];
/// An answer is never older: what apt looks at besides, such as the date until which a list is valid, shows within a day.
const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Updates that are kept at most: memory is the tight resource, and whoever has more should upgrade.
const MAX_KEPT: usize = 2_000;

/// The state of all that the answer follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs(ContentHash);

impl Inputs {
    /// Reads no file: which there are, how long they are and when they were written tells enough.
    pub(super) fn of(context: &CollectContext) -> Self {
        let mut seen = Vec::new();
        for input in INPUTS {
            let path = context.path(input);
            let mut names: Vec<_> = fs::read_dir(&path)
                .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
                .unwrap_or_default();
            names.sort_unstable();
            note(&mut seen, &path, names.is_empty());
            for name in names {
                note(&mut seen, &path.join(name), true);
            }
        }
        Self(ContentHash::of_bytes(&seen))
    }
}

/// Notes a path and, of a file, which it is. Of a folder its name is enough, its files are noted themselves: the times of the folder
/// for unfinished fetches change with every fetch that brings nothing.
fn note(seen: &mut Vec<u8>, path: &Path, may_be_file: bool) {
    seen.extend_from_slice(path.as_os_str().as_encoded_bytes());
    seen.push(0);
    if let Ok(found) = fs::metadata(path)
        && may_be_file
        && found.is_file()
    {
        for number in [found.mtime(), found.mtime_nsec()] {
            seen.extend_from_slice(&number.to_le_bytes());
        }
        for number in [found.len(), found.ino()] {
            seen.extend_from_slice(&number.to_le_bytes());
        }
    }
}

#[derive(Debug)]
struct Answer {
    inputs: Inputs,
    at: Timestamp,
    updates: Vec<Update>,
}

/// The last answer.
#[derive(Debug, Default)]
pub(super) struct LastAnswer(Mutex<Option<Answer>>);

impl LastAnswer {
    /// What apt has answered to the same, or what it answers now.
    pub(super) async fn or_ask(
        &self,
        inputs: Inputs,
        now: Timestamp,
        ask: impl Future<Output = Result<Vec<Update>, CollectError>> + Send,
    ) -> Result<Vec<Update>, CollectError> {
        if let Some(answer) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && answer.inputs == inputs
            && answer.at <= now
            && now.since(answer.at) < MAX_AGE
        {
            return Ok(answer.updates.clone());
        }
        let updates = ask.await?;
        // The inputs are those from before the question: what changes meanwhile is asked about the next time.
        let answer = (updates.len() <= MAX_KEPT).then(|| Answer {
            inputs,
            at: now,
            updates: updates.clone(),
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        Ok(updates)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use fleet_core::kernel::ManualClock;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// A device with apt, its last answer, and how often apt was asked.
    struct Device {
        root: tempfile::TempDir,
        last: LastAnswer,
        asked: AtomicU32,
    }

    impl Device {
        fn new() -> Self {
            let device = Self {
                root: tempfile::tempdir().unwrap(),
                last: LastAnswer::default(),
                asked: AtomicU32::new(0),
            };
            device.write("var/lib/dpkg/status", "Package: a\n");
            device.write("var/lib/apt/lists/deb_main", "list");
            device.write("etc/apt/sources.list.d/debian.sources", "Types: deb\n");
            device
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        async fn ask(&self, now: Timestamp, updates: usize) -> Result<usize, CollectError> {
            let context = CollectContext::below(self.root.path(), Arc::new(ManualClock::new(now)));
            let update = Update {
                name: "a".into(),
                architecture: "amd64".into(),
                installed: "1".into(),
                available: "2".into(),
                origin: String::new(),
                security: false,
            };
            let ask = async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                Ok(vec![update; updates])
            };
            Ok(self.last.or_ask(Inputs::of(&context), now, ask).await?.len())
        }
    }

    /// How often apt is asked when something happens between two looks.
    #[track_caller]
    fn check(between: impl FnOnce(&Device), expected: u32) {
        let device = Device::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(device.ask(NOW, 3)).unwrap(), 3);
        between(&device);
        assert_eq!(runtime.block_on(device.ask(NOW, 3)).unwrap(), 3);
        assert_eq!(device.asked.load(Ordering::Relaxed), expected);
    }

    #[test]
    fn apt_is_asked_once_as_long_as_nothing_changes() {
        check(|_| {}, 1);
        check(
            |device| device.write("var/lib/apt/periodic/update-success-stamp", ""),
            1,
        );
    }

    #[test]
    fn whatever_its_answer_follows_from_is_asked_about_again() {
        for path in [
            "var/lib/dpkg/status",
            "var/lib/apt/lists/deb_main",
            "var/lib/apt/lists/another",
            "etc/apt/sources.list",
            "etc/apt/sources.list.d/debian.sources",
            "etc/apt/preferences.d/pin",
            "etc/apt/apt.conf.d/99local",
        ] {
            check(|device| device.write(path, "something else"), 2);
        }
        check(
            |device| fs::remove_file(device.path("var/lib/apt/lists/deb_main")).unwrap(),
            2,
        );
        // A file of the same length and time in the place of another.
        check(
            |device| {
                let (old, new) = (device.path("var/lib/dpkg/status"), device.path("new"));
                fs::write(&new, "Package: b\n").unwrap();
                let times = fs::FileTimes::new().set_modified(fs::metadata(&old).unwrap().modified().unwrap());
                fs::File::options()
                    .write(true)
                    .open(&new)
                    .unwrap()
                    .set_times(times)
                    .unwrap();
                fs::rename(new, old).unwrap();
            },
            2,
        );
    }

    #[tokio::test]
    async fn an_answer_is_at_most_a_day_old_and_none_is_of_the_future() {
        let device = Device::new();
        for (now, asked) in [
            (NOW, 1),
            (NOW.plus(MAX_AGE - Duration::from_secs(1)), 1),
            (NOW.plus(MAX_AGE), 2),
            (NOW, 3),
        ] {
            device.ask(now, 1).await.unwrap();
            assert_eq!(device.asked.load(Ordering::Relaxed), asked);
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_not_kept_and_neither_is_a_failure() {
        let device = Device::new();
        for asked in 1..3 {
            device.ask(NOW, MAX_KEPT + 1).await.unwrap();
            assert_eq!(device.asked.load(Ordering::Relaxed), asked);
        }
        let inputs = || {
            Inputs::of(&CollectContext::below(
                device.root.path(),
                Arc::new(ManualClock::new(NOW)),
            ))
        };
        let fails = async { Err(CollectError::Busy) };
        assert!(device.last.or_ask(inputs(), NOW, fails).await.is_err());
        assert_eq!(device.ask(NOW, 1).await.unwrap(), 1);
    }
}
