//! Available updates, as apt itself works them out from the lists that it has.

use std::time::Duration;

use fleet_core::devices::inventory::{DPKG, Section, clean_text, version_key};

use super::{CollectError, program::Program};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_OUTPUT: u64 = 32 << 20;
/// Names in one call of `apt-cache`, so that its arguments stay well below the kernel's limit.
const NAMES_PER_CALL: usize = 500;

/// A newer version that an upgrade would install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) name: String,
    /// The architecture of the new version; `all` may take the place of the installed one's.
    pub(super) architecture: String,
    pub(super) installed: String,
    pub(super) available: String,
    /// Label, release and suite of the archives that have it, such as `Debian:12.14/oldstable`.
    pub(super) origin: String,
    pub(super) security: bool,
}

/// Asks apt what an upgrade would do, without doing it, without locks and without the network. Held packages are asked for
/// too, so that one sees what holding them keeps back. (apt may refresh its own cache of lists, as any query of it does.)
pub(super) async fn updates() -> Result<Vec<Update>, CollectError> {
    let mut updates = Vec::new();
    let simulate = Program {
        name: "apt-get",
        args: &[
            "--just-print",
            "-qq",
            "-o",
            "Debug::NoLocking=1",
            "-o",
            "APT::Get::Show-User-Simulation-Note=0",
            "--ignore-hold",
            "dist-upgrade",
        ],
        timeout: TIMEOUT,
        max_output: MAX_OUTPUT,
    };
    simulate
        .for_each_line(|line| {
            if updates.len() < Section::Packages.max_items() {
                updates.extend(parse_line(line));
            }
        })
        .await?;
    // A version that has moved on from the security archive into a point release is a security update as before: look
    // at what lies between the installed and the available version.
    let unmarked: Vec<_> = updates
        .iter()
        .filter(|update| !update.security)
        .map(qualified_name)
        .collect();
    for names in unmarked.chunks(NAMES_PER_CALL) {
        let mut args = vec!["policy", "--"];
        args.extend(names.iter().map(String::as_str));
        let policy = Program {
            name: "apt-cache",
            args: &args,
            timeout: TIMEOUT,
            max_output: MAX_OUTPUT,
        };
        let mut parser = PolicyParser::default();
        policy.for_each_line(|line| parser.line(line)).await?;
        parser.mark(&mut updates);
    }
    Ok(updates)
}

fn qualified_name(update: &Update) -> String {
    format!("{}:{}", update.name, update.architecture)
}

/// One line of the simulation; `None` for all but the upgrade of a package:
/// `Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.14/oldstable [amd64])`
fn parse_line(line: &str) -> Option<Update> {
    let rest = line.strip_prefix("Inst ")?;
    // Without a version in brackets it is not installed yet.
    let (name, rest) = rest.split_once(" [")?;
    let (installed, rest) = rest.split_once("] (")?;
    let (new, _broken) = rest.split_once(')')?;
    let (available, rest) = new.split_once(' ')?;
    let (origin, architecture) = rest.rsplit_once('[')?;
    let architecture = architecture.strip_suffix(']')?;
    // A foreign architecture is part of the name.
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let valid = |text: &str| !text.is_empty() && !text.contains(' ');
    if ![name, installed, available, architecture].into_iter().all(valid) {
        return None;
    }
    Some(Update {
        name: clean_text(name, 256),
        architecture: clean_text(architecture, 64),
        installed: clean_text(installed, 512),
        available: clean_text(available, 512),
        security: origin.split(',').any(is_security_archive),
        origin: clean_text(origin, 512),
    })
}

/// Whether `Label:release/suite` is a security archive.
fn is_security_archive(origin: &str) -> bool {
    let (label, suite) = origin.trim().split_once(':').unwrap_or(("", origin.trim()));
    label.eq_ignore_ascii_case("Debian-Security") || suite.ends_with("-security")
}

/// Reads `apt-cache policy NAME…`: for each package, which versions are in security archives.
#[derive(Debug, Default)]
struct PolicyParser {
    name: String,
    version: String,
    /// Name and version of all that stand in a security archive.
    secured: Vec<(String, String)>,
}

impl PolicyParser {
    fn line(&mut self, line: &str) {
        let text = line.trim();
        match line.len() - line.trim_start().len() {
            // `libc6:` or `libc6:i386:`
            0 => {
                let name = text.trim_end_matches(':');
                self.name = name.split_once(':').map_or(name, |(name, _)| name).to_owned();
                self.version.clear();
            }
            // ` *** 1.2-3 100` (installed) or `     1.2-3 500`
            1 | 5 => {
                let version = text.trim_start_matches("*** ");
                self.version = version.split(' ').next().unwrap_or_default().to_owned();
            }
            // `        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages`
            8 => {
                let mut words = text.split(' ').skip(2);
                let suite = words.next().unwrap_or_default();
                let suite = suite.split('/').next().unwrap_or_default();
                if suite.ends_with("-security") && self.secured.len() < 10 * NAMES_PER_CALL {
                    self.secured.push((self.name.clone(), self.version.clone()));
                }
            }
            _ => {}
        }
    }

    /// Marks the updates that bring a version from a security archive, or pass one.
    fn mark(&self, updates: &mut [Update]) {
        for (name, version) in &self.secured {
            let key = version_key(DPKG, version);
            for update in updates.iter_mut().filter(|update| update.name == *name) {
                let passed = key > version_key(DPKG, &update.installed) && key <= version_key(DPKG, &update.available);
                update.security |= passed;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn parse(simulation: &str, policy: &str) -> Vec<Update> {
        let mut updates: Vec<_> = simulation.lines().filter_map(parse_line).collect();
        let mut parser = PolicyParser::default();
        policy.lines().for_each(|line| parser.line(line));
        parser.mark(&mut updates);
        updates
    }

    fn lines(updates: &[Update]) -> String {
        let line = |update: &Update| {
            let Update {
                name,
                architecture,
                installed,
                available,
                origin,
                security,
            } = update;
            let mark = if *security { "security" } else { "-" };
            format!("{name} {architecture} {installed} -> {available} {mark} ({origin})")
        };
        updates.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn updates_and_their_origin_are_read_from_the_simulation() {
        let simulation = include_str!("../../tests/fixtures/apt/dist-upgrade");
        insta::assert_snapshot!(lines(&parse(simulation, "")));
    }

    #[test]
    fn a_security_update_that_moved_into_a_point_release_stays_one() {
        let simulation = include_str!("../../tests/fixtures/apt/dist-upgrade");
        let policy = include_str!("../../tests/fixtures/apt/policy");
        let marked = |policy| -> Vec<_> {
            let updates = parse(simulation, policy).into_iter();
            updates
                .filter(|update| update.security)
                .map(|update| update.name)
                .collect()
        };
        let (before, mut after) = (marked(""), marked(policy));
        after.retain(|name| !before.contains(name));
        // 12.14 has +deb12u10; the security archive has an older one that is newer than what is installed.
        assert_eq!(after, ["openssh-client"]);
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in [
            "",
            "Inst",
            "Inst new (1.0 Debian:12/stable [amd64])",
            "Conf bash (5.2 Debian:12/stable [amd64])",
            "Remv old [1.0]",
            "Inst a [1] (2 [amd64]",
            "Inst a [1] ()",
            "Inst  [1] (2 D:1/s [amd64])",
            "Inst a [] (2 D:1/s [amd64])",
        ] {
            assert_eq!(parse_line(line), None, "{line}");
        }
        let foreign = parse_line("Inst libc6:i386 [2.36-9] (2.36-10 Debian:12/stable [i386]) []").unwrap();
        assert_eq!((&*foreign.name, &*foreign.architecture), ("libc6", "i386"));
    }

    #[test]
    fn security_archives_are_known_by_label_or_suite() {
        for (origin, expected) in [
            ("Debian-Security:12/oldstable-security", true),
            ("Debian-Security:12/stable", true),
            ("Ubuntu:22.04/jammy-security", true),
            (" UbuntuESM:20.04/focal-infra-security", true),
            ("Debian:12.14/oldstable", false),
            ("Ubuntu:22.04/jammy-updates", false),
            ("", false),
        ] {
            assert_eq!(is_security_archive(origin), expected, "{origin}");
        }
    }

    #[tokio::test]
    async fn it_agrees_with_this_devices_apt() {
        let Ok(output) = std::process::Command::new("apt")
            .args(["list", "--upgradable"])
            .env("LC_ALL", "C")
            .output()
        else {
            eprintln!("SKIPPED: this machine has no apt to compare with");
            return;
        };
        // `bash/oldstable 5.2.15-2+b13 amd64 [upgradable from: 5.2.15-2+b8]`
        let mut said: Vec<_> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let (name, _) = words.next()?.split_once('/')?;
                let (version, architecture) = (words.next()?, words.next()?);
                Some(format!("{name} {version} {architecture}"))
            })
            .collect();
        let mut got: Vec<_> = updates()
            .await
            .unwrap()
            .iter()
            .map(|update| format!("{} {} {}", update.name, update.available, update.architecture))
            .collect();
        said.sort();
        got.sort();
        // An upgrade may leave back what `list` names (a conflict, a staged roll-out), never the other way round.
        assert!(got.iter().all(|update| said.contains(update)), "{got:?} and {said:?}");
        let summary = std::process::Command::new("apt-get")
            .args(["--just-print", "--ignore-hold", "dist-upgrade"])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let summary = String::from_utf8(summary.stdout).unwrap();
        // `80 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.`
        let upgraded = summary
            .lines()
            .find_map(|line| line.split_once(" upgraded, ")?.0.parse().ok());
        assert_eq!(Some(got.len()), upgraded);
    }
}
