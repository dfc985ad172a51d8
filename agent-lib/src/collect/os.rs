//! The operating system, from os-release(5), `/proc` and uname(2).

use async_trait::async_trait;
use fleet_core::{
    devices::inventory::{MAX_TEXT_BYTES, Os, Section, SectionBody, clean_text},
    kernel::Timestamp,
};

use super::{CollectContext, CollectError, Collector, files, reboot, virtualisation};

#[derive(Debug)]
pub(super) struct OsCollector;

#[async_trait]
impl Collector for OsCollector {
    fn section(&self) -> Section {
        Section::Os
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let release = files::read_small(&context.path("/etc/os-release"))
            .or_else(|| files::read_small(&context.path("/usr/lib/os-release")))
            .unwrap_or_default();
        let kernel = |name: &str| {
            let text = files::read_small(&context.path(&format!("/proc/sys/kernel/{name}")));
            clean_text(&text.unwrap_or_default(), 256)
        };
        let mut boot_time = None;
        // A container may hide the file: then the time of the start is not known.
        let _ = files::for_each_line(&context.path("/proc/stat"), 16 << 20, |line| {
            if let Some(seconds) = line.strip_prefix("btime ") {
                boot_time = seconds.trim().parse().ok().map(Timestamp::from_seconds);
            }
        });
        let running = kernel("osrelease");
        let newest = reboot::newest_kernel(&running, &reboot::installed_kernels(context));
        let machine = if context.is_device() {
            clean_text(&rustix::system::uname().machine().to_string_lossy(), 64)
        } else {
            kernel("arch")
        };
        Ok(SectionBody::Os(Box::new(Os {
            kernel_name: kernel("ostype"),
            reboot: reboot::reboot(context, &running, newest.as_deref()),
            kernel_running: running,
            kernel_newest_installed: newest,
            architecture: machine,
            hostname: kernel("hostname"),
            boot_time,
            virtualisation: virtualisation::detect(context),
            ..parse(&release)
        })))
    }
}

/// What os-release(5) says; a text that says nothing gives the defaults that the manual names.
fn parse(input: &str) -> Os {
    let value = |name: &str| {
        let value = input
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
        let value = clean_text(&unquote(value.trim()), MAX_TEXT_BYTES);
        (!value.is_empty()).then_some(value)
    };
    let id = value("ID").unwrap_or_else(|| "linux".into());
    let like = value("ID_LIKE").unwrap_or_default();
    let mut family = vec![id.clone()];
    for name in like.split_ascii_whitespace().take(16) {
        if !family.iter().any(|known| known == name) {
            family.push(name.to_owned());
        }
    }
    Os {
        name: value("NAME").unwrap_or_else(|| "Linux".into()),
        pretty_name: value("PRETTY_NAME"),
        version: value("VERSION_ID"),
        codename: value("VERSION_CODENAME"),
        id,
        family,
        ..Os::default()
    }
}

/// Shell quoting as os-release(5) allows it: one pair of quotes around the whole, and a backslash before a character.
fn unquote(value: &str) -> String {
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(plain) = quoted('\'') {
        return plain.to_owned();
    }
    let mut text = String::new();
    let mut chars = quoted('"').unwrap_or(value).chars();
    while let Some(char) = chars.next() {
        text.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: (&str, &str, Option<&str>, &[&str])) {
        let os = parse(input);
        let family: Vec<_> = os.family.iter().map(String::as_str).collect();
        assert_eq!((&*os.id, &*os.name, os.version.as_deref(), &*family), expected);
    }

    #[test]
    fn distributions_are_recognised() {
        check(
            include_str!("../../tests/fixtures/os-release/debian-12"),
            ("debian", "Debian GNU/Linux", Some("12"), &["debian"]),
        );
        check(
            include_str!("../../tests/fixtures/os-release/rocky-9.SYNTHETIC"),
            (
                "rocky",
                "Rocky Linux",
                Some("9.4"),
                &["rocky", "rhel", "centos", "fedora"],
            ),
        );
        check("ID=arch\nNAME='Arch Linux'\n", ("arch", "Arch Linux", None, &["arch"]));
    }

    #[test]
    fn foreign_text_gives_the_manuals_defaults() {
        for input in ["", "ID", "ID=\"", "=\n\\", "ID_LIKE==", "ID=\"\""] {
            assert!(!parse(input).id.is_empty(), "{input}");
        }
        assert_eq!(parse("").name, "Linux");
    }

    #[test]
    fn quotes_and_backslashes_are_taken_off() {
        assert_eq!(unquote(r#""a \"b\" \\ c""#), r#"a "b" \ c"#);
        assert_eq!(unquote("'a\\b'"), "a\\b");
        assert_eq!(unquote("\\"), "");
    }
}
