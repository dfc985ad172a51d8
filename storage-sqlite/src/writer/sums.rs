//! Sums of a document's index values: equal sums mean that no index needs to be written.

use fleet_core::store::{Column, Value};

/// The sums of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Over its single values.
    pub(crate) one: [u8; 16],
    /// Over its many values.
    pub(crate) many: [u8; 16],
}

impl Sums {
    pub(crate) fn of(columns: &[Column], index: &[Vec<Value>]) -> Self {
        let (mut one, mut many) = (blake3::Hasher::new(), blake3::Hasher::new());
        for (column, values) in columns.iter().zip(index) {
            let hasher = if column.many { &mut many } else { &mut one };
            hasher.update(&(values.len() as u64).to_le_bytes());
            for value in values {
                add(hasher, value);
            }
        }
        Self {
            one: half(&one),
            many: half(&many),
        }
    }
}

fn add(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Null => hasher.update(b"-"),
        Value::Int(value) => hasher.update(b"i").update(&value.to_le_bytes()),
        Value::Text(text) => hasher
            .update(b"t")
            .update(&(text.len() as u64).to_le_bytes())
            .update(text.as_bytes()),
        Value::Id(id) => hasher.update(b"u").update(id.as_bytes()),
    };
}

fn half(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    half
}
