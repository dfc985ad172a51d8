//! Drills: a real server's store is backed up, restored elsewhere and started; an administrator who is locked out gets in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::processes::{SERVER, Server};

const PASSWORD: &str = "a perfectly fine password";

/// `fleet-server` with these arguments, to its end.
async fn fleet_server(arguments: &[&str]) -> Output {
    let mut command = Command::new(SERVER);
    command.args(arguments).kill_on_drop(true);
    tokio::time::timeout(std::time::Duration::from_secs(60), command.output())
        .await
        .expect("it ends by itself")
        .unwrap()
}

/// What it says when it does what was asked.
async fn said(arguments: &[&str]) -> String {
    let output = fleet_server(arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// That it refuses with these words.
async fn check_refused(arguments: &[&str], part: &str) {
    let output = fleet_server(arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    assert!(errors.contains(part), "{arguments:?}: {part:?} is not in: {errors}");
}

struct Drill {
    folder: tempfile::TempDir,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Drill {
    /// A stopped server that had an administrator.
    async fn new() -> Self {
        let drill = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(drill.path("data")).unwrap();
        fs::write(drill.path("passphrase"), "twelve characters or more\n").unwrap();
        let mut server = Server::start(&drill.path("data"), "127.0.0.1:0").await;
        let token = fs::read_to_string(drill.path("data/bootstrap-token")).unwrap();
        let claim = json!({"token": token, "name": "ada", "password": PASSWORD});
        let response = post(&server, "/api/v1/bootstrap", &claim, None).await;
        assert_eq!(response.0, 201, "{}", response.1);
        server.kill().await;
        drill
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A backup with its key inside; its file and digest.
    async fn backed_up(&self) -> (PathBuf, String) {
        let file = self.path("fleet.backup");
        let words = said(&[
            "backup",
            "--data",
            text(&self.path("data")),
            "--to",
            text(&file),
            "--backup-passphrase-file",
            text(&self.path("passphrase")),
        ])
        .await;
        let digest = words.trim().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(digest.len(), 64, "{words}");
        (file, digest)
    }

    /// A backup restored into a folder of JSON.
    async fn in_json(&self) -> JsonStore {
        let (file, _) = self.backed_up().await;
        let store = JsonStore {
            data: self.path("json-data"),
            folder: self.path("store"),
            passphrase: self.path("passphrase"),
        };
        store.said(&["restore", "--from", text(&file)], &store.open()).await;
        store
    }
}

/// A stopped server's store in JSON.
struct JsonStore {
    data: PathBuf,
    folder: PathBuf,
    passphrase: PathBuf,
}

impl JsonStore {
    fn storage(&self) -> String {
        format!("json:{}", self.folder.display())
    }

    fn open(&self) -> [&str; 2] {
        ["--backup-passphrase-file", text(&self.passphrase)]
    }

    /// What `fleet-server` says of it.
    async fn said(&self, verb: &[&str], more: &[&str]) -> String {
        let at = ["--data", text(&self.data), "--storage", &self.storage()];
        said(&[verb, &at[..], more].concat()).await
    }

    async fn check_damaged(&self) {
        let at = ["check", "--data", text(&self.data), "--storage", &self.storage()];
        check_refused(&at, "fleet-server repair").await;
    }

    /// Makes another name of this one wherever a folder in the store has it; says where.
    fn damage(&self, folder: &str, name: &str, other: &str) -> Vec<PathBuf> {
        assert_eq!(name.len(), other.len());
        let of = |name: &str| format!("\"name\":\"{name}\"").into_bytes();
        let (name, other) = (of(name), of(other));
        let mut damaged = files(&self.folder.join(folder));
        damaged.retain(|path| {
            let mut bytes = fs::read(path).unwrap();
            let Some(begin) = bytes.windows(name.len()).position(|part| part == name) else {
                return false;
            };
            bytes[begin..begin + other.len()].copy_from_slice(&other);
            fs::write(path, bytes).unwrap();
            true
        });
        damaged
    }
}

async fn post(server: &Server, path: &str, body: &Value, token: Option<&str>) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(format!("{}{path}", server.address))
        .json(body);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// The token of a session; or the status of the refusal.
async fn sign_in(server: &Server, name: &str, password: &str) -> Result<String, u16> {
    let login = json!({"name": name, "password": password});
    match post(server, "/api/v1/sessions", &login, None).await {
        (201, session) => Ok(session["token"].as_str().unwrap().to_owned()),
        (status, _) => Err(status),
    }
}

#[tokio::test]
async fn a_backup_is_restored_on_an_empty_machine_and_its_people_sign_in() {
    let drill = Drill::new().await;
    let (file, digest) = drill.backed_up().await;
    assert!(said(&["backup", "verify", text(&file)]).await.contains(&digest));

    let fresh = drill.path("fresh");
    let passphrase = drill.path("passphrase");
    let restore = ["restore", "--data", text(&fresh), "--from", text(&file)];
    check_refused(&restore, "--backup-passphrase-file").await;
    let restore = [&restore[..], &["--backup-passphrase-file", text(&passphrase)]].concat();
    assert!(said(&restore).await.contains(&digest));
    let key = |data: &str| fs::read_to_string(drill.path(data).join("keys/master.key")).unwrap();
    assert_eq!(key("fresh"), key("data"));
    check_refused(&restore, "not empty").await;

    let mut server = Server::start(&fresh, "127.0.0.1:0").await;
    sign_in(&server, "ada", PASSWORD).await.unwrap();
    server.kill().await;
    said(&["check", "--data", text(&fresh)]).await;
}

#[tokio::test]
async fn a_wrong_passphrase_a_cut_file_and_a_missing_key_leave_nothing_behind() {
    let drill = Drill::new().await;
    let (file, _) = drill.backed_up().await;
    let fresh = drill.path("fresh");
    let wrong = drill.path("wrong");
    fs::write(&wrong, "another passphrase\n").unwrap();
    let from = |file: &Path| ["restore", "--data", text(&fresh), "--from", text(file)].map(str::to_owned);
    let refused = async |file: &Path, more: &[&str], part: &str| {
        let arguments = from(file);
        let arguments: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        check_refused(&arguments, part).await;
    };
    refused(&file, &["--backup-passphrase-file", text(&wrong)], "not the passphrase").await;
    assert!(!fresh.exists());

    let cut = drill.path("cut.backup");
    let bytes = fs::read(&file).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 9]).unwrap();
    check_refused(&["backup", "verify", text(&cut)], "ends at byte").await;
    let passphrase = drill.path("passphrase");
    let open = ["--backup-passphrase-file", text(&passphrase)];
    refused(&cut, &open, "ends at byte").await;
    // What was refused is empty again: the whole file goes in.
    let arguments = from(&file);
    let whole: Vec<&str> = arguments.iter().map(String::as_str).chain(open).collect();
    said(&whole).await;

    let keyless = drill.path("keyless.backup");
    let data = drill.path("data");
    said(&["backup", "--data", text(&data), "--to", text(&keyless), "--without-key"]).await;
    check_refused(
        &["backup", "--data", text(&data), "--to", text(&keyless), "--without-key"],
        "there already",
    )
    .await;
    let other = drill.path("other");
    let restore = ["restore", "--data", text(&other), "--from", text(&keyless)];
    check_refused(&restore, "is not in the backup").await;
    said(&[&restore[..], &["--without-key"]].concat()).await;
    check_refused(&["check", "--data", text(&other)], "no master key").await;
}

/// Every file of a folder, and of the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[tokio::test]
async fn a_damaged_folder_of_json_is_refused_and_repaired_when_that_is_asked_for() {
    let drill = Drill::new().await;
    let store = drill.in_json().await;
    assert!(store.said(&["repair"], &[]).await.contains("nothing is damaged"));
    assert!(!store.damage("", "ada", "eda").is_empty());
    store.check_damaged().await;
    let report: Value = serde_json::from_str(&store.said(&["repair"], &["--json"]).await).unwrap();
    assert!(report["lines"].as_u64().unwrap() > 0, "{report}");
    let aside = report["aside"].as_str().unwrap();
    assert!(
        files(Path::new(aside))
            .iter()
            .any(|path| fs::read_to_string(path).unwrap().contains("\"eda\""))
    );
    assert!(store.said(&["repair"], &[]).await.contains("nothing is damaged"));
    let recovered = store.said(&["admin", "recover", "--name", "ada"], &[]).await;
    assert!(recovered.contains("ada is a new administrator"), "{recovered}");
    let password = recovered.lines().last().unwrap().trim().to_owned();
    let mut server = Server::start_with(&store.data, "127.0.0.1:0", &["--storage", &store.storage()]).await;
    let token = sign_in(&server, "ada", &password).await.unwrap();
    let entries = get(&server, "/api/v1/audit-entries?action=storage.repair", &token).await;
    let [entry] = &entries["items"].as_array().unwrap()[..] else {
        panic!("one entry: {entries}");
    };
    assert_eq!(entry["details"]["aside"], report["aside"], "{entry}");
    let lost = report["lost"].as_array().unwrap().len();
    assert_eq!(entry["details"]["lost"], lost.to_string(), "{entry}");
    server.kill().await;
    check_refused(
        &["repair", "--data", text(&drill.path("data"))],
        "only a JSON store can be repaired",
    )
    .await;
}

#[tokio::test]
async fn audit_entries_that_a_repair_went_on_without_are_told_for_good_in_every_copy() {
    let drill = Drill::new().await;
    let store = drill.in_json().await;
    for name in ["bob", "eve", "kim"] {
        store.said(&["admin", "recover", "--name", name], &[]).await;
    }
    // The line that made eve, with its audit entry; others follow.
    assert_eq!(store.damage("journal", "eve", "ave").len(), 1);
    store.check_damaged().await;
    let repaired = store.said(&["repair"], &[]).await;
    assert!(repaired.contains("storage.repair"), "{repaired}");

    let told = store.said(&["check"], &[]).await;
    assert!(told.starts_with("known loss: audit: row "), "{told}");
    assert!(told.contains(" of the chain is gone"), "{told}");
    assert!(told.ends_with("no damage found\n"), "{told}");
    // Through a backup into another engine.
    let (moved, copy) = (drill.path("moved"), drill.path("after.backup"));
    store.said(&["backup", "--to", text(&copy)], &store.open()).await;
    let fresh = ["--data", text(&moved)];
    said(&[&["restore", "--from", text(&copy)], &fresh[..], &store.open()].concat()).await;
    assert_eq!(said(&[&["check"], &fresh[..]].concat()).await, told);
}

/// A program that is uploaded; its file among the blobs.
async fn upload(server: &Server, token: &str, blobs: &Path, program: &[u8]) -> PathBuf {
    let request = reqwest::Client::new()
        .post(format!(
            "{}/api/v1/agent-releases?version=1.2.3&platform=linux-x86_64",
            server.address
        ))
        .bearer_auth(token)
        .body(program.to_vec());
    let response = request.send().await.unwrap();
    // 200 where it is known already.
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    let of_program = |path: &PathBuf| fs::read(path).unwrap() == program;
    files(blobs).into_iter().find(of_program).expect("it is kept")
}

/// Two megabytes that do not get smaller.
fn program() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(2 << 20).collect()
}

#[tokio::test]
async fn programs_of_agents_are_in_a_backup_and_come_back_to_where_they_are_told() {
    let drill = Drill::new().await;
    let (data, passphrase) = (drill.path("data"), drill.path("passphrase"));
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    let token = sign_in(&server, "ada", PASSWORD).await.unwrap();
    let kept = upload(&server, &token, &data.join("blobs"), &program()).await;
    server.kill().await;
    let (file, _) = drill.backed_up().await;
    let verified = said(&["backup", "verify", text(&file)]).await;
    assert!(verified.contains("1 of 2097152 bytes"), "{verified}");

    let open = ["--backup-passphrase-file", text(&passphrase)];
    let (fresh, elsewhere) = (drill.path("fresh"), drill.path("elsewhere"));
    let place = format!("file:{}", elsewhere.display());
    let restore = [
        &["restore", "--data", text(&fresh), "--blobs", &place, "--from"][..],
        &[text(&file)],
        &open,
    ]
    .concat();
    // Where it goes stands something else: nothing is restored, and what is there stays.
    let digits = kept.parent().unwrap().file_name().unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join(digits), "in the way").unwrap();
    check_refused(&restore, "was not filled").await;
    assert_eq!(files(&elsewhere), [elsewhere.join(digits)]);
    fs::remove_file(elsewhere.join(digits)).unwrap();
    // A byte of the program is another in the backup.
    let damaged = drill.path("damaged.backup");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() - 100_000;
    bytes[at] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let of_damaged: Vec<&str> = restore
        .iter()
        .map(|word| if *word == text(&file) { text(&damaged) } else { word })
        .collect();
    check_refused(&of_damaged, "damaged at byte").await;
    check_refused(&["backup", "verify", text(&damaged)], "damaged at byte").await;
    assert!(files(&elsewhere).is_empty(), "{:?}", files(&elsewhere));

    said(&restore).await;
    let [restored] = &files(&elsewhere)[..] else {
        panic!("one blob: {:?}", files(&elsewhere));
    };
    assert_eq!(fs::read(restored).unwrap(), program());
    let mut server = Server::start_with(&fresh, "127.0.0.1:0", &["--blobs", &place]).await;
    let token = sign_in(&server, "ada", PASSWORD).await.unwrap();
    // The same again, which changes nothing.
    upload(&server, &token, &elsewhere, &program()).await;
    server.kill().await;
}

#[tokio::test]
async fn a_damaged_program_is_told_and_keeps_nothing_else_from_being_backed_up() {
    let drill = Drill::new().await;
    let (data, file) = (drill.path("data"), drill.path("x.backup"));
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    let token = sign_in(&server, "ada", PASSWORD).await.unwrap();
    let kept = upload(&server, &token, &data.join("blobs"), &program()).await;
    server.kill().await;
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let backup = ["backup", "--data", text(&data), "--without-key", "--to", text(&file)];
    check_refused(&backup, "complete but for 1 blobs").await;
    let fresh = drill.path("fresh");
    let restore = [
        "restore",
        "--data",
        text(&fresh),
        "--without-key",
        "--from",
        text(&file),
    ];
    let output = fleet_server(&restore).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let digest = kept.file_name().unwrap().to_str().unwrap();
    assert!(errors.contains(digest), "{errors}");

    // Without its blobs a backup says so.
    let (without, other) = (drill.path("without.backup"), drill.path("other"));
    let backup = [
        "backup",
        "--data",
        text(&data),
        "--without-key",
        "--without-blobs",
        "--to",
    ];
    said(&[&backup[..], &[text(&without)]].concat()).await;
    assert!(said(&["backup", "verify", text(&without)]).await.contains("left out"));
    let restore = [
        "restore",
        "--data",
        text(&other),
        "--without-key",
        "--from",
        text(&without),
    ];
    said(&restore).await;
}

#[tokio::test]
async fn a_running_server_backs_itself_up_and_refuses_offline_tools() {
    let drill = Drill::new().await;
    let data = drill.path("data");
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    let token = sign_in(&server, "ada", PASSWORD).await.unwrap();
    upload(&server, &token, &data.join("blobs"), &program()).await;
    let (status, activity) = post(&server, "/api/v1/storage/backups", &json!({}), Some(&token)).await;
    assert_eq!(status, 202, "{activity}");
    let client = reqwest::Client::new();
    let backup = loop {
        let list = client
            .get(format!("{}/api/v1/storage/backups", server.address))
            .bearer_auth(&token);
        let list: Value = list.send().await.unwrap().json().await.unwrap();
        if !list["items"][0].is_null() {
            break list["items"][0].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(backup["outcome"]["is"], "done", "{backup}");
    assert_eq!(
        backup["blobs"],
        json!({"count": 1, "bytes": 2 << 20, "damaged": 0}),
        "{backup}"
    );
    let file = data.join("backups").join(backup["file"].as_str().unwrap());
    let verified = said(&["backup", "verify", text(&file)]).await;
    assert!(
        verified.contains(backup["outcome"]["digest"].as_str().unwrap()),
        "{verified}"
    );

    let to = drill.path("x.backup");
    let offline = ["backup", "--data", text(&data), "--without-key", "--to", text(&to)];
    check_refused(&offline, "in use").await;
    check_refused(&["admin", "recover", "--data", text(&data)], "in use").await;
    server.kill().await;
}

#[tokio::test]
async fn an_administrator_who_cannot_sign_in_is_let_in_again() {
    let drill = Drill::new().await;
    let data = drill.path("data");
    let words = said(&["admin", "recover", "--data", text(&data), "--name", "ada"]).await;
    let password = words.lines().last().unwrap().trim().to_owned();
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    assert_eq!(sign_in(&server, "ada", PASSWORD).await, Err(401));
    let token = sign_in(&server, "ada", &password).await.unwrap();
    let audit = reqwest::Client::new().get(format!("{}/api/v1/audit-entries?action=user.recover", server.address));
    let audit: Value = audit.bearer_auth(&token).send().await.unwrap().json().await.unwrap();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit}");
    server.kill().await;
    let nowhere = drill.path("nowhere");
    check_refused(&["admin", "recover", "--data", text(&nowhere)], "there is no store").await;
}

#[tokio::test]
async fn a_running_server_moves_to_another_backend_and_back_and_says_where_its_data_is() {
    let drill = Drill::new().await;
    let data = drill.path("data");
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    let token = sign_in(&server, "ada", PASSWORD).await.unwrap();
    let json = format!("json:{}", drill.path("json").display());
    let to = json!({"to": json});
    let (status, plan) = post(&server, "/api/v1/storage/plan", &to, Some(&token)).await;
    assert_eq!((status, &plan["possible"]), (200, &json!(true)), "{plan}");
    assert!(!drill.path("json").exists(), "a plan makes no target");
    let (status, begun) = post(&server, "/api/v1/storage/moves", &to, Some(&token)).await;
    assert_eq!(status, 202, "{begun}");
    let moved = settled(&server, &token, &begun).await;
    assert_eq!(moved["state"], "done", "{moved}");
    // It serves from there.
    let key = json!({"name": "made after the move", "role": "viewer"});
    assert_eq!(post(&server, "/api/v1/keys", &key, Some(&token)).await.0, 201);
    server.kill().await;

    check_refused(
        &["serve", "--listen", "127.0.0.1:0", "--data", text(&data)],
        &format!("--storage and {json}"),
    )
    .await;
    let mut server = Server::start_with(&data, "127.0.0.1:0", &["--storage", &json]).await;
    let keys = get(&server, "/api/v1/keys", &token).await;
    assert_eq!(keys["items"][0]["name"], "made after the move", "{keys}");
    // The next process knows how it went, and how to go back.
    let id = begun["id"].as_str().unwrap();
    let remembered = get(&server, &format!("/api/v1/storage/moves/{id}"), &token).await;
    assert_eq!(remembered["state"], "done", "{remembered}");
    assert_eq!(remembered["pause_ms"], moved["pause_ms"], "{remembered}");
    let (status, refused) = post(
        &server,
        &format!("/api/v1/storage/moves/{id}/back"),
        &json!({}),
        Some(&token),
    )
    .await;
    let way = refused["detail"].as_str().unwrap_or_default();
    assert!(status == 409 && way.contains("fleet.db"), "{status} {refused}");
    let back = json!({"to": format!("sqlite:{}", data.join("fleet.db").display())});
    let (status, begun) = post(&server, "/api/v1/storage/moves", &back, Some(&token)).await;
    assert_eq!(status, 202, "{begun}");
    let moved = settled(&server, &token, &begun).await;
    assert_eq!(moved["state"], "done", "{moved}");
    server.kill().await;
    let mut server = Server::start(&data, "127.0.0.1:0").await;
    let keys = get(&server, "/api/v1/keys", &token).await;
    assert_eq!(keys["items"][0]["name"], "made after the move", "{keys}");
    server.kill().await;
}

async fn get(server: &Server, path: &str, token: &str) -> Value {
    let request = reqwest::Client::new().get(format!("{}{path}", server.address));
    request.bearer_auth(token).send().await.unwrap().json().await.unwrap()
}

/// A move, once it is over.
async fn settled(server: &Server, token: &str, begun: &Value) -> Value {
    let path = format!("/api/v1/storage/moves/{}", begun["id"].as_str().unwrap());
    loop {
        let shown = get(server, &path, token).await;
        if shown["state"] != "running" {
            return shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
