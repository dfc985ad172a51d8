//! `packages.upgrade`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::packages_upgrade::UpgradeParams,
};

use super::manager::Manager;
use crate::actions::{
    action::{Action, Problem},
    device::{Answer, Call, Device},
    reboot::announce,
};

/// The device's package manager cannot tell which upgrades close security holes.
pub(in crate::actions) const NO_SECURITY: Code = Code::new("packages.no_security", Class::Invalid);

/// The most names that a line of output holds.
const MAX_NAMES: usize = 50;

/// Upgrades what is installed.
pub(in crate::actions) struct Upgrade;

/// What is done.
#[derive(PartialEq, Eq)]
pub(in crate::actions) enum Step {
    /// These become newer.
    Upgrade(Vec<String>),
    /// These were installed for others that are gone, and go.
    Remove(Vec<String>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, names) = match self {
            Self::Upgrade(names) => ("upgrade", names),
            Self::Remove(names) => ("remove what nothing needs any more:", names),
        };
        let shown = names.len().min(MAX_NAMES);
        write!(f, "{verb} {} packages: {}", names.len(), names[..shown].join(", "))?;
        match names.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[async_trait]
impl Action for Upgrade {
    type Params = UpgradeParams;
    type Step = Step;

    async fn look(params: &UpgradeParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let manager = Manager::of(device)?;
        let root = device.scratch_root();
        if params.security_only && !manager.knows_security(device) {
            let why = "this device's package manager cannot tell which upgrades close security holes (apt needs unattended-upgrades); \
                       nothing is upgraded rather than everything";
            return Err(Problem::new(NO_SECURITY, why));
        }
        // What there is to install is no state of the device: it is read anew in a dry run, too, once.
        if device.is_first("packages are refreshed") {
            manager.refresh_on(device).await?;
        }
        let call = manager.upgradable(root, params.security_only);
        let answer = device.ask(&call).await?;
        let newer = manager
            .upgradable_names(params.security_only, &answer)
            .ok_or_else(|| call.failed(&answer))?;
        let mut steps = Vec::new();
        if !newer.is_empty() {
            steps.push(Step::Upgrade(newer));
        }
        if params.autoremove
            && let Some(call) = manager.unneeded(root)
        {
            let answer = device.ask(&call).await?;
            let names = manager.unneeded_names(&answer).ok_or_else(|| call.failed(&answer))?;
            if !names.is_empty() {
                steps.push(Step::Remove(names));
            }
        }
        Ok(steps)
    }

    async fn act(params: &UpgradeParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let manager = Manager::of(device)?;
        let root = device.scratch_root();
        let needed_before = needs_reboot(manager, device).await?;
        match step {
            Step::Upgrade(_) => {
                for call in manager.upgrades(root, params.security_only) {
                    manager.must_on(device, &call).await?;
                }
            }
            Step::Remove(_) => {
                if let Some(call) = manager.autoremove(root) {
                    manager.must_on(device, &call).await?;
                }
            }
        }
        // One that was needed before is somebody's decision already.
        if params.reboot_if_required && !needed_before && needs_reboot(manager, device).await? {
            device
                .say("the upgrade made a reboot necessary; the device starts anew in a minute\n")
                .await;
            device
                .must(&announce("-r", 1, Some("Upgraded packages need it.")))
                .await?;
        }
        Ok(())
    }
}

async fn needs_reboot(manager: Manager, device: &Device) -> Result<bool, Problem> {
    if device.exists("/run/reboot-required") || device.exists("/var/run/reboot-required") {
        return Ok(true);
    }
    match manager {
        Manager::Dnf if device.has_program("needs-restarting") => {
            let answer = device.ask(&Call::new("needs-restarting", ["--reboothint"])).await?;
            Ok(answer.code == 1)
        }
        _ => Ok(false),
    }
}

impl Manager {
    fn knows_security(self, device: &Device) -> bool {
        match self {
            Self::Apt => device.has_program("unattended-upgrade"),
            Self::Dnf | Self::Zypper => true,
            Self::Pacman | Self::Apk => false,
        }
    }

    /// Asks what could be newer.
    fn upgradable(self, root: Option<&str>, security: bool) -> Call {
        let call = self.call(root);
        let security = |option: &'static str| security.then_some(option);
        match self {
            Self::Apt => call.with(["--simulate", "dist-upgrade"]),
            Self::Dnf => call
                .with(["--quiet"])
                .with(security("--security"))
                .with(["check-update"]),
            Self::Zypper => match security("") {
                Some(_) => call.with(["list-patches", "--category", "security"]),
                None => call.with(["list-updates"]),
            },
            Self::Pacman => call.with(["--query", "--upgrades"]),
            Self::Apk => call.with(["list", "--upgradable"]),
        }
    }

    /// The names in the answer to that; nothing when it failed.
    fn upgradable_names(self, security: bool, answer: &Answer) -> Option<Vec<String>> {
        let lines = answer.stdout.lines().map(str::trim);
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        // dnf says by 100 that there is something, pacman by 1 that there is nothing.
        let is_answer = match self {
            Self::Dnf => matches!(answer.code, 0 | 100),
            Self::Pacman => matches!(answer.code, 0 | 1),
            _ => answer.succeeded(),
        };
        let names = match self {
            Self::Apt => lines
                .filter_map(|line| line.strip_prefix("Inst "))
                .filter(|line| !security || line.contains("ecurity"))
                .filter_map(first)
                .collect(),
            Self::Dnf => lines
                .take_while(|line| !line.starts_with("Obsoleting"))
                .filter(|line| line.split_whitespace().count() == 3)
                .filter_map(first)
                .collect(),
            Self::Zypper => {
                let rows = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
                let wanted = |row: &Vec<&str>| match security {
                    true => row.contains(&"needed"),
                    false => row.first() == Some(&"v"),
                };
                let column = if security { 1 } else { 2 };
                rows.filter(wanted)
                    .filter_map(|row| row.get(column).map(|name| (*name).to_owned()))
                    .collect()
            }
            Self::Pacman => lines
                .filter(|line| !line.ends_with("[ignored]"))
                .filter_map(first)
                .collect(),
            Self::Apk => lines
                .filter(|line| line.contains("[upgradable"))
                .filter_map(first)
                .collect(),
        };
        is_answer.then_some(names)
    }

    /// Makes it newer, in order.
    fn upgrades(self, root: Option<&str>, security: bool) -> Vec<Call> {
        let call = || self.call(root);
        match (self, security) {
            (Self::Apt, true) => {
                vec![Call::new("unattended-upgrade", ["--verbose"]).env("DEBIAN_FRONTEND", "noninteractive")]
            }
            // First what needs nothing new, then the rest: less is removed that way.
            (Self::Apt, false) => vec![call().with(["upgrade"]), call().with(["dist-upgrade"])],
            (Self::Dnf, true) => vec![call().with(["--security", "upgrade"])],
            (Self::Dnf, false) => vec![call().with(["upgrade"])],
            (Self::Zypper, true) => vec![call().with(["patch", "--category", "security"])],
            (Self::Zypper, false) => vec![call().with(["update"])],
            (Self::Pacman, _) => vec![call().with(["--sync", "--sysupgrade"])],
            (Self::Apk, _) => vec![call().with(["upgrade"])],
        }
    }

    /// Asks what was installed for others that are gone; nothing where the manager keeps no such account, or keeps it by itself.
    fn unneeded(self, root: Option<&str>) -> Option<Call> {
        let call = self.call(root);
        match self {
            Self::Apt => Some(call.with(["--simulate", "autoremove"])),
            Self::Dnf => Some(call.with(["--quiet", "repoquery", "--unneeded"])),
            Self::Zypper | Self::Pacman | Self::Apk => None,
        }
    }

    fn unneeded_names(self, answer: &Answer) -> Option<Vec<String>> {
        let lines = answer.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
        let names = match self {
            Self::Apt => lines
                .filter_map(|line| line.strip_prefix("Remv ")?.split(' ').next())
                .map(str::to_owned)
                .collect(),
            _ => lines.map(str::to_owned).collect(),
        };
        answer.succeeded().then_some(names)
    }

    fn autoremove(self, root: Option<&str>) -> Option<Call> {
        matches!(self, Self::Apt | Self::Dnf).then(|| self.call(root).with(["autoremove"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(manager: Manager, security: bool, code: i32, stdout: &str, expected: Option<&[&str]>) {
        let answer = Answer {
            code,
            stdout: stdout.to_owned(),
            ..Answer::default()
        };
        let got = manager.upgradable_names(security, &answer);
        let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(got, expected);
    }

    #[test]
    fn what_could_be_newer_is_read_from_each_managers_list() {
        let apt = "Reading...\nInst a [1] (2 Debian:12/stable [amd64])\nInst b [1] (2 Debian-Security:12/stable-security [amd64])\nConf a\n";
        check(Manager::Apt, false, 0, apt, Some(&["a", "b"]));
        check(Manager::Apt, true, 0, apt, Some(&["b"]));
        check(Manager::Apt, false, 100, apt, None);
        let dnf = "\nkernel.x86_64   5.14.0-2   baseos\na.noarch  1-2  updates\nObsoleting Packages\nold.noarch 1 x\n";
        check(Manager::Dnf, false, 100, dnf, Some(&["kernel.x86_64", "a.noarch"]));
        check(Manager::Dnf, false, 0, "", Some(&[]));
        check(Manager::Dnf, false, 1, "", None);
        let zypper = "S | Repository | Name | Current\n--+---\nv | Main | a | 1\nv | Main | b | 1\n";
        check(Manager::Zypper, false, 0, zypper, Some(&["a", "b"]));
        let patches = "Repository | Name | Category | Severity | Interactive | Status\nMain | SUSE-1 | security | low | --- | needed\n";
        check(Manager::Zypper, true, 0, patches, Some(&["SUSE-1"]));
        check(
            Manager::Pacman,
            false,
            0,
            "a 1 -> 2\nb 1 -> 2 [ignored]\n",
            Some(&["a"]),
        );
        check(Manager::Pacman, false, 1, "", Some(&[]));
        check(
            Manager::Apk,
            false,
            0,
            "a-2-r0 x86_64 {a} (MIT) [upgradable from: a-1-r0]\n",
            Some(&["a-2-r0"]),
        );
    }

    #[test]
    fn security_alone_is_asked_for_by_name() {
        let typed = |calls: Vec<Call>| calls.iter().map(|call| call.arguments.join(" ")).collect::<Vec<_>>();
        assert_eq!(
            typed(Manager::Dnf.upgrades(None, true)),
            ["--assumeyes --security upgrade"]
        );
        assert_eq!(
            typed(Manager::Zypper.upgrades(None, true)),
            ["--non-interactive patch --category security"]
        );
        assert_eq!(Manager::Apt.upgrades(None, true)[0].program, "unattended-upgrade");
    }
}
