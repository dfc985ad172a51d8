//! Signals, and finding what a run has left behind.

use std::{fs, io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::timeout,
};
use uuid::Uuid;

/// Every process of a run carries its id in this variable, unless it takes it out.
pub(super) const MARK: &str = "FLEET_RUN_ID";

/// Programs that change what is installed, by the name of their process. Cut short, they leave a device half installed.
const PACKAGE_MANAGERS: [&str; 15] = [
    "apk",
    "apt",
    "apt-get",
    "aptitude",
    "dnf",
    "dnf5",
    "dpkg",
    "microdnf",
    "pacman",
    "rpm",
    "rpm-ostree",
    "transactional-",
    "unattended-upgr",
    "yum",
    "zypper",
];

/// A process group with its leader. Dropped before its end, it is killed whole, unless it is installing something: a task that
/// is aborted leaves nothing that could be left out.
#[derive(Debug)]
pub(super) struct Group {
    pub child: Child,
    leader: Pid,
    run: Uuid,
    is_reaped: bool,
}

impl Group {
    /// Takes over a child that was made the leader of a group of its own.
    pub fn new(child: Child, run: Uuid) -> Option<Self> {
        let leader = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
        Some(Self {
            child,
            leader,
            run,
            is_reaped: false,
        })
    }

    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Signals every process of the group. Only while the leader is not reaped: then its id is still ours.
    pub fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            // It may have no process any more, or none that we may signal.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Takes the leader's exit status; the group must have been killed before.
    pub async fn reap(&mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await?;
        self.is_reaped = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped && is_installing_now(self.leader, self.run) {
            tracing::warn!(run = %self.run, "a package manager at work is left to end by itself");
            return;
        }
        self.signal(Signal::KILL);
    }
}

/// Waits until a child of ours has ended, without reaping it.
pub(super) async fn has_ended(child: Pid) {
    let mut children = signal(SignalKind::child()).ok();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error says that it is no child of ours any more: there is nothing to wait for.
    while matches!(waitid(WaitId::Pid(child), options), Ok(None)) {
        let signalled = async {
            match &mut children {
                Some(children) => children.recv().await,
                None => std::future::pending().await,
            }
        };
        // The signal wakes us; looking again now and then costs nothing and does not depend on who else handles signals.
        let _ = timeout(Duration::from_millis(500), signalled).await;
    }
}

/// Whether any process of a group is alive; yes when that cannot be found out.
pub(super) async fn is_alive(group: Pid) -> bool {
    let scan = spawn_blocking(move || {
        let Ok(mut processes) = processes() else { return true };
        processes.any(|pid| {
            stat(pid).is_some_and(|stat| stat.group == group.as_raw_nonzero().get() && !matches!(stat.state, 'Z' | 'X'))
        })
    });
    scan.await.unwrap_or(true)
}

/// Whether a package manager is at work in a run: in its group, or anywhere with its mark.
pub(super) async fn is_installing(group: Pid, run: Uuid) -> bool {
    let scan = spawn_blocking(move || is_installing_now(group, run));
    scan.await.unwrap_or(false)
}

fn is_installing_now(group: Pid, run: Uuid) -> bool {
    let mark = format!("{MARK}={run}").into_bytes();
    processes().into_iter().flatten().any(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        PACKAGE_MANAGERS.contains(&name.trim_end())
            && stat(pid).is_some_and(|stat| {
                !matches!(stat.state, 'Z' | 'X') && (stat.group == group.as_raw_nonzero().get() || has_mark(pid, &mark))
            })
    })
}

/// Kills every process that carries the run's mark or holds one of its pipes; answers how many.
pub(super) async fn hunt(run: Uuid, pipes: Vec<u64>) -> usize {
    let hunt = spawn_blocking(move || {
        let mut killed = 0;
        // One that forks while we look may be missed; its child is found the next time.
        for _ in 0..3 {
            let found = hunt_once(run, &pipes);
            killed += found;
            if found == 0 {
                break;
            }
        }
        killed
    });
    hunt.await.unwrap_or(0)
}

fn hunt_once(run: Uuid, pipes: &[u64]) -> usize {
    let mark = format!("{MARK}={run}").into_bytes();
    let links: Vec<_> = pipes
        .iter()
        .map(|inode| format!("pipe:[{inode}]").into_bytes())
        .collect();
    let own = getpid().as_raw_nonzero().get();
    let mut killed = 0;
    for pid in processes().into_iter().flatten() {
        let Some(process) = Pid::from_raw(pid).filter(|_| pid != own && pid != 1) else {
            continue;
        };
        // Held open while we look, it keeps meaning the process that we looked at.
        let handle = pidfd_open(process, PidfdFlags::empty()).ok();
        let Some(stat) = stat(pid) else { continue };
        if matches!(stat.state, 'Z' | 'X') || (stat.parent == own && is_unborn(pid)) {
            continue;
        }
        if (has_mark(pid, &mark) || holds(pid, &links)) && kill(process, handle) {
            killed += 1;
        }
    }
    killed
}

/// Whether a child of ours has not become another program yet: between fork and exec it holds everything that we hold. (An
/// orphan can be our child as well, where we are process 1.)
fn is_unborn(pid: i32) -> bool {
    match (
        fs::read_link(format!("/proc/{pid}/exe")),
        fs::read_link("/proc/self/exe"),
    ) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => true,
    }
}

fn kill(process: Pid, handle: Option<OwnedFd>) -> bool {
    match handle {
        Some(handle) => pidfd_send_signal(handle, Signal::KILL).is_ok(),
        None => kill_process(process, Signal::KILL).is_ok(),
    }
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
}

fn holds(pid: i32, links: &[Vec<u8>]) -> bool {
    if links.is_empty() {
        return false;
    }
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        links.iter().any(|link| link == target.as_os_str().as_encoded_bytes())
    })
}

fn processes() -> io::Result<impl Iterator<Item = i32>> {
    let entries = fs::read_dir(Path::new("/proc"))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

struct Stat {
    state: char,
    parent: i32,
    group: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a line of proc_pid_stat(5): the name in parentheses may itself hold anything.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(char, i32, i32)>) {
        let got = parse_stat(line).map(|stat| (stat.state, stat.parent, stat.group));
        assert_eq!(got, expected, "{line}");
    }

    #[test]
    fn a_process_may_have_any_name() {
        check("12 (sh) S 1 12 12 0 -1", Some(('S', 1, 12)));
        check("12 (a) Z 9 9) R 1 12 12 0 -1", Some(('R', 1, 12)));
        check("12 (sh", None);
        check("", None);
    }
}
