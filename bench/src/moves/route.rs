//! The stops of a fleet on its way, and the fleet itself.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::store::Backend;
use futures::StreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, postgres::PgConnection};

use super::leg::Place;
use crate::storage::{Bare, Kind, plain, postgres};

/// Records of which bare copies are made, at most.
const SAMPLE: usize = 100_000;

/// All stops: each move between two engines in either direction is a leg of it.
pub async fn stops(folder: &Path, without_postgres: bool) -> Result<Vec<Place>> {
    let (sqlite, json) = (|name| Place::sqlite(folder, name), |name| Place::json(folder, name));
    if without_postgres {
        eprintln!("without Postgres, as it was asked for");
        return Ok(vec![json("first"), sqlite("second"), json("third")]);
    }
    Ok(vec![
        json("first"),
        sqlite("second"),
        database("a").await?,
        sqlite("third"),
        json("fourth"),
        database("b").await?,
        json("fifth"),
    ])
}

/// Room for what is to come: a store that was left is not needed any more.
pub async fn leave(place: &Place) -> Result<()> {
    match &place.folder {
        Some(folder) => Ok(std::fs::remove_dir_all(folder)?),
        None => {
            let path = place.uri.split('?').next().and_then(|uri| uri.rsplit('/').next());
            statement(&format!("DROP DATABASE {} WITH (FORCE)", path.context("no name")?)).await
        }
    }
}

/// A new database beside the one that is named.
async fn database(name: &str) -> Result<Place> {
    let name = format!("moves_{}_{name}", std::process::id());
    statement(&format!("CREATE DATABASE {name}")).await?;
    Ok(Place {
        kind: Kind::Postgres,
        uri: beside(&server()?, &name)?,
        folder: None,
    })
}

/// Where Postgres is.
pub fn server() -> Result<String> {
    postgres().context("FLEET_TEST_POSTGRES does not say where Postgres is; `cargo xtask bench` starts one")
}

/// Says something to the server of `FLEET_TEST_POSTGRES`.
pub async fn statement(sql: &str) -> Result<()> {
    let mut connection = PgConnection::connect(&server()?).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// The address of another database of the same server.
pub fn beside(uri: &str, name: &str) -> Result<String> {
    let (path, query) = match uri.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (uri, String::new()),
    };
    let (server, _) = path.rsplit_once('/').context("an address without a database")?;
    Ok(format!("{server}/{name}{query}"))
}

/// Makes a fleet, and what no engine likes, in a JSON store in a folder; returns a part of its records, evenly spread.
pub async fn fill(folder: &Path, devices: usize) -> Result<Vec<Bare>> {
    std::fs::create_dir_all(folder)?;
    let store = Kind::Json.open(folder).await?;
    let size = Size::of(devices).adversarial();
    Dataset::new(1, size).fill(&store, |_| ()).await?;
    let sample = sample(&store, SAMPLE).await?;
    store.close().await?;
    Ok(sample)
}

/// Every first, second, fourth … record, so that there are fewer than `most`.
async fn sample(store: &Arc<dyn Backend>, most: usize) -> Result<Vec<Bare>> {
    let (mut sample, mut step): (Vec<Bare>, _) = (Vec::new(), 1);
    let mut records = store.view().await?.export().enumerate();
    while let Some((n, record)) = records.next().await {
        let record = record?;
        if n % step > 0 {
            continue;
        }
        // A body of its own: the store's memory is not kept.
        sample.extend(plain(record).map(|(key, body)| (key, Bytes::copy_from_slice(&body))));
        if sample.len() == most {
            let mut even = false;
            sample.retain(|_| {
                even = !even;
                even
            });
            step *= 2;
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_lies_beside_another() {
        for (uri, expected) in [
            (
                "postgres://fleet@localhost:5432/postgres?host=%2Ftmp",
                "postgres://fleet@localhost:5432/a?host=%2Ftmp",
            ),
            ("postgres://fleet@localhost/postgres", "postgres://fleet@localhost/a"),
        ] {
            assert_eq!(beside(uri, "a").unwrap(), expected);
        }
        assert!(beside("postgres", "a").is_err());
    }

    #[tokio::test]
    async fn a_part_of_the_records_is_evenly_spread() {
        let folder = tempfile::tempdir().unwrap();
        let store = Kind::Memory.open(folder.path()).await.unwrap();
        Dataset::new(1, Size::of(5)).fill(&store, |_| ()).await.unwrap();
        let all = sample(&store, usize::MAX).await.unwrap();
        let some = sample(&store, 64).await.unwrap();
        assert!((32..64).contains(&some.len()), "{} of {}", some.len(), all.len());
        let step = all.len().div_ceil(some.len());
        assert_eq!(some, all.into_iter().step_by(step).collect::<Vec<_>>());
    }
}
