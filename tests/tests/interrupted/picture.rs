//! What a store holds, but for what chance decides: ids, keys, and what is sealed with them; and for when it was done.

use fleet_core::{
    Fleet,
    kernel::Timestamp,
    store::{Cursor, Filter, Find, View},
};
use serde_json::Value;

const PAGE: usize = 500;

/// Each document in a line, in order.
pub async fn picture(fleet: &Fleet) -> Vec<String> {
    let mut view = fleet.store().backend().view().await.unwrap();
    let mut lines = Vec::new();
    for kind in fleet.schema().kinds() {
        let mut after = None;
        loop {
            after = page(&mut *view, kind.name, after, &mut lines).await;
            if after.is_none() {
                break;
            }
        }
    }
    lines.sort();
    lines
}

async fn page(
    view: &mut dyn View,
    kind: &'static str,
    after: Option<Cursor>,
    lines: &mut Vec<String>,
) -> Option<Cursor> {
    let find = Find {
        kind,
        filter: Filter::All,
        order: None,
        after,
        limit: PAGE,
    };
    let page = view.find(&find).await.unwrap();
    for doc in page.docs {
        let body: Value = serde_json::from_slice(&doc.body).unwrap();
        lines.push(format!("{kind} {}", without_chance(body)));
    }
    page.next
}

fn without_chance(value: Value) -> Value {
    match value {
        Value::String(text) if is_chance(&text) => "#".into(),
        Value::String(text) if text.parse::<Timestamp>().is_ok() => "@".into(),
        Value::Array(values) => values.into_iter().map(without_chance).collect(),
        Value::Object(members) => {
            let shown = members.into_iter().map(|(name, value)| (name, without_chance(value)));
            Value::Object(shown.collect())
        }
        other => other,
    }
}

/// Whether this is an id, a digest, or sealed.
fn is_chance(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok() || (text.len() >= 40 && !text.contains(' '))
}
