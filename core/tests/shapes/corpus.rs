//! Old bodies stay readable. `../corpus/v<version>/<name>.json` holds an example of every kind, lane and latest value of
//! each version that ever landed, byte for byte as it was stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use fleet_core::{
    Fleet,
    access::Context,
    devices::{DeviceGroup, groups::GROUP_UPDATE},
    kernel::{EntityId, MasterKey, SystemClock, SystemRandom, canonical},
    modules::{built_in, schema},
    store::{Batch, Entity, Evidence, Expect, Schema, Write, memory::MemoryStore},
};
use serde_json::Value as Json;

use crate::sample::{Role, Sample, UNKNOWN, all, with_unknown_members, without_unknown_members};

const UPDATE: &str = "INSTA_UPDATE=always cargo test -p fleet-core --test shapes";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The first sample of each name.
fn samples() -> BTreeMap<&'static str, Sample> {
    let mut samples = BTreeMap::new();
    for sample in all() {
        samples.entry(sample.name).or_insert(sample);
    }
    samples
}

fn declared() -> Schema {
    schema(&built_in()).unwrap()
}

fn path(sample: &Sample) -> PathBuf {
    folder().join(format!("v{}/{}.json", sample.version, sample.name))
}

/// Writes the examples of the present versions, when that is asked for, before any of them is read.
fn update() {
    static UPDATED: Once = Once::new();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        UPDATED.call_once(|| {
            for sample in samples().values() {
                let path = path(sample);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, [sample.body.as_slice(), b"\n"].concat()).unwrap();
            }
        });
    }
}

/// All examples: version of their folder, name, bytes.
fn examples() -> Vec<(u32, String, Vec<u8>)> {
    update();
    let mut examples = Vec::new();
    for version in fs::read_dir(folder()).unwrap() {
        let version = version.unwrap();
        let number = version.file_name().to_str().unwrap().strip_prefix('v').unwrap().parse();
        for example in fs::read_dir(version.path()).unwrap() {
            let path = example.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut bytes = fs::read(&path).unwrap();
            // The line end at the end of the file is for people.
            assert_eq!(bytes.pop(), Some(b'\n'), "{name}");
            examples.push((number.clone().unwrap(), name, bytes));
        }
    }
    examples.sort();
    examples
}

#[test]
fn every_declared_kind_lane_and_latest_value_has_a_sample() {
    let schema = declared();
    let names = |role| {
        let samples = all();
        let of_role = samples.iter().filter(|sample| sample.role == role);
        of_role.map(|sample| sample.name.to_owned()).collect::<BTreeSet<_>>()
    };
    let kinds: BTreeSet<_> = schema.kinds().map(|kind| kind.name.to_owned()).collect();
    let lanes: BTreeSet<_> = schema.lanes().map(|lane| lane.name.to_owned()).collect();
    let latests: BTreeSet<_> = schema.latests().map(|latest| latest.name.to_owned()).collect();
    let hint = "add a sample to the module's file in core/tests/shapes, then";
    assert_eq!(names(Role::Document), kinds, "{hint} {UPDATE}");
    assert_eq!(names(Role::Row), lanes, "{hint} {UPDATE}");
    assert_eq!(names(Role::Latest), latests, "{hint} {UPDATE}");
}

#[test]
fn the_corpus_holds_an_example_of_each_in_its_present_version() {
    update();
    for sample in samples().values() {
        let bytes = [sample.body.as_slice(), b"\n"].concat();
        let stored = fs::read(path(sample)).unwrap_or_default();
        assert_eq!(
            String::from_utf8(stored).unwrap(),
            String::from_utf8(bytes).unwrap(),
            "{} has another shape than its example: raise its version and add an upgrade, or, while nothing of it was \
             released, {UPDATE}",
            sample.name
        );
    }
}

#[test]
fn every_example_is_read_and_its_present_version_written_as_it_was() {
    let samples = samples();
    let examples = examples();
    assert!(examples.len() >= samples.len());
    for (version, name, bytes) in examples {
        let body: Json = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body["v"], version, "v{version}/{name} stands in the wrong folder");
        assert_eq!(
            canonical::to_vec(&body).unwrap(),
            bytes,
            "v{version}/{name} is not canonical"
        );
        let sample = samples.get(name.as_str()).unwrap_or_else(|| {
            panic!("v{version}/{name}: nothing of this name is stored any more; who reads old stores?")
        });
        let again = (sample.rewrite)(&bytes).unwrap_or_else(|why| panic!("v{version}/{name} is not readable: {why}"));
        if version == sample.version {
            assert_eq!(
                String::from_utf8(again).unwrap(),
                String::from_utf8(bytes).unwrap(),
                "{name}"
            );
        } else {
            let again: Json = serde_json::from_slice(&again).unwrap();
            assert_eq!(again["v"], sample.version, "v{version}/{name} is not upgraded");
        }
    }
}

#[test]
fn a_backend_computes_the_index_that_was_written_with_the_body() {
    let schema = declared();
    for sample in all() {
        let computed = match sample.role {
            Role::Document => schema.kind(sample.name).unwrap().index(&sample.body).unwrap(),
            Role::Row => {
                let values = schema.lane(sample.name).unwrap().index(&sample.body).unwrap();
                values.into_iter().map(|value| vec![value]).collect()
            }
            Role::Latest => Vec::new(),
        };
        assert_eq!(computed, sample.index, "{}: {}", sample.name, sample.case);
    }
}

#[test]
fn members_of_a_later_version_survive_a_read_and_a_write() {
    for sample in all().into_iter().filter(|sample| sample.keeps_unknown) {
        let mut body: Json = serde_json::from_slice(&sample.body).unwrap();
        body["v"] = (sample.version + 1).into();
        body[UNKNOWN] = serde_json::json!({"deep": [1, {"a": null}]});
        let later = canonical::to_vec(&body).unwrap();
        let again = (sample.rewrite)(&later).unwrap_or_else(|why| panic!("{}: {why}", sample.name));
        // Its version is that of the one who wrote it last, so that the later version upgrades it again.
        body["v"] = sample.version.into();
        let expected = canonical::to_vec(&body).unwrap();
        assert_eq!(String::from_utf8(again), String::from_utf8(expected), "{}", sample.name);
    }
}

#[test]
fn members_of_a_later_version_at_any_depth_are_no_obstacle() {
    for sample in all() {
        let mut body: Json = serde_json::from_slice(&sample.body).unwrap();
        with_unknown_members(&mut body);
        let later = canonical::to_vec(&body).unwrap();
        let again = (sample.rewrite)(&later).unwrap_or_else(|why| panic!("{}: {why}", sample.name));
        let mut again: Json = serde_json::from_slice(&again).unwrap();
        without_unknown_members(&mut again);
        let expected: Json = serde_json::from_slice(&sample.body).unwrap();
        assert_eq!(again, expected, "{}: {}", sample.name, sample.case);
    }
}

#[tokio::test]
async fn a_change_through_the_store_keeps_them_too() {
    let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom))
        .open()
        .await
        .unwrap();
    let sample = samples().remove(DeviceGroup::KIND).unwrap();
    let mut body: Json = serde_json::from_slice(&sample.body).unwrap();
    body[UNKNOWN] = "kept".into();
    let id: <DeviceGroup as Entity>::Id = body["id"].as_str().unwrap().parse().unwrap();
    let write = Write::Put {
        key: DeviceGroup::key(id),
        expect: Expect::Absent,
        body: canonical::to_vec(&body).unwrap().into(),
        index: sample.index,
    };
    let batch = Batch {
        id: id.uuid(),
        writes: vec![write],
        rows: Vec::new(),
    };
    fleet.store().backend().commit(batch).await.unwrap();
    fleet
        .store()
        .change(
            &Context::system("test"),
            Evidence::Audit(GROUP_UPDATE),
            |mut tx| async move {
                let before = tx.get::<DeviceGroup>(id).await?.unwrap();
                let after = DeviceGroup {
                    description: "changed".into(),
                    ..before.value.clone()
                };
                tx.update(&before, &after)?;
                tx.commit().await
            },
        )
        .await
        .unwrap();
    let mut view = fleet.store().backend().view().await.unwrap();
    let stored = view.get(&[DeviceGroup::key(id)]).await.unwrap().remove(0).unwrap();
    body["description"] = "changed".into();
    assert_eq!(stored.body, canonical::to_vec(&body).unwrap());
}
