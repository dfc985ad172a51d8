//! Actions against a scratch root, with the machine's own tools.

mod accounts;
mod contents;
mod desktops;
mod device_keys;
mod disks;
mod escrow;
mod faults;
mod files;
mod first_passwords;
mod flatpaks;
mod images;
mod interrupted;
mod managers;
mod mounts;
mod package_files;
mod packages;
mod passphrases;
mod passwords;
mod reboots;
mod remote;
mod repositories;
mod scripts;
mod services;
mod shutdowns;
mod web;
mod wifi;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, EntityId as _, ManualClock, SeededRandom, SigningKey, SystemClock, Timestamp},
    protocol::{OfferBody, RunResult},
    work::{RunId, operations::actions::Presence},
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use self::{contents::Shelf, escrow::Keeper};
use super::{Actions, ActionsParts, Witness};
use crate::{
    executor::{Executor, ExecutorConfig},
    policy::Policy,
    runs::{Cancellation, Ending, OutputSink},
};

/// A root folder that stands for a device.
pub(super) struct Scratch {
    folder: TempDir,
    /// Where its secrets are kept.
    pub(super) server: Arc<Keeper>,
    /// Where contents come from.
    pub(super) shelf: Arc<Shelf>,
    pub(super) clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    /// The seed of the key that it is enrolled with.
    pub(super) key: Mutex<u64>,
    /// Its policy file.
    pub(super) policy: String,
    /// Who hears of what the next run does.
    pub(super) witness: Mutex<Option<Arc<dyn Witness>>>,
    /// Whether runs are carried out on the machine itself, whose paths are those of the tests.
    pub(super) is_machine: bool,
}

/// What came of a run.
pub(super) struct Done {
    pub(super) ending: Ending,
    pub(super) output: String,
}

impl Done {
    /// How it ended, with its code, and whether it changed the device.
    pub(super) fn verdict(&self) -> String {
        let Ending {
            result, code, changed, ..
        } = &self.ending;
        let code = code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        let changed = match changed {
            Some(true) => "changed",
            Some(false) => "the same",
            None => "unknown",
        };
        format!("{result:?}{code}, {changed}")
    }

    /// What it did, as it told in its summary.
    pub(super) fn steps(&self) -> Vec<String> {
        let summary = self.ending.summary.clone().expect("actions tell what they did");
        serde_json::from_value(summary["steps"].clone()).unwrap()
    }
}

impl Scratch {
    /// A device with root, one ordinary user, and a folder for the agent.
    pub(super) fn new() -> Self {
        let scratch = Self {
            folder: tempfile::tempdir().unwrap(),
            server: Arc::default(),
            shelf: Arc::default(),
            clock: Arc::new(ManualClock::new(SystemClock.now())),
            random: Arc::new(SeededRandom::new(1)),
            key: Mutex::new(1),
            policy: String::new(),
            witness: Mutex::default(),
            is_machine: false,
        };
        scratch
            .with(
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nana:x:1500:1500:Ana:/home/ana:/bin/sh\n",
            )
            .with("/etc/group", "root:x:0:\nana:x:1500:\n")
            .with("/etc/shadow", "root:*:19000:0:99999:7:::\nana:!:19000:0:99999:7:::\n")
            .with("/etc/gshadow", "root:*::\nana:!::\n")
            .with("/home/ana/.profile", "")
            .with("/var/lib/fleet-agent/identity.json", "{}")
            .with("/srv/agent/state", "")
    }

    /// Where a path of the device lies on this machine.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A run of its own: who is stopped takes along whatever carries its mark, also in tests beside this one.
    fn mark(&self) -> Uuid {
        let digest = Sha256::digest(self.root().as_os_str().as_encoded_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Uuid::from_bytes(bytes)
    }

    /// A folder beside the device.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn with(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn with_folder(self, path: &str) -> Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    pub(super) fn with_link(self, path: &str, target: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    pub(super) fn with_mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Gives the device programs of this machine.
    pub(super) fn with_tools(mut self, names: &[&str]) -> Self {
        for name in names {
            let tool = tool(name).unwrap_or_else(|| panic!("this machine has no {name}: cargo xtask setup"));
            self = self.with_link(&format!("/usr/bin/{name}"), tool.to_str().unwrap());
        }
        self
    }

    /// Gives the device a program of a test: a script for `/bin/sh`, in which `$ROOT` is the root.
    pub(super) fn with_fake(self, name: &str, script: &str) -> Self {
        self.replace_by_fake(name, script);
        self
    }

    /// The same, of a device that is in use.
    pub(super) fn replace_by_fake(&self, name: &str, script: &str) {
        let script = format!("#!/bin/sh\nROOT={}\n{script}\n", self.root().display());
        let text = self.beside("fakes").join(name);
        fs::write(&text, script).unwrap();
        // Written by a process of its own: a program that this one has open for writing, if only in a child of another test, does not start.
        let path = self.path(&format!("/usr/bin/{name}"));
        // It may be a link to the machine's own.
        let _ = fs::remove_file(&path);
        let installed = Command::new("install")
            .args(["-D", "-m", "755"])
            .arg(&text)
            .arg(path)
            .status();
        assert!(installed.unwrap().success());
    }

    /// Gives the device the program of this machine back.
    pub(super) fn replace_by_link(&self, name: &str) {
        let path = self.path(&format!("/usr/bin/{name}"));
        fs::remove_file(&path).unwrap();
        symlink(tool(name).unwrap(), path).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Permissions, owner and group.
    pub(super) fn owned(&self, path: &str) -> (u32, u32, u32) {
        let found = fs::symlink_metadata(self.path(path)).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    }

    /// All that is on the device: each path, whose it is, and what is in it.
    pub(super) fn tree(&self) -> Vec<String> {
        fn walk(folder: &Path, lines: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("var/lib/apt/lists") || path.ends_with("var/cache/apt") {
                    // What repositories offer is no state of the device.
                    continue;
                }
                let found = fs::symlink_metadata(&path).unwrap();
                let text = fs::read(&path)
                    .map(|bytes| format!("{:x}", crc32fast::hash(&bytes)))
                    .unwrap_or_default();
                lines.push(format!("{} {:o} {} {text}", path.display(), found.mode(), found.uid()));
                if found.is_dir() {
                    walk(&path, lines);
                }
            }
        }
        let mut lines = Vec::new();
        walk(&self.root(), &mut lines);
        lines.sort();
        lines
    }

    pub(super) async fn run(&self, kind: &str, params: &Value) -> Done {
        self.run_within(kind, params, 120, false).await
    }

    pub(super) async fn run_within(&self, kind: &str, params: &Value, timeout_seconds: u32, cancelled: bool) -> Done {
        let (_keep, requested) = watch::channel(cancelled);
        self.carry(kind, params, timeout_seconds, Cancellation::new(requested), false)
            .await
    }

    /// What is carried out on it.
    pub(super) fn actions(&self) -> Actions {
        let config = ExecutorConfig {
            scripts: self.beside("scripts"),
            shared_scripts: self.beside("shared"),
            environment: Vec::new(),
        };
        let executor = Executor::new(config, Arc::new(SystemClock));
        let parts = ActionsParts {
            executor,
            own: vec!["/srv/agent".to_owned()],
            policy: Arc::new(Policy::parse(&self.policy, "root", TimeZone::UTC).unwrap()),
            escrow: self.server.clone(),
            contents: self.shelf.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            state: self.beside("state"),
            device_key: SigningKey::generate(&SeededRandom::new(*self.key.lock().unwrap())).public(),
        };
        let actions = match self.is_machine {
            true => Actions::new(parts),
            false => Actions::below(self.root(), parts),
        };
        match self.witness.lock().unwrap().take() {
            Some(witness) => actions.seen_by(witness),
            None => actions,
        }
    }

    /// Carries a run out, or takes up one that was interrupted.
    pub(super) async fn carry(
        &self,
        kind: &str,
        params: &Value,
        timeout_seconds: u32,
        cancellation: Cancellation,
        is_taken_up: bool,
    ) -> Done {
        let actions = self.actions();
        let offer = OfferBody {
            run: RunId::from_uuid(self.mark()),
            device: DeviceId::from_uuid(Uuid::nil()),
            epoch: 1,
            kind: kind.to_owned(),
            secrets: Vec::new(),
            params: params.clone().into(),
            expires_at: Timestamp::MAX,
            timeout_seconds,
            output_limit_bytes: 1 << 20,
            idempotent: true,
            exclusive: true,
        };
        let (sender, mut chunks) = mpsc::channel(16);
        let execute = async move {
            let sink = OutputSink::new(sender);
            match offer.kind.as_str() {
                _ if is_taken_up => Some(actions.take_up(&offer, &sink, &cancellation).await),
                "shell" => Some(actions.run_script(&offer, &sink, &cancellation).await),
                _ => actions.execute(&offer, &sink, &cancellation).await,
            }
        };
        let listen = async {
            let mut output = String::new();
            while let Some((_, text)) = chunks.recv().await {
                output.push_str(&text);
            }
            output
        };
        let (ending, output) = tokio::join!(execute, listen);
        Done {
            ending: ending.unwrap(),
            output,
        }
    }

    /// Runs an action as people would: tried first, which changes nothing and tells the truth; then done; then again, which finds
    /// nothing to do. Says how the one that did it ended.
    #[track_caller]
    pub(super) fn check(
        &self,
        kind: &'static str,
        params: Value,
        expected: &'static str,
    ) -> impl Future<Output = Done> {
        let caller = std::panic::Location::caller();
        async move {
            let before = self.tree();
            let mut dry = params.clone();
            dry["dry_run"] = json!(true);
            let dry = self.run(kind, &dry).await;
            assert_eq!(self.tree(), before, "a dry run changed something; {caller}");
            let done = self.run(kind, &params).await;
            let Done { output, ending } = &done;
            let context = format!("{params}\n{output}\n{:?}\n{caller}", ending.message);
            assert_eq!(done.verdict(), expected, "{context}");
            if ending.result == RunResult::Succeeded {
                assert_eq!(
                    dry.verdict(),
                    expected,
                    "the dry run says something else; {}\n{caller}",
                    dry.output
                );
                if kind != "shell" {
                    assert_eq!(dry.steps(), done.steps(), "{context}");
                    assert_eq!(done.steps().is_empty(), expected == SAME, "{context}");
                }
                let again = self.run(kind, &params).await;
                assert_eq!(
                    again.verdict(),
                    "Succeeded, the same",
                    "again: {}\n{context}",
                    again.output
                );
            } else if ending.changed == Some(false) && !kind.starts_with("package") {
                // Package managers keep logs of what failed.
                assert_eq!(self.tree(), before, "{context}");
            }
            done
        }
    }
}

/// Where this machine has a program.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    let mut places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name));
    let found = places.find(|place| place.is_file());
    if found.is_none() {
        not_run(&format!("{name} is not on this machine"));
    }
    found
}

/// Says that a test proves nothing here, or not all of it: also to `cargo xtask test`, which names it at its end.
pub(super) fn not_run(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    print!("not run: {line}");
    if let Some(path) = std::env::var_os("FLEET_TESTS_NOT_RUN") {
        let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Whether the tests may change owners and roots; else those that need it prove nothing here.
pub(super) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_run("it needs root");
    }
    is_root
}

pub(super) const SAME: &str = "Succeeded, the same";
pub(super) const CHANGED: &str = "Succeeded, changed";

/// The same parameters, wanting it gone.
pub(super) fn absent(params: &Value) -> Value {
    let mut params = params.clone();
    params["state"] = serde_json::to_value(Presence::Absent).unwrap();
    params
}
