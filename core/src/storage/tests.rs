//! Backups and checks of a running fleet.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use secrecy::SecretString;
use uuid::Uuid;

use super::{
    archive::{ArchiveReader, KeyPart, unwrap_key},
    ports::{BackupFolder, BackupSink, BackupSource},
    *,
};
use crate::{
    Fleet,
    access::{Actor, Context, DENIED, Grants, Origin, Role, audit::AuditFilter},
    kernel::{Clock as _, Code, ManualClock, MasterKey, PageRequest, SeededRandom, Timestamp},
    settings::SettingValue,
    store::{Backend, Move, Phase, Schema, SchemaReport, memory::MemoryStore},
};

/// Files in memory.
#[derive(Debug, Default)]
struct Shelf {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    full: Mutex<bool>,
    passphrase: Option<&'static str>,
}

impl Shelf {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap()
    }
}

struct Writing {
    shelf: Arc<Shelf>,
    name: String,
    bytes: Vec<u8>,
}

/// The folder that a fleet is given.
#[derive(Debug)]
struct Folder(Arc<Shelf>);

#[async_trait]
impl BackupFolder for Folder {
    async fn create(&self, folder: &str, file: &str) -> io::Result<Box<dyn BackupSink>> {
        Ok(Box::new(Writing {
            shelf: self.0.clone(),
            name: format!("{folder}/{file}"),
            bytes: Vec::new(),
        }))
    }

    async fn remove(&self, folder: &str, file: &str) -> io::Result<()> {
        self.0.files().remove(&format!("{folder}/{file}"));
        Ok(())
    }

    fn passphrase(&self) -> io::Result<Option<SecretString>> {
        Ok(self.0.passphrase.map(Into::into))
    }
}

#[async_trait]
impl BackupSink for Writing {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        if *self.shelf.full.lock().unwrap() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        self.shelf.files().insert(self.name, self.bytes);
        Ok(())
    }
}

struct File(Option<Bytes>);

#[async_trait]
impl BackupSource for File {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

struct World {
    fleet: Fleet,
    clock: Arc<ManualClock>,
    shelf: Arc<Shelf>,
}

fn key() -> MasterKey {
    MasterKey::generate(&SeededRandom::new(7))
}

impl World {
    async fn new(passphrase: Option<&'static str>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let shelf = Arc::new(Shelf {
            passphrase,
            ..Shelf::default()
        });
        let fleet = Fleet::builder(Arc::new(MemoryStore::new(clock.clone())), key())
            .clock(clock.clone())
            .random(Arc::new(SeededRandom::new(1)))
            .backups(Arc::new(Folder(shelf.clone())))
            .open()
            .await
            .unwrap();
        Self { fleet, clock, shelf }
    }

    fn context(&self, role: Role) -> Context {
        let grants = role.grants(self.fleet.permissions());
        Context::new(Actor::Anonymous, Origin::default(), Arc::new(grants))
    }

    fn admin(&self) -> Context {
        self.context(Role::Admin)
    }

    async fn set(&self, key: crate::settings::SettingKey<impl SettingValue>, value: impl Into<serde_json::Value>) {
        let value = value.into();
        self.fleet
            .settings()
            .set(&self.admin(), key.name(), &value, None)
            .await
            .unwrap();
    }

    /// A backup by hand, to its end.
    async fn back_up(&self) -> BackupView {
        self.clock.advance(Duration::from_secs(1));
        self.fleet.storage().back_up(&self.admin()).await.unwrap();
        assert!(self.fleet.storage().work().await);
        self.backups().await.remove(0)
    }

    async fn backups(&self) -> Vec<BackupView> {
        let page = PageRequest::new(Some(100), None).unwrap();
        self.fleet.storage().backups(&self.admin(), &page).await.unwrap().items
    }

    /// The actions of the audit, newest first.
    async fn actions(&self) -> Vec<String> {
        let page = PageRequest::new(Some(10), None).unwrap();
        let context = Context::system("test");
        let entries = self.fleet.audit().list(&context, &AuditFilter::default(), &page).await;
        entries.unwrap().items.into_iter().map(|entry| entry.action).collect()
    }

    async fn reader(&self, backup: &BackupView) -> ArchiveReader {
        let bytes = self.shelf.files()[&format!("{}/{}", backup.folder, backup.file)].clone();
        ArchiveReader::open(Box::new(File(Some(bytes.into())))).await.unwrap()
    }
}

#[track_caller]
fn check_code<T: std::fmt::Debug>(result: crate::kernel::Result<T>, code: Code) {
    assert_eq!(result.unwrap_err().code(), code);
}

/// A store to be filled from a backup without blobs.
fn filling<'a>(store: &'a dyn Backend, schema: &'a Schema, id: Uuid, at: Timestamp) -> Filling<'a> {
    Filling {
        store,
        schema,
        blobs: None,
        id,
        from: "a backup".into(),
        at,
    }
}

#[tokio::test]
async fn a_backup_is_restored_into_a_fresh_store_that_a_fleet_opens() {
    let world = World::new(Some("a long passphrase")).await;
    let backup = world.back_up().await;
    let BackupOutcome::Done {
        digest,
        records,
        key_included,
        ..
    } = backup.outcome.clone()
    else {
        panic!("{backup:?}");
    };
    assert!(key_included && records > 0);

    let schema = world.fleet.schema();
    let read = read_through(world.reader(&backup).await, schema).await.unwrap();
    assert_eq!(read.digest.to_string(), digest);

    let fresh: Arc<dyn Backend> = Arc::new(MemoryStore::new(world.clock.clone()));
    fresh.prepare(schema).await.unwrap();
    let now = Timestamp::from_seconds(1_800_001_000);
    let id = Uuid::from_u128(5);
    let filling = || filling(&*fresh, schema, id, now);
    let restored = restore(world.reader(&backup).await, filling()).await.unwrap();
    assert_eq!(restored.digest.to_string(), digest);
    // Again, into what is not empty any more.
    let again = restore(world.reader(&backup).await, filling()).await;
    assert!(again.unwrap_err().to_string().contains("not empty"));

    let KeyPart::Wrapped(wrapped) = &restored.header.key else {
        panic!("{restored:?}");
    };
    let key = unwrap_key(wrapped, &"a long passphrase".into()).unwrap();
    let fleet = Fleet::builder(fresh, key)
        .clock(world.clock.clone())
        .open()
        .await
        .unwrap();
    let view = fleet.storage().show(&Context::system("test")).await.unwrap();
    assert_eq!(
        (view.phase, view.origin.unwrap().peer),
        (PhaseName::Serving, "a backup".to_owned())
    );
    assert_eq!(fleet.store().backend().standing().await.unwrap().phase, Phase::Serving);
}

#[tokio::test]
async fn without_a_passphrase_the_key_is_left_out_and_named() {
    let world = World::new(None).await;
    let backup = world.back_up().await;
    assert!(matches!(
        backup.outcome,
        BackupOutcome::Done {
            key_included: false,
            ..
        }
    ));
    let reader = world.reader(&backup).await;
    assert_eq!(reader.header().key, KeyPart::LeftOut { id: key().id() });
}

#[tokio::test]
async fn a_backup_leaves_an_entry_when_it_is_asked_for_and_one_when_it_is_made() {
    let world = World::new(None).await;
    world.back_up().await;
    assert_eq!(world.actions().await[..2], ["storage.backup.finish", "storage.backup"]);
    let view = world.fleet.storage().show(&world.admin()).await.unwrap();
    assert!(view.last_backup.is_some() && view.activity.is_none());
}

#[tokio::test]
async fn a_full_disk_is_remembered_and_leaves_no_file() {
    let world = World::new(None).await;
    *world.shelf.full.lock().unwrap() = true;
    let backup = world.back_up().await;
    assert!(matches!(backup.outcome, BackupOutcome::Failed { .. }), "{backup:?}");
    assert!(world.shelf.files().is_empty());
    assert!(
        world
            .fleet
            .storage()
            .show(&world.admin())
            .await
            .unwrap()
            .last_backup
            .is_none()
    );
}

#[tokio::test]
async fn only_the_newest_are_kept() {
    let world = World::new(None).await;
    world.set(BACKUP_KEEP, 3).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.back_up().await.file);
    }
    let mut kept: Vec<_> = world.backups().await.into_iter().map(|backup| backup.file).collect();
    kept.reverse();
    assert_eq!(kept, made[2..]);
    assert_eq!(world.shelf.files().len(), 3);
}

#[tokio::test]
async fn a_backup_is_made_when_it_is_due_and_not_before() {
    let world = World::new(None).await;
    let hour = Duration::from_secs(3_600);
    for (advance, expected) in [(Duration::ZERO, 1), (hour * 23, 1), (hour * 2, 2), (hour, 2)] {
        world.clock.advance(advance);
        world.fleet.storage().make_if_due().await.unwrap();
        assert_eq!(world.backups().await.len(), expected, "after {advance:?}");
    }
    world.set(BACKUP_EVERY, 0).await;
    world.clock.advance(hour * 1_000);
    world.fleet.storage().make_if_due().await.unwrap();
    assert_eq!(world.backups().await.len(), 2);
    assert!(
        world
            .backups()
            .await
            .iter()
            .all(|backup| backup.trigger == BackupTrigger::Schedule)
    );
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let world = World::new(None).await;
    let admin = world.admin();
    let storage = world.fleet.storage();
    storage.check(&admin).await.unwrap();
    check_code(storage.back_up(&admin).await, BUSY);
    assert!(storage.work().await);
    let view = storage.show(&admin).await.unwrap();
    assert!(view.last_check.unwrap().healthy);
    storage.back_up(&admin).await.unwrap();
    check_code(storage.check(&admin).await, BUSY);
}

#[tokio::test]
async fn only_administrators_see_the_store_and_do_something_with_it() {
    let world = World::new(None).await;
    let storage = world.fleet.storage();
    let page = PageRequest::new(None, None).unwrap();
    let nobody = Context::new(Actor::Anonymous, Origin::default(), Arc::new(Grants::default()));
    for context in [world.context(Role::Operator), world.context(Role::Viewer), nobody] {
        check_code(storage.show(&context).await, DENIED);
        check_code(storage.backups(&context, &page).await, DENIED);
        check_code(storage.check(&context).await, DENIED);
        check_code(storage.back_up(&context).await, DENIED);
    }
}

#[tokio::test]
async fn a_fleet_without_a_folder_makes_no_backups_and_says_so() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let fleet = Fleet::builder(Arc::new(MemoryStore::new(clock.clone())), key())
        .clock(clock)
        .open()
        .await
        .unwrap();
    check_code(
        fleet.storage().back_up(&Context::system("test")).await,
        BACKUP_UNAVAILABLE,
    );
    fleet.storage().make_if_due().await.unwrap();
}

#[tokio::test]
async fn a_store_of_an_older_version_is_backed_up_before_it_is_changed() {
    let world = World::new(None).await;
    let clock = world.clock.clone();
    let schema = world.fleet.schema();
    let older = schema.before(&SchemaReport {
        created: vec!["storage_backup".into()],
        filled: vec![format!("user.{}", schema.kind("user").unwrap().columns[0].name)],
    });
    // Each time another store of the older version.
    let past = async || {
        let store = Arc::new(MemoryStore::new(clock.clone()));
        store.prepare(&older).await.unwrap();
        let records: Vec<_> = world
            .fleet
            .store()
            .backend()
            .view()
            .await
            .unwrap()
            .export()
            .collect()
            .await;
        let into: &dyn Backend = &*store;
        let by = Move {
            id: Uuid::from_u128(1),
            peer: "the past".into(),
            at: clock.now(),
        };
        into.import(by, stream::iter(records).boxed()).await.unwrap();
        store
    };
    let open = |store: Arc<MemoryStore>, key: MasterKey, wanted: bool| {
        Fleet::builder(store, key)
            .clock(clock.clone())
            .random(Arc::new(SeededRandom::new(2)))
            .backups(Arc::new(Folder(world.shelf.clone())))
            .backup_before_upgrade(wanted)
            .open()
    };

    let other = MasterKey::generate(&SeededRandom::new(8));
    assert!(open(past().await, other, true).await.is_err());
    assert_eq!(
        world.shelf.files().len(),
        0,
        "a wrong key is refused before anything is written"
    );
    *world.shelf.full.lock().unwrap() = true;
    let full = past().await;
    check_code(open(full.clone(), key(), true).await, BACKUP_FAILED);
    assert_eq!(
        full.pending(&older).await.unwrap(),
        SchemaReport::default(),
        "it is as it was"
    );
    *world.shelf.full.lock().unwrap() = false;

    let store = past().await;
    let fleet = open(store.clone(), key(), true).await.unwrap();
    let world = World {
        fleet,
        clock: clock.clone(),
        shelf: world.shelf.clone(),
    };
    let made = world.backups().await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].trigger, BackupTrigger::Upgrade);
    assert!(made[0].file.starts_with("fleet-before-upgrade-"), "{}", made[0].file);
    let BackupOutcome::Done { digest, .. } = &made[0].outcome else {
        panic!("{made:?}");
    };
    let restored = Arc::new(MemoryStore::new(clock.clone()));
    restored.prepare(&older).await.unwrap();
    let reader = world.reader(&made[0]).await;
    let filling = filling(&*restored, &older, Uuid::from_u128(2), clock.now());
    let held = restore(reader, filling).await.unwrap();
    assert_eq!(held.digest.to_string(), *digest, "the older version can take it");

    // Another start changes nothing; the rule for other backups leaves this one alone.
    open(store, key(), true).await.unwrap();
    world.set(BACKUP_KEEP, 1).await;
    for _ in 0..2 {
        world.back_up().await;
    }
    let left: Vec<_> = world.backups().await.into_iter().map(|backup| backup.trigger).collect();
    assert_eq!(left, [BackupTrigger::Manual, BackupTrigger::Upgrade]);
    let before = world.shelf.files().len();
    open(past().await, key(), false).await.unwrap();
    assert_eq!(world.shelf.files().len(), before, "none was wanted");
}
