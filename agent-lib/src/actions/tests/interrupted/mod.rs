//! Actions whose agent dies, or which fail, at any moment of what they do: another agent comes to the same, and says the truth.
//!
//! An agent that dies is one whose thread goes no further: nothing is cleaned up after it, and nobody hears of what it had in mind.

mod cases;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread,
};

use fleet_core::protocol::RunResult;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Done, SAME, Scratch, not_run, web::Web};
use crate::actions::{KINDS, Witness};

/// Kinds of which no case is here, and where each of their steps is failed and interrupted.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "disk.encryption",
        "with what the server keeps: disks.rs, device_keys.rs, passphrases.rs",
    ),
    ("password.rotation", "with what the server keeps: passwords.rs"),
    ("reboot", "taken up and never repeated: reboots.rs"),
    ("shutdown", "one step, and never repeated: shutdowns.rs"),
];

/// What may differ: logs, locks, what tools keep of before, and what repositories offer.
const BESIDE: [&str; 9] = [
    "/var/log/",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/lock",
    "/var/lib/flatpak/repo/",
    "/var/lib/flatpak/.changed",
    "-old",
    "-",
    ".lock",
];
/// Folders whose files have in them when, or from where, they came: only their names are looked at.
const NAMES_ONLY: [&str; 2] = ["/var/lib/flatpak/", "/etc/apt/keyrings/"];

/// In this folder `service` has files checked; where it cannot be removed again, the next run does.
const CHECKED: &str = "/.fleet-check";

/// A device, and what is done on it, one after the other.
struct Stage {
    device: Arc<Scratch>,
    runs: Vec<Value>,
    /// Where it downloads from, as long as it lives.
    web: Option<Web>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The threads of agents that died hold it as well, so that nothing else removes it.
        let folder = self.device.root();
        if let Some(folder) = folder.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The same, and what there is on it before it is interrupted.
type Ready = (Stage, BTreeMap<String, String>);

/// Makes the same device each time; none where this machine lacks what it needs.
type Made = fn() -> Pin<Box<dyn Future<Output = Option<Stage>>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Dies,
    Fails,
}

/// Stops a run at one of its moments, and remembers them.
#[derive(Debug)]
struct Stop {
    at: Option<(usize, How)>,
    moments: Mutex<Vec<String>>,
    told: Sender<thread::Result<Option<Done>>>,
}

impl Stop {
    /// Whether it stops at this moment, and how.
    fn moment(&self, what: String) -> Option<How> {
        let mut moments = self.moments.lock().unwrap();
        moments.push(what);
        let (at, how) = self.at?;
        (moments.len() == at + 1).then_some(how)
    }

    fn die(&self) {
        self.told.send(Ok(None)).unwrap();
        loop {
            thread::park();
        }
    }
}

impl Witness for Stop {
    fn before(&self, what: &str) -> io::Result<()> {
        match self.moment(format!("before: {what}")) {
            Some(How::Dies) => self.die(),
            Some(How::Fails) => return Err(io::Error::other("made to fail")),
            None => {}
        }
        Ok(())
    }

    fn after(&self, what: &str) {
        if self.moment(format!("after: {what}")) == Some(How::Dies) {
            self.die();
        }
    }
}

/// Has a run carried out by an agent that is stopped at a moment; what came of it, if it lived, and all moments that it came to.
fn stopped(
    device: &Arc<Scratch>,
    kind: &'static str,
    params: &Value,
    at: Option<(usize, How)>,
) -> (Option<Done>, Vec<String>) {
    let (told, heard) = channel();
    let stop = Arc::new(Stop {
        at,
        moments: Mutex::default(),
        told: told.clone(),
    });
    *device.witness.lock().unwrap() = Some(stop.clone());
    let (device, params) = (device.clone(), params.clone());
    thread::spawn(move || {
        let run = || Runtime::new().unwrap().block_on(device.run(kind, &params));
        let done = catch_unwind(AssertUnwindSafe(run));
        // Nobody listens to one that died.
        let _ = told.send(done.map(Some));
    });
    let done = heard.recv().unwrap().unwrap_or_else(|panic| resume_unwind(panic));
    let moments = stop.moments.lock().unwrap().clone();
    (done, moments)
}

/// What there is on a device, and what its agent remembers, by path.
fn seen(device: &Scratch) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(&device.root(), device, &mut found);
    walk(&device.beside("state"), device, &mut found);
    found
}

fn walk(folder: &Path, device: &Scratch, found: &mut BTreeMap<String, String>) {
    let own = device.root().parent().unwrap().display().to_string();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        let shown = path.display().to_string().replace(&own, "");
        let of_device = shown.trim_start_matches("/root");
        if about.is_dir() {
            walk(&path, device, found);
        }
        let is_beside = |beside: &&str| match beside.starts_with('/') {
            true => of_device.starts_with(beside),
            false => of_device.ends_with(beside),
        };
        if BESIDE.iter().any(is_beside) {
            continue;
        }
        let text = match NAMES_ONLY.iter().any(|folder| of_device.starts_with(folder)) {
            true => Vec::new(),
            false => fs::read(&path).unwrap_or_default(),
        };
        let text = String::from_utf8_lossy(&text).replace(&own, "");
        // The same password has another hash each time.
        let text: Vec<_> = text
            .split(':')
            .map(|field| if field.starts_with("$6$") { "#" } else { field })
            .collect();
        let text = text.join(":");
        let name: Vec<_> = shown
            .split('/')
            .map(|part| if part.len() == 64 { "#" } else { part })
            .collect();
        let line = format!("{:o} {}:{} {text}", about.mode(), about.uid(), about.gid());
        found.insert(name.join("/"), line);
    }
}

/// What has become of a device since then: what is new or another, and what is gone.
fn picture(device: &Scratch, since: &BTreeMap<String, String>) -> Vec<String> {
    let now = seen(device);
    let new = now.iter().filter(|(path, line)| since.get(*path) != Some(line));
    let new = new.map(|(path, line)| format!("{path} {line}"));
    let gone = since.keys().filter(|path| !now.contains_key(*path));
    new.chain(gone.map(|path| format!("{path} is gone"))).collect()
}

/// Who comes after it comes to the same.
fn check_settles(runtime: &Runtime, (stage, since): &Ready, kind: &str, turn: usize, expected: &[String], what: &str) {
    let done = runtime.block_on(stage.device.run(kind, &stage.runs[turn]));
    let said = format!("{what}\n{}\n{:?}", done.output, done.ending.message);
    let has_succeeded = matches!(
        done.ending.result,
        RunResult::Succeeded | RunResult::SucceededWithIssues
    );
    assert!(has_succeeded, "{said}");
    let found = picture(&stage.device, since);
    let lacks: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let more: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(found == expected, "{said}\nit lacks {lacks:#?}\nit has {more:#?}");
    let again = runtime.block_on(stage.device.run(kind, &stage.runs[turn]));
    assert_eq!(again.verdict(), SAME, "again: {said}\n{}", again.output);
}

/// Interrupts and fails all runs of a case at each of their moments.
fn check(kind: &'static str, made: Made) {
    let runtime = Runtime::new().unwrap();
    let Some(first) = runtime.block_on(made()) else {
        not_run(&format!(
            "this machine lacks what {kind} needs here, or the right to use it"
        ));
        return;
    };
    let (mut all_deaths, mut all_failures) = (0, 0);
    for turn in 0..first.runs.len() {
        let (mut deaths, mut failures) = (0, 0);
        let ready = || {
            let stage = runtime.block_on(made()).unwrap();
            for params in &stage.runs[..turn] {
                let done = runtime.block_on(stage.device.run(kind, params));
                assert_eq!(
                    done.ending.result,
                    RunResult::Succeeded,
                    "{params}: {:?}",
                    done.ending.message
                );
            }
            let since = seen(&stage.device);
            (stage, since)
        };
        let (stage, since) = ready();
        let (done, moments) = stopped(&stage.device, kind, &stage.runs[turn], None);
        let done = done.unwrap();
        assert_eq!(
            done.ending.changed,
            Some(true),
            "{}\n{:?}",
            done.output,
            done.ending.message
        );
        let expected = picture(&stage.device, &since);
        for (at, moment) in moments.iter().enumerate() {
            let what = format!("{kind} {turn}, {} of {}: {moment}", at + 1, moments.len());
            let ready = ready();
            let device = &ready.0.device;
            // Before the next thing is done, all is as it was after the last one: who died there died here.
            let how = match moment.starts_with("after: ") {
                true => How::Dies,
                false => How::Fails,
            };
            let (done, _) = stopped(device, kind, &ready.0.runs[turn], Some((at, how)));
            match (how, done) {
                (How::Dies, None) => deaths += 1,
                (How::Dies, Some(_)) => panic!("{what}: it did not come to that again"),
                (How::Fails, None) => panic!("{what}: it said nothing"),
                (How::Fails, Some(done)) => {
                    let has_failed = done.ending.result == RunResult::Failed && done.ending.code.is_some();
                    let is_truth = has_failed || picture(device, &ready.1) == expected;
                    assert!(is_truth, "{what}: failed, and yet {}\n{}", done.verdict(), done.output);
                    if done.ending.changed == Some(false) {
                        let changes = picture(device, &ready.1);
                        let is_of_device = |line: &&String| !line.contains(CHECKED) && !line.starts_with("/state/");
                        let changes: Vec<_> = changes.iter().filter(is_of_device).collect();
                        assert!(changes.is_empty(), "{what}: it is the same, and yet {changes:#?}");
                    }
                    failures += 1;
                }
            }
            check_settles(&runtime, &ready, kind, turn, &expected, &format!("{what}: {how:?}"));
        }
        assert!(
            deaths > 0 && failures > 0,
            "{kind} {turn}: {deaths} deaths, {failures} failures"
        );
        all_deaths += deaths;
        all_failures += failures;
    }
    println!("{kind}: {all_deaths} deaths, {all_failures} failures");
}

#[test]
fn every_kind_is_interrupted_here_or_elsewhere() {
    for kind in KINDS {
        let is_elsewhere = ELSEWHERE.iter().any(|(name, _)| *name == kind);
        assert_ne!(cases::KINDS.contains(&kind), is_elsewhere, "{kind}");
    }
}
