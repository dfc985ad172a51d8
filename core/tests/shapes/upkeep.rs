//! What `jobs` and `retention` store.

use fleet_core::{
    jobs::JobState,
    retention::{FeedMark, FeedMarks},
};

use crate::{
    sample::{Sample, latest, show},
    values::at,
};

pub fn samples() -> Vec<Sample> {
    vec![
        latest(
            "that failed",
            &JobState {
                name: "retention.trim".into(),
                due_at: at(300),
                ran_at: at(0),
                error: Some("storage.unavailable".into()),
            },
        ),
        latest(
            "of two hours",
            &FeedMarks {
                marks: vec![FeedMark { at: at(0), seq: 7 }, FeedMark { at: at(3_600), seq: 9 }],
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_jobs_and_retention() {
    insta::assert_snapshot!(show(&samples()));
}
