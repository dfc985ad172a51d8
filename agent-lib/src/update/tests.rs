//! Updates from a server that is honest, and from one that is not, or from somebody in between: the attacks on software updates that TUF
//! (<https://theupdateframework.io>, "Security") lists.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use fleet_core::{
    devices::DeviceId,
    kernel::{ManualClock, SeededRandom, SigningKey, Timestamp},
    protocol::{AgentManifest, AgentVersion, OfferBody, RunResult, Sha256Digest, SignedManifest},
    work::{
        RunId,
        operations::agent_update::{self, AgentUpdateParams},
    },
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::{PLATFORM, Slot, SlotStore, Slots, Told, Updater, UpdaterParts};
use crate::{
    clock::ServerClock,
    identity::Identity,
    link::Http,
    runs::{Cancellation, Ending, OutputSink},
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// What the agent under test is.
const OWN: &str = "1.2.0";

fn version(text: &str) -> AgentVersion {
    text.parse().unwrap()
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn run() -> RunId {
    RunId::new(NOW, &SeededRandom::new(7))
}

fn offer(params: &AgentUpdateParams, timeout_seconds: u32) -> OfferBody {
    OfferBody {
        run: run(),
        device: DeviceId::new(NOW, &SeededRandom::new(1)),
        epoch: 1,
        kind: agent_update::NAME.into(),
        secrets: Vec::new(),
        params: serde_json::to_value(params).unwrap().into(),
        expires_at: Timestamp::MAX,
        timeout_seconds,
        output_limit_bytes: 1_000,
        idempotent: true,
        exclusive: true,
    }
}

/// A program that says a version, as an agent does.
fn program(says: &str) -> Vec<u8> {
    format!("#!/bin/sh\necho fleet-agent {says}\n").into_bytes()
}

/// The manifest of a program.
fn manifest(of: &str, program: &[u8]) -> AgentManifest {
    AgentManifest {
        version: version(of),
        platform: PLATFORM.into(),
        length: program.len() as u64,
        sha256: Sha256Digest::from_bytes(Sha256::digest(program).into()),
        expires_at: NOW.plus(Duration::from_secs(3_600)),
        rollback_floor: version("1.0.0"),
    }
}

/// What is answered to a request.
#[derive(Clone)]
enum Answer {
    Body(Vec<u8>),
    Refusal(u16, &'static str),
    /// As many bytes as anybody takes.
    Endless,
    /// One byte, and then nothing more.
    Silence,
}

/// What stands where the server should.
#[derive(Clone)]
struct Mirror {
    manifest: Answer,
    program: Answer,
}

impl Mirror {
    /// What the pinned dispatch key would have signed, and the program.
    fn of(manifest: &AgentManifest, program: &[u8]) -> Self {
        Self::signed_by(&key(1), manifest, program)
    }

    fn signed_by(dispatch: &SigningKey, manifest: &AgentManifest, program: &[u8]) -> Self {
        let signed = SignedManifest::sign(manifest.clone(), dispatch).unwrap();
        Self {
            manifest: Answer::Body(serde_json::to_vec(&signed).unwrap()),
            program: Answer::Body(program.to_vec()),
        }
    }

    /// Serves until the test is over; gives back its address and what was asked for.
    async fn serve(self) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut part = [0; 1_024];
                    match stream.read(&mut part).await.unwrap() {
                        0 => break,
                        read => request.extend_from_slice(&part[..read]),
                    }
                }
                let path = String::from_utf8_lossy(&request)
                    .split(' ')
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                let answer = if path.starts_with("/agent/v1/releases/") {
                    &self.manifest
                } else {
                    &self.program
                };
                log.lock().unwrap().push(path);
                answer.clone().write(&mut stream).await;
            }
        });
        (address, asked)
    }
}

impl Answer {
    /// Whoever asked may have gone: errors are its own business.
    async fn write(self, stream: &mut tokio::net::TcpStream) {
        let head = |status: u16, length: usize| {
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
        };
        match self {
            Self::Body(body) => {
                let _ = stream.write_all(head(200, body.len()).as_bytes()).await;
                let _ = stream.write_all(&body).await;
            }
            Self::Refusal(status, code) => {
                let body = format!(r#"{{"code":"{code}","title":"no"}}"#);
                let _ = stream.write_all((head(status, body.len()) + &body).as_bytes()).await;
            }
            Self::Endless => {
                let _ = stream.write_all(head(200, 1 << 40).as_bytes()).await;
                while stream.write_all(&[b' '; 16 * 1024]).await.is_ok() {}
            }
            Self::Silence => {
                let _ = stream.write_all((head(200, 1 << 20) + "#").as_bytes()).await;
                // From here on the time that nothing happens in passes at once.
                tokio::time::pause();
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A device that has pinned the dispatch key 1.
struct Device {
    folder: tempfile::TempDir,
    store: SlotStore,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pin = serde_json::json!({"v": 1, "device_key": key(9).public(), "dispatch_key": key(1).public()});
        std::fs::write(folder.path().join("dispatch.json"), pin.to_string()).unwrap();
        Self {
            store: SlotStore::new(folder.path()),
            folder,
        }
    }

    fn updater(&self, own: &str, address: String, in_session: watch::Receiver<bool>) -> Arc<Updater> {
        let identity = Identity {
            device: DeviceId::new(NOW, &SeededRandom::new(1)),
            name: "web-1".into(),
            address,
            own_tls: false,
            server: key(8).public(),
            key: key(9),
        };
        let clock = Arc::new(ServerClock::new(Arc::new(ManualClock::new(NOW))));
        let random = Arc::new(SeededRandom::new(3));
        Arc::new(Updater::new(UpdaterParts {
            http: Http::new(Arc::new(identity), self.folder.path(), clock, random).unwrap(),
            store: self.store.clone(),
            own: version(own),
            in_session,
        }))
    }

    /// Executes the run until it ends, or until a version is ordered.
    async fn execute(&self, updater: &Updater, params: &AgentUpdateParams, timeout_seconds: u32) -> Option<Ending> {
        let offer = offer(params, timeout_seconds);
        let (sender, mut output) = mpsc::channel(16);
        let (_cancel, cancelled) = watch::channel(false);
        let sink = OutputSink::new(sender);
        tokio::select! {
            ending = updater.execute(&offer, &sink, Cancellation::new(cancelled)) => Some(ending),
            () = updater.ordered() => None,
            () = async { while output.recv().await.is_some() {} } => None,
        }
    }
}

/// A device updates from a mirror. What is expected is `ordered`, `succeeded`, `timed out`, or the code of a failure; and unless a version is
/// ordered, nothing has changed on the device.
async fn check(name: &str, mirror: Mirror, params: AgentUpdateParams, expected: &str) -> Vec<String> {
    let device = Device::new();
    let before = Slots {
        floor: Some(version("1.1.0")),
        ..Slots::default()
    };
    device.store.save(&before).unwrap();
    let (address, asked) = mirror.serve().await;
    let updater = device.updater(OWN, address, watch::channel(true).1);
    let found = match device.execute(&updater, &params, 600).await {
        None => "ordered".to_owned(),
        Some(ending) => match ending.result {
            RunResult::Succeeded => "succeeded".to_owned(),
            RunResult::TimedOut => "timed out".to_owned(),
            _ => ending.code.unwrap_or_default(),
        },
    };
    assert_eq!(found, expected, "{name}");
    let program = device.store.program(Slot::A);
    if expected == "ordered" {
        assert_eq!(device.store.load().told(run()), Told::Trying, "{name}");
        assert_eq!(
            program.metadata().unwrap().permissions().mode() & 0o777,
            0o700,
            "{name}"
        );
    } else {
        assert_eq!(device.store.load(), before, "{name}");
        assert!(!program.exists(), "{name}");
        let left = program.with_file_name("fleet-agent.new");
        assert!(!left.exists() || left.metadata().unwrap().len() < 1 << 20, "{name}");
    }
    asked.lock().unwrap().clone()
}

fn newest() -> AgentUpdateParams {
    AgentUpdateParams::default()
}

fn this(text: &str) -> AgentUpdateParams {
    AgentUpdateParams {
        version: Some(version(text)),
        ..newest()
    }
}

fn down(params: AgentUpdateParams) -> AgentUpdateParams {
    AgentUpdateParams {
        allow_downgrade: true,
        ..params
    }
}

#[tokio::test]
async fn an_honest_server_is_followed_and_asked_for_two_things() {
    let good = program("1.4.0");
    let manifest = manifest("1.4.0", &good);
    let asked = check("newest", Mirror::of(&manifest, &good), newest(), "ordered").await;
    assert_eq!(
        asked,
        [
            format!("/agent/v1/releases/{PLATFORM}"),
            format!("/agent/v1/binaries/{PLATFORM}/{}", manifest.sha256)
        ]
    );
    let asked = check("this", Mirror::of(&manifest, &good), this("1.4.0"), "ordered").await;
    assert_eq!(asked[0], format!("/agent/v1/releases/{PLATFORM}?version=1.4.0"));
}

#[tokio::test]
async fn arbitrary_software_is_not_installed() {
    let good = program("1.4.0");
    let evil = manifest("1.4.0", b"#!/bin/sh\nrm -rf /\n");
    let forged = Mirror::signed_by(&key(2), &evil, b"#!/bin/sh\nrm -rf /\n");
    check("forged", forged, newest(), "agent_manifest.forged").await;
    let replaced = Mirror::of(&manifest("1.4.0", &good), &program("1.4.1"));
    check("replaced", replaced, newest(), "agent_update.other_program").await;
    let cut = Mirror::of(&manifest("1.4.0", &good), &good[..good.len() - 1]);
    check("cut", cut, newest(), "agent_update.other_program").await;
    let nonsense = Mirror {
        manifest: Answer::Body(b"{}".to_vec()),
        program: Answer::Body(good),
    };
    check("nonsense", nonsense, newest(), "agent_manifest.malformed").await;
}

#[tokio::test]
async fn nobody_is_taken_back_to_an_old_version() {
    let mirror = |of: &str| Mirror::of(&manifest(of, &program(of)), &program(of));
    // Genuine manifests of the past. What does not ask for an older version does not get one.
    check("older, newest wanted", mirror("1.1.5"), newest(), "succeeded").await;
    check(
        "older, not allowed",
        mirror("1.1.5"),
        this("1.1.5"),
        "agent_update.older",
    )
    .await;
    check("older, allowed", mirror("1.1.5"), down(this("1.1.5")), "ordered").await;
    check(
        "below the floor",
        mirror("1.0.5"),
        down(this("1.0.5")),
        "agent_update.below_floor",
    )
    .await;
}

#[tokio::test]
async fn nobody_is_taken_to_a_version_that_shuts_out_all_others() {
    let far = program("99.0.0");
    let mut ahead = manifest("99.0.0", &far);
    check(
        "forged",
        Mirror::signed_by(&key(2), &ahead, &far),
        newest(),
        "agent_manifest.forged",
    )
    .await;
    ahead.rollback_floor = version("100.0.0");
    check(
        "contradictory",
        Mirror::of(&ahead, &far),
        newest(),
        "agent_manifest.contradictory",
    )
    .await;
    // A floor counts once a version has proved itself, not when somebody shows it: `check` sees that nothing changed.
    ahead.rollback_floor = version("99.0.0");
    check(
        "does not come",
        Mirror::of(&ahead, b"short"),
        newest(),
        "agent_update.other_program",
    )
    .await;
}

#[tokio::test]
async fn an_old_manifest_cannot_be_shown_for_ever() {
    let good = program("1.3.0");
    let mut frozen = manifest("1.3.0", &good);
    frozen.expires_at = NOW;
    check(
        "expired",
        Mirror::of(&frozen, &good),
        newest(),
        "agent_manifest.expired",
    )
    .await;
    // And within its hour it is not taken for the version that the run asks for.
    let stale = Mirror::of(&manifest("1.3.0", &good), &good);
    check("stale", stale, this("1.4.0"), "agent_manifest.other_version").await;
}

#[tokio::test]
async fn an_endless_answer_fills_neither_disk_nor_memory() {
    let good = program("1.4.0");
    let honest = Mirror::of(&manifest("1.4.0", &good), &good);
    let endless = Mirror {
        program: Answer::Endless,
        ..honest.clone()
    };
    check("program", endless, newest(), "agent_update.other_program").await;
    let endless = Mirror {
        manifest: Answer::Endless,
        ..honest
    };
    check("manifest", endless, newest(), "agent_manifest.too_long").await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_holds_nobody_up() {
    let good = program("1.4.0");
    let honest = Mirror::of(&manifest("1.4.0", &good), &good);
    let slow = Mirror {
        program: Answer::Silence,
        ..honest
    };
    check("slow", slow, newest(), "timed out").await;
}

#[tokio::test]
async fn a_manifest_brings_one_program_and_nothing_else() {
    let good = program("1.4.0");
    let signed = SignedManifest::sign(manifest("1.4.0", &good), &key(1)).unwrap();
    let mut more = serde_json::to_value(&signed).unwrap();
    more["manifest"]["requires"] = serde_json::json!(["evil-plugin"]);
    let mirror = Mirror {
        manifest: Answer::Body(more.to_string().into_bytes()),
        program: Answer::Body(good),
    };
    let asked = check("more", mirror, newest(), "ordered").await;
    assert!(asked.len() == 2 && !asked.concat().contains("evil"), "{asked:?}");
}

#[tokio::test]
async fn parts_of_two_releases_do_not_go_together() {
    let (one, two) = (program("1.4.0"), program("1.5.0"));
    let mixed = Mirror::of(&manifest("1.5.0", &two), &one);
    check("program of another", mixed, newest(), "agent_update.other_program").await;
    let (mut body, other) = (manifest("1.5.0", &two), manifest("1.4.0", &one));
    body.sha256 = other.sha256;
    let signature = SignedManifest::sign(manifest("1.5.0", &two), &key(1))
        .unwrap()
        .signature;
    let spliced = SignedManifest {
        manifest: body,
        signature,
    };
    let mirror = Mirror {
        manifest: Answer::Body(serde_json::to_vec(&spliced).unwrap()),
        program: Answer::Body(one),
    };
    check("digest of another", mirror, newest(), "agent_manifest.forged").await;
}

#[tokio::test]
async fn software_for_others_is_not_installed() {
    let good = program("1.4.0");
    let mut foreign = manifest("1.4.0", &good);
    foreign.platform = "linux-pdp11".into();
    check(
        "platform",
        Mirror::of(&foreign, &good),
        newest(),
        "agent_manifest.other_platform",
    )
    .await;
    for (name, wrong) in [
        ("version", program("1.3.9")),
        ("name", b"#!/bin/sh\necho openssl 1.4.0\n".to_vec()),
        ("fails", b"#!/bin/sh\necho fleet-agent 1.4.0; exit 3\n".to_vec()),
        ("no program", b"\x7fELF of another machine".to_vec()),
    ] {
        let mirror = Mirror::of(&manifest("1.4.0", &wrong), &wrong);
        check(name, mirror, newest(), "agent_update.does_not_run").await;
    }
}

#[tokio::test]
async fn whoever_stands_in_between_can_keep_updates_away_and_the_run_says_so() {
    let good = program("1.4.0");
    let honest = Mirror::of(&manifest("1.4.0", &good), &good);
    let refusing = |status: u16, code| Mirror {
        manifest: Answer::Refusal(status, code),
        ..honest.clone()
    };
    check(
        "refused",
        refusing(404, "agent_release.not_found"),
        newest(),
        "agent_release.not_found",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_handed_over_signs_nothing_any_more() {
    let good = program("1.4.0");
    let former = Mirror::signed_by(&key(7), &manifest("1.4.0", &good), &good);
    check("former key", former, newest(), "agent_manifest.forged").await;
}

/// A version that was ordered, and started anew.
fn ordered(device: &Device) {
    let good = program("1.4.0");
    let order = |slots: &mut Slots| {
        slots.order(&manifest("1.4.0", &good), run(), &version(OWN));
        slots.start_trial()
    };
    assert!(device.store.change(order).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_version_proves_itself_by_a_session_that_lasts_and_the_run_hears_of_it() {
    let device = Device::new();
    ordered(&device);
    let (session, in_session) = watch::channel(false);
    let updater = device.updater("1.4.0", "http://127.0.0.1:9".into(), in_session);
    let params = newest();
    let flicker = async {
        // Sessions that break at once prove nothing.
        for _ in 0..20 {
            session.send_replace(true);
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert_eq!(device.store.load().told(run()), Told::Trying);
            session.send_replace(false);
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        session.send_replace(true);
        std::future::pending::<()>().await;
    };
    let ending = tokio::select! {
        ending = device.execute(&updater, &params, 3_600) => ending.unwrap(),
        () = updater.prove() => unreachable!(),
        () = flicker => unreachable!(),
    };
    assert_eq!(ending.result, RunResult::Succeeded);
    assert_eq!(device.store.load().told(run()), Told::Proved(version("1.4.0")));
}

#[tokio::test]
async fn the_former_version_tells_the_run_why_the_new_one_is_gone() {
    let device = Device::new();
    ordered(&device);
    device
        .store
        .change(|slots| slots.returned(NOW, "it kept no session".into()))
        .unwrap();
    let updater = device.updater(OWN, "http://127.0.0.1:9".into(), watch::channel(true).1);
    let ending = device.execute(&updater, &newest(), 60).await.unwrap();
    assert_eq!(ending.code.as_deref(), Some("agent_update.returned"));
    assert!(ending.message.unwrap().contains("it kept no session"));
}

#[tokio::test]
async fn an_order_that_cannot_be_followed_now_is_withdrawn() {
    let device = Device::new();
    let good = program("1.4.0");
    let (address, _) = Mirror::of(&manifest("1.4.0", &good), &good).serve().await;
    let updater = device.updater(OWN, address, watch::channel(true).1);
    let (params, busy) = (newest(), async {
        updater.ordered().await;
        updater.withdraw();
        std::future::pending::<()>().await;
    });
    let offer_ends = async {
        // `execute` listens to the order as well, so it is driven by itself here.
        let (sender, _output) = mpsc::channel(16);
        let (_cancel, cancelled) = watch::channel(false);
        let offer = offer(&params, 600);
        updater
            .execute(&offer, &OutputSink::new(sender), Cancellation::new(cancelled))
            .await
    };
    let ending = tokio::select! {
        ending = offer_ends => ending,
        () = busy => unreachable!(),
    };
    assert_eq!(ending.code.as_deref(), Some("agent_update.withdrawn"));
    assert_eq!(device.store.load().trial, None);
}
