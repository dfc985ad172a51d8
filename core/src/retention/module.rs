//! What this part brings along.

use std::{sync::Arc, time::Duration};

use super::{FeedMarks, service};
use crate::{
    modules::{Job, Module},
    store::latest_schema,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What `retention` brings along.
pub fn module() -> Module {
    Module {
        name: "retention",
        latest: vec![latest_schema::<FeedMarks>()],
        jobs: vec![
            Job {
                name: "retention.trim",
                every: HOUR * 6,
                tick: Arc::new(|fleet| Box::pin(service::trim(fleet))),
            },
            Job {
                name: "retention.forget",
                every: HOUR,
                tick: Arc::new(|fleet| Box::pin(service::forget(fleet))),
            },
        ],
        ..Module::default()
    }
}
