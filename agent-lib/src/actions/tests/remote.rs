//! Who comes in, and what they may do there: with the machine's own `sshd -t` and `visudo`.

use std::{fs, process::Command};

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, is_root, tool};

const TOOLS: [&str; 4] = ["groupadd", "groupdel", "gpasswd", "groupmod"];

/// A device with an SSH server; none where there is none, or where it may not be asked.
pub(super) fn with_sshd() -> Option<Scratch> {
    if !is_root() || ["sshd", "ssh-keygen"].iter().any(|name| tool(name).is_none()) {
        return None;
    }
    let device = Scratch::new()
        .with_tools(&TOOLS)
        .with_tools(&["sshd"])
        .with_folder("/etc/ssh/sshd_config.d");
    let key = device.path("/etc/ssh/ssh_host_ed25519_key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    // The server looks whether it is there even when it only checks; a device that has started has it.
    let _ = fs::create_dir_all("/run/sshd");
    let drop_ins = device.path("/etc/ssh/sshd_config.d");
    let config = format!("Include {}/*.conf\nHostKey {}\n", drop_ins.display(), key.display());
    Some(device.with("/etc/ssh/sshd_config", &config))
}

#[tokio::test]
async fn settings_of_the_ssh_server_are_kept_moved_and_taken_back() {
    let Some(device) = with_sshd() else { return };
    let params = json!({"name": "base", "directives": [
        {"key": "PermitRootLogin", "value": "no"}, {"key": "X11Forwarding", "value": "no"}]});
    device.check("sshd.settings", params.clone(), CHANGED).await;
    let file = "/etc/ssh/sshd_config.d/0500-fleet-base.conf";
    assert_eq!(device.read(file).unwrap(), "PermitRootLogin no\nX11Forwarding no\n");
    assert_eq!(device.owned(file), (0o600, 0, 0));
    let mut earlier = params.clone();
    earlier["priority"] = json!(20);
    device.check("sshd.settings", earlier, CHANGED).await;
    assert!(device.read(file).is_none() && device.read("/etc/ssh/sshd_config.d/0020-fleet-base.conf").is_some());
    device.check("sshd.settings", absent(&params), CHANGED).await;
    assert_eq!(device.read("/etc/ssh/sshd_config.d/0020-fleet-base.conf"), None);
    device.check("sshd.settings", absent(&params), SAME).await;
}

#[tokio::test]
async fn settings_that_the_server_does_not_take_do_not_stay() {
    let Some(device) = with_sshd() else { return };
    let set = |value: &str| json!({"name": "base", "directives": [{"key": "PermitRootLogin", "value": value}]});
    let invalid = "Failed sshd.invalid, the same";
    device.check("sshd.settings", set("perhaps"), invalid).await;
    device.check("sshd.settings", set("no"), CHANGED).await;
    device.check("sshd.settings", set("perhaps"), invalid).await;
    assert_eq!(
        device.read("/etc/ssh/sshd_config.d/0500-fleet-base.conf").unwrap(),
        "PermitRootLogin no\n"
    );
}

#[tokio::test]
async fn a_server_that_a_socket_starts_is_given_the_folder_that_it_needs_to_check() {
    let device = Scratch::new()
        .with_folder("/etc/ssh/sshd_config.d")
        .with_folder("/run")
        .with("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
        .with_fake(
            "sshd",
            "test -d $ROOT/run/sshd || { echo Missing privilege separation directory: /run/sshd >&2; exit 255; }",
        );
    let params = json!({"name": "base", "directives": [{"key": "PermitRootLogin", "value": "no"}]});
    device.check("sshd.settings", params, CHANGED).await;
    assert_eq!(device.owned("/run/sshd").0, 0o755);
}

#[tokio::test]
async fn a_server_that_is_broken_already_is_left_alone() {
    let Some(device) = with_sshd() else { return };
    let device = device.with("/etc/ssh/sshd_config.d/10-mine.conf", "NoSuchKeyword yes\n");
    let params = json!({"name": "base", "directives": [{"key": "PermitRootLogin", "value": "no"}]});
    device
        .check("sshd.settings", params.clone(), "Failed sshd.broken, the same")
        .await;
    let device = device.with("/etc/ssh/sshd_config", "# nothing is included\n");
    device
        .check("sshd.settings", params, "Failed sshd.no_drop_ins, the same")
        .await;
}

#[tokio::test]
async fn those_who_may_come_in_do_so_by_their_group() {
    let Some(device) = with_sshd() else { return };
    let params = json!({"name": "ops", "users": ["ana"], "allow_pubkey": true});
    device.check("ssh.access", params.clone(), CHANGED).await;
    let text = device
        .read("/etc/ssh/sshd_config.d/0100-fleet-access-ops.conf")
        .unwrap();
    assert_eq!(
        text,
        "Match Group fleet-ssh-ops\n    PubkeyAuthentication yes\n    PasswordAuthentication no\nMatch all\n"
    );
    assert!(device.read("/etc/group").unwrap().contains(":ana\n"));
    device
        .check("ssh.access", json!({"name": "ops", "allow_pubkey": true}), CHANGED)
        .await;
    assert!(!device.read("/etc/group").unwrap().contains(":ana\n"));
    device.check("ssh.access", absent(&params), CHANGED).await;
    assert!(!device.read("/etc/group").unwrap().contains("fleet-ssh-ops"));
    device.check("ssh.access", absent(&params), SAME).await;
}

/// A device with sudo; none where there is none, or where it may not be asked.
pub(super) fn with_sudo() -> Option<Scratch> {
    let has = is_root() && tool("visudo").is_some();
    has.then(|| {
        let device = Scratch::new().with_tools(&TOOLS).with_tools(&["visudo"]);
        device
            .with_folder("/etc/sudoers.d")
            .with("/etc/sudoers", "@includedir /etc/sudoers.d\n")
    })
}

#[tokio::test]
async fn rules_of_every_level_are_such_that_sudo_takes_them() {
    let Some(device) = with_sudo() else { return };
    for (level, config) in [
        ("limited", None),
        (
            "custom",
            Some("Cmnd_Alias X = /usr/bin/id\n%{group} ALL=(root) NOPASSWD: X\n"),
        ),
        ("full", None),
    ] {
        let mut params = json!({"name": "ops", "users": ["ana"], "access_level": level});
        if let Some(config) = config {
            params["custom_config"] = json!(config);
        }
        device.check("admin.policy", params, CHANGED).await;
        assert_eq!(device.owned("/etc/sudoers.d/fleet-ops"), (0o440, 0, 0));
    }
    assert_eq!(
        device.read("/etc/sudoers.d/fleet-ops").unwrap(),
        "%fleet-sudo-ops ALL=(ALL:ALL) ALL\n"
    );
    device
        .check("admin.policy", json!({"name": "ops", "state": "absent"}), CHANGED)
        .await;
    assert!(device.read("/etc/sudoers.d/fleet-ops").is_none());
    assert!(!device.read("/etc/group").unwrap().contains("fleet-sudo-ops"));
}

#[tokio::test]
async fn rules_that_sudo_does_not_take_never_hold() {
    let Some(device) = with_sudo() else { return };
    let good = json!({"name": "ops"});
    device.check("admin.policy", good, CHANGED).await;
    let bad = json!({"name": "ops", "access_level": "custom", "custom_config": "%{group} ALL=(root NOPASSWD ALL\n"});
    let done = device
        .check("admin.policy", bad.clone(), "Failed admin.invalid, the same")
        .await;
    assert!(done.ending.message.unwrap().contains("syntax error"));
    assert_eq!(
        device.read("/etc/sudoers.d/fleet-ops").unwrap(),
        "%fleet-sudo-ops ALL=(ALL:ALL) ALL\n"
    );
    let device = device.with("/etc/sudoers", "root ALL=(ALL) ALL\n");
    device
        .check("admin.policy", bad, "Failed admin.no_drop_ins, the same")
        .await;
}
