//! Blobs that move with their store, or without it: killed in the middle, damaged, refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::answer;
use fleet_bins_common::storage::{Purpose, open};
use fleet_core::{
    access::Context,
    blobs::{BLOBS_CLEAN, BlobDigest, BlobRef, BlobService},
    kernel::{SystemClock, SystemRandom},
    modules,
    store::{Evidence, Store},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const BLOBS: usize = 8;

/// A folder with a store and the blobs that it refers to.
struct World {
    folder: TempDir,
    contents: BTreeMap<String, Vec<u8>>,
}

impl World {
    async fn new() -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            contents: BTreeMap::new(),
        };
        let uri = world.uri("sqlite:source.db").parse().unwrap();
        let opened = open(&uri, Purpose::Serve, Arc::new(SystemClock)).await.unwrap();
        let schema = modules::schema(&modules::built_in()).unwrap();
        let (store, _) = Store::open(opened.backend, &schema, Arc::new(SystemClock), Arc::new(SystemRandom))
            .await
            .unwrap();
        for n in 0..BLOBS {
            // The first is empty, others have up to some megabytes.
            let content: Vec<u8> = (0..n * 700_001).map(|at| ((at * 31) >> (n % 5)) as u8).collect();
            let digest = BlobDigest::from_bytes(*blake3::hash(&content).as_bytes());
            let blob = &BlobRef {
                digest,
                size_bytes: content.len() as u64,
                media_type: "text/plain".into(),
            };
            let file = world.file("blobs", &digest.to_string());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &content).unwrap();
            world.contents.insert(digest.to_string(), content);
            store
                .change(
                    &Context::system("test"),
                    Evidence::Audit(BLOBS_CLEAN),
                    |mut tx| async move {
                        BlobService::refer(&mut tx, blob).await?;
                        tx.commit().await
                    },
                )
                .await
                .unwrap();
        }
        store.backend().close().await.unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, place: &str, digest: &str) -> PathBuf {
        self.path(place).join(&digest[..2]).join(digest)
    }

    fn uri(&self, text: &str) -> String {
        let (scheme, name) = text.split_once(':').unwrap();
        format!("{scheme}:{}", self.path(name).display())
    }

    fn command(&self, verb: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate-storage"));
        command.args([verb, "--json"]);
        for word in words {
            match word.starts_with("--") {
                true => command.arg(word),
                false => command.arg(self.uri(word)),
            };
        }
        command
    }

    /// Runs it; its answer. It ends with this code.
    #[track_caller]
    fn check(&self, verb: &str, words: &[&str], code: i32) -> Value {
        answer(&self.command(verb, words).output().unwrap(), code)
    }

    /// The names of what is in its place; each is whole.
    #[track_caller]
    fn in_place(&self, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        for folder in listed(&self.path(place))
            .into_iter()
            .filter(|path| !path.ends_with("incoming"))
        {
            for file in listed(&folder) {
                let digest = file.file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!(fs::read(&file).unwrap(), self.contents[&digest], "{digest}");
                found.push(digest);
            }
        }
        found.sort();
        found
    }

    #[track_caller]
    fn check_all_in_place(&self, place: &str) {
        assert!(self.in_place(place).iter().eq(self.contents.keys()), "{place}");
    }

    /// Another byte in the largest blob of a place; its digest.
    fn damage(&self, place: &str) -> String {
        let (digest, content) = self.contents.iter().max_by_key(|(_, content)| content.len()).unwrap();
        let mut other = content.clone();
        *other.last_mut().unwrap() ^= 1;
        fs::write(self.file(place, digest), other).unwrap();
        digest.clone()
    }

    fn mend(&self, place: &str, digest: &str) {
        fs::write(self.file(place, digest), &self.contents[digest]).unwrap();
    }
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

const THERE: [&str; 8] = [
    "--from",
    "sqlite:source.db",
    "--to",
    "json:target",
    "--blobs-from",
    "file:blobs",
    "--blobs-to",
    "file:new/blobs",
];
const BACK: [&str; 8] = [
    "--from",
    "json:target",
    "--to",
    "sqlite:source.db",
    "--blobs-from",
    "file:new/blobs",
    "--blobs-to",
    "file:blobs",
];

#[tokio::test]
async fn blobs_move_with_their_store_and_back() {
    let world = World::new().await;
    let plan = world.check("plan", &THERE, 0);
    assert_eq!(
        (&plan["blobs"]["copied"], &plan["blobs"]["present"]),
        (&json!(BLOBS), &json!(0))
    );
    assert!(!world.path("new").exists(), "a plan makes no place");
    let stays = world.check("plan", &THERE[..4], 0);
    assert_eq!(stays["blobs"], Value::Null);

    let moved = world.check("run", &THERE, 0);
    assert_eq!(
        (&moved["outcome"], &moved["blobs"]["copied"]),
        (&json!("moved"), &json!(BLOBS))
    );
    assert_eq!(moved["blobs"]["proved"], BLOBS, "{moved}");
    world.check_all_in_place("new/blobs");
    world.check_all_in_place("blobs");
    let again = world.check("run", &THERE, 0);
    assert_eq!(
        (&again["blobs"]["copied"], &again["blobs"]["present"]),
        (&json!(0), &json!(BLOBS))
    );
    assert_eq!(world.check("verify", &THERE, 0)["blobs"]["proved"], BLOBS);

    fs::remove_dir_all(world.path("blobs")).unwrap();
    let back = world.check("back", &BACK, 0);
    assert_eq!(back["blobs"]["copied"], BLOBS, "{back}");
    world.check_all_in_place("blobs");
}

#[tokio::test]
async fn a_move_that_is_killed_among_its_blobs_leaves_none_by_half_and_goes_on() {
    let world = World::new().await;
    let resumed = [&THERE[..], &["--resume"]].concat();
    for milliseconds in [40, 80, 120, 160, 200, 260, 320] {
        let mut killed = world.command("run", &resumed);
        let mut child = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        world.in_place("new/blobs");
    }
    let there = world.in_place("new/blobs").len();
    let moved = world.check("run", &resumed, 0);
    assert_eq!(moved["blobs"]["present"].as_u64().unwrap(), there as u64, "{moved}");
    world.check_all_in_place("new/blobs");
    world.check("verify", &THERE, 0);
}

#[tokio::test]
async fn a_damaged_blob_keeps_the_store_where_it_is_and_is_named() {
    let world = World::new().await;
    let digest = world.damage("blobs");
    let refused = world.check("run", &THERE, 4);
    assert_eq!(refused["error"]["code"], "migration.blob_damaged");
    assert!(
        refused["error"]["message"].as_str().unwrap().contains(&digest),
        "{refused}"
    );
    let status = world.check("status", &THERE[..4], 0);
    assert_eq!(status["stage"]["stage"], "apart", "{status}");
    assert_eq!(world.in_place("new/blobs").len(), BLOBS - 1, "the rest is copied");

    world.mend("blobs", &digest);
    assert_eq!(world.check("run", &THERE, 0)["blobs"]["copied"], 1);
    // What is damaged there is found by whoever looks.
    world.damage("new/blobs");
    let verified = world.check("verify", &THERE, 4);
    assert_eq!(
        (&verified["blobs"]["damaged"], &verified["difference"]),
        (&json!(1), &Value::Null)
    );
}

#[tokio::test]
async fn blobs_move_and_their_store_stays() {
    let world = World::new().await;
    let words = [
        "--storage",
        "sqlite:source.db",
        "--from",
        "file:blobs",
        "--to",
        "file:new",
    ];
    let plan = world.check("blobs", &[&words[..], &["--dry-run"]].concat(), 0);
    assert_eq!(plan["copied"], BLOBS);
    assert!(!world.path("new").exists());
    let moved = world.check("blobs", &words, 0);
    assert_eq!((&moved["copied"], &moved["proved"]), (&json!(BLOBS), &json!(BLOBS)));
    world.check_all_in_place("new");
}

#[tokio::test]
async fn places_that_cannot_be_are_refused_before_anything_is_changed() {
    let world = World::new().await;
    let with = |from, to| [&THERE[..4], &["--blobs-from", from, "--blobs-to", to]].concat();
    let code = |answer: Value| answer["error"]["code"].as_str().unwrap().to_owned();
    let same = world.check("run", &with("file:blobs", "file:blobs"), 3);
    assert_eq!(code(same), "migration.same_place");
    let missing = world.check("run", &with("file:nowhere", "file:new"), 3);
    assert_eq!(code(missing), "migration.place_not_opened");
    let half = world.command("run", &THERE[..6]).output().unwrap();
    assert_eq!(half.status.code(), Some(2));
    // Something is in the way, as a full disk would be: the store stays.
    fs::write(world.path("file"), "").unwrap();
    let unusable = world.check("run", &with("file:blobs", "file:file/new"), 5);
    assert_eq!(code(unusable), "migration.place_not_opened");
    let status = world.check("status", &THERE[..4], 0);
    assert_eq!(status["stage"]["stage"], "apart", "{status}");
    assert!(!world.path("target").exists(), "{status}");
}
