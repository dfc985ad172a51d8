//! Views that end by themselves, and those who read a whole store from one.

use std::{sync::Arc, time::Duration};

use fleet_storage_postgres::{PostgresOptions, PostgresStore};

use crate::common::Namespace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_longer_than_a_view_may_be_held() {
    let namespace = Namespace::new();
    let limit = Duration::from_secs(1);
    let options = PostgresOptions {
        view_limit: limit,
        ..PostgresOptions::default()
    };
    let store = PostgresStore::open(&namespace.uri(), options).await.unwrap();
    fleet_storage_conformance::check_export_outlives_the_limit_of_views(Arc::new(store), limit).await;
}
