//! Services under a systemd that runs: one of its own, in namespaces of its own, on the unit files of the scratch root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{CHANGED, Scratch, absent, is_root, not_run, tool};

const UNITS: &str = "/etc/systemd/system";
/// Puts it into a control group of its own, under a folder of the control groups in namespaces of their own.
const OWN_GROUP: &str = r#"
set -e
TREE=$1
shift
mount --make-rprivate /
mkdir -p $TREE
mount -t cgroup2 cgroup2 $TREE
mkdir $TREE/fleet-test-$$
echo $$ >$TREE/fleet-test-$$/cgroup.procs
exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child "$@"
"#;
/// Removes that group when its processes have ended: it would outlive them.
const NO_GROUP: &str = r#"
mount --make-rprivate /
mount -t cgroup2 cgroup2 $1
echo 1 2>/dev/null >$1/fleet-test-$2/cgroup.kill
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    find $1/fleet-test-$2 -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
    sleep 0.1
done
"#;
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

/// A script whose mounts nobody else sees; it gets what is added.
fn in_mounts_of_its_own(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command
}

/// A systemd that runs; it ends with this value.
struct Manager {
    unshare: Child,
    /// systemd, as this machine counts.
    pid: String,
    groups: PathBuf,
}

impl Drop for Manager {
    fn drop(&mut self) {
        // By `--kill-child` systemd goes with it, and with that all of its processes.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let id = self.unshare.id().to_string();
        let _ = in_mounts_of_its_own(NO_GROUP).arg(&self.groups).arg(id).status();
    }
}

impl Manager {
    /// Starts one on the unit files of a device; why not, where this machine does not let it.
    fn boot(device: &Scratch) -> Result<Self, String> {
        let groups = device.beside("groups");
        // Each becomes the next: all are one process, and its id names the group.
        let unshare = in_mounts_of_its_own(OWN_GROUP)
            .arg(&groups)
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
            groups,
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
    fn inside(&self) -> [&str; 12] {
        [
            "timeout",
            "--kill-after=1",
            "30",
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
            not_run(&format!("no systemd runs here: {why}"));
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
