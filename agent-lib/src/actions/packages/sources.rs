//! The files in which package managers keep their repositories: what is written into them, and what stands in them. Pure.

use fleet_core::work::operations::actions::package_repository::{
    AptRepository, DnfRepository, PacmanRepository, ZypperRepository,
};

/// What the files say that this project keeps.
const NOTE: &str = "# Kept by fleet: what is changed here is changed back.";

/// What a source of apt is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AptSource {
    url: String,
    distribution: String,
}

impl AptSource {
    pub(super) fn new(url: &str, distribution: &str) -> Self {
        let url = url.trim_end_matches('/');
        // Both are the same place.
        let url = url
            .strip_prefix("file://")
            .map_or(url.to_owned(), |path| format!("file:{path}"));
        // So are letters of any case, up to the end of the host's name.
        let host = url
            .find("://")
            .and_then(|at| url[at + 3..].find('/').map(|end| at + 3 + end));
        let (host, path) = url.split_at(host.unwrap_or(if url.contains("://") { url.len() } else { 0 }));
        Self {
            url: host.to_ascii_lowercase() + path,
            distribution: distribution.to_owned(),
        }
    }
}

/// The file for a repository, whose key lies at `key` (sources.list(5), the format of deb822).
pub(super) fn apt_text(apt: &AptRepository, key: Option<&str>) -> String {
    let mut text = format!("{NOTE}\nTypes: deb\nURIs: {}\nSuites: {}\n", apt.url, apt.distribution);
    let mut line = |name: &str, words: &[String]| {
        if !words.is_empty() {
            text += &format!("{name}: {}\n", words.join(" "));
        }
    };
    line("Components", &apt.components);
    line("Architectures", &apt.architectures);
    line("Signed-By", &key.map(str::to_owned).into_iter().collect::<Vec<_>>());
    line(
        "Trusted",
        &apt.trusted.then(|| "yes".to_owned()).into_iter().collect::<Vec<_>>(),
    );
    text
}

/// The sources that a file of apt's names and that count, by the format that its name tells.
pub(super) fn apt_sources(file: &str, text: &str) -> Vec<AptSource> {
    match file.ends_with(".sources") {
        true => text.split("\n\n").flat_map(stanza).collect(),
        false => text.lines().filter_map(one_line).collect(),
    }
}

/// `deb [options] address distribution components`.
fn one_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb-src").or(line.strip_prefix("deb"))?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    Some(AptSource::new(words.next()?, words.next()?))
}

fn stanza(text: &str) -> Vec<AptSource> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                fields.push((name.trim().to_ascii_lowercase(), value.to_owned()));
            }
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line);
                }
            }
        }
    }
    let words = |name: &str| {
        let field = fields.iter().find(|(field, _)| field == name);
        let words = field.map(|(_, value)| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        words.unwrap_or_default()
    };
    // What apt takes for no (StringToBool).
    let is_off = |word: &String| {
        matches!(
            word.to_ascii_lowercase().as_str(),
            "no" | "false" | "without" | "off" | "disable" | "0"
        )
    };
    if words("enabled").first().is_some_and(is_off) {
        return Vec::new();
    }
    let (urls, distributions) = (words("uris"), words("suites"));
    let of = |url: &String| {
        let url = url.clone();
        distributions
            .iter()
            .map(move |suite| AptSource::new(&url, suite))
            .collect::<Vec<_>>()
    };
    urls.iter().flat_map(of).collect()
}

/// A section of the files that dnf and zypper read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IniSection {
    name: String,
    /// The members that are wanted, in order; nothing where a member is not to stand there.
    members: Vec<(&'static str, Option<String>)>,
}

impl IniSection {
    /// What dnf is told (dnf.conf(5)).
    pub(super) fn dnf(name: &str, dnf: &DnfRepository, key: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            members: vec![
                ("name", Some(dnf.description.clone().unwrap_or(name.to_owned()))),
                ("baseurl", Some(dnf.baseurl.clone())),
                ("enabled", Some(digit(dnf.enabled))),
                ("gpgcheck", Some(digit(dnf.gpgcheck))),
                ("gpgkey", key.map(|key| format!("file://{key}"))),
                ("module_hotfixes", dnf.module_hotfixes.then(|| digit(true))),
            ],
        }
    }

    /// What zypper is told.
    pub(super) fn zypper(name: &str, zypper: &ZypperRepository, key: Option<&str>) -> Self {
        let mut members = vec![
            ("name", Some(zypper.description.clone().unwrap_or(name.to_owned()))),
            ("enabled", Some(digit(zypper.enabled))),
            ("autorefresh", Some(digit(zypper.autorefresh))),
            ("baseurl", Some(zypper.url.clone())),
            ("gpgcheck", Some(digit(zypper.gpgcheck))),
            ("gpgkey", key.map(|key| format!("file://{key}"))),
        ];
        // Where nobody says, zypper finds it out, and writes it there itself.
        members.extend(zypper.layout.map(|layout| ("type", Some(layout.name().to_owned()))));
        Self {
            name: name.to_owned(),
            members,
        }
    }

    /// The whole file.
    pub(super) fn text(&self) -> String {
        let members = self.members.iter();
        let lines = members.filter_map(|(name, value)| Some(format!("{name}={}\n", value.as_ref()?)));
        format!("{NOTE}\n[{}]\n{}", self.name, lines.collect::<String>())
    }

    /// Whether a file says the same: what managers add by themselves is theirs.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let mut sections = 0;
        let mut found: Vec<(&str, &str)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(section) = section_name(line) {
                sections += 1;
                if section != self.name {
                    return false;
                }
            } else if let Some((name, value)) = line.split_once('=') {
                found.push((name.trim(), value.trim()));
            }
        }
        let says = |(name, value): &(&str, Option<String>)| {
            let mut values = found.iter().filter(|(found, _)| found == name).map(|(_, value)| *value);
            values.next() == value.as_deref() && values.next().is_none()
        };
        sections == 1 && self.members.iter().all(says)
    }
}

fn digit(yes: bool) -> String {
    if yes { "1" } else { "0" }.to_owned()
}

fn section_name(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

/// Whether a file of this form has a section of that name.
pub(super) fn has_section(text: &str, name: &str) -> bool {
    text.lines().any(|line| section_name(line) == Some(name))
}

/// What stands in pacman's settings for a repository (pacman.conf(5)).
pub(super) fn pacman_block(name: &str, pacman: &PacmanRepository) -> String {
    let level = pacman.sig_level.iter().map(|level| format!("SigLevel = {level}\n"));
    let (begin, end) = marks(name);
    let level: String = level.collect();
    format!("{begin}\n[{name}]\n{level}Server = {}\n{end}\n", pacman.server)
}

/// Settings of pacman with this block for a repository in them, in the place of the one that was there; or with none.
///
/// # Errors
/// What speaks against it: a section of the name that is somebody else's, or an end that is missing.
pub(super) fn with_pacman_block(text: &str, name: &str, block: Option<&str>) -> Result<String, String> {
    let (begin, end) = marks(name);
    let (mut before, mut after, mut place) = (String::new(), String::new(), None);
    for line in text.split_inclusive('\n') {
        match place {
            None if line.trim_end() == begin => place = Some(false),
            Some(false) if line.trim_end() == end => place = Some(true),
            Some(false) => {}
            None => before.push_str(line),
            Some(true) => after.push_str(line),
        }
    }
    if place == Some(false) {
        return Err(format!("the line {end:?} is missing after {begin:?}"));
    }
    if has_section(&before, name) || has_section(&after, name) {
        return match block {
            Some(_) => Err(format!("somebody else has written a section [{name}]")),
            // It is not ours to take out.
            None => Ok(before + &after),
        };
    }
    let Some(block) = block else {
        return Ok(before + &after);
    };
    if !before.is_empty() && !before.ends_with('\n') {
        before.push('\n');
    }
    Ok(before + block + &after)
}

fn marks(name: &str) -> (String, String) {
    (
        format!("# Begin of what fleet keeps: {name}"),
        format!("# End of what fleet keeps: {name}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check_sources(file: &str, text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(url, suite)| AptSource::new(url, suite)).collect();
        assert_eq!(apt_sources(file, text), expected);
    }

    #[test]
    fn what_apt_is_told_is_read_from_both_of_its_formats() {
        check_sources(
            "a.list",
            "# deb http://x a main\n\ndeb http://x a main # mine\n",
            &[("http://x", "a")],
        );
        check_sources(
            "a.list",
            "deb [arch=amd64 signed-by=/k.asc] https://x/y/ a b c\ndeb-src http://x ./\ndebug http://x a\n",
            &[("https://x/y", "a"), ("http://x", "./")],
        );
        check_sources(
            "a.sources",
            "Types: deb\nURIs: http://x\n http://y\nsuites: a b\n# no\nComponents: main\n\nTypes: deb\nURIs: http://z\nSuites: c\nEnabled: no\n",
            &[
                ("http://x", "a"),
                ("http://x", "b"),
                ("http://y", "a"),
                ("http://y", "b"),
            ],
        );
        check_sources("a.sources", "", &[]);
    }

    #[test]
    fn the_same_place_is_the_same_however_it_is_written() {
        let same = |a: &str, b: &str| AptSource::new(a, "x") == AptSource::new(b, "x");
        assert!(same("https://Example.org/debian/", "HTTPS://example.org/debian"));
        assert!(same("https://Example.org", "https://example.org/"));
        assert!(same("file:///srv/mirror", "file:/srv/mirror"));
        assert!(!same("https://example.org/Debian", "https://example.org/debian"));
        assert!(!same("file:/srv/Mirror", "file:/srv/mirror"));
        assert!(AptSource::new("https://x", "a") != AptSource::new("https://x", "b"));
    }

    fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_apt_is_told_is_one_stanza() {
        let apt: AptRepository = parsed(
            json!({"url": "https://x/debian", "distribution": "stable", "components": ["main", "extra"],
            "architectures": ["amd64"]}),
        );
        assert_eq!(
            apt_text(&apt, Some("/etc/apt/keyrings/fleet-a.asc")),
            "# Kept by fleet: what is changed here is changed back.\nTypes: deb\nURIs: https://x/debian\nSuites: stable\n\
             Components: main extra\nArchitectures: amd64\nSigned-By: /etc/apt/keyrings/fleet-a.asc\n"
        );
        let flat: AptRepository = parsed(json!({"url": "file:/srv", "distribution": "./", "trusted": true}));
        assert_eq!(
            apt_text(&flat, None),
            "# Kept by fleet: what is changed here is changed back.\nTypes: deb\nURIs: file:/srv\nSuites: ./\nTrusted: yes\n"
        );
        assert_eq!(
            apt_sources("a.sources", &apt_text(&apt, None)),
            [AptSource::new("https://x/debian", "stable")]
        );
    }

    #[test]
    fn dnf_and_zypper_are_told_what_they_read() {
        let dnf: DnfRepository =
            parsed(json!({"baseurl": "https://x/$releasever", "gpgcheck": false, "module_hotfixes": true}));
        let dnf = IniSection::dnf("a", &dnf, None);
        assert_eq!(
            dnf.text(),
            "# Kept by fleet: what is changed here is changed back.\n[a]\nname=a\nbaseurl=https://x/$releasever\nenabled=1\ngpgcheck=0\n\
             module_hotfixes=1\n"
        );
        let zypper: ZypperRepository =
            parsed(json!({"url": "https://x", "description": "Ours", "type": "rpm-md", "autorefresh": false}));
        let zypper = IniSection::zypper("a", &zypper, Some("/k.asc"));
        assert_eq!(
            zypper.text(),
            "# Kept by fleet: what is changed here is changed back.\n[a]\nname=Ours\nenabled=1\nautorefresh=0\nbaseurl=https://x\ngpgcheck=1\n\
             gpgkey=file:///k.asc\ntype=rpm-md\n"
        );
        assert!(dnf.is_in(&dnf.text()) && zypper.is_in(&zypper.text()));
    }

    #[test]
    fn a_section_is_compared_by_what_it_says() {
        let zypper: ZypperRepository = parsed(json!({"url": "https://x"}));
        let wanted = IniSection::zypper("a", &zypper, None);
        let text = wanted.text();
        assert!(
            wanted.is_in(&format!("{text}type=rpm-md\nkeeppackages=0\n")),
            "zypper adds to it"
        );
        assert!(wanted.is_in(&text.replace('=', " = ")));
        for other in [
            text.replace("enabled=1", "enabled=0"),
            text.replace("enabled=1\n", ""),
            text.replace("[a]", "[b]"),
            format!("{text}gpgkey=https://y\n"),
            format!("{text}enabled=0\n"),
            format!("{text}[b]\nbaseurl=https://y\n"),
            String::new(),
        ] {
            assert!(!wanted.is_in(&other), "{other}");
        }
    }

    #[track_caller]
    fn check_pacman(text: &str, with: Result<&str, &str>, without: &str) {
        let block = pacman_block("a", &parsed(json!({"server": "https://x", "sig_level": "Never"})));
        let got = with_pacman_block(text, "a", Some(&block));
        match with {
            Ok(with) => {
                assert_eq!(got.as_deref(), Ok(with));
                assert_eq!(with_pacman_block(with, "a", Some(&block)).as_deref(), Ok(with), "again");
                assert_eq!(with_pacman_block(with, "a", None).as_deref(), Ok(without));
            }
            Err(problem) => assert!(got.unwrap_err().contains(problem)),
        }
    }

    #[test]
    fn pacmans_settings_keep_all_that_is_not_ours() {
        let block =
            "# Begin of what fleet keeps: a\n[a]\nSigLevel = Never\nServer = https://x\n# End of what fleet keeps: a\n";
        check_pacman("", Ok(block), "");
        check_pacman("[options]\n", Ok(&format!("[options]\n{block}")), "[options]\n");
        check_pacman("[options]", Ok(&format!("[options]\n{block}")), "[options]\n");
        let old = block.replace("https://x", "https://old");
        check_pacman(
            &format!("[core]\n{old}[extra]\n"),
            Ok(&format!("[core]\n{block}[extra]\n")),
            "[core]\n[extra]\n",
        );
        check_pacman("[a]\nServer = https://theirs\n", Err("somebody else"), "");
        check_pacman("# Begin of what fleet keeps: a\n[core]\n", Err("is missing"), "");
        let theirs = "[a]\nServer = https://theirs\n";
        assert_eq!(with_pacman_block(theirs, "a", None).as_deref(), Ok(theirs));
    }
}
