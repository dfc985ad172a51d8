//! Users and groups, with the shadow tools in a root of their own.

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, is_root};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample me@there";

/// None where the tests may not change roots.
pub(super) fn device() -> Option<Scratch> {
    let tools = [
        "useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "gpasswd", "chpasswd", "chage",
    ];
    is_root().then(|| Scratch::new().with_tools(&tools).with("/etc/skel/.bashrc", "# skel\n"))
}

fn line(device: &Scratch, file: &str, name: &str) -> Option<String> {
    let text = device.read(file).unwrap();
    text.lines()
        .find(|line| line.starts_with(&format!("{name}:")))
        .map(str::to_owned)
}

#[tokio::test]
async fn a_user_is_made_as_described_and_removed_with_its_home() {
    let Some(device) = device() else { return };
    let params =
        json!({"name": "deploy", "uid": 2000, "comment": "Deploys", "shell": "/bin/sh", "ssh_authorized_keys": [KEY]});
    device.check("user", params.clone(), CHANGED).await;
    assert_eq!(
        line(&device, "/etc/passwd", "deploy").unwrap(),
        "deploy:x:2000:2000:Deploys:/home/deploy:/bin/sh"
    );
    assert_eq!(device.owned("/home/deploy/.ssh"), (0o700, 2000, 2000));
    assert_eq!(device.owned("/home/deploy/.ssh/authorized_keys"), (0o600, 2000, 2000));
    assert_eq!(
        device.read("/home/deploy/.ssh/authorized_keys").unwrap(),
        format!("{KEY}\n")
    );
    // Nobody has a password that nobody knows.
    assert!(line(&device, "/etc/shadow", "deploy").unwrap().starts_with("deploy:!:"));
    device.check("user", absent(&params), CHANGED).await;
    assert_eq!(line(&device, "/etc/passwd", "deploy"), None);
    assert!(!device.path("/home/deploy").exists() && device.path("/home/ana").exists());
    device.check("user", absent(&params), SAME).await;
}

#[tokio::test]
async fn a_first_password_is_set_once_and_never_said() {
    let Some(device) = device() else { return };
    const PASSWORD: &str = "correct: horse \u{e4}";
    let params = json!({"name": "deploy", "password": PASSWORD, "force_password_change": true});
    let done = device.check("user", params.clone(), CHANGED).await;
    assert!(!done.output.contains("horse"), "{}", done.output);
    let shadow = line(&device, "/etc/shadow", "deploy").unwrap();
    let fields: Vec<_> = shadow.split(':').collect();
    assert!(fields[1].starts_with("$6$rounds=500000$"), "{shadow}");
    assert_eq!(fields[2], "0", "it has to be changed");
    // It is this password and no other.
    let salt = fields[1].split('$').nth(3).unwrap();
    let hashed = |password: &str| {
        use std::io::Write as _;
        let mut openssl = std::process::Command::new("openssl");
        let openssl = openssl.args(["passwd", "-6", "-stdin", "-salt", &format!("rounds=500000${salt}")]);
        let openssl = openssl
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = openssl.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(hashed(PASSWORD), fields[1]);
    assert_ne!(hashed("another one"), fields[1]);
    // Whoever has one keeps it, whatever is asked for later.
    device
        .check("user", json!({"name": "deploy", "password": "something else"}), SAME)
        .await;
    assert_eq!(line(&device, "/etc/shadow", "deploy").unwrap(), shadow);
    // Who was there without one gets one, and stays disabled.
    device
        .check(
            "user",
            json!({"name": "ana", "password": PASSWORD, "disabled": true}),
            CHANGED,
        )
        .await;
    let shadow = line(&device, "/etc/shadow", "ana").unwrap();
    assert!(shadow.starts_with("ana:!$6$") && shadow.ends_with(":1:"), "{shadow}");
}

#[tokio::test]
async fn only_what_differs_is_changed() {
    let Some(device) = device() else { return };
    device.check("user", json!({"name": "ana"}), SAME).await;
    let done = device
        .check(
            "user",
            json!({"name": "ana", "shell": "/bin/bash", "comment": "Ana"}),
            CHANGED,
        )
        .await;
    assert!(
        done.output.contains("change the user: --shell /bin/bash\n"),
        "{}",
        done.output
    );
    device
        .check(
            "user",
            json!({"name": "ana", "uid": 1501}),
            "Failed user.other_uid, the same",
        )
        .await;
}

#[tokio::test]
async fn disabled_means_that_nobody_signs_in() {
    let Some(device) = device() else { return };
    device
        .check("user", json!({"name": "ana", "disabled": true}), CHANGED)
        .await;
    let shadow = line(&device, "/etc/shadow", "ana").unwrap();
    assert!(shadow.ends_with(":1:") && shadow.starts_with("ana:!"), "{shadow}");
    device.check("user", json!({"name": "ana"}), CHANGED).await;
    assert!(line(&device, "/etc/shadow", "ana").unwrap().ends_with("::"));
    device
        .check("user", json!({"name": "bot", "disabled": true}), CHANGED)
        .await;
}

#[tokio::test]
async fn a_home_that_is_missing_is_made_from_the_skeleton() {
    let Some(device) = device() else { return };
    std::fs::remove_dir_all(device.path("/home/ana")).unwrap();
    device
        .check("user", json!({"name": "ana", "create_home": false}), SAME)
        .await;
    device
        .check("user", json!({"name": "ana", "ssh_authorized_keys": [KEY]}), CHANGED)
        .await;
    assert_eq!(device.owned("/home/ana"), (0o700, 1500, 1500));
    assert_eq!(device.owned("/home/ana/.bashrc").1, 1500);
    device
        .check("user", json!({"name": "ana", "ssh_authorized_keys": []}), CHANGED)
        .await;
    assert_eq!(device.read("/home/ana/.ssh/authorized_keys").unwrap(), "");
}

#[tokio::test]
async fn keys_are_not_written_where_a_users_link_leads() {
    let Some(device) = device() else { return };
    let device = device
        .with_folder("/srv/elsewhere")
        .with_link("/home/ana/.ssh", "/srv/elsewhere");
    let params = json!({"name": "ana", "ssh_authorized_keys": [KEY]});
    device
        .check("user", params, "Failed action.path_protected, the same")
        .await;
    assert!(!device.path("/srv/elsewhere/authorized_keys").exists());
}

#[tokio::test]
async fn a_home_that_others_need_stays() {
    let Some(device) = device() else { return };
    let passwd =
        device.read("/etc/passwd").unwrap() + "web:x:1600:1600::/srv:/bin/sh\nlib:x:1601:1601::/usr/lib:/bin/sh\n";
    let device = device.with("/etc/passwd", &passwd);
    for name in ["web", "lib"] {
        let done = device.run("user", &json!({"name": name, "state": "absent"})).await;
        assert!(done.output.contains("stays") || name == "lib", "{}", done.output);
        assert_eq!(line(&device, "/etc/passwd", name), None, "{}", done.output);
    }
    assert!(device.path("/srv/agent/state").exists());
}

#[tokio::test]
async fn whoever_has_the_number_of_root_is_root() {
    let Some(device) = device() else { return };
    let passwd = device.read("/etc/passwd").unwrap() + "toor:x:0:0::/root:/bin/sh\n";
    let device = device.with("/etc/passwd", &passwd);
    let protected = "Failed user.protected, the same";
    device
        .check("user", json!({"name": "toor", "disabled": true}), protected)
        .await;
    device
        .check("user", json!({"name": "toor", "state": "absent"}), protected)
        .await;
}

#[tokio::test]
async fn the_sign_in_screen_leaves_hidden_users_out() {
    let Some(device) = device() else { return };
    device.check("user", json!({"name": "ana", "hidden": true}), SAME).await;
    let device = device.with_folder("/var/lib/AccountsService/users");
    device
        .check("user", json!({"name": "ana", "hidden": true}), CHANGED)
        .await;
    assert!(
        device
            .read("/var/lib/AccountsService/users/ana")
            .unwrap()
            .contains("SystemAccount=true")
    );
    device
        .check("user", json!({"name": "ana", "hidden": false}), CHANGED)
        .await;
}

#[tokio::test]
async fn a_group_has_these_members_and_no_others() {
    let Some(device) = device() else { return };
    let params = json!({"name": "web", "gid": 3000, "members": ["ana", "root"]});
    device.check("group", params.clone(), CHANGED).await;
    assert_eq!(line(&device, "/etc/group", "web").unwrap(), "web:x:3000:ana,root");
    device
        .check(
            "group",
            json!({"name": "web", "gid": 3001, "members": ["ana"]}),
            CHANGED,
        )
        .await;
    assert_eq!(line(&device, "/etc/group", "web").unwrap(), "web:x:3001:ana");
    device.check("group", json!({"name": "web"}), SAME).await;
    device
        .check("group", json!({"name": "web", "members": []}), CHANGED)
        .await;
    device.check("group", absent(&params), CHANGED).await;
    assert_eq!(line(&device, "/etc/group", "web"), None);
    device.check("group", absent(&params), SAME).await;
}

#[tokio::test]
async fn who_is_not_there_is_passed_over_with_a_warning() {
    let Some(device) = device() else { return };
    let params = json!({"name": "web", "members": ["ana", "ghost"]});
    let done = device.check("group", params, "SucceededWithIssues, changed").await;
    assert!(done.ending.message.unwrap().contains("no local user ghost"));
    assert_eq!(done.output.matches("ghost").count(), 1);
}
