//! Services under a systemd that runs: one of its own, in namespaces of its own, on the unit files of the scratch root.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{CHANGED, Scratch, absent, is_root, tool};

const UNITS: &str = "/etc/systemd/system";
/// Makes a root for it, of which it may write what it likes, and becomes it. Mounts and processes go with the namespaces.
const BOOT: &str = r#"
set -e
R=$1 UNITS=$2
mount --make-rprivate /
mount -t tmpfs tmpfs $R
mkdir -p $R/proc $R/sys $R/dev $R/run $R/tmp $R/usr $R/root $R/var/log $R/etc/systemd/system
mount --rbind -o ro /usr $R/usr
for link in bin sbin lib lib64; do ln -s usr/$link $R/$link; done
cp /etc/passwd /etc/group /etc/ld.so.cache $R/etc/
: >$R/etc/machine-id
mount --bind $UNITS $R/etc/systemd/system
mount -t proc proc $R/proc
mount --rbind /sys $R/sys
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
for device in null zero random urandom; do : >$R/dev/$device; mount --bind /dev/$device $R/dev/$device; done
mount -t tmpfs tmpfs $R/run
mkdir -p $R/run/systemd/system
printf '[Unit]\nDescription=Nothing\n' >$R/run/systemd/system/nothing.target
exec env -i container=fleet PATH=/usr/sbin:/usr/bin chroot $R /usr/lib/systemd/systemd --system --unit=nothing.target
"#;

/// A systemd that runs; it ends with this value.
struct Manager {
    unshare: Child,
    /// systemd, as this machine counts.
    pid: String,
}

impl Drop for Manager {
    fn drop(&mut self) {
        // By `--kill-child` systemd goes with it, and with that all of its processes.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Manager {
    /// Starts one on the unit files of a device; why not, where this machine does not let it.
    fn boot(device: &Scratch) -> Result<Self, String> {
        let flags = [
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "--fork",
            "--kill-child",
        ];
        let unshare = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", BOOT, "boot"])
            .args([device.beside("booted"), device.path(UNITS)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(device.beside("logs").join("boot")).unwrap())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut manager = Self {
            unshare,
            pid: String::new(),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !manager.is_running() {
            let ended = manager.unshare.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(device.beside("logs").join("boot")).unwrap_or_default();
                return Err(format!("systemd did not start ({ended:?}): {said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(manager)
    }

    fn is_running(&mut self) -> bool {
        let outer = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap_or_default();
        let Some(pid) = children.split_whitespace().next() else {
            return false;
        };
        self.pid = pid.to_owned();
        let is_systemd = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd");
        is_systemd && self.says(&["is-system-running"]) == "running"
    }

    /// What it answers.
    fn says(&self, arguments: &[&str]) -> String {
        let [program, before @ ..] = self.inside();
        let answer = Command::new(program).args(before).args(arguments).output().unwrap();
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    }

    /// How its own systemctl is called.
    fn inside(&self) -> [&str; 9] {
        [
            "nsenter",
            "--target",
            &self.pid,
            "--mount",
            "--pid",
            "--root",
            "--wdns=/",
            "--",
            "/usr/bin/systemctl",
        ]
    }

    /// The properties of a unit that a test is about.
    fn state(&self, unit: &str) -> String {
        let said = self.says(&["show", "--property=ActiveState,UnitFileState,Description", unit]);
        let mut values: Vec<_> = said.lines().map(|line| line.split_once('=').unwrap()).collect();
        values.sort_unstable();
        values.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(", ")
    }
}

/// A device with a systemd of its own; nothing where this machine does not let one start, which is said.
fn booted() -> Option<(Scratch, Manager)> {
    let device = Scratch::new()
        .with_folder(UNITS)
        .with_folder("/run/systemd/system")
        .with_tools(&["systemd-analyze"]);
    let manager = match is_root() && Path::new("/usr/lib/systemd/systemd").exists() && tool("nsenter").is_some() {
        true => Manager::boot(&device),
        false => Err("root, systemd and nsenter are needed".to_owned()),
    };
    match manager {
        Ok(manager) => {
            let call = manager.inside().join(" ");
            Some((device.with_fake("systemctl", &format!("exec {call} \"$@\"")), manager))
        }
        Err(why) => {
            println!("skipped: no systemd runs here: {why}");
            None
        }
    }
}

fn unit(description: &str, command: &str) -> String {
    format!("[Unit]\nDescription={description}\n[Service]\nExecStart={command}\n[Install]\nWantedBy=nothing.target\n")
}

fn sample(more: Value) -> Value {
    let mut params = json!({"unit": "sample.service"});
    params
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    params
}

#[tokio::test]
async fn a_service_is_written_enabled_started_and_stopped_and_goes() {
    let Some((device, manager)) = booted() else { return };
    let first = unit("First", "/usr/bin/sleep infinity");
    let params = sample(json!({"content": first, "enabled": true, "running": "started"}));
    device.check("service", params.clone(), CHANGED).await;
    assert_eq!(manager.state("sample.service"), "active, First, enabled");

    manager.says(&["stop", "sample.service"]);
    manager.says(&["disable", "sample.service"]);
    assert_eq!(manager.state("sample.service"), "inactive, First, disabled");
    device.check("service", params.clone(), CHANGED).await;
    assert_eq!(manager.state("sample.service"), "active, First, enabled", "put right");

    device
        .check(
            "service",
            sample(json!({"enabled": false, "running": "stopped"})),
            CHANGED,
        )
        .await;
    assert_eq!(manager.state("sample.service"), "inactive, First, disabled");
    device.check("service", params.clone(), CHANGED).await;
    device.check("service", absent(&params), CHANGED).await;
    assert_eq!(manager.state("sample.service"), "inactive, sample.service, ");
    assert!(!device.path("/etc/systemd/system/sample.service").exists());
}

#[tokio::test]
async fn a_file_that_changed_is_read_and_holds_from_the_next_start_on() {
    let Some((device, manager)) = booted() else { return };
    let with = |description: &str| {
        let content = unit(description, "/usr/bin/sleep infinity");
        sample(json!({"content": content, "running": "started"}))
    };
    let pid = || manager.says(&["show", "--property=MainPID", "--value", "sample.service"]);
    device.check("service", with("First"), CHANGED).await;
    let before = pid();
    device.check("service", with("Second"), CHANGED).await;
    assert_eq!(manager.state("sample.service"), "active, Second, disabled");
    assert_eq!(pid(), before, "what runs goes on");

    // Somebody writes it, and tells nobody.
    let third = unit("Third", "/usr/bin/sleep infinity");
    let device = device.with("/etc/systemd/system/sample.service", &third);
    let done = device.check("service", with("Third"), CHANGED).await;
    assert_eq!(done.output, "have systemd read its files anew\n");
    assert_eq!(manager.state("sample.service"), "active, Third, disabled");

    let restarted = device.run("service", &sample(json!({"running": "restarted"}))).await;
    assert_eq!(restarted.verdict(), CHANGED);
    assert_ne!(pid(), before);
}

#[tokio::test]
async fn a_service_that_is_masked_or_fails_is_no_success() {
    let Some((device, manager)) = booted() else { return };
    // Of this sort systemctl waits for the end.
    let failing = "[Unit]\nDescription=Failing\n[Service]\nType=oneshot\nExecStart=/usr/bin/false\n";
    let params = sample(json!({"content": failing, "running": "started"}));
    let failed = "Failed action.program_failed, changed";
    assert_eq!(device.run("service", &params).await.verdict(), failed);
    assert_eq!(manager.state("sample.service"), "failed, Failing, static");
    device.check("service", absent(&params), CHANGED).await;

    manager.says(&["mask", "sample.service"]);
    let masked = "Failed service.masked, the same";
    let content = unit("Masked", "/usr/bin/sleep infinity");
    for wanted in [json!({"enabled": true}), json!({"content": content})] {
        device.check("service", sample(wanted), masked).await;
    }
    let started = device.run("service", &sample(json!({"running": "started"}))).await;
    assert_eq!(started.verdict(), "Failed action.program_failed, the same");
    manager.says(&["unmask", "sample.service"]);
    let params = sample(json!({"content": content, "running": "started"}));
    device.check("service", params, CHANGED).await;
}
