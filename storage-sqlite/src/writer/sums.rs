//! What a document's index values were, in a form that tells which of them have changed: an index whose columns have not is left alone.

use fleet_core::store::Value;

use crate::tables::KindTable;

/// The sums of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Of each single value, [`Sums::WIDTH`] bytes, in the order of [`KindTable::singles`].
    pub(crate) singles: Vec<u8>,
    /// Over its many values.
    pub(crate) many: [u8; 16],
}

impl Sums {
    /// Its type, and a number, an id or the hash of a text.
    const WIDTH: usize = 17;

    pub(crate) fn of(table: &KindTable, index: &[Vec<Value>]) -> Self {
        let value = |position: &usize| index.get(*position).and_then(|values| values.first());
        let singles = table
            .singles
            .iter()
            .flat_map(|position| single(value(position)))
            .collect();
        // Hashed in one go, which is several times quicker than piece by piece.
        let mut many = Vec::new();
        for values in table.many.iter().filter_map(|many| index.get(many.position)) {
            many.extend_from_slice(&(values.len() as u64).to_le_bytes());
            for value in values {
                add(&mut many, value);
            }
        }
        Self {
            singles,
            many: half(&many),
        }
    }

    /// Which single values differ from what they were.
    pub(crate) fn changed(&self, before: &Self) -> Changed {
        if self.singles.len() != before.singles.len() {
            // Written when there were other columns.
            return Changed::ALL;
        }
        let pairs = self.singles.chunks(Self::WIDTH).zip(before.singles.chunks(Self::WIDTH));
        let differing = pairs.enumerate().filter(|(_, (now, before))| now != before);
        Changed(differing.fold(0, |bits, (n, _)| bits | 1 << n))
    }
}

/// Single values, by their place in [`KindTable::singles`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed(u16);

impl Changed {
    pub(crate) const ALL: Self = Self(u16::MAX);

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn single(value: Option<&Value>) -> [u8; Sums::WIDTH] {
    let mut sum = [0; Sums::WIDTH];
    match value {
        None | Some(Value::Null) => {}
        Some(Value::Int(value)) => {
            sum[0] = b'i';
            sum[1..9].copy_from_slice(&value.to_le_bytes());
        }
        Some(Value::Text(text)) => {
            sum[0] = b't';
            sum[1..].copy_from_slice(&half(text.as_bytes()));
        }
        Some(Value::Id(id)) => {
            sum[0] = b'u';
            sum[1..].copy_from_slice(id.as_bytes());
        }
    }
    sum
}

fn add(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(b'-'),
        Value::Int(value) => {
            bytes.push(b'i');
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(text) => {
            bytes.push(b't');
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Value::Id(id) => {
            bytes.push(b'u');
            bytes.extend_from_slice(id.as_bytes());
        }
    }
}

fn half(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleet_core::store::{Column, ColumnType, KindSchema};

    use super::*;

    /// `names` are declared in this order; `tag` has many values.
    fn table(names: &[&'static str]) -> KindTable {
        let column = |name: &&'static str| match *name {
            "tag" => Column::many("tag", ColumnType::Text),
            name => Column::one(name, ColumnType::Int),
        };
        KindTable::new(&Arc::new(KindSchema {
            name: "device",
            columns: names.iter().map(column).collect(),
            indexes: Vec::new(),
            indexer: Arc::new(|_| Err("not used".into())),
        }))
    }

    fn sums(names: &[&'static str], values: &[i64]) -> Sums {
        let index: Vec<_> = values.iter().map(|value| vec![Value::Int(*value)]).collect();
        Sums::of(&table(names), &index)
    }

    #[track_caller]
    fn check(before: (&[&'static str], &[i64]), now: (&[&'static str], &[i64]), expected: &[&str]) {
        let table = table(now.0);
        let changed = sums(now.0, now.1).changed(&sums(before.0, before.1));
        let names: Vec<_> = table.changed(changed).map(|(_, column)| column.name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_columns_whose_value_is_another_have_changed() {
        let names: &[&'static str] = &["a", "b", "c"];
        check((names, &[1, 2, 3]), (names, &[1, 2, 3]), &[]);
        check((names, &[1, 2, 3]), (names, &[1, 5, 3]), &["b"]);
        check((names, &[1, 2, 3]), (names, &[2, 2, 1]), &["a", "c"]);
    }

    #[test]
    fn values_that_change_places_have_changed_whatever_order_the_columns_are_declared_in() {
        check((&["a", "b"], &[5, 7]), (&["b", "a"], &[5, 7]), &["a", "b"]);
        check((&["a", "b"], &[5, 7]), (&["b", "a"], &[7, 5]), &[]);
    }

    #[test]
    fn sums_of_other_columns_say_nothing() {
        check((&["a", "b", "c"], &[1, 2, 3]), (&["a", "b"], &[1, 2]), &["a", "b"]);
    }

    #[test]
    fn many_values_have_a_sum_of_their_own() {
        let names = ["a", "tag"];
        let (before, now) = (sums(&names, &[1, 2]), sums(&names, &[1, 3]));
        assert!(now.changed(&before).is_none());
        assert_ne!(now.many, before.many);
    }

    #[test]
    fn nothing_a_number_and_a_text_are_never_alike() {
        let values = [Value::Null, Value::Int(0), Value::Text(String::new())];
        let all: Vec<_> = values.iter().map(|value| single(Some(value))).collect();
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
