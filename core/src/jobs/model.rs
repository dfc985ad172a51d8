//! What is remembered of a job.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::{EntityId, Timestamp, named_uuid},
    store::{LatestValue, Name},
};

crate::define_id!(
    /// Names a job.
    JobId,
    "job"
);

impl JobId {
    /// That of a job's name.
    pub fn of(name: &str) -> Self {
        Self::from_uuid(named_uuid("job", name))
    }
}

/// When a job is due next, and how it went last: a latest value, written when it has run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Its name.
    pub name: String,
    /// Not before then.
    pub due_at: Timestamp,
    /// When it ran last.
    pub ran_at: Timestamp,
    /// The code of the error that it ended with; none when it went well.
    pub error: Option<String>,
}

impl LatestValue for JobState {
    type Id = JobId;
    const SET: Name = "job_state";
    const VERSION: u32 = 1;
}
