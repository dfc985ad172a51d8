//! File systems that are read-only: with a table of mounts and a `mount` of the test, and with the machine's own on a loop device, in a
//! mount namespace that is gone afterwards.

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{CHANGED, SAME, Scratch, is_root, tool};

const TABLE: &str = "/proc/self/mountinfo";
const WRITABLE: &str = "22 1 8:2 / / rw - ext4 /dev/sda2 rw\n";
const READ_ONLY: &str = "24 22 8:3 / /srv ro,relatime - ext4 /dev/sda3 ro\n";
const IN_MEMORY: &str = "24 22 0:33 / /srv ro,relatime - tmpfs tmpfs ro\n";
/// Remounts, and says what it was told.
const MOUNT: &str = "echo \"$@\" >>$ROOT/told; sed -i 's/\\bro\\b/rw/g' $ROOT/proc/self/mountinfo";
const REFUSED: &str = "Failed action.file_system_read_only, the same";

fn device(mount: &str) -> Scratch {
    Scratch::new()
        .with_folder("/srv")
        .with_folder("/etc")
        .with(TABLE, &format!("{WRITABLE}{READ_ONLY}"))
        .with_fake("mount", mount)
}

fn file() -> Value {
    json!({"path": "/srv/motd", "content": "hello\n"})
}

#[tokio::test]
async fn a_file_system_that_is_read_only_is_remounted_before_it_is_written() {
    let device = device(MOUNT);
    let done = device.check("file", file(), CHANGED).await;
    assert!(
        done.output
            .starts_with("remount /srv, which is mounted read-only\nwrite /srv/motd"),
        "{}",
        done.output
    );
    assert_eq!(device.read("/told").unwrap(), "-o remount,rw -- /srv\n");
}

#[tokio::test]
async fn a_dry_run_says_so_and_remounts_nothing() {
    let device = device(MOUNT);
    let mut dry = file();
    dry["dry_run"] = json!(true);
    let done = device.run("file", &dry).await;
    assert!(
        done.output
            .starts_with("would remount /srv, which is mounted read-only\n"),
        "{}",
        done.output
    );
    assert_eq!(device.read("/told"), None);
}

#[tokio::test]
async fn what_cannot_be_remounted_says_so_and_nothing_is_changed() {
    for mount in ["echo no >&2; exit 32", "exit 0"] {
        let device = device(mount);
        let done = device.check("file", file(), REFUSED).await;
        let message = done.ending.message.unwrap();
        assert!(
            message.starts_with("filesystem is read-only and could not be remounted: /srv: "),
            "{message}"
        );
        assert_eq!(device.read("/srv/motd"), None);
    }
    let device = device("");
    fs::remove_file(device.path("/usr/bin/mount")).unwrap();
    device.check("file", file(), REFUSED).await;
}

#[tokio::test]
async fn only_what_is_to_be_written_is_remounted() {
    // Elsewhere; as it should be already; and not on a block device.
    let device = device("exit 1");
    device
        .check("file", json!({"path": "/etc/motd", "content": "x"}), CHANGED)
        .await;
    let device = device.with("/srv/motd", "hello\n");
    device.check("file", file(), SAME).await;
    let device = device.with(TABLE, &format!("{WRITABLE}{IN_MEMORY}"));
    fs::remove_file(device.path("/srv/motd")).unwrap();
    device.check("file", file(), CHANGED).await;
}

#[tokio::test]
async fn a_link_counts_by_where_it_leads() {
    let device = device(MOUNT).with_link("/opt/app", "/srv");
    device
        .check("file", json!({"path": "/opt/app/motd", "content": "x"}), CHANGED)
        .await;
    assert!(device.read("/told").is_some());
}

const INSIDE: &str = "FLEET_TEST_IN_A_MOUNT_NAMESPACE";

#[tokio::test]
async fn a_real_file_system_is_remounted_unless_its_device_is_read_only() {
    if !is_root()
        || ["unshare", "losetup", "mkfs.ext4"]
            .iter()
            .any(|name| tool(name).is_none())
    {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let name = "actions::tests::mounts::a_real_file_system_is_remounted_unless_its_device_is_read_only";
        let inside = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout).into_owned();
        assert!(inside.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut device = Scratch::new();
    device.is_machine = true;
    let (image, point) = (device.beside("image").join("disk"), device.beside("mounted"));
    fs::write(&image, vec![0; 4 << 20]).unwrap();
    sh(&format!("mkfs.ext4 -q {}", image.display()));
    let params = json!({"path": point.join("motd"), "content": "hello\n"});
    for (device_is_read_only, expected) in [("--read-only", REFUSED), ("", CHANGED)] {
        let node = sh(&format!(
            "losetup {device_is_read_only} --show --find {}",
            image.display()
        ));
        sh(&format!("mount -o ro {node} {}", point.display()));
        let done = device.run("file", &params).await;
        let again = device.run("file", &params).await;
        sh(&format!("umount {}; losetup --detach {node}", point.display()));
        assert_eq!(done.verdict(), expected, "{}", done.output);
        assert_eq!(again.verdict(), if expected == CHANGED { SAME } else { REFUSED });
    }
}

fn sh(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
