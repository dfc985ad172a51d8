//! Where a table is read on, behind a key of an export: one rule for all backends.

use uuid::Uuid;

use super::RecordKey;
use crate::store::{Key, Name, group::Place};

/// How much of a table lies behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind<T> {
    /// All of it.
    All,
    /// What comes after this.
    After(T),
    /// Nothing: the walk is past it.
    Nothing,
}

impl RecordKey {
    /// What of a kind's documents lies behind `after`, by id.
    pub fn behind_in_kind(after: Option<Self>, kind: Name) -> Behind<Uuid> {
        ids(after, |id| Self::Doc(Key::new(kind, id)))
    }

    /// What of a set of latest values lies behind `after`, by id.
    pub fn behind_in_set(after: Option<Self>, set: Name) -> Behind<Uuid> {
        ids(after, |id| Self::Latest(Key::new(set, id)))
    }

    /// What of a lane lies behind `after`, by stream, time and number.
    pub fn behind_in_lane(after: Option<Self>, lane: Name) -> Behind<(Uuid, i64, u32)> {
        match after {
            Some(Self::Row(place)) if place.lane == lane => Behind::After((place.stream, place.at, place.n)),
            Some(Self::Row(Place { lane: name, .. })) if name > lane => Behind::Nothing,
            _ => Behind::All,
        }
    }
}

fn ids(after: Option<RecordKey>, key: impl Fn(Uuid) -> RecordKey) -> Behind<Uuid> {
    match after {
        None => Behind::All,
        Some(after) if after < key(Uuid::nil()) => Behind::All,
        Some(after) if after >= key(Uuid::max()) => Behind::Nothing,
        Some(RecordKey::Doc(Key { id, .. }) | RecordKey::Latest(Key { id, .. })) => Behind::After(id),
        Some(RecordKey::Row(_)) => Behind::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn row(lane: Name) -> RecordKey {
        RecordKey::Row(Place {
            lane,
            stream: id(3),
            at: -5,
            n: 2,
        })
    }

    /// What lies behind a key in kind, set and lane `b`.
    #[track_caller]
    fn check(after: Option<RecordKey>, kind: Behind<u128>, set: Behind<u128>, lane: Behind<(Uuid, i64, u32)>) {
        let number = |behind| match behind {
            Behind::All => Behind::All,
            Behind::After(id) => Behind::After(Uuid::as_u128(&id)),
            Behind::Nothing => Behind::Nothing,
        };
        assert_eq!(number(RecordKey::behind_in_kind(after, "b")), kind, "{after:?}");
        assert_eq!(number(RecordKey::behind_in_set(after, "b")), set, "{after:?}");
        assert_eq!(RecordKey::behind_in_lane(after, "b"), lane, "{after:?}");
    }

    #[test]
    fn documents_come_before_latest_values_before_rows_and_each_by_name() {
        use Behind::{After, All, Nothing};
        let doc = |kind, n| Some(RecordKey::Doc(Key::new(kind, id(n))));
        let latest = |set, n| Some(RecordKey::Latest(Key::new(set, id(n))));
        check(None, All, All, All);
        check(doc("a", u128::MAX), All, All, All);
        check(doc("b", 0), After(0), All, All);
        check(doc("b", 7), After(7), All, All);
        check(doc("b", u128::MAX), Nothing, All, All);
        check(doc("c", 0), Nothing, All, All);
        check(latest("a", 9), Nothing, All, All);
        check(latest("b", 9), Nothing, After(9), All);
        check(latest("c", 9), Nothing, Nothing, All);
        check(Some(row("a")), Nothing, Nothing, All);
        check(Some(row("b")), Nothing, Nothing, After((id(3), -5, 2)));
        check(Some(row("c")), Nothing, Nothing, Nothing);
    }
}
