//! Installed packages, from dpkg's status file (deb-control(5), dpkg(1)).

use fleet_core::devices::inventory::{InstalledPackage, Section, clean_text};

const MAX_NAME_BYTES: usize = 256;
const MAX_VERSION_BYTES: usize = 512;

/// Reads the status file line by line; only what is reported is kept.
#[derive(Debug, Default)]
pub(super) struct StatusParser {
    stanza: InstalledPackage,
    installed: bool,
    packages: Vec<InstalledPackage>,
    left_out: u64,
}

impl StatusParser {
    pub(super) fn line(&mut self, line: &str) {
        if line.trim().is_empty() {
            return self.end_stanza();
        }
        // A line that begins with white space goes on with a field; none of the fields that are read has several lines.
        if line.starts_with([' ', '\t']) {
            return;
        }
        let Some((field, value)) = line.split_once(':') else {
            return;
        };
        let value = value.trim();
        match field {
            "Package" => self.stanza.name = clean_text(value, MAX_NAME_BYTES),
            "Version" => self.stanza.version = clean_text(value, MAX_VERSION_BYTES),
            "Architecture" => self.stanza.architecture = clean_text(value, 64),
            "Installed-Size" => {
                // In units of 1024 bytes (Debian policy §5.6.20).
                self.stanza.installed_size_bytes = value.parse().ok().and_then(|size: u64| size.checked_mul(1024));
            }
            "Source" => {
                let (name, version) = match value.split_once('(') {
                    Some((name, version)) => (name.trim(), Some(version.trim_end_matches(')').trim())),
                    None => (value, None),
                };
                self.stanza.source = Some(clean_text(name, MAX_NAME_BYTES));
                self.stanza.source_version = version.map(|version| clean_text(version, MAX_VERSION_BYTES));
            }
            "Status" => {
                // What the administrator wants, whether it needs to be installed again, what it is.
                let mut words = value.split_ascii_whitespace();
                self.stanza.held = words.next() == Some("hold");
                // Its files are there, though its set-up may not be complete.
                self.installed = matches!(
                    words.nth(1),
                    Some("installed" | "unpacked" | "half-configured" | "triggers-awaited" | "triggers-pending")
                );
            }
            _ => {}
        }
    }

    fn end_stanza(&mut self) {
        let mut stanza = std::mem::take(&mut self.stanza);
        let installed = std::mem::take(&mut self.installed);
        if !installed || stanza.name.is_empty() || stanza.version.is_empty() {
            return;
        }
        if self.packages.len() >= Section::Packages.max_items() {
            self.left_out += 1;
            return;
        }
        stanza.source = stanza.source.take().filter(|source| *source != stanza.name);
        stanza.source_version = stanza
            .source_version
            .take()
            .filter(|version| *version != stanza.version);
        self.packages.push(stanza);
    }

    /// The packages by name and architecture, and how many more there were than fit.
    pub(super) fn finish(mut self) -> (Vec<InstalledPackage>, u64) {
        self.end_stanza();
        let key = |package: &InstalledPackage| (package.name.clone(), package.architecture.clone());
        self.packages.sort_by_cached_key(key);
        (self.packages, self.left_out)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn parse(input: &str) -> Vec<InstalledPackage> {
        let mut parser = StatusParser::default();
        input.lines().for_each(|line| parser.line(line));
        parser.finish().0
    }

    #[test]
    fn installed_packages_are_read_from_the_status_file() {
        insta::assert_json_snapshot!(parse(include_str!("../../tests/fixtures/dpkg/status")));
    }

    #[test]
    fn removed_packages_are_left_out_and_held_ones_are_marked() {
        let packages = parse(include_str!("../../tests/fixtures/dpkg/status-states.SYNTHETIC"));
        let got: Vec<_> = packages
            .iter()
            .map(|package| (&*package.name, &*package.architecture, package.held))
            .collect();
        assert_eq!(
            got,
            [
                ("half-configured", "amd64", false),
                ("held", "amd64", true),
                ("libc6", "amd64", false),
                ("libc6", "i386", false),
            ]
        );
    }

    #[test]
    fn foreign_text_is_passed_over() {
        assert_eq!(parse(""), []);
        assert_eq!(
            parse("\n\n:\nPackage\nPackage: a\nStatus: install ok installed\n\n Version: 1\n"),
            []
        );
        let odd = parse(
            "Package: a\nVersion: 1\0\nInstalled-Size: 99999999999999999999\nSource: (\nStatus: hold ok installed",
        );
        assert_eq!(odd[0].version, "1\u{fffd}");
        assert_eq!(odd[0].installed_size_bytes, None);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut parser = StatusParser::default();
        for n in 0..20_003 {
            for line in [
                format!("Package: p{n}"),
                "Version: 1".into(),
                "Status: install ok installed".into(),
                String::new(),
            ] {
                parser.line(&line);
            }
        }
        let (packages, left_out) = parser.finish();
        assert_eq!((packages.len(), left_out), (20_000, 3));
    }

    #[test]
    fn it_agrees_with_this_devices_dpkg() {
        let Ok(output) = std::process::Command::new("dpkg-query")
            .args([
                "-W",
                "-f=${db:Status-Status} ${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n",
            ])
            .output()
        else {
            eprintln!("SKIPPED: this machine has no dpkg to compare with");
            return;
        };
        let mut said: Vec<_> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("installed ").map(str::to_owned))
            .collect();
        let text = std::fs::read_to_string("/var/lib/dpkg/status").unwrap();
        let mut got: Vec<_> = parse(&text)
            .into_iter()
            .map(|package| {
                let source = package.source.as_ref().unwrap_or(&package.name);
                let source_version = package.source_version.as_ref().unwrap_or(&package.version);
                format!(
                    "{} {} {} {source} {source_version}",
                    package.name, package.version, package.architecture
                )
            })
            .collect();
        said.sort();
        got.sort();
        assert!(!said.is_empty());
        assert_eq!(got, said);
    }
}
