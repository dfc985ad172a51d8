//! Mounted file systems, from `/proc/self/mounts` and statvfs(3).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use fleet_core::devices::inventory::{Mount, Mounts, Section, SectionBody, clean_text};

use super::{CollectContext, CollectError, Collector, files};

/// A container host with thousands of mounts has a few hundred bytes for each.
const MAX_BYTES: u64 = 8 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After this nobody is asked any more.
const ALL_WITHIN: Duration = Duration::from_secs(20);

/// Reads the mounts. It remembers which file systems have not answered yet and does not ask those again.
#[derive(Debug, Default)]
pub(super) struct MountsCollector {
    hanging: Arc<Mutex<BTreeSet<String>>>,
}

#[async_trait]
impl Collector for MountsCollector {
    fn section(&self) -> Section {
        Section::Mounts
    }

    fn timeout(&self) -> Duration {
        ALL_WITHIN + 3 * ANSWER_WITHIN
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let mut parser = Parser::default();
        let path = context.path("/proc/self/mounts");
        files::for_each_line(&path, MAX_BYTES, |line| parser.line(line))?;
        let mut mounts = parser.finish();
        let start = Instant::now();
        for mount in &mut mounts.items {
            // The parser took the escapes out; what it had to cut or replace cannot be asked for.
            let space = if !context.is_device() {
                Err("not asked".into())
            } else if start.elapsed() > ALL_WITHIN {
                Err("not asked: others took too long".into())
            } else {
                let target = mount.target.clone();
                ask(&self.hanging, &mount.target, ANSWER_WITHIN, move || {
                    space_of(&PathBuf::from(target))
                })
            };
            fill(mount, space);
        }
        Ok(SectionBody::Mounts(mounts))
    }
}

/// The room of a file system.
#[derive(Clone, Copy, Debug, Default)]
struct Space {
    size_bytes: u64,
    used_bytes: u64,
    available_bytes: u64,
    inodes: u64,
    inodes_used: u64,
}

fn space_of(target: &std::path::Path) -> Result<Space, String> {
    let stat = rustix::fs::statvfs(target).map_err(|cause| clean_text(&cause.to_string(), 128))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space {
        size_bytes: bytes(stat.f_blocks),
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        available_bytes: bytes(stat.f_bavail),
        inodes: stat.f_files,
        inodes_used: stat.f_files.saturating_sub(stat.f_ffree),
    })
}

fn fill(mount: &mut Mount, space: Result<Space, String>) {
    match space {
        Ok(space) => {
            mount.size_bytes = Some(space.size_bytes);
            mount.used_bytes = Some(space.used_bytes);
            mount.available_bytes = Some(space.available_bytes);
            // 0: the file system makes inodes as they are needed.
            if space.inodes > 0 {
                mount.inodes = Some(space.inodes);
                mount.inodes_used = Some(space.inodes_used);
            }
        }
        Err(problem) => mount.problem = Some(problem),
    }
}

/// Asks on a thread of its own: a dead network file system blocks whoever asks it, for ever.
fn ask<T: Send + 'static>(
    hanging: &Arc<Mutex<BTreeSet<String>>>,
    target: &str,
    within: Duration,
    question: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let lock = |set: &Mutex<BTreeSet<String>>, change: &dyn Fn(&mut BTreeSet<String>) -> bool| {
        change(&mut set.lock().unwrap_or_else(PoisonError::into_inner))
    };
    if !lock(hanging, &|set| set.insert(target.to_owned())) {
        return Err("an earlier question is still without answer".into());
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (name, set) = (target.to_owned(), Arc::clone(hanging));
    let thread = std::thread::Builder::new().name("statvfs".into()).stack_size(128 << 10);
    let started = thread.spawn(move || {
        let answer = question();
        lock(&set, &|set| set.remove(&name));
        // Too late: nobody waits.
        let _ = sender.send(answer);
    });
    if started.is_err() {
        lock(hanging, &|set| set.remove(target));
        return Err("no thread to ask on".into());
    }
    receiver
        .recv_timeout(within)
        .unwrap_or_else(|_| Err(format!("no answer within {} seconds", within.as_secs())))
}

/// File systems without a disk behind them: interfaces of the kernel, and views of what is listed already.
const PSEUDO: [&str; 34] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "none",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

#[derive(Debug, Default)]
struct Parser {
    /// By target: a mount over another hides it.
    mounts: BTreeMap<String, Mount>,
    left_out: u64,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let mut fields = line.split(' ').map(unescape);
        let (Some(source), Some(target), Some(fstype), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        // The root is listed whatever it is: in a container it is an overlay.
        let pseudo = PSEUDO.contains(&&*fstype) && target != "/";
        // A tmpfs that the system itself keeps below these says nothing about the device.
        let kept_by_system = fstype == "tmpfs"
            && ["/run", "/dev", "/sys", "/proc"].iter().any(|folder| {
                target
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
        if pseudo || kept_by_system || !target.starts_with('/') {
            return;
        }
        let target = clean_text(&target, 4096);
        if self.mounts.len() >= Section::Mounts.max_items() && !self.mounts.contains_key(&target) {
            self.left_out += 1;
            return;
        }
        let mount = Mount {
            source: clean_text(&source, 1024),
            target: target.clone(),
            fstype: clean_text(&fstype, 64),
            read_only: options.split(',').any(|option| option == "ro"),
            ..Mount::default()
        };
        self.mounts.insert(target, mount);
    }

    fn finish(self) -> Mounts {
        Mounts {
            items: self.mounts.into_values().collect(),
            truncated: self.left_out > 0,
            left_out: self.left_out,
        }
    }
}

/// The kernel writes white space and the backslash as three octal digits.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => (plain.push(code), at += 4).1,
            None => (plain.push(*byte), at += 1).1,
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Mounts {
        let mut parser = Parser::default();
        input.lines().for_each(|line| parser.line(line));
        parser.finish()
    }

    #[test]
    fn the_kernels_interfaces_are_left_out() {
        let mut mounts = parse(include_str!("../../tests/fixtures/proc/mounts"));
        let space = Space {
            size_bytes: 1_000,
            used_bytes: 300,
            available_bytes: 650,
            inodes: 10,
            inodes_used: 4,
        };
        mounts.items.iter_mut().for_each(|mount| fill(mount, Ok(space)));
        insta::assert_json_snapshot!(mounts);
    }

    #[test]
    fn network_mounts_and_odd_names_are_read() {
        let mut mounts = parse(include_str!("../../tests/fixtures/proc/mounts-server.SYNTHETIC"));
        let last = mounts.items.len() - 1;
        fill(&mut mounts.items[last], Err("no answer within 2 seconds".into()));
        insta::assert_json_snapshot!(mounts);
    }

    #[test]
    fn foreign_lines_are_passed_over() {
        assert_eq!(
            parse("\n \n/dev/sda1\n/dev/sda1 / \nx relative ext4 rw 0 0\n\\1 \\ \\99 \\"),
            Mounts::default()
        );
        assert_eq!(unescape(r"a\040b\134\x\04"), r"a b\\x\04");
    }

    #[test]
    fn a_thousand_mounts_are_enough() {
        let text: String = (0..1_003).map(|n| format!("/dev/sd /m{n} ext4 rw 0 0\n")).collect();
        let mounts = parse(&text);
        assert_eq!(
            (mounts.items.len(), mounts.left_out, mounts.truncated),
            (1_000, 3, true)
        );
    }

    #[test]
    fn a_file_system_that_hangs_is_not_asked_twice() {
        let hanging = Arc::default();
        let (free, wait) = mpsc::channel::<()>();
        let question = move || wait.recv().map_err(|_| String::new());
        assert_eq!(
            ask(&hanging, "/m", Duration::ZERO, question),
            Err("no answer within 0 seconds".into())
        );
        let again = || ask(&hanging, "/m", Duration::from_secs(60), || Ok(()));
        assert_eq!(again(), Err("an earlier question is still without answer".into()));
        assert_eq!(ask(&hanging, "/other", Duration::from_secs(60), || Ok(7)), Ok(7));
        free.send(()).unwrap();
        while again().is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn this_devices_root_has_room() {
        let space = space_of("/".as_ref()).unwrap();
        assert!(space.size_bytes >= space.used_bytes && space.size_bytes >= space.available_bytes);
        assert!(space_of("/no/such/place".as_ref()).is_err());
    }
}
