//! Packages, with the machine's own apt and dpkg in a root of their own: packages made on the spot, no network, nothing of the machine's.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, is_root, tool, web::digest};

/// A device with apt and a repository of `fleet-sample` 1.0 and 2.0; none where there is no apt, or where it may not be used.
pub(super) fn device() -> Option<Scratch> {
    let tools = ["apt-get", "apt-mark", "dpkg", "dpkg-query"];
    if !is_root() || tools.iter().chain(&["dpkg-deb"]).any(|name| tool(name).is_none()) {
        return None;
    }
    let mut device = Scratch::new()
        .with_tools(&tools)
        .with("/var/lib/dpkg/status", "")
        .with("/var/lib/dpkg/available", "");
    for folder in [
        "/etc/apt/apt.conf.d",
        "/etc/apt/preferences.d",
        "/etc/apt/sources.list.d",
        "/etc/apt/trusted.gpg.d",
        "/var/cache/apt/archives/partial",
        "/var/lib/apt/lists/partial",
        "/var/lib/dpkg/info",
        "/var/lib/dpkg/parts",
        "/var/lib/dpkg/triggers",
        "/var/lib/dpkg/updates",
        "/var/log/apt",
    ] {
        device = device.with_folder(folder);
    }
    let repository = device.beside("repository");
    publish(&device, &repository, &["1.0", "2.0"]);
    let source = format!("deb [trusted=yes] file:{} ./\n", repository.display());
    Some(device.with("/etc/apt/sources.list", &source))
}

/// Makes the repository hold these versions.
pub(super) fn publish(device: &Scratch, repository: &Path, versions: &[&str]) {
    let mut index = String::new();
    for version in versions {
        let control = format!(
            "Package: fleet-sample\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: sample\n"
        );
        let tree = device.beside(&format!("package-{version}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share/fleet-sample")).unwrap();
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        fs::write(tree.join("usr/share/fleet-sample/version"), version).unwrap();
        let file = format!("fleet-sample_{version}_all.deb");
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&tree)
            .arg(repository.join(&file))
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        let bytes = fs::read(repository.join(&file)).unwrap();
        let digest = digest(&bytes);
        index += &format!(
            "{control}Filename: ./{file}\nSize: {}\nSHA256: {digest}\n\n",
            bytes.len()
        );
    }
    let release = format!(
        "Origin: fleet\nDate: Wed, 01 Jan 2020 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
        digest(index.as_bytes()),
        index.len()
    );
    fs::write(repository.join("Packages"), index).unwrap();
    fs::write(repository.join("Release"), release).unwrap();
}

pub(super) fn version(device: &Scratch) -> Option<String> {
    device.read("/usr/share/fleet-sample/version")
}

#[tokio::test]
async fn a_package_is_installed_and_removed() {
    let Some(device) = device() else { return };
    let params = json!({"name": "fleet-sample"});
    device.check("package", params.clone(), CHANGED).await;
    assert_eq!(version(&device).as_deref(), Some("2.0"));
    device.check("package", absent(&params), CHANGED).await;
    assert_eq!(version(&device), None);
    device.check("package", absent(&params), SAME).await;
}

#[tokio::test]
async fn a_version_is_exact_and_a_downgrade_has_to_be_allowed() {
    let Some(device) = device() else { return };
    device
        .check("package", json!({"name": "fleet-sample", "version": "1.0"}), CHANGED)
        .await;
    assert_eq!(version(&device).as_deref(), Some("1.0"));
    device.check("package", json!({"name": "fleet-sample"}), SAME).await;
    device
        .check("package", json!({"name": "fleet-sample", "version": "2.0"}), CHANGED)
        .await;
    let down = json!({"name": "fleet-sample", "version": "1.0"});
    let done = device
        .check("package", down.clone(), "Failed package.downgrade, the same")
        .await;
    assert!(done.ending.message.unwrap().contains("say allow_downgrade"));
    let mut down = down;
    down["allow_downgrade"] = json!(true);
    device.check("package", down, CHANGED).await;
    assert_eq!(version(&device).as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_pinned_package_is_held_until_it_is_removed() {
    let Some(device) = device() else { return };
    let params = json!({"name": "fleet-sample", "version": "1.0", "pin": true});
    device.check("package", params.clone(), CHANGED).await;
    let held = |device: &Scratch| {
        device
            .read("/var/lib/dpkg/status")
            .unwrap()
            .contains("Status: hold ok installed")
    };
    assert!(held(&device));
    // Another version is asked for by name: that is stronger than the pin, which stays.
    device
        .check(
            "package",
            json!({"name": "fleet-sample", "version": "2.0", "pin": true}),
            CHANGED,
        )
        .await;
    assert!(held(&device));
    // Also where nobody speaks of the pin.
    let back = json!({"name": "fleet-sample", "version": "1.0", "allow_downgrade": true});
    device.check("package", back, CHANGED).await;
    assert!(held(&device));
    device.check("package", absent(&params), CHANGED).await;
    assert_eq!(version(&device), None);
}

#[tokio::test]
async fn a_package_that_nobody_offers_fails_after_a_repair() {
    let Some(device) = device() else { return };
    let done = device.run("package", &json!({"name": "fleet.ample"})).await;
    assert!(
        done.verdict().starts_with("Failed action.program_failed"),
        "{}",
        done.output
    );
    assert!(done.output.contains("repairing the package manager"), "{}", done.output);
    assert!(done.ending.message.unwrap().contains("fleet.ample"));
    assert_eq!(version(&device), None);
}

#[tokio::test]
async fn the_name_for_the_devices_own_manager_wins() {
    let Some(device) = device() else { return };
    device
        .check(
            "package",
            json!({"name": "sample", "apt_name": "fleet-sample"}),
            CHANGED,
        )
        .await;
    device
        .check("package", json!({"dnf_name": "sample"}), "NotApplicable, the same")
        .await;
}

#[tokio::test]
async fn without_its_lists_a_package_is_installed_from_what_is_known_with_a_warning() {
    let Some(device) = device() else { return };
    device
        .check("package", json!({"name": "fleet-sample", "version": "1.0"}), CHANGED)
        .await;
    let sources = device.read("/etc/apt/sources.list").unwrap() + "deb [trusted=yes] file:/nowhere ./\n";
    let device = device.with("/etc/apt/sources.list", &sources);
    let params = json!({"name": "fleet-sample", "version": "2.0"});
    device.check("package", params, "SucceededWithIssues, changed").await;
}

#[tokio::test]
async fn nothing_is_repaired_before_a_failure_was_seen() {
    let Some(device) = device() else { return };
    let done = device.check("package", json!({"name": "fleet-sample"}), CHANGED).await;
    assert!(!done.output.contains("repairing"), "{}", done.output);
}

#[tokio::test]
async fn a_manager_that_pins_nothing_says_so() {
    let device = Scratch::new().with_fake("pacman", "echo fleet-sample 1.0-1");
    let params = |member: &str, value| {
        let mut params = json!({"name": "fleet-sample"});
        params[member] = value;
        params
    };
    device
        .check(
            "package",
            params("pin", json!(true)),
            "Failed package.no_pins, the same",
        )
        .await;
    device
        .check(
            "package",
            params("version", json!("2.0-1")),
            "Failed package.no_versions, the same",
        )
        .await;
    device.check("package", params("version", json!("1.0-1")), SAME).await;
}

/// A device with dnf, which knows one package, and keeps to its lock as versionlock does.
fn with_dnf(installed: &str) -> Scratch {
    Scratch::new()
        .with("/installed", installed)
        .with("/locks", "")
        .with_fake("rpm", "cat $ROOT/installed; test -s $ROOT/installed")
        .with_fake(
            "dnf",
            r#"for last; do :; done
case "$*" in
    *"versionlock list"*) cat $ROOT/locks ;;
    *"versionlock add"*) echo "tool-0:$(cat $ROOT/installed)" >$ROOT/locks ;;
    *"versionlock delete"*) : >$ROOT/locks ;;
    *downgrade*) exit 1 ;;
    *install\ tool-*) test ! -s $ROOT/locks && echo "${last#tool-}" >$ROOT/installed ;;
esac"#,
        )
}

#[tokio::test]
async fn with_dnf_a_version_that_is_not_there_yet_is_installed_also_where_it_might_go_back() {
    let device = with_dnf("");
    let params = json!({"name": "tool", "version": "1.0-1", "allow_downgrade": true});
    device.check("package", params, CHANGED).await;
    assert_eq!(device.read("/installed").unwrap(), "1.0-1\n");
}

#[tokio::test]
async fn with_dnf_which_would_a_downgrade_is_not_done_unless_it_is_allowed() {
    let device = with_dnf("2.0-1\n");
    let mut params = json!({"name": "tool", "version": "1.0-1"});
    let refused = "Failed package.downgrade, the same";
    device.check("package", params.clone(), refused).await;
    params["allow_downgrade"] = json!(true);
    device.check("package", params, CHANGED).await;
}

#[tokio::test]
async fn with_dnf_a_pin_is_lifted_for_a_version_that_is_asked_for_and_set_again() {
    let device = with_dnf("1.0-1\n").with("/locks", "tool-0:1.0-1\n");
    let done = device
        .check("package", json!({"name": "tool", "version": "2.0-1"}), CHANGED)
        .await;
    assert_eq!(
        done.output.lines().collect::<Vec<_>>(),
        ["unpin tool", "install tool 2.0-1 instead of 1.0-1", "pin tool"]
    );
    assert_eq!(device.read("/locks").unwrap(), "tool-0:2.0-1\n");
}

#[tokio::test]
async fn with_zypper_a_reboot_that_is_due_is_no_failure_and_a_script_that_failed_is_an_issue() {
    for (code, expected) in [
        (102, CHANGED),
        (107, "SucceededWithIssues, changed"),
        (4, "Failed action.program_failed, changed"),
    ] {
        let zypper = format!("case \"$*\" in *install*) echo 1.0-1 >$ROOT/installed; exit {code} ;; esac");
        let device = Scratch::new()
            .with_fake("rpm", "cat $ROOT/installed 2>/dev/null")
            .with_fake("zypper", &zypper);
        device.check("package", json!({"name": "tool"}), expected).await;
    }
}

#[tokio::test]
async fn what_is_installed_is_upgraded_once() {
    let Some(device) = device() else { return };
    device.check("packages.upgrade", json!({}), SAME).await;
    let old = json!({"name": "fleet-sample", "version": "1.0"});
    device.check("package", old, CHANGED).await;
    let dry = device.run("packages.upgrade", &json!({"dry_run": true})).await;
    assert_eq!(dry.verdict(), CHANGED);
    assert!(
        dry.output.contains("would upgrade 1 packages: fleet-sample"),
        "{}",
        dry.output
    );
    assert_eq!(version(&device).as_deref(), Some("1.0"));
    device
        .check("packages.upgrade", json!({"autoremove": true}), CHANGED)
        .await;
    assert_eq!(version(&device).as_deref(), Some("2.0"));
}

#[tokio::test]
async fn a_pinned_package_is_not_upgraded() {
    let Some(device) = device() else { return };
    let old = json!({"name": "fleet-sample", "version": "1.0", "pin": true});
    device.check("package", old, CHANGED).await;
    device.check("packages.upgrade", json!({}), SAME).await;
    assert_eq!(version(&device).as_deref(), Some("1.0"));
}

#[tokio::test]
async fn without_a_way_to_tell_security_nothing_is_upgraded() {
    let Some(device) = device() else { return };
    device
        .check("package", json!({"name": "fleet-sample", "version": "1.0"}), CHANGED)
        .await;
    let refused = "Failed packages.no_security, the same";
    device
        .check("packages.upgrade", json!({"security_only": true}), refused)
        .await;
    assert_eq!(version(&device).as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_reboot_follows_only_when_the_upgrade_made_it_necessary() {
    for (before, expected) in [(false, true), (true, false)] {
        let Some(device) = device() else { return };
        device
            .check("package", json!({"name": "fleet-sample", "version": "1.0"}), CHANGED)
            .await;
        let real = tool("apt-get").unwrap();
        // A package that asks for a reboot does so by a file.
        let apt = format!(
            "{} \"$@\" || exit\ncase \"$*\" in *--simulate*) ;; *upgrade) touch $ROOT/run/reboot-required ;; esac",
            real.display()
        );
        let device = device
            .with_fake("apt-get", &apt)
            .with_folder("/run")
            .with_fake("shutdown", "echo \"$@\" >$ROOT/told");
        let device = if before {
            device.with("/run/reboot-required", "")
        } else {
            device
        };
        let done = device
            .run("packages.upgrade", &json!({"reboot_if_required": true}))
            .await;
        assert_eq!(done.verdict(), CHANGED, "{}", done.output);
        assert_eq!(device.read("/told").is_some(), expected, "{}", done.output);
    }
}
