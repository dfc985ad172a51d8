//! `admin.policy`: rules of sudo, checked before they hold.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::{
        admin_policy::{AccessLevel, PLACEHOLDER, PolicyParams},
        paths,
    },
};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device, FoundKind, Place},
    members::{self, Membership},
};

/// The rules are none that sudo takes.
pub(super) const INVALID: Code = Code::new("admin.invalid", Class::Invalid);
/// sudo reads no rules beside `sudoers`.
pub(super) const NO_DROP_INS: Code = Code::new("admin.no_drop_ins", Class::Conflict);

const FOLDER: &str = "/etc/sudoers.d";
const MAX_BYTES: u64 = 1 << 20;
const MODE: u32 = 0o440;

/// What keeps a device going. A convenience and no boundary.
const LIMITED: [&str; 36] = [
    "/usr/bin/apt",
    "/usr/bin/apt-get",
    "/usr/bin/dnf",
    "/usr/bin/yum",
    "/usr/bin/zypper",
    "/usr/bin/pacman",
    "/usr/bin/flatpak",
    "/usr/bin/snap",
    "/usr/bin/systemctl",
    "/usr/bin/journalctl",
    "/usr/bin/dmesg",
    "/usr/sbin/shutdown",
    "/usr/sbin/reboot",
    "/usr/sbin/poweroff",
    "/usr/bin/timedatectl",
    "/usr/bin/hostnamectl",
    "/usr/bin/localectl",
    "/usr/bin/loginctl",
    "/usr/bin/nmcli",
    "/usr/bin/networkctl",
    "/usr/bin/resolvectl",
    "/usr/sbin/ip",
    "/usr/bin/ip",
    "/usr/bin/ss",
    "/usr/sbin/ethtool",
    "/usr/bin/mount",
    "/usr/bin/umount",
    "/usr/bin/lsblk",
    "/usr/sbin/blkid",
    "/usr/bin/docker",
    "/usr/bin/podman",
    "/usr/bin/fwupdmgr",
    "/usr/bin/needs-restarting",
    "/usr/sbin/needrestart",
    "/usr/bin/checkrestart",
    "/usr/bin/lsof",
];
/// What it is not meant for, after it: the last word holds (sudoers(5)).
const DENIED: [&str; 3] = [
    "!/usr/bin/systemctl * fleet-agent",
    "!/usr/bin/systemctl * fleet-agent.service",
    "!/usr/sbin/visudo",
];

/// Keeps rules.
pub(super) struct Policy;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// Something about the group.
    Group(Membership),
    /// The rules are written.
    Write { path: String, text: String },
    /// They are removed.
    Remove(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(step) => step.fmt(f),
            Self::Write { path, text } => write!(f, "write {path}, {} bytes", text.len()),
            Self::Remove(path) => write!(f, "remove {path}"),
        }
    }
}

#[async_trait]
impl Action for Policy {
    type Params = PolicyParams;
    type Step = Step;

    fn writes(_: &PolicyParams) -> Vec<String> {
        vec![FOLDER.to_owned()]
    }

    async fn look(params: &PolicyParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("visudo")?;
        device.require_program("groupadd")?;
        let path = format!("{FOLDER}/fleet-{}", params.name);
        let place = device.place(&path, paths::check_file)?;
        let found = place.as_ref().map(Place::found).transpose()?.flatten();
        if params.state.is_absent() {
            let remove = found.map(|_| Step::Remove(path)).into_iter();
            let group = members::look(device, &params.group(), None).await?;
            return Ok(remove.chain(group.into_iter().map(Step::Group)).collect());
        }
        if !has_drop_ins(&device.read_text("/etc/sudoers", MAX_BYTES)?) {
            return Err(Problem::new(
                NO_DROP_INS,
                format!("/etc/sudoers has no line `@includedir {FOLDER}`, so rules there would not hold"),
            ));
        }
        let text = rules(params);
        let group = members::look(device, &params.group(), Some(&params.users)).await?;
        let mut steps: Vec<_> = group.into_iter().map(Step::Group).collect();
        let is_there = match (&place, found) {
            (Some(place), Some(found)) if found.kind == FoundKind::File => {
                (found.mode, found.uid) == (MODE, 0) && place.read(MAX_BYTES)? == text.as_bytes()
            }
            _ => false,
        };
        if !is_there {
            steps.push(Step::Write { path, text });
        }
        Ok(steps)
    }

    async fn act(params: &PolicyParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let place = |path: &str| {
            let place = device.place(path, paths::check_file)?;
            place.ok_or_else(|| Problem::new(FILES_FAILED, format!("{FOLDER} is not there")))
        };
        match step {
            Step::Group(step) => members::act(device, &params.group(), step).await,
            Step::Remove(path) => place(path)?.remove(),
            Step::Write { path, text } => {
                // sudo reads no file with a dot in its name, so what is not checked yet never holds.
                let checking = format!("{FOLDER}/.fleet-{}.checking", params.name);
                place(&checking)?.write(text.as_bytes(), MODE, 0, 0)?;
                let checked = check(device, &checking).await;
                place(&checking)?.remove()?;
                checked?;
                place(path)?.write(text.as_bytes(), MODE, 0, 0)
            }
        }
    }
}

async fn check(device: &Device, path: &str) -> Result<(), Problem> {
    let file = format!("{}{path}", device.scratch_root().unwrap_or_default());
    let answer = device
        .ask(&Call::new("visudo", ["--check", "--strict", &format!("--file={file}")]))
        .await?;
    if answer.succeeded() {
        return Ok(());
    }
    let said = format!("{}\n{}", answer.stderr, answer.stdout).replace(&file, "line");
    let said: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(4)
        .collect();
    Err(Problem::new(
        INVALID,
        format!("sudo does not take these rules: {:.500}", said.join("; ")),
    ))
}

/// Whether sudo reads the folder (sudoers(5), Including other files).
fn has_drop_ins(sudoers: &str) -> bool {
    let mut lines = sudoers.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(
        |words| matches!(words[..], ["@includedir" | "#includedir", folder] if folder.trim_end_matches('/') == FOLDER),
    )
}

/// The rules, as sudoers(5) has them.
fn rules(params: &PolicyParams) -> String {
    let group = params.group();
    match params.access_level {
        AccessLevel::Full => format!("%{group} ALL=(ALL:ALL) ALL\n"),
        AccessLevel::Limited => {
            let commands: Vec<_> = LIMITED.into_iter().chain(DENIED).collect();
            format!("%{group} ALL=(root) {}\n", commands.join(", \\\n    "))
        }
        AccessLevel::Custom => {
            let text = params
                .custom_config
                .as_deref()
                .unwrap_or_default()
                .replace(PLACEHOLDER, &group);
            text.trim_end().to_owned() + "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_where_sudo_reads_their_folder() {
        assert!(has_drop_ins("Defaults x\n@includedir /etc/sudoers.d\n"));
        assert!(has_drop_ins("#includedir /etc/sudoers.d/\n"));
        assert!(!has_drop_ins("# includedir /etc/sudoers.d\n"));
        assert!(!has_drop_ins("@includedir /etc/other\n"));
    }
}
