//! What flatpak(1) is told.

use super::whose::Whose;
use crate::actions::device::{Call, Device};

/// What Flatpak has in one installation.
pub(super) struct Flatpaks<'a> {
    root: Option<&'a str>,
    whose: &'a Whose,
}

impl<'a> Flatpaks<'a> {
    pub(super) fn new(device: &'a Device, whose: &'a Whose) -> Self {
        Self {
            root: device.scratch_root(),
            whose,
        }
    }

    /// A command for this installation, and nothing that it would ask.
    fn call<'t>(&self, command: &'t str, arguments: impl IntoIterator<Item = &'t str>) -> Call {
        let whose = match self.whose {
            Whose::All => "--system",
            Whose::User(_) => "--user",
        };
        let mut call = Call::new("flatpak", [command, whose]).with(arguments);
        if let Whose::User(user) = self.whose {
            call = call.of(user);
        }
        match self.root {
            Some(root) => call
                .env("FLATPAK_SYSTEM_DIR", &format!("{root}/var/lib/flatpak"))
                .env("FLATPAK_CONFIG_DIR", &format!("{root}/etc/flatpak")),
            None => call,
        }
    }

    pub(super) fn installed(&self) -> Call {
        self.call("list", ["--columns=application"])
    }

    pub(super) fn remotes(&self) -> Call {
        self.call("remotes", ["--columns=name"])
    }

    pub(super) fn pins(&self) -> Call {
        self.call("mask", [])
    }

    pub(super) fn install(&self, remote: &str, app: &str) -> Call {
        self.call("install", ["--noninteractive", "--assumeyes", remote, app])
    }

    pub(super) fn uninstall(&self, app: &str) -> Call {
        self.call("uninstall", ["--noninteractive", "--assumeyes", app])
    }

    pub(super) fn pin(&self, app: &str, pinned: bool) -> Call {
        let remove = (!pinned).then_some("--remove");
        self.call("mask", remove.into_iter().chain([app]))
    }

    pub(super) fn repair(&self) -> Call {
        self.call("repair", [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::device::Account;

    const ALL: Flatpaks<'_> = Flatpaks {
        root: None,
        whose: &Whose::All,
    };

    #[track_caller]
    fn check(call: &Call, expected: &str) {
        assert_eq!(call.program, "flatpak");
        assert_eq!(call.arguments.join(" "), expected);
        assert!(call.environment.is_empty() && call.user.is_none());
    }

    #[test]
    fn flatpak_is_told_of_the_whole_device_and_asks_nothing() {
        check(&ALL.installed(), "list --system --columns=application");
        check(&ALL.remotes(), "remotes --system --columns=name");
        check(&ALL.pins(), "mask --system");
        check(
            &ALL.install("flathub", "org.gimp.GIMP"),
            "install --system --noninteractive --assumeyes flathub org.gimp.GIMP",
        );
        check(
            &ALL.uninstall("org.gimp.GIMP"),
            "uninstall --system --noninteractive --assumeyes org.gimp.GIMP",
        );
        check(&ALL.pin("org.gimp.GIMP", true), "mask --system org.gimp.GIMP");
        check(&ALL.pin("org.gimp.GIMP", false), "mask --system --remove org.gimp.GIMP");
        check(&ALL.repair(), "repair --system");
    }

    #[test]
    fn what_is_a_users_own_is_done_as_that_user() {
        let ana = Account {
            name: "ana".into(),
            uid: 1500,
            gid: 1500,
            comment: String::new(),
            home: "/home/ana".into(),
            shell: "/bin/sh".into(),
        };
        let whose = Whose::User(ana.clone());
        let call = Flatpaks {
            root: None,
            whose: &whose,
        }
        .install("flathub", "org.gimp.GIMP");
        assert_eq!(
            call.arguments.join(" "),
            "install --user --noninteractive --assumeyes flathub org.gimp.GIMP"
        );
        assert_eq!(call.user, Some(ana));
    }

    #[test]
    fn another_root_is_told_to_flatpak() {
        let call = Flatpaks {
            root: Some("/r"),
            ..ALL
        }
        .installed();
        let told = ("FLATPAK_SYSTEM_DIR".to_owned(), "/r/var/lib/flatpak".to_owned());
        assert!(call.environment.contains(&told));
    }
}
