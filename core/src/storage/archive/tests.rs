use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::{
    access::Context,
    devices::testing::TestFleet,
    kernel::{ManualClock, Timestamp},
    modules,
    storage::ports::{BackupSink, BackupSource},
    store::{self, Backend, Move, Phase, Schema, memory::MemoryStore},
};

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl BackupSink for Shelf {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// A file that comes in pieces.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn of(bytes: &[u8], size: usize) -> Box<Self> {
        Box::new(Self(bytes.chunks(size).map(Bytes::copy_from_slice).collect()))
    }
}

#[async_trait]
impl BackupSource for Pieces {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

fn schema() -> Schema {
    modules::schema(&modules::built_in()).unwrap()
}

fn header() -> Header {
    Header {
        made_at: Timestamp::EPOCH,
        version: "0.1.0".into(),
        backend: "memory".into(),
        seq: 0,
        key: KeyPart::LeftOut { id: "k".into() },
    }
}

/// The backup of a fleet with some devices, and what is in it.
async fn backup() -> (Vec<u8>, Archived) {
    let test = TestFleet::new().await;
    for n in 0..50 {
        test.fleet
            .enrolment()
            .create_token(
                &Context::system("test"),
                &crate::devices::enrolment::NewEnrolmentToken {
                    name: format!("token {n}"),
                    ..Default::default()
                },
            )
            .await
            .unwrap();
    }
    let mut shelf = Shelf::default();
    let view = test.fleet.store().backend().view().await.unwrap();
    let archived = write_archive(view, &header(), &mut shelf, &|_| {}).await.unwrap();
    let bytes = shelf.0.lock().unwrap().clone();
    assert_eq!(archived.bytes, bytes.len() as u64);
    (bytes, archived)
}

fn a_move() -> Move {
    Move {
        id: uuid::Uuid::from_u128(1),
        peer: "a backup".into(),
        at: Timestamp::EPOCH,
    }
}

async fn empty() -> Arc<dyn Backend> {
    let store: Arc<dyn Backend> = Arc::new(MemoryStore::new(Arc::new(ManualClock::new(Timestamp::EPOCH))));
    store.prepare(&schema()).await.unwrap();
    store
}

/// Restores bytes into an empty store; what came of it.
async fn restore(bytes: &[u8], piece: usize) -> Result<store::Record, store::Error> {
    let store = empty().await;
    let result = match ArchiveReader::open(Pieces::of(bytes, piece)).await {
        Ok(reader) => store.import(a_move(), reader.records(schema())).await,
        Err(damage) => Err(damage.into()),
    };
    if result.is_err() {
        assert_eq!(
            store.view().await.unwrap().seq(),
            0,
            "nothing is left of what was refused"
        );
    }
    assert_eq!(store.standing().await.unwrap().phase, Phase::Serving);
    result
}

#[tokio::test]
async fn what_was_backed_up_is_restored_to_the_byte_in_pieces_of_any_size() {
    let (bytes, archived) = backup().await;
    for piece in [1, 7, 4096, usize::MAX] {
        let end = restore(&bytes, piece).await.unwrap();
        let expected = store::Record::End {
            seq: archived.seq,
            count: archived.records,
            digest: archived.digest,
        };
        assert_eq!(end, expected, "pieces of {piece}");
    }
}

/// That an altered backup is refused with these words.
async fn check_refused(bytes: &[u8], said: &str) {
    let error = restore(bytes, 65_536).await.unwrap_err().to_string();
    assert!(error.contains(said), "{error}, expected {said:?}");
}

#[tokio::test]
async fn every_cut_is_refused() {
    let (bytes, _) = backup().await;
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let expected = if at < MAGIC.len() + 6 {
            "no backup"
        } else {
            "ends at byte"
        };
        check_refused(&bytes[..at], expected).await;
    }
    check_refused(&bytes[..bytes.len() - 1], "ends at byte").await;
}

#[tokio::test]
async fn every_flipped_bit_is_refused() {
    let (bytes, _) = backup().await;
    for at in (0..bytes.len()).step_by(bytes.len() / 199) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        check_refused(&altered, "").await;
    }
}

#[tokio::test]
async fn what_follows_the_end_a_newer_format_and_other_files_are_refused() {
    let (bytes, _) = backup().await;
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    check_refused(&longer, "goes on after its end").await;
    let mut newer = bytes.clone();
    newer[MAGIC.len()] = 2;
    check_refused(&newer, "format 2").await;
    check_refused(b"PK\x03\x04 something else entirely", "no backup").await;
    check_refused(b"", "no backup").await;
}

#[tokio::test]
async fn a_damaged_backup_says_where() {
    let (mut bytes, _) = backup().await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    check_refused(&bytes, "damaged at byte").await;
}

#[tokio::test]
async fn the_header_is_read_without_any_key() {
    let (bytes, _) = backup().await;
    let reader = ArchiveReader::open(Pieces::of(&bytes, 3)).await.unwrap();
    assert_eq!(*reader.header(), header());
}
