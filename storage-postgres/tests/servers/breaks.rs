//! Connections are cut and the database dies while stores write.

use std::{ops::Range, time::Duration};

use fleet_core::store::Backend as _;
use fleet_storage_postgres::PostgresStore;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    common::{Namespace, cluster::Cluster, database, folder, open, run_at},
    load::{Acknowledged, check, knob, long, write},
};

/// A few milliseconds, another number each time, the same in each run.
fn pause(round: u64) -> Duration {
    Duration::from_millis(round.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(7) >> 59)
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing_that_was_acknowledged() {
    let namespace = Namespace::new();
    let name = format!("cut-{}", namespace.name);
    let store = open(&format!("{}&application_name={name}", namespace.uri())).await;
    let (acknowledged, mut tasks) = (Acknowledged::default(), JoinSet::new());
    let writes = if long() { 20_000 } else { 600 };
    write(&mut tasks, &store, 0..writes, &acknowledged);
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}' AND state <> 'idle'"
    );
    let mut round = 0;
    while (acknowledged.count().await as u128) < writes {
        // At whatever the connections are doing then, a COMMIT as well.
        run_at(database(), &cut).await;
        round += 1;
        sleep(Duration::from_millis(40) + pause(round)).await;
    }
    tasks.join_all().await;
    check(&store, &acknowledged).await;
    store.close().await.unwrap();
}

/// A store sees so many kills before another takes its place: all that it holds is read after each.
const KILLS_OF_A_STORE: u128 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn killed_database_loses_nothing_that_was_acknowledged() {
    let (_folder, path) = folder();
    // Its own: others must not lose theirs. It synchronises with the disk, as all clusters of tests do.
    let below = path.join("cluster");
    let cluster = Cluster::start(&below).unwrap();
    let kills = knob("CRASH_KILLS", 3);
    let mut acknowledged = 0;
    for first in (0..kills).step_by(KILLS_OF_A_STORE as usize) {
        let namespace = Namespace::at(&cluster.uri("postgres"));
        let store = open(&namespace.uri()).await;
        let last = kills.min(first + KILLS_OF_A_STORE);
        acknowledged += survive(&cluster, &store, first..last).await;
        store.close().await.unwrap();
        drop(namespace);
    }
    println!("{kills} kills; {acknowledged} commits and ingests were acknowledged");
    cluster.remove();
}

/// Kills the database under a store that writes, again and again; returns how much was acknowledged.
async fn survive(cluster: &Cluster, store: &PostgresStore, kills: Range<u128>) -> usize {
    let acknowledged = Acknowledged::default();
    for kill in kills {
        let (mut tasks, before) = (JoinSet::new(), acknowledged.count().await as u128);
        let first = kill * 1_000;
        write(&mut tasks, store, first..first + 300, &acknowledged);
        while (acknowledged.count().await as u128) < before + 40 + kill * 37 % 150 {
            sleep(Duration::from_millis(1)).await;
        }
        cluster.stop("immediate").unwrap();
        cluster.begin().unwrap();
        // The writers go on by themselves, and finish.
        tasks.join_all().await;
        check(store, &acknowledged).await;
    }
    acknowledged.count().await
}
