//! What a store holds, but for what chance decides: ids, keys, and what is sealed with them; and for when it was done. What chance decides
//! is shown as what it stands for: the places at which it occurs.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
};

use bytes::Bytes;
use fleet_core::{
    Fleet,
    kernel::Timestamp,
    store::{Record, RecordKey, group::Place},
};
use serde_json::{Value, json};

use crate::world::World;

const PAGE: usize = 500;
/// What tells who did it in how many steps, which a kill may alter: the audit trail, how far the feed of changes was read, and how far a
/// walk over devices has come.
const HISTORY: [&str; 3] = ["row audit", "latest feed_marks", "latest manifest_progress"];

/// What is stored, and of which sort it is.
struct Item {
    sort: String,
    value: Value,
}

/// What something that chance decides stands for.
type Meanings = HashMap<String, u64>;

/// Each document, latest value, row and object in a line, in order.
pub async fn picture(world: &World, fleet: &Fleet) -> Vec<String> {
    let mut items = records(fleet).await;
    items.retain(|item| !HISTORY.contains(&item.sort.as_str()));
    items.extend(world.objects().await.into_iter().map(|path| Item {
        sort: "object".into(),
        value: path.split('/').map(Value::from).collect(),
    }));
    lines(&items)
}

fn lines(items: &[Item]) -> Vec<String> {
    let meanings = meanings(items);
    let mut lines: Vec<_> = items.iter().map(|item| line(item, &meanings)).collect();
    lines.sort();
    lines
}

async fn records(fleet: &Fleet) -> Vec<Item> {
    let mut view = fleet.store().backend().view().await.unwrap();
    let (mut items, mut after) = (Vec::new(), None::<RecordKey>);
    loop {
        let page = view.records(after.take(), PAGE).await.unwrap();
        if page.is_empty() {
            return items;
        }
        for record in page {
            after = match record {
                Record::Doc(doc) => {
                    items.push(item(doc.key.kind.into(), &doc.body));
                    Some(RecordKey::Doc(doc.key))
                }
                Record::Latest(latest) => {
                    items.push(item(format!("latest {}", latest.key.kind), &latest.body));
                    Some(RecordKey::Latest(latest.key))
                }
                Record::Row(lane, stored) => {
                    let mut item = item(format!("row {lane}"), &stored.row.body);
                    // Which part of the server does a step, a kill may alter as well.
                    if let Some(part) = item.value.pointer_mut("/actor/part") {
                        part.take();
                    }
                    item.value = json!({"stream": stored.row.stream, "body": item.value});
                    items.push(item);
                    Some(RecordKey::Row(Place::of(lane, &stored.row)))
                }
                Record::End { .. } => return items,
            };
        }
    }
}

fn item(sort: String, body: &Bytes) -> Item {
    let value = serde_json::from_slice(body).unwrap();
    Item { sort, value }
}

/// What each text of chance stands for: all places of all items at which it occurs.
fn meanings(items: &[Item]) -> Meanings {
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for item in items {
        let line = line(item, &Meanings::new());
        each_chance(&item.value, &mut String::new(), &mut |text, path| {
            places.entry(text).or_default().push(hash(&(&line, path)));
        });
    }
    let meaning = |(text, mut places): (&str, Vec<u64>)| {
        places.sort_unstable();
        (text.to_owned(), hash(&places))
    };
    places.into_iter().map(meaning).collect()
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Goes over all texts of chance, with the path of members at which each stands.
fn each_chance<'v>(value: &'v Value, path: &mut String, seen: &mut impl FnMut(&'v str, &str)) {
    match value {
        Value::String(text) if is_chance(text) => seen(text, path),
        Value::Array(values) => values.iter().for_each(|value| each_chance(value, path, seen)),
        Value::Object(members) => {
            for (name, value) in members {
                let length = path.len();
                path.push('/');
                path.push_str(name);
                each_chance(value, path, seen);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// A line of a picture, where all that chance decides is alike.
pub fn without_meanings(line: &str) -> String {
    let mut parts = line.split("\"#");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "\"#" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit())
    })
}

fn line(item: &Item, meanings: &Meanings) -> String {
    format!("{} {}", item.sort, shown(&item.value, meanings))
}

fn shown(value: &Value, meanings: &Meanings) -> Value {
    match value {
        Value::String(text) if is_chance(text) => match meanings.get(text) {
            Some(meaning) => format!("#{meaning:016x}").into(),
            None => "#".into(),
        },
        Value::String(text) if is_time(text) => "@".into(),
        Value::Array(values) => values.iter().map(|value| shown(value, meanings)).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), shown(value, meanings)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

fn is_time(text: &str) -> bool {
    text.ends_with('Z') && text.parse::<Timestamp>().is_ok()
}

/// Whether this is an id, a digest, or sealed.
fn is_chance(text: &str) -> bool {
    match text.len() {
        36 => uuid::Uuid::parse_str(text).is_ok(),
        length => length >= 40 && !text.contains(' '),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";
    const B: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42";
    const C: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a43";

    /// Whether the pictures of two stores are equal.
    #[track_caller]
    fn check(one: &[(&str, Value)], other: &[(&str, Value)], equal: bool) {
        let lines = |items: &[(&str, Value)]| {
            let items = items.iter().cloned();
            let items: Vec<_> = items
                .map(|(sort, value)| Item {
                    sort: sort.into(),
                    value,
                })
                .collect();
            lines(&items)
        };
        assert_eq!(lines(one) == lines(other), equal, "{one:?} {other:?}");
    }

    #[test]
    fn ids_and_times_differ_and_what_they_stand_for_does_not() {
        let device = |id: &str, name: &str| ("device", json!({"id": id, "name": name}));
        let run = |of: &str, at: &str| ("run", json!({"device": of, "at": at}));
        let (early, late) = ("2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z");
        let store = [device(A, "one"), device(B, "two"), run(A, early)];
        check(&store, &[device(C, "one"), device(A, "two"), run(C, late)], true);
        check(&store, &[device(A, "one"), device(B, "two"), run(B, early)], false);
        check(&store, &[device(A, "one"), device(B, "two"), run(C, early)], false);
        check(&store, &store[..2], false);
    }
}
