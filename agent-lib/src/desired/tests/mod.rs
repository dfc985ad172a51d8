//! A device and the manifests that it is given, with a server that signs and an executor that keeps a list of what is there.

mod keeping;
mod trust;
mod windows;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::{
    devices::DeviceId,
    kernel::{EntityId as _, ManualClock, SeededRandom, SigningKey, Timestamp, named_uuid},
    protocol::{
        AgentFrame, Finished, ManifestAnswer, ManifestAnswerBody, ManifestMark, ManifestParts, ManifestRequest,
        OfferBody, OutputStream, Recorded, RunResult, Secrets, difference,
    },
    work::{
        RunId, StoredParams,
        desired::{ActionId, DesiredState, ManifestGroup, Occurrence, OnFailure, Rhythm, RhythmTimes, manifest_digest},
        windows::HeldWindow,
    },
};
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::sync::watch;

use super::{Keeper, KeeperParts, Requests};
use crate::{
    clock::ServerClock,
    identity::Identity,
    journal::{Journal, JournalWriter, Limits},
    link::{Carrier, Http, LinkError, Post, Reply, Transport},
    policy::Policy,
    runs::{Cancellation, Ending, Execute, OutputSink, Runs, Sent},
    state::StateDirectory,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn device() -> DeviceId {
    DeviceId::from_uuid(uuid::Uuid::from_u128(7))
}

/// What is there on the device, and all that was executed. The kinds: `thing` is there or not; `broken` fails; `script` prints and
/// says nothing of changes; `hangs` begins to make something and never ends.
#[derive(Debug, Default)]
struct Device {
    there: Mutex<BTreeSet<String>>,
    executed: Mutex<Vec<String>>,
}

#[async_trait]
impl Execute for Device {
    fn kinds(&self) -> Vec<String> {
        ["thing", "broken", "script", "hangs"].map(str::to_owned).into()
    }

    async fn execute(&self, offer: &OfferBody, output: OutputSink, _: Cancellation) -> Ending {
        let name = offer.params["name"].as_str().unwrap().to_owned();
        let is_absent = offer.params["state"] == "absent";
        let mark = if is_absent { "-" } else { "" };
        self.executed.lock().unwrap().push(format!("{name}{mark}"));
        let changed = |changed| Ending {
            changed: Some(changed),
            ..Ending::of(RunResult::Succeeded)
        };
        match offer.kind.as_str() {
            "broken" => Ending::failed("test.broken", "it is broken"),
            "script" => {
                output.begin(false).await.unwrap();
                output.write(OutputStream::Stdout, "done\n").await;
                Ending::of(RunResult::Succeeded)
            }
            "hangs" => {
                output.begin(true).await.unwrap();
                self.there.lock().unwrap().insert(name);
                std::future::pending().await
            }
            _ if self.there.lock().unwrap().contains(&name) != is_absent => changed(false),
            _ => {
                output.begin(!is_absent).await.unwrap();
                output.write(OutputStream::Stdout, &format!("change {name}\n")).await;
                let mut there = self.there.lock().unwrap();
                match is_absent {
                    true => drop(there.remove(&name)),
                    false => drop(there.insert(name)),
                }
                Ending {
                    made: !is_absent,
                    ..changed(true)
                }
            }
        }
    }
}

/// A server, which may be down, and may lie.
#[derive(Debug)]
struct Server {
    dispatch: SigningKey,
    manifest: Mutex<(u64, Vec<ManifestGroup>, Vec<Occurrence>)>,
    windows: Mutex<Vec<HeldWindow>>,
    had: Mutex<Vec<ManifestGroup>>,
    is_down: AtomicBool,
    lie: Mutex<Option<fn(&mut ManifestAnswer)>>,
    /// How many occurrences were sent whole.
    sent_whole: Mutex<usize>,
    /// How long it asks to stay away, in seconds, while it has no time.
    stay_away: Mutex<Option<u32>>,
    /// How often it was asked.
    asked: AtomicU32,
}

#[async_trait]
impl Carrier for Server {
    async fn post(&self, post: Post) -> Result<Reply, LinkError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(LinkError::Unreachable("down".into()));
        }
        assert_eq!(post.path, "/agent/v1/manifest");
        let request: ManifestRequest = serde_json::from_slice(&post.body).unwrap();
        let (version, groups, reverts) = self.manifest.lock().unwrap().clone();
        let windows = self.windows.lock().unwrap().clone();
        let body = ManifestAnswerBody {
            nonce: request.nonce,
            device: device(),
            version,
            digest: manifest_digest(&groups, &windows, &reverts).unwrap(),
            secrets_digest: None,
        };
        let had = match request.have {
            Some(_) => self.had.lock().unwrap().clone(),
            None => Vec::new(),
        };
        let parts = difference(&had, groups.clone());
        *self.had.lock().unwrap() = groups;
        let whole = |part: &&fleet_core::protocol::OccurrencePart| {
            matches!(part, fleet_core::protocol::OccurrencePart::Whole(_))
        };
        *self.sent_whole.lock().unwrap() = parts.iter().flat_map(|part| &part.occurrences).filter(whole).count();
        let parts = ManifestParts {
            groups: parts,
            windows,
            reverts,
            secrets: Secrets::new(),
        };
        let mut answer = ManifestAnswer::sign(body, parts, &self.dispatch).unwrap();
        if let Some(lie) = *self.lie.lock().unwrap() {
            lie(&mut answer);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let stay_away = *self.stay_away.lock().unwrap();
        if stay_away.is_some() {
            return Ok(Reply {
                status: 503,
                retry_after_seconds: stay_away,
                body: Bytes::new(),
            });
        }
        Ok(Reply {
            status: 200,
            retry_after_seconds: None,
            body: Bytes::from(serde_json::to_vec(&answer).unwrap()),
        })
    }

    async fn socket(&self, _: &str, _: &str) -> Result<Box<dyn Transport>, LinkError> {
        Err(LinkError::Unreachable("no sockets here".into()))
    }
}

/// An agent on its folder, and what is around it.
struct World {
    folder: tempfile::TempDir,
    device: Arc<Device>,
    server: Arc<Server>,
    clock: Arc<ManualClock>,
    policy: &'static str,
    agent: Option<(Arc<Keeper>, Runs)>,
    sent: Sent,
}

impl World {
    async fn new(policy: &'static str) -> Self {
        let server = Server {
            dispatch: SigningKey::from_bytes(&[3; 32]),
            manifest: Mutex::default(),
            windows: Mutex::default(),
            had: Mutex::default(),
            is_down: AtomicBool::new(false),
            lie: Mutex::default(),
            sent_whole: Mutex::default(),
            stay_away: Mutex::default(),
            asked: AtomicU32::new(0),
        };
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            device: Arc::default(),
            server: Arc::new(server),
            clock: Arc::new(ManualClock::new(NOW)),
            policy,
            agent: None,
            sent: Sent::default(),
        };
        let pinned = json!({
            "v": 1,
            "device_key": SigningKey::from_bytes(&[4; 32]).public(),
            "dispatch_key": world.server.dispatch.public(),
        });
        std::fs::write(world.folder.path().join("dispatch.json"), pinned.to_string()).unwrap();
        world.start().await;
        world
    }

    /// Starts the agent on what is on its disk; the one before is killed.
    async fn start(&mut self) {
        // On a copy: the journal of the one that was killed may be held for a moment.
        let copy = tempfile::tempdir().unwrap();
        for name in ["journal", "dispatch.json", "manifest.json", "manifest-progress.json"] {
            let _ = std::fs::copy(self.folder.path().join(name), copy.path().join(name));
        }
        self.agent = None;
        self.folder = copy;
        let state = self.folder.path();
        let clock = Arc::new(ServerClock::new(self.clock.clone()));
        let disk = Arc::new(StateDirectory::open(state).unwrap());
        let (journal, recovered) = Journal::open(disk.clone(), Limits::default(), NOW).unwrap();
        let (writer, journal) = JournalWriter::new(journal);
        tokio::spawn(journal.keep());
        let policy = Policy::parse(self.policy, "root", TimeZone::UTC).unwrap();
        let runs = Runs::recover(writer, recovered, clock.clone(), policy, self.device.clone());
        let runs = runs.await.unwrap();
        let identity = Identity {
            device: device(),
            name: "web".into(),
            address: "http://127.0.0.1".into(),
            own_tls: false,
            server: SigningKey::from_bytes(&[5; 32]).public(),
            key: SigningKey::from_bytes(&[4; 32]),
        };
        let random = Arc::new(SeededRandom::new(1));
        let http = Http::carried(
            self.server.clone(),
            Arc::new(identity),
            state,
            clock.clone(),
            random.clone(),
        );
        let keeper = Keeper::new(KeeperParts {
            disk,
            http,
            runs: runs.clone(),
            clock,
            random,
            requests: Arc::new(Requests::default()),
            zone: TimeZone::UTC,
            in_session: watch::channel(true).1,
        });
        self.agent = Some((keeper, runs));
        self.sent = Sent::default();
    }

    fn keeper(&self) -> &Arc<Keeper> {
        &self.agent.as_ref().unwrap().0
    }

    /// The server compiles a manifest and names it: groups, and `~` before what is to be taken back.
    fn assign(&self, text: &str) {
        let (reverts, groups): (Vec<_>, Vec<_>) = text.split_whitespace().partition(|word| word.starts_with('~'));
        let groups: Vec<_> = groups.into_iter().map(group).collect();
        let reverts: Vec<_> = reverts
            .into_iter()
            .map(|word| occurrence("revert", &format!("{}-", &word[1..])))
            .collect();
        self.compiled(groups, reverts);
    }

    /// The server has this manifest by now, and names it.
    fn compiled(&self, groups: Vec<ManifestGroup>, reverts: Vec<Occurrence>) {
        let mut manifest = self.server.manifest.lock().unwrap();
        *manifest = (manifest.0 + 1, groups, reverts);
        let mark = ManifestMark {
            version: manifest.0,
            digest: manifest_digest(&manifest.1, &self.server.windows.lock().unwrap(), &manifest.2).unwrap(),
        };
        self.keeper().requests().name(mark);
    }

    /// Lets the agent do what is due; what it executed.
    async fn turn(&self) -> String {
        self.keeper().turn().await;
        self.device
            .executed
            .lock()
            .unwrap()
            .drain(..)
            .collect::<Vec<_>>()
            .join(" ")
    }

    async fn turn_after(&self, seconds: u64) -> String {
        self.clock.advance(Duration::from_secs(seconds));
        self.turn().await
    }

    /// What a session tells of runs, such as `thing:succeeded+`; the server records it.
    async fn told(&mut self) -> String {
        let told = self.tell().await;
        let (_, runs) = self.agent.as_ref().unwrap();
        for (run, finished) in &told {
            let recorded = Recorded {
                run: *run,
                chunks: finished.chunks,
                accepted: true,
                finished: true,
            };
            runs.recorded(&recorded).await.unwrap();
        }
        shown(&told)
    }

    /// The same, and nobody hears it.
    async fn tell(&mut self) -> Vec<(RunId, Finished)> {
        let (_, runs) = self.agent.as_ref().unwrap();
        let (mut originated, mut ended) = (BTreeSet::new(), Vec::new());
        for _ in 0..20 {
            for frame in runs.due(&mut self.sent).await.unwrap() {
                match frame {
                    AgentFrame::Originated(told) => {
                        assert_eq!(RunId::originated(device(), told.occurrence, told.at), told.run);
                        originated.insert(told.run);
                        // The server knows of it now.
                        let recorded = Recorded {
                            run: told.run,
                            chunks: 0,
                            accepted: true,
                            finished: false,
                        };
                        runs.recorded(&recorded).await.unwrap();
                    }
                    AgentFrame::Started(started) => assert!(originated.contains(&started.run)),
                    AgentFrame::Finished(finished) => {
                        assert!(originated.contains(&finished.run), "told of its beginning first");
                        ended.push((finished.run, finished));
                    }
                    _ => {}
                }
            }
        }
        ended.sort_by_key(|(_, finished)| finished.started_at);
        ended
    }

    fn standing(&self) -> String {
        let applied = self.keeper().applied().unwrap();
        format!(
            "{} kept, {} failed, {} not applicable, {} waiting, {} reverting",
            applied.kept, applied.failed, applied.not_applicable, applied.waiting, applied.reverting
        )
    }

    fn has(&self, name: &str) -> bool {
        self.device.there.lock().unwrap().contains(name)
    }
}

fn shown(told: &[(RunId, Finished)]) -> String {
    let show = |(_, finished): &(RunId, Finished)| {
        let result = serde_json::to_value(finished.result).unwrap();
        let changed = match finished.changed {
            Some(true) => "+",
            Some(false) => "-",
            None => "?",
        };
        format!("{}{changed}", result.as_str().unwrap())
    };
    told.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// A group in a word: its occurrences between commas, then what is special: `@cron`, `!` stops on failure, `=` not on change,
/// `%` skips what printed the same. Every hour, unless by `@` at 02:30.
fn group(word: &str) -> ManifestGroup {
    let names = word.trim_end_matches(['!', '=', '%', '@']);
    let marks = &word[names.len()..];
    ManifestGroup {
        label: format!("set:{}", names.split(['.', '2']).next().unwrap_or(names)),
        name: format!("Set {}", names.split(',').next().unwrap_or(names)),
        rhythm: Rhythm {
            when: match marks.contains('@') {
                true => RhythmTimes::Cron {
                    cron: "30 2 * * *".into(),
                },
                false => RhythmTimes::Interval { every_seconds: 3_600 },
            },
            on_change: !marks.contains('='),
            skip_unchanged: marks.contains('%'),
        },
        on_failure: if marks.contains('!') {
            OnFailure::Stop
        } else {
            OnFailure::Continue
        },
        occurrences: names.split(',').map(|name| occurrence(names, name)).collect(),
    }
}

/// An occurrence by its name: `broken…`, `script…`, `hangs…` are of those kinds, all others are things; `-` at the end: absent; a digit
/// before it: another generation; `one:ann`: the action `one`, which is about `ann`.
fn occurrence(label: &str, name: &str) -> Occurrence {
    let plain = name.trim_end_matches('-');
    let (base, plain) = plain.split_once(':').unwrap_or((plain, plain));
    let (base, subject) = (
        base.trim_end_matches(char::is_numeric),
        plain.trim_end_matches(char::is_numeric),
    );
    let state = if name.ends_with('-') {
        DesiredState::Absent
    } else {
        DesiredState::Present
    };
    let kinds = ["broken", "script", "hangs", "unknown"];
    let label = label.trim_end_matches(char::is_numeric);
    Occurrence {
        id: named_uuid("test", &format!("{label}/{base}/{subject}")),
        action: ActionId::from_uuid(named_uuid("test", base)),
        name: base.to_uppercase(),
        generation: 1,
        operation: kinds
            .into_iter()
            .find(|kind| base.starts_with(kind))
            .unwrap_or("thing")
            .into(),
        params: StoredParams::without_secrets(json!({"name": plain, "state": state})),
        subjects: [format!("thing:{subject}")].into(),
        state,
        timeout_seconds: 60,
        action_set: None,
    }
}
