//! Flatpaks: with the machine's own flatpak and a remote made on the spot, where it has one; else with a script in its place.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{CHANGED, SAME, Scratch, absent, is_root, tool};

/// A device with flatpak and a remote `local` that has `org.fleet.Sample`; none where this machine has no flatpak.
pub(super) fn device() -> Option<Scratch> {
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
    answer(Command::new("flatpak"), device, arguments)
}

/// The same, by a user of the device and for that user.
fn flatpak_of((name, number): (&str, u32), device: &Scratch, arguments: &[&str]) -> String {
    let mut command = Command::new("flatpak");
    command
        .uid(number)
        .gid(number)
        .env("HOME", device.path(&format!("/home/{name}")));
    answer(command, device, arguments)
}

fn answer(mut command: Command, device: &Scratch, arguments: &[&str]) -> String {
    let done = command
        .env("FLATPAK_SYSTEM_DIR", device.path("/var/lib/flatpak"))
        .env("FLATPAK_CONFIG_DIR", device.path("/etc/flatpak"))
        .args(arguments)
        .current_dir("/")
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

/// With numbers that this machine knows, which its message bus wants.
const ANA: (&str, u32) = ("ana", 65534);
const BOB: (&str, u32) = ("bob", 1);
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nana:x:65534:65534:Ana:/home/ana:/bin/sh\n";
const BOB_LINE: &str = "bob:x:1:1:Bob:/home/bob:/bin/sh\n";
const SAMPLE: &str = "org.fleet.Sample";
/// What logind says of somebody at a desktop.
const DESKTOP: &str = "Class=user\nType=wayland\nState=active\n";

impl Scratch {
    /// Those at its desktops are these users, from here on.
    pub(super) fn sign_in(&self, users: &[(&str, u32)]) {
        let mut listing = String::new();
        for (name, number) in users {
            listing.push_str(&format!(" s{number} {number} {name} seat0 tty2\n"));
            let shown = format!("Name={name}\nUser={number}\n{DESKTOP}");
            fs::write(self.path(&format!("/session-s{number}")), shown).unwrap();
        }
        fs::write(self.path("/sessions"), listing).unwrap();
        let script =
            "for last; do :; done; case $1 in list-sessions) cat $ROOT/sessions ;; *) cat $ROOT/session-$last ;; esac";
        self.replace_by_fake("loginctl", script);
    }
}

/// A device with two users who know the remote, and with the message bus on which flatpak asks what they may install.
struct Shared {
    device: Scratch,
    bus: Child,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
    }
}

impl std::ops::Deref for Shared {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.device
    }
}

/// Starts a bus that lets everybody in; it is there when this returns.
fn bus(device: &Scratch) -> Child {
    let address = format!("unix:path={}", device.path("/bus").display());
    let allowed = ["method_call", "signal", "method_return", "error"];
    let allowed = allowed.map(|what| format!(r#"<allow send_type="{what}"/><allow receive_type="{what}"/>"#));
    let config = format!(
        r#"<busconfig><listen>{address}</listen><policy context="default"><allow user="*"/>{}</policy></busconfig>"#,
        allowed.concat()
    );
    let path = device.beside("bus").join("bus.conf");
    fs::write(&path, config).unwrap();
    let mut bus = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", path.display()))
        .args(["--nofork", "--print-address"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(bus.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with(&address), "{line}");
    bus
}

/// The real one on that bus, except in some cases of "command home".
fn flatpak_on_bus(cases: &str) -> String {
    format!(
        r#"export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$ROOT/bus
case "$1 $HOME" in {cases} *) exec /usr/bin/flatpak "$@" ;; esac"#
    )
}

/// None where the tests may not act as others.
fn shared_device() -> Option<Shared> {
    let device = is_root().then(device).flatten()?;
    let device = device.with("/etc/passwd", &format!("{PASSWD}{BOB_LINE}"));
    device.replace_by_fake("flatpak", &flatpak_on_bus(""));
    // Its users have to get to their homes, and to the remote.
    fs::set_permissions(device.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let remote = device.beside("remote");
    for (name, number) in [ANA, BOB] {
        let home = device.path(&format!("/home/{name}"));
        fs::create_dir_all(&home).unwrap();
        chown(&home, Some(number), Some(number)).unwrap();
        let remote = remote.to_str().unwrap();
        flatpak_of(
            (name, number),
            &device,
            &["remote-add", "--user", "--no-gpg-verify", "local", remote],
        );
    }
    device.sign_in(&[]);
    let bus = bus(&device);
    Some(Shared { device, bus })
}

fn for_users() -> Value {
    json!({"app_id": SAMPLE, "remote": "local", "scope": "users", "pin": true})
}

/// Who has installed the application, and who has pinned it.
#[track_caller]
fn check_users(device: &Scratch, installed: &str, pinned: &str) {
    let who = |arguments: &[&str]| {
        let users = [ANA, BOB].into_iter();
        let users = users.filter(|user| flatpak_of(*user, device, arguments).contains(SAMPLE));
        users.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(who(&["list", "--user", "--columns=application"]), installed);
    assert_eq!(who(&["mask", "--user"]), pinned);
}

#[tokio::test]
async fn users_get_an_application_when_they_are_signed_in_and_all_who_have_it_lose_it() {
    let Some(device) = shared_device() else { return };
    let done = device.check("flatpak", for_users(), SAME).await;
    let skipped = "skipped: nobody is signed in to a desktop; it is done at the first pass after somebody is";
    assert_eq!(done.ending.message.as_deref(), Some(skipped));
    assert_eq!(done.output, format!("{skipped}\n"));
    check_users(&device, "", "");

    device.sign_in(&[ANA]);
    let done = device.check("flatpak", for_users(), CHANGED).await;
    assert!(
        done.output.starts_with("install org.fleet.Sample from local for ana\n"),
        "{}",
        done.output
    );
    check_users(&device, "ana", "ana");
    let everything = flatpak(&device, &["list", "--system", "--columns=application"]);
    assert!(!everything.contains(SAMPLE));
    device.sign_in(&[ANA, BOB]);
    device.check("flatpak", for_users(), CHANGED).await;
    check_users(&device, "ana bob", "ana bob");
    let files = fs::metadata(device.path("/home/bob/.local/share/flatpak/app")).unwrap();
    assert_eq!(files.uid(), BOB.1);

    // Whoever is signed out has it all the same.
    device.sign_in(&[]);
    device.check("flatpak", absent(&for_users()), CHANGED).await;
    check_users(&device, "", "");
    device.check("flatpak", absent(&for_users()), SAME).await;
}

#[tokio::test]
async fn what_cannot_be_done_for_one_user_is_done_for_the_others_and_fails_in_the_end() {
    let Some(device) = shared_device() else { return };
    device.sign_in(&[ANA, BOB]);
    flatpak_of(ANA, &device, &["remote-delete", "--user", "local"]);
    let done = device
        .check("flatpak", for_users(), "Failed flatpak.remote_unknown, changed")
        .await;
    check_users(&device, "bob", "bob");
    let message = done.ending.message.unwrap();
    assert!(message.contains("ana knows no remote local"), "{message}");
    device
        .check("flatpak", for_users(), "Failed flatpak.remote_unknown, the same")
        .await;
    // A folder that the user cannot write: it shows only when it is done.
    let remote = device.beside("remote");
    let remote = remote.to_str().unwrap();
    flatpak_of(
        ANA,
        &device,
        &["remote-add", "--user", "--no-gpg-verify", "local", remote],
    );
    device.check("flatpak", absent(&for_users()), CHANGED).await;
    device.replace_by_fake(
        "flatpak",
        &flatpak_on_bus("'install '*/ana) echo no room >&2; exit 1 ;;"),
    );
    let done = device
        .check("flatpak", for_users(), "Failed action.not_reached, changed")
        .await;
    check_users(&device, "bob", "ana bob");
    assert!(done.output.contains("no room"), "{}", done.output);
    let message = done.ending.message.unwrap();
    assert!(
        message.ends_with("left to do: install org.fleet.Sample from local for ana"),
        "{message}"
    );
}

#[tokio::test]
async fn who_the_policy_forbids_to_act_as_is_passed_over() {
    let Some(mut device) = shared_device() else { return };
    device.device.policy = "forbid_users = [\"ana\"]".into();
    device.sign_in(&[ANA, BOB]);
    let done = device
        .check("flatpak", for_users(), "SucceededWithIssues, changed")
        .await;
    check_users(&device, "bob", "bob");
    assert!(
        done.ending
            .message
            .unwrap()
            .contains("ana is passed over: by forbid_users")
    );
}

#[tokio::test]
async fn users_of_a_directory_are_known_when_they_are_signed_in() {
    let Some(device) = shared_device() else { return };
    fs::write(device.path("/etc/passwd"), PASSWD).unwrap();
    device.replace_by_fake("getent", &format!("echo {}", BOB_LINE.trim()));
    device.sign_in(&[BOB]);
    device.check("flatpak", for_users(), CHANGED).await;
    check_users(&device, "bob", "bob");
    device.check("flatpak", absent(&for_users()), CHANGED).await;
    check_users(&device, "", "");
}

#[tokio::test]
async fn a_device_that_does_not_tell_who_is_signed_in_is_not_applicable() {
    let device = with_fake("true");
    let params = json!({"app_id": "org.gimp.GIMP", "scope": "users"});
    device.check("flatpak", params.clone(), "NotApplicable, the same").await;
    device.check("flatpak", absent(&params), SAME).await;
    let device = device.with_fake("loginctl", "echo no bus >&2; exit 1");
    let failed = "Failed action.program_failed, the same";
    device.check("flatpak", params.clone(), failed).await;
    device.check("flatpak", absent(&params), SAME).await;
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
