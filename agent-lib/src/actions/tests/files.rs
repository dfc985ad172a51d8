//! Files and folders.

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, is_root};

const PROTECTED: &str = "Failed action.path_protected, the same";
const REFUSED: &str = "Failed operation.params_invalid, the same";

#[tokio::test]
async fn a_file_gets_its_content_and_loses_it_again() {
    let device = Scratch::new().with_folder("/etc");
    let params = json!({"path": "/etc/motd", "content": "hello\n", "mode": "0640"});
    device.check("file", params.clone(), CHANGED).await;
    assert_eq!(device.read("/etc/motd").as_deref(), Some("hello\n"));
    assert_eq!(device.owned("/etc/motd").0, 0o640);
    device.check("file", params.clone(), SAME).await;
    device.check("file", absent(&params), CHANGED).await;
    assert_eq!(device.read("/etc/motd"), None);
    device.check("file", absent(&params), SAME).await;
}

#[tokio::test]
async fn what_nobody_says_stays_as_it_is() {
    let device = Scratch::new().with("/etc/app.conf", "old\n");
    device
        .check(
            "file",
            json!({"path": "/etc/app.conf", "content": "x\n", "mode": "0600"}),
            CHANGED,
        )
        .await;
    device
        .check("file", json!({"path": "/etc/app.conf", "content": "new\n"}), CHANGED)
        .await;
    assert_eq!(device.owned("/etc/app.conf").0, 0o600);
    let done = device
        .check(
            "file",
            json!({"path": "/etc/app.conf", "content": "new\n", "mode": "644"}),
            CHANGED,
        )
        .await;
    assert!(done.output.contains("make /etc/app.conf of"), "{}", done.output);
}

#[tokio::test]
async fn owner_and_group_are_names_or_numbers_of_the_device() {
    if !is_root() {
        return;
    }
    let device = Scratch::new();
    device
        .check(
            "file",
            json!({"path": "/etc/a", "content": "", "owner": "ana", "group": "1500"}),
            CHANGED,
        )
        .await;
    assert_eq!(device.owned("/etc/a"), (0o644, 1500, 1500));
    let unknown = "Failed action.account_unknown, the same";
    device
        .check(
            "file",
            json!({"path": "/etc/a", "content": "", "owner": "nobody-here"}),
            unknown,
        )
        .await;
}

#[tokio::test]
async fn missing_folders_are_made_for_a_file() {
    let device = Scratch::new();
    device
        .check("file", json!({"path": "/srv/app/conf.d/a", "content": "x"}), CHANGED)
        .await;
    assert_eq!(device.owned("/srv/app/conf.d").0, 0o755);
}

#[tokio::test]
async fn a_text_among_others_is_added_once_and_taken_out_again() {
    let device = Scratch::new().with("/etc/issue", "ours\n\nlast\n");
    let params = json!({"path": "/etc/issue", "content": "fleet one\nfleet two\n", "managed_block": true});
    device.check("file", params.clone(), CHANGED).await;
    assert_eq!(
        device.read("/etc/issue").unwrap(),
        "ours\n\nlast\nfleet one\nfleet two\n"
    );
    device.check("file", absent(&params), CHANGED).await;
    assert_eq!(device.read("/etc/issue").unwrap(), "ours\n\nlast\n");
    device.check("file", absent(&params), SAME).await;
}

#[tokio::test]
async fn no_link_leads_a_write_to_a_protected_file() {
    let device = Scratch::new()
        .with_link("/srv/etc", "/etc")
        .with_link("/srv/up", "../../../etc")
        .with_link("/srv/agents", "/srv/agent")
        .with_link("/etc/motd", "/etc/shadow");
    device
        .check("file", json!({"path": "/srv/etc/shadow", "content": "x"}), PROTECTED)
        .await;
    device
        .check("file", json!({"path": "/srv/up/passwd", "state": "absent"}), PROTECTED)
        .await;
    device
        .check("file", json!({"path": "/srv/agents/state", "content": "x"}), PROTECTED)
        .await;
    device
        .check(
            "directory",
            json!({"path": "/srv/etc/ssh", "state": "absent"}),
            PROTECTED,
        )
        .await;
    // The link itself is never written through, and may be removed.
    let link = "Failed file.not_a_file, the same";
    device
        .check("file", json!({"path": "/etc/motd", "content": "x"}), link)
        .await;
    device
        .check("file", json!({"path": "/etc/motd", "state": "absent"}), CHANGED)
        .await;
    assert!(device.read("/etc/shadow").unwrap().starts_with("root:"));
    // Other links are followed.
    device
        .check("file", json!({"path": "/srv/etc/issue", "content": "x"}), CHANGED)
        .await;
    assert_eq!(device.read("/etc/issue").unwrap(), "x");
}

#[tokio::test]
async fn the_agents_own_is_off_limits() {
    let device = Scratch::new();
    device
        .check("file", json!({"path": "/srv/agent/state", "content": "x"}), PROTECTED)
        .await;
    device
        .check("directory", json!({"path": "/srv/agent", "state": "absent"}), PROTECTED)
        .await;
    // What every agent has is refused before the device is looked at.
    device
        .check(
            "file",
            json!({"path": "/var/lib/fleet-agent/identity.json", "state": "absent"}),
            REFUSED,
        )
        .await;
    device
        .check("file", json!({"path": "/etc/shadow", "content": ""}), REFUSED)
        .await;
}

#[tokio::test]
async fn a_folder_is_made_adjusted_and_removed_with_what_is_in_it() {
    let device = Scratch::new().with_folder("/srv");
    let params = json!({"path": "/srv/app", "mode": "2770"});
    device.check("directory", params.clone(), CHANGED).await;
    assert_eq!(device.owned("/srv/app").0, 0o2770);
    device
        .check("directory", json!({"path": "/srv/app", "mode": "0700"}), CHANGED)
        .await;
    let device = device
        .with("/srv/app/deep/file", "x")
        .with_link("/srv/app/out", "/home/ana");
    device.check("directory", absent(&params), CHANGED).await;
    assert!(!device.path("/srv/app").exists());
    assert!(device.path("/home/ana/.profile").exists());
    device.check("directory", absent(&params), SAME).await;
}

#[tokio::test]
async fn folders_above_are_made_when_asked_for() {
    let device = Scratch::new().with_folder("/srv");
    let missing = "Failed action.files_failed, the same";
    device.check("directory", json!({"path": "/srv/a/b/c"}), missing).await;
    device
        .check("directory", json!({"path": "/srv/a/b/c", "recursive": true}), CHANGED)
        .await;
    let taken = "Failed directory.not_a_folder, the same";
    let device = device.with("/srv/file", "").with_link("/srv/link", "a");
    device.check("directory", json!({"path": "/srv/file"}), taken).await;
    device
        .check("directory", json!({"path": "/srv/link", "state": "absent"}), taken)
        .await;
}

#[tokio::test]
async fn a_folder_in_which_something_is_mounted_is_not_removed() {
    let device = Scratch::new()
        .with_folder("/srv/app/a disk")
        .with_folder("/srv/apple")
        .with(
            "/proc/self/mountinfo",
            "30 25 0:26 / /srv/app/a\\040disk rw shared:5 - ext4 /dev/sdb1 rw\n",
        );
    let done = device
        .check("directory", json!({"path": "/srv/app", "state": "absent"}), PROTECTED)
        .await;
    assert!(done.ending.message.unwrap().ends_with("mounted at /srv/app/a disk"));
    device
        .check("directory", json!({"path": "/srv/apple", "state": "absent"}), CHANGED)
        .await;
}

#[tokio::test]
async fn the_agents_own_is_also_where_its_folder_leads() {
    let device = Scratch::new().with_folder("/data/agent");
    std::fs::remove_dir_all(device.path("/srv/agent")).unwrap();
    let device = device.with_link("/srv/agent", "/data/agent");
    device
        .check("file", json!({"path": "/data/agent/state", "content": "x"}), PROTECTED)
        .await;
    device
        .check("directory", json!({"path": "/data", "state": "absent"}), REFUSED)
        .await;
    device
        .check(
            "directory",
            json!({"path": "/data/agent", "state": "absent"}),
            PROTECTED,
        )
        .await;
}
