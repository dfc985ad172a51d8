//! Files whose content a blob has, from a server of the test.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use fleet_core::blobs::BlobDigest;
use serde_json::{Value, json};

use super::{CHANGED, SAME, Scratch, absent};
use crate::contents::{ContentError, Contents};

/// Gives what a test says, and counts how often it was asked.
#[derive(Debug)]
pub(in crate::actions) struct Shelf(Mutex<(Result<Vec<u8>, ContentError>, usize)>);

impl Default for Shelf {
    fn default() -> Self {
        Self(Mutex::new((Err(away()), 0)))
    }
}

impl Shelf {
    fn give(&self, answer: Result<Vec<u8>, ContentError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = answer;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[async_trait]
impl Contents for Shelf {
    async fn fetch(&self, _: BlobDigest) -> Result<Vec<u8>, ContentError> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.1 += 1;
        shelf.0.clone()
    }
}

fn away() -> ContentError {
    ContentError::Unreachable("connection refused".into())
}

/// As much as there may be, and no text.
fn film() -> Vec<u8> {
    (0..10 << 20).map(|n: u32| (n % 251) as u8).collect()
}

fn params(content: &[u8]) -> Value {
    json!({"path": "/srv/film", "content_blob": blake3::hash(content).to_hex().as_str(), "mode": "0600"})
}

fn device() -> Scratch {
    Scratch::new().with_folder("/srv")
}

#[tokio::test]
async fn a_file_gets_the_content_of_a_blob() {
    let (device, film) = (device(), film());
    device.shelf.give(Ok(film.clone()));
    device.check("file", params(&film), CHANGED).await;
    assert!(fs::read(device.path("/srv/film")).unwrap() == film);
    assert_eq!(device.owned("/srv/film").0, 0o600);
    assert_eq!(device.shelf.asked(), 1);
    device.check("file", absent(&params(&film)), CHANGED).await;
}

#[tokio::test]
async fn what_the_device_has_had_once_it_needs_no_server_for() {
    let (device, film) = (device(), film());
    device.shelf.give(Ok(film.clone()));
    device.check("file", params(&film), CHANGED).await;
    device.shelf.give(Err(away()));
    fs::write(device.path("/srv/film"), "altered").unwrap();
    device.check("file", params(&film), CHANGED).await;
    assert!(fs::read(device.path("/srv/film")).unwrap() == film);
}

#[tokio::test]
async fn what_is_as_it_should_be_needs_no_server_either() {
    let device = device().with("/srv/film", "short").with_mode("/srv/film", 0o644);
    device.check("file", params(b"short"), CHANGED).await;
    device.check("file", params(b"short"), SAME).await;
    assert_eq!(device.shelf.asked(), 0);
}

#[tokio::test]
async fn what_was_as_it_should_be_is_put_right_without_a_server() {
    let device = device().with("/srv/film", "short").with_mode("/srv/film", 0o600);
    device.check("file", params(b"short"), SAME).await;
    fs::write(device.path("/srv/film"), "altered").unwrap();
    device.check("file", params(b"short"), CHANGED).await;
    assert_eq!(device.read("/srv/film").as_deref(), Some("short"));
}

#[tokio::test]
async fn what_is_as_it_should_be_takes_no_room_from_what_was_fetched() {
    let device = device().with("/srv/film", "short").with_mode("/srv/film", 0o600);
    let kept = device.beside("state").join("actions/contents");
    fs::create_dir_all(&kept).unwrap();
    fs::File::create(kept.join("other")).unwrap().set_len(64 << 20).unwrap();
    device.check("file", params(b"short"), SAME).await;
    let names: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["other"]);
}

/// What does not come, or is another content, changes nothing, and is not kept.
async fn check_held(answer: Result<Vec<u8>, ContentError>, code: &str) {
    let device = device().with("/srv/film", "former");
    device.shelf.give(answer);
    let done = device.run("file", &params(b"film")).await;
    assert_eq!(done.verdict(), format!("Failed {code}, the same"));
    assert!(done.ending.message.unwrap().starts_with("held: "));
    assert_eq!(device.read("/srv/film").as_deref(), Some("former"));
    device.shelf.give(Ok(b"film".to_vec()));
    device.check("file", params(b"film"), CHANGED).await;
}

#[tokio::test]
async fn what_does_not_come_or_is_another_content_changes_nothing() {
    check_held(Err(away()), "content.unreachable").await;
    check_held(Err(ContentError::Missing), "content.missing").await;
    let refused = ContentError::Refused {
        code: "device.revoked".into(),
        message: "the device was taken out of the fleet".into(),
    };
    check_held(Err(refused), "content.refused").await;
    check_held(Ok(b"fi1m".to_vec()), "content.altered").await;
    check_held(Ok(Vec::new()), "content.altered").await;
}
