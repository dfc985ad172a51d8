//! What package managers answer. Pure.

use super::manager::Manager;
use crate::actions::device::Answer;

impl Manager {
    /// The version of a package that is installed, from the answer about it.
    pub(super) fn installed_version(self, name: &str, answer: &Answer) -> Option<String> {
        if !answer.succeeded() {
            return None;
        }
        let mut lines = answer.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
        match self {
            // Of several architectures one that is installed counts.
            Self::Apt => lines
                .find_map(|line| line.strip_prefix("installed "))
                .map(str::to_owned),
            Self::Dnf | Self::Zypper => lines.next_back().map(str::to_owned),
            Self::Pacman => lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .map(str::to_owned),
            Self::Apk => lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('-'))
                .map(|version| version.split(' ').next().unwrap_or(version).to_owned()),
        }
    }

    /// Whether a package is pinned, from the list of all that are.
    pub(super) fn is_pinned(self, name: &str, answer: &Answer) -> bool {
        answer.stdout.lines().map(str::trim).any(|line| match self {
            Self::Apt => line == name || line.split_once(':').is_some_and(|(line, _)| line == name),
            Self::Dnf => {
                let listed = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                let is_version = listed.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                is_version || line.strip_prefix("Package name:").map(str::trim) == Some(name)
            }
            Self::Zypper => line.split('|').nth(1).map(str::trim) == Some(name),
            Self::Pacman | Self::Apk => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32, stdout: &str) -> Answer {
        Answer {
            code,
            stdout: stdout.to_owned(),
            ..Answer::default()
        }
    }

    #[track_caller]
    fn check(manager: Manager, name: &str, stdout: &str, expected: Option<&str>) {
        let got = manager.installed_version(name, &answer(0, stdout));
        assert_eq!(got.as_deref(), expected);
        assert_eq!(manager.installed_version(name, &answer(1, stdout)), None);
    }

    #[test]
    fn the_installed_version_is_read() {
        check(Manager::Apt, "a", "installed 1:2.0-3\n", Some("1:2.0-3"));
        check(Manager::Apt, "a", "config-files 1.0\n", None);
        check(Manager::Apt, "a", "not-installed \ninstalled 1.0\n", Some("1.0"));
        check(Manager::Dnf, "a", "1:2.0-3.el9\n", Some("1:2.0-3.el9"));
        check(Manager::Pacman, "a", "a 2.0-3\n", Some("2.0-3"));
        check(Manager::Pacman, "a", "ab 2.0-3\n", None);
        check(Manager::Apk, "a-b", "a-b-1.0-r0\n", Some("1.0-r0"));
    }

    #[test]
    fn a_pin_is_of_the_very_package() {
        let is = |manager: Manager, stdout: &str| manager.is_pinned("nginx", &answer(0, stdout));
        assert!(
            is(Manager::Apt, "curl\nnginx\n") && is(Manager::Apt, "nginx:arm64\n") && !is(Manager::Apt, "nginx-full\n")
        );
        assert!(is(Manager::Dnf, "nginx-1:1.20.1-14.el9.*\n") && !is(Manager::Dnf, "nginx-mod-x-1:1.2.*\n"));
        assert!(is(Manager::Dnf, "# Added\nPackage name: nginx\nevr = 1\n"));
        assert!(
            is(Manager::Zypper, "# | Name  | Type\n1 | nginx | package\n")
                && !is(Manager::Zypper, "1 | nginx-x | package\n")
        );
    }
}
