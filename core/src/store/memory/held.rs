//! A value in an ordered index.

use std::sync::Arc;

use uuid::Uuid;

use crate::store::Value;

/// A [`Value`] whose copy allocates nothing, in the same order: a node of an index that a view shares is copied, with all that it
/// holds, before it changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    Null,
    Int(i64),
    Text(Arc<str>),
    Id(Uuid),
}

impl From<&Value> for Held {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(*value),
            Value::Text(text) => Self::Text(text.as_str().into()),
            Value::Id(id) => Self::Id(*id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_values() {
        let texts = ["", "A", "a", "a\u{7f}", "b", "é", "\u{ffff}", "😀"];
        let numbers = [i64::MIN, -1, 0, 1, i64::MAX].map(Value::Int);
        let ids = [Uuid::nil(), Uuid::from_u128(1), Uuid::from_u128(1 << 64), Uuid::max()].map(Value::Id);
        let mut all: Vec<Value> = vec![Value::Null];
        all.extend(numbers);
        all.extend(texts.map(Value::from));
        all.extend(ids);
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            assert_eq!(
                Held::from(one).cmp(&Held::from(other)),
                one.cmp(other),
                "{one:?} {other:?}"
            );
        }
    }
}
