//! A rollout over several devices, each with an agent of its own: from wave to wave while its devices are well, and no further where they
//! are not. Asked for, held and let go on as people do it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use crate::{
    processes::{Agent, SERVER, enrol_as},
    world::World,
};

/// A phase comes within this: a watch, a look of the server, and a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long devices are watched, in seconds. Whoever is started again meanwhile is heard of before it is over.
const WATCHED: u64 = 10;

/// A device beside that of the world.
struct Other {
    folder: PathBuf,
    agent: Agent,
}

impl Other {
    fn is(&self, device_name: &str) -> bool {
        self.folder.ends_with(device_name)
    }
}

/// A server with five devices.
struct Several {
    world: World,
    others: Vec<Other>,
}

impl Several {
    async fn new() -> Self {
        let world = World::new("socket").await;
        let mut several = Self {
            world,
            others: Vec::new(),
        };
        // They stand on one machine, which is said with its machine id.
        several
            .fleet(&["settings", "set", "devices.known_machine", "separate"])
            .await;
        let token = json!({"name": "others", "max_uses": 4});
        let token = several.world.create("/api/v1/enrolment-tokens", &token).await;
        for number in 1..=4 {
            let name = format!("web-{number}");
            let folder = several.world.path().join(&name);
            std::fs::create_dir(&folder).unwrap();
            enrol_as(&name, &folder.join("agent"), token["token"].as_str().unwrap()).await;
            let agent = Agent::start(&folder.join("agent"), &folder, "socket");
            several.others.push(Other { folder, agent });
        }
        several
            .until("connected", async || {
                let online = several.world.get("/api/v1/devices?presence=online").await;
                (online["items"].as_array().unwrap().len() == 5).then_some(())
            })
            .await;
        several
    }

    /// Waits until something is there.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "not {what}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn logs(&self) -> String {
        let log = |other: &Other| std::fs::read_to_string(other.folder.join("agent.log")).unwrap_or_default();
        let others: String = self.others.iter().map(log).collect();
        format!("{}\n{others}", self.world.logs())
    }

    /// The operator's command line; what it printed.
    async fn fleet(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = Command::new(Path::new(SERVER).with_file_name("fleet"))
            .args(arguments)
            .env("FLEET_URL", self.world.url(""))
            .env("FLEET_TOKEN", &self.world.token)
            .env("FLEET_CREDENTIALS", self.world.path().join("nobody.toml"))
            .output()
            .await
            .unwrap();
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Has all devices run a script wave by wave; the batch.
    async fn roll_out(&self, waves: &[&str], script: &str) -> String {
        let all = [
            &["run", "--all", "--no-wait", "--yes", "--max-failures", "0"],
            waves,
            &["--", script],
        ]
        .concat();
        self.fleet(&all).await.trim().to_owned()
    }

    /// Steers a rollout; where it stands then.
    async fn steer(&self, verb: &str, batch: &str) -> Value {
        let said = self.fleet(&["rollouts", verb, batch, "-o", "json"]).await;
        serde_json::from_str(&said).unwrap()
    }

    /// Waits until a rollout is in this phase.
    async fn until_phase(&self, batch: &str, phase: &str) -> Value {
        let path = format!("/api/v1/batches/{batch}/rollout");
        self.until(phase, async || {
            let rollout = self.world.get(&path).await;
            (rollout["phase"]["type"] == phase).then_some(rollout)
        })
        .await
    }

    async fn runs(&self, batch: &str) -> Vec<Value> {
        let runs = self.world.get(&format!("/api/v1/runs?batch={batch}")).await;
        let runs = runs["items"].as_array().unwrap().clone();
        assert_eq!(runs.len(), 5);
        runs
    }

    /// The states of a batch's runs, sorted.
    async fn states(&self, batch: &str) -> Vec<String> {
        let runs = self.runs(batch).await.into_iter();
        let mut states: Vec<_> = runs.map(|run| run["state"].as_str().unwrap().to_owned()).collect();
        states.sort();
        states
    }

    /// Kills the agent of a device.
    async fn kill(&mut self, device_name: &str) {
        match self.others.iter_mut().find(|other| other.is(device_name)) {
            Some(other) => {
                other.agent.kill();
                other.agent.gone().await;
            }
            None => self.world.kill_agent(),
        }
    }

    /// Starts it anew: the device is heard of again as soon as it is back.
    async fn restart(&mut self, device_name: &str) {
        self.kill(device_name).await;
        match self.others.iter_mut().find(|other| other.is(device_name)) {
            Some(other) => other.agent = Agent::start(&other.folder.join("agent"), &other.folder, "socket"),
            None => self.world.restart_agent().await,
        }
    }

    /// Of all waves: which runs executed the script, in the order in which they did.
    fn marks(&self) -> Vec<String> {
        let marks = std::fs::read_to_string(self.world.path().join("marks")).unwrap_or_default();
        marks.lines().map(str::to_owned).collect()
    }

    async fn stop(mut self) {
        for other in &mut self.others {
            other.agent.kill();
            other.agent.gone().await;
        }
        self.world.stop().await;
    }
}

fn name_of(run: &Value) -> String {
    run["device_name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rollout_goes_from_wave_to_wave_while_its_devices_are_well_and_stands_while_somebody_holds_it() {
    let mut several = Several::new().await;
    let folder = several.world.path().display().to_string();
    let script = format!("echo $FLEET_RUN_ID >> {folder}/marks; until test -e {folder}/go; do sleep 0.1; done");
    let watch = format!("{WATCHED}s");
    let batch = several.roll_out(&["--wave", "1", "--watch", &watch], &script).await;
    several
        .until("begun", async || (several.marks().len() == 1).then_some(()))
        .await;
    let held = several.steer("pause", &batch).await;
    assert_eq!(
        (&held["phase"]["type"], held["admitted"].as_u64(), held["runs"].as_u64()),
        (&json!("rolling"), Some(1), Some(5)),
        "{held}"
    );
    assert!(
        held["in_words"].as_str().unwrap().starts_with("held by admin"),
        "{held}"
    );
    std::fs::write(several.world.path().join("go"), "").unwrap();

    // What a device has goes on; the wave is over, and nothing follows.
    let first = several.marks().remove(0);
    let first = several.world.until(&first, "over", |run| run["terminal"] == true).await;
    assert_eq!(first["state"], "succeeded", "{first}");
    let held = several.world.get(&format!("/api/v1/batches/{batch}/rollout")).await;
    assert_eq!(
        (&held["phase"]["type"], &held["ended"]),
        (&json!("rolling"), &json!(1)),
        "{held}"
    );
    let waiting = ["scheduled", "scheduled", "scheduled", "scheduled", "succeeded"];
    assert_eq!(several.states(&batch).await, waiting);

    several.steer("resume", &batch).await;
    let watched = several.until_phase(&batch, "watching").await;
    several.restart(&name_of(&first)).await;
    let over = several.until_phase(&batch, "done").await;
    assert_eq!(
        (&over["failed"], &over["unwell"], &over["wave"]),
        (&json!(0), &json!(0), &json!(2)),
        "{over}"
    );
    assert_eq!(several.states(&batch).await, ["succeeded"; 5]);
    let until = watched["phase"]["until"].as_str().unwrap();
    let runs = several.runs(&batch).await;
    for run in runs.iter().filter(|run| run["id"] != first["id"]) {
        // All of one format: the order of the texts is that of the times.
        assert!(run["started_at"].as_str().unwrap() >= until, "{until}: {run}");
    }
    let all: BTreeSet<_> = runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((several.marks().len(), several.marks().into_iter().collect()), (5, all));
    several.stop().await;
}

#[tokio::test]
async fn a_rollout_whose_first_device_fails_touches_no_other() {
    let several = Several::new().await;
    let marks = several.world.path().join("marks");
    let script = format!("echo $FLEET_RUN_ID >> {}; exit 3", marks.display());
    let batch = several.roll_out(&["--wave", "1", "--wave", "2"], &script).await;
    let halted = several.until_phase(&batch, "halted").await;
    let failure = &halted["failures"][0];
    let reason = format!("one device failed, 0 may: {}", failure["device_name"].as_str().unwrap());
    assert!(
        halted["phase"]["reason"].as_str().unwrap().starts_with(&reason),
        "{halted}"
    );
    assert_eq!(several.marks(), [failure["run"].as_str().unwrap()]);
    let waiting = ["failed", "scheduled", "scheduled", "scheduled", "scheduled"];
    assert_eq!(several.states(&batch).await, waiting);

    let aborted = several.steer("abort", &batch).await;
    assert_eq!(aborted["phase"]["type"], "aborted", "{aborted}");
    several
        .until("taken back", async || {
            (several.states(&batch).await == ["cancelled", "cancelled", "cancelled", "cancelled", "failed"])
                .then_some(())
        })
        .await;
    for run in several.runs(&batch).await {
        let is_first = run["id"] == failure["run"];
        assert_eq!(run["delivery"]["attempts"], u64::from(is_first), "{run}");
    }
    assert_eq!(several.marks().len(), 1);
    several.stop().await;
}

#[tokio::test]
async fn a_rollout_whose_first_device_is_gone_after_its_run_touches_no_other() {
    let mut several = Several::new().await;
    let watch = format!("{WATCHED}s");
    let batch = several.roll_out(&["--wave", "1", "--watch", &watch], "true").await;
    several.until_phase(&batch, "watching").await;
    let runs = several.runs(&batch).await;
    let first = runs.iter().find(|run| run["state"] == "succeeded").unwrap();
    several.kill(&name_of(first)).await;
    let halted = several.until_phase(&batch, "halted").await;
    let reason = halted["phase"]["reason"].as_str().unwrap();
    let wrong = format!("{} (not connected)", name_of(first));
    assert!(reason.ends_with(&wrong), "{halted}");
    let waiting = ["scheduled", "scheduled", "scheduled", "scheduled", "succeeded"];
    assert_eq!(several.states(&batch).await, waiting);
    several.stop().await;
}
