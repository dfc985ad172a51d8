//! What is kept how long.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::{EntityId, Timestamp, named_uuid},
    settings::SettingKey,
    store::{LatestValue, Name, Seq},
};

/// How long the rows of a lane are kept. A module declares one for each lane that may be trimmed.
#[derive(Clone, Copy, Debug)]
pub struct LaneRetention {
    /// The lane.
    pub lane: Name,
    /// Days; 0 keeps them for ever. Made by [`super::days_setting`].
    pub days: SettingKey<u32>,
}

crate::define_id!(
    /// Names the marks; there is one set of them.
    FeedMarksId,
    "feed_marks"
);

impl FeedMarksId {
    /// The one.
    pub fn only() -> Self {
        Self::from_uuid(named_uuid("feed_marks", "only"))
    }
}

/// Where commit order stood at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedMark {
    /// The time.
    pub at: Timestamp,
    /// The newest commit then.
    pub seq: Seq,
}

/// The marks of the last days, oldest first: a latest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedMarks {
    /// At most some hundred.
    pub marks: Vec<FeedMark>,
}

impl LatestValue for FeedMarks {
    type Id = FeedMarksId;
    const SET: Name = "feed_marks";
    const VERSION: u32 = 1;
}
