//! Which paths no action touches. Pure: the agent asks it for the path as it was written, and for the path that it leads to.

/// What parameters with a path are about; a path has one form, as [`check_shape`] takes it.
pub(super) const SUBJECT: &str = "path";

/// What is decided over nowhere: it is not a disk.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Files that no action writes or removes: with a mistake in one of them nobody can come in any more, or the device does not start. There
/// are actions for what is in some of them.
const FILES: [&str; 20] = [
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/group",
    "/etc/group-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/fstab",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/ssh/sshd_config",
    "/etc/pam.conf",
    "/etc/machine-id",
    "/usr/bin/fleet-agent",
    "/usr/local/bin/fleet-agent",
    "/etc/systemd/system/fleet-agent.service",
];

/// The agent's own folders, in which no action does anything.
const OWN: [&str; 4] = [
    "/etc/fleet",
    "/var/lib/fleet-agent",
    "/usr/lib/fleet-agent",
    "/etc/systemd/system/fleet-agent.service.d",
];

/// Folders that a device cannot be without, beside those directly below `/`; what is in them may go.
const FOLDERS: [&str; 14] = [
    "/boot/efi",
    "/etc/pam.d",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/etc/systemd/system",
    "/usr/lib/systemd",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// Trees in which no folder directly below is removed either: the distribution's own.
const DISTRIBUTION: [&str; 2] = ["/usr", "/var"];

/// Whether a path is one that ends where it says, symbolic links aside: absolute, without `..`, bounded, without control characters.
pub fn check_shape(path: &str) -> Result<(), String> {
    let parts = || path.split('/').skip(1);
    if !path.starts_with('/') || path.len() > 4_096 || path.chars().any(char::is_control) {
        return Err(format!(
            "path: {path:.100?} is none; take an absolute path of at most 4,096 bytes, without control characters"
        ));
    }
    if parts().any(|part| matches!(part, "" | "." | "..") || part.len() > 255) {
        return Err(format!(
            "path: {path:.100?} is taken only without .., ., // and a / at its end, each part of at most 255 bytes"
        ));
    }
    Ok(())
}

/// Whether an action may write or remove this file.
pub fn check_file(path: &str, own: &[String]) -> Result<(), String> {
    check_shape(path)?;
    check_common(path, own)?;
    if is_top(path) {
        return Err(format!(
            "path: {path} lies directly below /, where no action touches anything"
        ));
    }
    Ok(())
}

/// Whether an action may make this folder, or change whose it is.
pub fn check_folder(path: &str, own: &[String]) -> Result<(), String> {
    check_shape(path)?;
    check_common(path, own)
}

/// Whether an action may remove this folder with all that is in it.
pub fn check_removal(path: &str, own: &[String]) -> Result<(), String> {
    check_folder(path, own)?;
    let refuse = |why: String| Err(format!("path: {path} is not removed: {why}"));
    if is_top(path) {
        return refuse("it lies directly below /".into());
    }
    if let Some(tree) = DISTRIBUTION.iter().find(|tree| parent(path) == **tree) {
        return refuse(format!("it belongs to the system, as all directly below {tree}"));
    }
    if FOLDERS.contains(&path) {
        return refuse("a device cannot be without it".into());
    }
    let own = own.iter().map(String::as_str);
    let inside = FILES.into_iter().chain(OWN).chain(FOLDERS).chain(own);
    match inside.into_iter().find(|kept| is_below(kept, path)) {
        Some(kept) => refuse(format!("{kept} is in it")),
        None => Ok(()),
    }
}

fn check_common(path: &str, own: &[String]) -> Result<(), String> {
    if let Some(kernel) = KERNEL.iter().find(|kernel| is_at_or_below(path, kernel)) {
        return Err(format!("path: nothing below {kernel} is a file of the device"));
    }
    if let Some(file) = FILES.iter().find(|file| is_at_or_below(path, file)) {
        return Err(format!("path: {file} is protected; no action touches it"));
    }
    let own = own.iter().map(String::as_str);
    match OWN.into_iter().chain(own).find(|own| is_at_or_below(path, own)) {
        Some(own) => Err(format!("path: {own} is the agent's own; no action touches it")),
        None => Ok(()),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Whether it is `/` or directly below.
fn is_top(path: &str) -> bool {
    parent(path).is_empty()
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path == folder || is_below(path, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be done at a path: written as a file, made as a folder, removed as a folder.
    #[track_caller]
    fn check(path: &str, file: bool, folder: bool, removal: bool) {
        let own = ["/srv/agent-state".to_owned()];
        let got = (
            check_file(path, &own).is_ok(),
            check_folder(path, &own).is_ok(),
            check_removal(path, &own).is_ok(),
        );
        assert_eq!(got, (file, folder, removal), "{path}");
    }

    #[test]
    fn ordinary_paths_are_free() {
        check("/etc/motd", true, true, true);
        check("/srv/app/data", true, true, true);
        check("/etc/nginx/conf.d", true, true, true);
        check("/usr/local/bin/tool", true, true, true);
        check("/var/lib/app", true, true, true);
        check("/home/deploy", true, true, true);
        check("/etc/passwdx", true, true, true);
    }

    #[test]
    fn what_lies_directly_below_the_root_is_neither_written_nor_removed() {
        check("/", false, false, false);
        check("/etc", false, true, false);
        check("/home", false, true, false);
        check("/data", false, true, false);
        check("/swapfile", false, true, false);
    }

    #[test]
    fn files_that_a_device_cannot_be_without_are_not_touched() {
        for path in [
            "/etc/passwd",
            "/etc/shadow",
            "/etc/sudoers",
            "/etc/ssh/sshd_config",
            "/etc/machine-id",
        ] {
            check(path, false, false, false);
        }
        check("/etc/passwd/x", false, false, false);
        check("/etc/hosts.allow", true, true, true);
    }

    #[test]
    fn folders_that_hold_something_protected_are_not_removed() {
        check("/etc/ssh", true, true, false);
        check("/etc/ssh/sshd_config.d", true, true, true);
        check("/usr/bin", true, true, false);
        check("/usr/local", true, true, false);
        check("/usr/local/bin", true, true, false);
        check("/var/lib", true, true, false);
        check("/var/lib/dpkg", true, true, false);
        check("/etc/systemd/system", true, true, false);
        check("/srv/agent-state", false, false, false);
    }

    #[test]
    fn the_agents_own_is_not_touched_wherever_it_lies() {
        check("/etc/fleet/agent-policy.toml", false, false, false);
        check("/var/lib/fleet-agent/identity.json", false, false, false);
        check("/usr/local/bin/fleet-agent", false, false, false);
        check("/etc/systemd/system/fleet-agent.service", false, false, false);
        check("/etc/systemd/system/fleet-agent.service.d/a.conf", false, false, false);
        check("/srv/agent-state/x", false, false, false);
        check("/srv/agent-states", true, true, true);
    }

    #[test]
    fn the_kernels_own_is_no_disk() {
        check("/proc/sys/vm/swappiness", false, false, false);
        check("/sys/power/state", false, false, false);
        check("/dev/sda", false, false, false);
        check("/devel/x", true, true, true);
    }

    #[test]
    fn a_path_ends_where_it_says() {
        for path in [
            "etc/motd",
            "",
            "/etc/../etc/shadow",
            "/etc//shadow",
            "/etc/./shadow",
            "/etc/motd/",
            "/a\nb",
            "/a\0b",
        ] {
            check(path, false, false, false);
        }
        check(&format!("/srv/{}", "x".repeat(256)), false, false, false);
        check(&"/srv/x".repeat(1_000), false, false, false);
    }
}
