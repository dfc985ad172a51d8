//! Whether the device should be restarted: what packages ask for, and a newer kernel than the one that runs.

use std::cmp::Ordering;

use fleet_core::devices::inventory::{DPKG, Reboot, clean_text, version_key};

use super::{CollectContext, files};

const MAX_REASONS: usize = 64;

/// The releases of the installed kernels, from `/boot` and `/lib/modules`.
pub(super) fn installed_kernels(context: &CollectContext) -> Vec<String> {
    let mut releases = Vec::new();
    let mut list = |folder: &str, release: fn(&str) -> Option<&str>| {
        let Ok(entries) = std::fs::read_dir(context.path(folder)) else {
            return;
        };
        for entry in entries.take(1_000).flatten() {
            let name = entry.file_name();
            if let Some(release) = name.to_str().and_then(release) {
                releases.push(clean_text(release, 128));
            }
        }
    };
    list("/boot", |name| {
        name.strip_prefix("vmlinuz-")
            .filter(|release| starts_with_digit(release))
    });
    list("/lib/modules", |name| starts_with_digit(name).then_some(name));
    releases.sort_unstable();
    releases.dedup();
    releases
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_digit())
}

/// The newest of `installed` of the same flavour as `running`; `None` when `running` is not among them, as in a container or
/// with a kernel that came from outside: then nothing says that the next start would take another.
pub(super) fn newest_kernel(running: &str, installed: &[String]) -> Option<String> {
    if !installed.iter().any(|release| release == running) {
        return None;
    }
    let same = installed.iter().filter(|release| flavour(release) == flavour(running));
    same.max_by(|a, b| compare(a, b)).cloned()
}

/// What stands behind the numbers: `amd64` of `6.1.0-37-amd64`, `rt-amd64` of `6.1.0-37-rt-amd64`.
fn flavour(release: &str) -> &str {
    let mut rest = release;
    while let Some((_, tail)) = rest.split_once('-') {
        if !starts_with_digit(tail) {
            return tail;
        }
        rest = tail;
    }
    ""
}

fn compare(a: &str, b: &str) -> Ordering {
    version_key(DPKG, a).cmp(&version_key(DPKG, b))
}

/// Puts the reasons together.
pub(super) fn reboot(context: &CollectContext, running: &str, newest: Option<&str>) -> Reboot {
    let asked = ["/run/reboot-required", "/var/run/reboot-required"]
        .iter()
        .any(|path| context.path(path).exists());
    let packages = ["/run/reboot-required.pkgs", "/var/run/reboot-required.pkgs"]
        .iter()
        .find_map(|path| files::read_small(&context.path(path)));
    reasons(asked, packages.as_deref().unwrap_or_default(), running, newest)
}

fn reasons(asked: bool, packages: &str, running: &str, newest: Option<&str>) -> Reboot {
    let mut reasons = Vec::new();
    if let Some(newest) = newest.filter(|newest| compare(newest, running).is_gt()) {
        reasons.push(format!("kernel {running} runs, {newest} is installed"));
    }
    if asked {
        let mut names: Vec<_> = packages.lines().map(|line| clean_text(line, 128)).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            reasons.push("the package manager asks for it".into());
        }
        reasons.extend(names.into_iter().map(|name| format!("{name} asks for it")));
    }
    reasons.truncate(MAX_REASONS);
    Reboot {
        required: !reasons.is_empty(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_newest(running: &str, installed: &[&str], expected: Option<&str>) {
        let installed: Vec<_> = installed.iter().map(|release| (*release).to_owned()).collect();
        assert_eq!(newest_kernel(running, &installed).as_deref(), expected, "{running}");
    }

    #[test]
    fn the_newest_kernel_is_of_the_running_ones_flavour() {
        check_newest(
            "6.1.0-9-amd64",
            &["6.1.0-10-amd64", "6.1.0-9-amd64", "6.1.0-99-rt-amd64"],
            Some("6.1.0-10-amd64"),
        );
        check_newest(
            "5.14.0-362.el9.x86_64",
            &["5.14.0-362.el9.x86_64", "5.14.0-427.el9.x86_64"],
            Some("5.14.0-427.el9.x86_64"),
        );
        check_newest("6.18.44-fc", &["6.1.0-10-amd64"], None);
        check_newest("", &[], None);
    }

    #[test]
    fn reasons_say_who_asks() {
        assert_eq!(reasons(false, "ghost", "6.1.0-9", Some("6.1.0-9")), Reboot::default());
        let reboot = reasons(true, "libc6\ndbus\nlibc6\n", "6.1.0-9", Some("6.1.0-10"));
        assert_eq!(
            reboot.reasons,
            [
                "kernel 6.1.0-9 runs, 6.1.0-10 is installed",
                "dbus asks for it",
                "libc6 asks for it"
            ]
        );
        assert_eq!(
            reasons(true, "", "1", None).reasons,
            ["the package manager asks for it"]
        );
        assert_eq!(
            reasons(true, &"a\n".repeat(9).replace('a', "x\0"), "1", None)
                .reasons
                .len(),
            1
        );
    }
}
