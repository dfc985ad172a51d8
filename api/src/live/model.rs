//! What a subscriber is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One event of the live stream. Clients must ignore a `type` that they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveEvent {
    /// The stream is open: what happens from now on is told.
    Ready {
        /// Where the order of commits stands.
        position: u64,
    },
    /// Something was made or changed; read it again if it is shown.
    Changed {
        /// The plural name of the resource, as in its path.
        #[schema(example = "devices")]
        resource: String,
        /// Which one.
        id: Uuid,
        /// Its revision now, as its `ETag` says it; null when something beside it changed, such as a device's presence.
        revision: Option<u64>,
    },
    /// Something is no more.
    Removed {
        /// The plural name of the resource, as in its path.
        #[schema(example = "devices")]
        resource: String,
        /// Which one.
        id: Uuid,
    },
    /// There are new rows, such as lines of output; read on from where you are.
    Appended {
        /// The plural name of the resource that the rows belong to, as in its path.
        #[schema(example = "runs")]
        resource: String,
        /// Which one.
        id: Uuid,
        /// The kind of rows.
        #[schema(example = "output")]
        rows: String,
    },
    /// Events were missed: read again what is shown.
    Resync {
        /// Why.
        reason: ResyncReason,
    },
}

/// Why events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// The subscriber was slower than the events.
    Lagged,
    /// The position that the subscriber came back with is too old, or not known here.
    Expired,
    /// The server itself missed events.
    Gap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_tagged_by_type() {
        let event = LiveEvent::Resync {
            reason: ResyncReason::Lagged,
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"resync","reason":"lagged"}"#
        );
    }
}
