//! Ids, times and keys that are the same in every run.

use fleet_core::{
    access::{Actor, Origin},
    kernel::{EntityId, SeededRandom, SigningKey, Timestamp, random_uuid},
};
use uuid::Uuid;

/// 2027-01-15T08:00:00Z and some seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

pub fn uuid(seed: u64) -> Uuid {
    random_uuid(at(0), &SeededRandom::new(seed))
}

pub fn id<T: EntityId>(seed: u64) -> T {
    T::from_uuid(uuid(seed))
}

pub fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&SeededRandom::new(seed))
}

/// A value of a type that only its own module can make, from its JSON.
pub fn read<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

pub fn user() -> Actor {
    Actor::User {
        id: uuid(1),
        name: "ann".into(),
    }
}

pub fn origin() -> Origin {
    Origin {
        address: Some("192.0.2.7".into()),
        request_id: Some("019aa5b2".into()),
    }
}
