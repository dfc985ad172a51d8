//! Which package manager a device has, and what its programs are told. Lists of arguments, and nothing else.

use crate::actions::{
    action::Problem,
    device::{Answer, Call, Device},
};

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actions) enum Manager {
    /// Of Debian and Ubuntu.
    Apt,
    /// Of Fedora and its relatives.
    Dnf,
    /// Of SUSE.
    Zypper,
    /// Of Arch.
    Pacman,
    /// Of Alpine.
    Apk,
}

use Manager::{Apk, Apt, Dnf, Pacman, Zypper};

impl Manager {
    /// The program that says that a device has it.
    const fn program(self) -> &'static str {
        match self {
            Apt => "apt-get",
            Dnf => "dnf",
            Zypper => "zypper",
            Pacman => "pacman",
            Apk => "apk",
        }
    }

    /// The device's manager.
    pub(in crate::actions) fn of(device: &Device) -> Result<Self, Problem> {
        // SUSE may have dnf beside its own, and says by that which one it means.
        let found = [Apt, Zypper, Dnf, Pacman, Apk]
            .into_iter()
            .find(|manager| device.has_program(manager.program()));
        found.ok_or_else(|| {
            Problem::not_applicable("this device has no package manager that is known: apt, dnf, zypper, pacman or apk")
        })
    }

    /// Its program, told of the root folder, and never asking anything.
    pub(in crate::actions) fn call(self, root: Option<&str>) -> Call {
        let call = Call::new(self.program(), Vec::<String>::new());
        match self {
            Apt => apt(call, root).with([
                "--yes",
                "--quiet",
                "-o",
                "DPkg::Lock::Timeout=120",
                "-o",
                "Dpkg::Use-Pty=0",
                // Files of configuration that somebody has changed stay as they are.
                "-o",
                "DPkg::Options::=--force-confdef",
                "-o",
                "DPkg::Options::=--force-confold",
                // A name is a name, and no regular expression.
                "-o",
                "APT::Cmd::Pattern-Only=true",
            ]),
            Dnf => call
                .with(root.map(|root| format!("--installroot={root}")))
                .with(["--assumeyes"]),
            Zypper => call
                .with(root.map(|root| format!("--root={root}")))
                .with(["--non-interactive"]),
            Pacman => call
                .with(root.map(|root| format!("--sysroot={root}")))
                .with(["--noconfirm"]),
            Apk => call
                .with(root.map(|root| format!("--root={root}")))
                .with(["--no-interactive"]),
        }
    }

    /// Whether an answer says that it did what it was told. zypper has codes for a device that has to start anew (102, 103), for
    /// repositories that were passed over (106) and for scripts of packages that failed (107), after the work is done.
    pub(in crate::actions) fn did(self, answer: &Answer) -> bool {
        match self {
            Zypper => matches!(answer.code, 0 | 102 | 103) || self.remark(answer).is_some(),
            Apt | Dnf | Pacman | Apk => answer.succeeded(),
        }
    }

    /// What people should know although it did what it was told.
    pub(in crate::actions) fn remark(self, answer: &Answer) -> Option<&'static str> {
        match (self, answer.code) {
            (Zypper, 106) => Some("zypper passed over repositories that could not be read"),
            (Zypper, 107) => Some("scripts of packages failed while zypper installed them"),
            _ => None,
        }
    }

    /// Asks for the version of a package that is installed.
    pub(in crate::actions) fn installed(self, root: Option<&str>, name: &str) -> Call {
        match self {
            Apt => Call::new("dpkg-query", root.map(|root| format!("--admindir={root}/var/lib/dpkg"))).with([
                "--showformat=${db:Status-Status} ${Version}\\n",
                "--show",
                name,
            ]),
            Dnf | Zypper => Call::new("rpm", root.map(|root| format!("--root={root}"))).with([
                "--query",
                "--queryformat=%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n",
                name,
            ]),
            Pacman => self.call(root).with(["--query", name]),
            Apk => self.call(root).with(["info", "--installed", "--verbose", name]),
        }
    }

    /// Reads anew what there is to install.
    pub(in crate::actions) fn refresh(self, root: Option<&str>) -> Call {
        let call = self.call(root);
        match self {
            // Of a repository that cannot be reached apt tells, and succeeds, unless it is asked not to.
            Apt => call.with(["-o", "APT::Update::Error-Mode=any", "update"]),
            Dnf => call.with(["makecache"]),
            Zypper => call.with(["refresh"]),
            Pacman => call.with(["--sync", "--refresh"]),
            Apk => call.with(["update"]),
        }
    }

    /// Installs a package, in this version where one is given.
    pub(in crate::actions) fn install(self, root: Option<&str>, name: &str, version: Option<&str>, down: bool) -> Call {
        let call = self.call(root);
        let joined = |with: &str| match version {
            Some(version) => format!("{name}{with}{version}"),
            None => name.to_owned(),
        };
        match self {
            Apt => {
                let held = version.map(|_| "--allow-change-held-packages");
                let down = down.then_some("--allow-downgrades");
                call.with(held).with(down).with(["install", &joined("=")])
            }
            // It goes back as well, and `downgrade` takes nothing that is not installed.
            Dnf => call.with(["install", &joined("-")]),
            Zypper => call
                .with(["install"])
                .with(down.then_some("--oldpackage"))
                .with([joined("=")]),
            Pacman => call.with(["--sync", "--needed", name]),
            Apk => call.with(["add", &joined("=")]),
        }
    }

    /// Removes a package; what it alone needed stays.
    pub(in crate::actions) fn remove(self, root: Option<&str>, name: &str) -> Call {
        let call = self.call(root);
        match self {
            Apt | Dnf | Zypper => call.with(["remove", name]),
            Pacman => call.with(["--remove", name]),
            Apk => call.with(["del", name]),
        }
    }

    /// Asks which packages are pinned; nothing where the manager knows no such thing.
    pub(in crate::actions) fn pins(self, root: Option<&str>) -> Option<Call> {
        Some(match self {
            Apt => apt_mark(root).with(["showhold"]),
            Dnf => self.call(root).with(["--quiet", "versionlock", "list"]),
            Zypper => self.call(root).with(["locks"]),
            Pacman | Apk => return None,
        })
    }

    /// Pins a package, or lets go of it; nothing where the manager knows no such thing.
    pub(in crate::actions) fn pin(self, root: Option<&str>, name: &str, pinned: bool) -> Option<Call> {
        let verb = |yes: &'static str, no: &'static str| if pinned { yes } else { no };
        Some(match self {
            Apt => apt_mark(root).with([verb("hold", "unhold"), name]),
            Dnf => self.call(root).with(["versionlock", verb("add", "delete"), name]),
            Zypper => self.call(root).with([verb("addlock", "removelock"), name]),
            Pacman | Apk => return None,
        })
    }

    /// Whether it keeps to a pin also when it is told another version by name; apt may be told to change it, and lets go of it by that.
    pub(in crate::actions) const fn keeps_pins(self) -> bool {
        matches!(self, Dnf | Zypper)
    }

    /// What may help after a failure was seen, in order; each may fail. Nothing that throws away what somebody has decided: no history is
    /// undone and no keyring is made anew.
    pub(in crate::actions) fn repairs(self, root: Option<&str>) -> Vec<Call> {
        match self {
            Apt => vec![
                Call::new("dpkg", root.map(|root| format!("--root={root}")))
                    .with(["--force-confdef", "--force-confold", "--configure", "--pending"])
                    .env("DEBIAN_FRONTEND", "noninteractive"),
                self.refresh(root),
                self.call(root).with(["--fix-broken", "install"]),
            ],
            Dnf => vec![
                self.call(root).with(["clean", "metadata"]),
                Call::new("rpm", root.map(|root| format!("--root={root}"))).with(["--verifydb"]),
                self.refresh(root),
            ],
            Zypper => vec![
                self.call(root).with(["clean"]),
                self.refresh(root),
                self.call(root).with(["verify"]),
            ],
            Pacman => vec![self.call(root).with(["--sync", "--refresh", "--refresh"])],
            Apk => vec![self.call(root).with(["fix"])],
        }
    }
}

/// The options by which apt works below another root, and dpkg with it.
fn apt(call: Call, root: Option<&str>) -> Call {
    let call = call.env("DEBIAN_FRONTEND", "noninteractive");
    let Some(root) = root else {
        return call;
    };
    let options = [
        format!("Dir={root}"),
        format!("Dir::State::status={root}/var/lib/dpkg/status"),
        format!("DPkg::Options::=--root={root}"),
        "Dir::Bin::methods=/usr/lib/apt/methods".to_owned(),
        "Dir::Bin::dpkg=/usr/bin/dpkg".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    call.with(options.into_iter().flat_map(|option| ["-o".to_owned(), option]))
}

fn apt_mark(root: Option<&str>) -> Call {
    apt(Call::new("apt-mark", Vec::<String>::new()), root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed, without the options that apt always has.
    #[track_caller]
    fn check(call: Option<Call>, expected: Option<&str>) {
        let typed = call.map(|call| {
            let typed = [&[call.program][..], &call.arguments].concat().join(" ");
            let always = [
                "--yes --quiet -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o DPkg::Options::=--force-confdef \
                 -o DPkg::Options::=--force-confold -o APT::Cmd::Pattern-Only=true ",
                "--assumeyes ",
                "--non-interactive ",
                "--noconfirm ",
                "--no-interactive ",
            ];
            always.iter().fold(typed, |typed, always| typed.replace(always, ""))
        });
        assert_eq!(typed.as_deref(), expected);
    }

    #[test]
    fn a_package_is_installed_in_the_version_that_is_asked_for() {
        for (manager, any, this, down) in [
            (
                Apt,
                "apt-get install a",
                "apt-get --allow-change-held-packages install a=1",
                "apt-get --allow-change-held-packages --allow-downgrades install a=1",
            ),
            (Dnf, "dnf install a", "dnf install a-1", "dnf install a-1"),
            (
                Zypper,
                "zypper install a",
                "zypper install a=1",
                "zypper install --oldpackage a=1",
            ),
            (Apk, "apk add a", "apk add a=1", "apk add a=1"),
        ] {
            check(Some(manager.install(None, "a", None, false)), Some(any));
            check(Some(manager.install(None, "a", Some("1"), false)), Some(this));
            check(Some(manager.install(None, "a", Some("1"), true)), Some(down));
        }
        check(
            Some(Pacman.install(None, "a", None, false)),
            Some("pacman --sync --needed a"),
        );
    }

    #[test]
    fn a_package_is_asked_for_and_removed() {
        check(
            Some(Apt.installed(None, "a")),
            Some("dpkg-query --showformat=${db:Status-Status} ${Version}\\n --show a"),
        );
        check(
            Some(Zypper.installed(None, "a")),
            Some("rpm --query --queryformat=%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n a"),
        );
        check(Some(Pacman.installed(None, "a")), Some("pacman --query a"));
        check(Some(Apk.installed(None, "a")), Some("apk info --installed --verbose a"));
        check(Some(Apt.remove(None, "a")), Some("apt-get remove a"));
        check(Some(Dnf.remove(None, "a")), Some("dnf remove a"));
        check(Some(Pacman.remove(None, "a")), Some("pacman --remove a"));
        check(Some(Apk.remove(None, "a")), Some("apk del a"));
    }

    #[test]
    fn pins_are_what_each_manager_calls_so() {
        check(Apt.pin(None, "a", true), Some("apt-mark hold a"));
        check(Apt.pin(None, "a", false), Some("apt-mark unhold a"));
        check(Dnf.pin(None, "a", true), Some("dnf versionlock add a"));
        check(Dnf.pin(None, "a", false), Some("dnf versionlock delete a"));
        check(Zypper.pin(None, "a", true), Some("zypper addlock a"));
        check(Zypper.pin(None, "a", false), Some("zypper removelock a"));
        check(Pacman.pin(None, "a", true), None);
        check(Apk.pins(None), None);
    }

    #[test]
    fn what_zypper_says_after_its_work_is_no_failure() {
        let answer = |code| Answer {
            code,
            ..Answer::default()
        };
        for (code, did, remarked) in [
            (0, true, false),
            (102, true, false),
            (103, true, false),
            (106, true, true),
            (107, true, true),
            (104, false, false),
            (4, false, false),
        ] {
            let answer = answer(code);
            assert_eq!(
                (Zypper.did(&answer), Zypper.remark(&answer).is_some()),
                (did, remarked),
                "{code}"
            );
        }
        assert!(!Apt.did(&answer(102)) && Apt.remark(&answer(107)).is_none());
    }

    #[test]
    fn another_root_is_told_to_every_program() {
        for manager in [Apt, Dnf, Zypper, Pacman, Apk] {
            let calls = [
                Some(manager.installed(Some("/r"), "a")),
                Some(manager.refresh(Some("/r"))),
                Some(manager.install(Some("/r"), "a", None, false)),
                Some(manager.remove(Some("/r"), "a")),
                manager.pins(Some("/r")),
                manager.pin(Some("/r"), "a", true),
            ];
            for call in calls.into_iter().flatten().chain(manager.repairs(Some("/r"))) {
                assert!(
                    call.arguments.iter().any(|argument| argument.contains("=/r")),
                    "{call:?}"
                );
            }
        }
    }
}
