//! Flatpaks: with the machine's own flatpak and a remote made on the spot, where it has one; else with a script in its place.

use std::{fs, process::Command};

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, tool};

/// A device with flatpak and a remote `local` that has `org.fleet.Sample`; none where this machine has no flatpak.
fn device() -> Option<Scratch> {
    tool("flatpak")?;
    let device = Scratch::new().with_tools(&["flatpak"]).with_folder("/etc/flatpak");
    let remote = device.beside("remote");
    let arch = flatpak(&device, &["--default-arch"]);
    let arch = arch.trim();
    for (kind, metadata, branch) in [
        ("--runtime", "[Runtime]\nname=org.fleet.Platform\n".to_owned(), "1"),
        (
            "--files=files",
            format!("[Application]\nname=org.fleet.Sample\nruntime=org.fleet.Platform/{arch}/1\ncommand=x\n"),
            "stable",
        ),
    ] {
        let tree = device.beside(&format!("tree-{branch}"));
        for folder in ["files", "usr", "var", "export"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        fs::write(tree.join("metadata"), metadata).unwrap();
        let (repository, tree) = (remote.to_str().unwrap(), tree.to_str().unwrap());
        flatpak(
            &device,
            &["build-export", "--disable-sandbox", kind, repository, tree, branch],
        );
    }
    let repository = remote.to_str().unwrap();
    flatpak(&device, &["build-update-repo", repository]);
    flatpak(
        &device,
        &["remote-add", "--system", "--no-gpg-verify", "local", repository],
    );
    Some(device)
}

fn flatpak(device: &Scratch, arguments: &[&str]) -> String {
    let done = Command::new("flatpak")
        .env("FLATPAK_SYSTEM_DIR", device.path("/var/lib/flatpak"))
        .env("FLATPAK_CONFIG_DIR", device.path("/etc/flatpak"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn an_application_is_installed_for_all_users_and_removed() {
    let Some(device) = device() else { return };
    let params = json!({"app_id": "org.fleet.Sample", "remote": "local", "pin": true});
    device.check("flatpak", params.clone(), CHANGED).await;
    let listed = |device: &Scratch| flatpak(device, &["list", "--system", "--columns=application"]);
    assert!(listed(&device).contains("org.fleet.Sample"));
    assert!(flatpak(&device, &["mask", "--system"]).contains("org.fleet.Sample"));
    device.check("flatpak", absent(&params), CHANGED).await;
    assert!(!listed(&device).contains("org.fleet.Sample"));
    assert!(!flatpak(&device, &["mask", "--system"]).contains("org.fleet.Sample"));
    device.check("flatpak", absent(&params), SAME).await;
}

#[tokio::test]
async fn an_application_that_nobody_offers_fails_after_a_repair() {
    let Some(device) = device() else { return };
    let params = json!({"app_id": "org.fleet.Other", "remote": "local"});
    let done = device.run("flatpak", &params).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, the same");
    assert!(done.output.contains("repairing"), "{}", done.output);
    assert!(done.ending.message.unwrap().contains("org.fleet.Other"));
}

/// A flatpak that knows the remote `flathub`, and keeps what it has in files.
fn with_fake(mask: &str) -> Scratch {
    Scratch::new().with("/apps", "").with("/masks", "").with_fake(
        "flatpak",
        &format!(
            r#"for last; do :; done
case "$1 $3" in
    "list "*) cat $ROOT/apps ;;
    "remotes "*) echo flathub ;;
    "install "*) echo "$last" >$ROOT/apps ;;
    "uninstall "*) : >$ROOT/apps ;;
    "mask ") sed 's/^/  /' $ROOT/masks ;;
    "mask --remove") : >$ROOT/masks ;;
    "mask "*) {mask} ;;
esac"#
        ),
    )
}

#[tokio::test]
async fn what_is_installed_already_is_only_pinned() {
    let device = with_fake("echo \"$last\" >$ROOT/masks").with("/apps", "org.gimp.GIMP\n");
    device.check("flatpak", json!({"app_id": "org.gimp.GIMP"}), SAME).await;
    let done = device
        .check("flatpak", json!({"app_id": "org.gimp.GIMP", "pin": true}), CHANGED)
        .await;
    assert_eq!(done.output, "pin org.gimp.GIMP\n");
}

#[tokio::test]
async fn a_pin_that_fails_is_an_issue_and_no_failure() {
    let device = with_fake("echo no masks here >&2; exit 1");
    let params = json!({"app_id": "org.gimp.GIMP", "pin": true});
    let done = device.check("flatpak", params, "SucceededWithIssues, changed").await;
    assert!(done.ending.message.unwrap().contains("no masks here"));
    assert_eq!(device.read("/apps").unwrap(), "org.gimp.GIMP\n");
}

#[tokio::test]
async fn a_remote_that_the_device_does_not_know_is_named() {
    let device = with_fake("true");
    let params = json!({"app_id": "org.gimp.GIMP", "remote": "ours"});
    let done = device
        .check("flatpak", params, "Failed flatpak.remote_unknown, the same")
        .await;
    assert!(done.ending.message.unwrap().contains("no remote ours"));
}
