//! The table of backends: how each is opened, beside which probe it stands, and what it has to reach.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use fleet_core::{
    kernel::SystemClock,
    modules,
    store::{Backend, memory::MemoryStore},
};
use fleet_storage_json::{JsonOptions, JsonStore};
use fleet_storage_postgres::{PostgresOptions, PostgresStore};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore, Synchronous};

use super::{
    load::What,
    probe::{Engine, Group, JsonProbe, PostgresProbe, SqliteProbe, postgres_connection},
};

/// A backend, as it is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// The reference backend; it has no probe and no gate.
    Memory,
    /// SQLite, synchronised at each commit.
    Sqlite,
    /// SQLite with `synchronous=NORMAL`.
    SqliteNormal,
    /// Readable files.
    Json,
    /// Postgres at `FLEET_TEST_POSTGRES`, each store in a namespace of its own; `cargo xtask bench` starts one.
    Postgres,
}

/// Where Postgres is, if anywhere.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever starts the bench says where Postgres is"
)]
pub fn postgres() -> Option<String> {
    std::env::var("FLEET_TEST_POSTGRES").ok()
}

/// Where Postgres is, and a namespace that nobody used.
fn namespace() -> Result<(String, String)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let uri =
        postgres().context("FLEET_TEST_POSTGRES does not say where Postgres is; `cargo xtask bench` starts one")?;
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok((uri, format!("bench_{}_{next}", std::process::id())))
}

/// What stands in targets for a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// So many a second, and who says so.
    pub absolute: Option<(&'static str, f64)>,
    /// The probe's published rate (guides/rust-models.md §4.1). Below half of it the machine is too busy for any figure.
    pub published: Option<f64>,
}

impl Kind {
    /// All that are here.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Memory, Self::Sqlite, Self::SqliteNormal, Self::Json];
        match postgres() {
            Some(_) => all.push(Self::Postgres),
            None => eprintln!("without Postgres: FLEET_TEST_POSTGRES does not say where it is"),
        }
        all
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::SqliteNormal => "sqlite-normal",
            Self::Json => "json",
            Self::Postgres => "postgres",
        }
    }

    /// What it has to reach.
    pub fn goal(self, what: What) -> Goal {
        let (absolute, published) = match (self, what) {
            (Self::Sqlite, What::Heartbeats) => (10_000.0, 20_800.0),
            (Self::SqliteNormal, What::Heartbeats) => (20_000.0, 23_000.0),
            (Self::Json, What::Heartbeats) => (2_000.0, 359_000.0),
            (Self::Postgres, What::Heartbeats) => (8_000.0, 28_100.0),
            _ => return Goal::default(),
        };
        Goal {
            absolute: Some(("P3", absolute)),
            published: Some(published),
        }
    }

    /// From where data is moved into it, and how many rows a second that has to be (S4).
    pub const fn moved_from(self) -> Option<(Self, f64)> {
        match self {
            Self::Sqlite => Some((Self::Json, 50_000.0)),
            Self::Json => Some((Self::Sqlite, 50_000.0)),
            Self::Postgres => Some((Self::Sqlite, 20_000.0)),
            Self::Memory | Self::SqliteNormal => None,
        }
    }

    /// Milliseconds that 99 of a hundred lists may take at 10,000 devices (P11).
    pub const fn list_ms(self) -> f64 {
        match self {
            Self::Memory | Self::Sqlite | Self::SqliteNormal | Self::Postgres => 50.0,
            Self::Json => 150.0,
        }
    }

    /// The store in a folder: a new one in an empty folder.
    pub async fn open(self, folder: &Path) -> Result<Arc<dyn Backend>> {
        let clock = Arc::new(SystemClock);
        let backend: Arc<dyn Backend> = match self {
            Self::Memory => Arc::new(MemoryStore::new(clock)),
            Self::Sqlite | Self::SqliteNormal => {
                Arc::new(SqliteStore::open(folder.join("fleet.db"), self.sqlite(), clock).await?)
            }
            Self::Json => Arc::new(JsonStore::open(folder.join("json"), JsonOptions::default(), clock).await?),
            Self::Postgres => {
                let (uri, schema) = namespace()?;
                let options = PostgresOptions {
                    schema,
                    ..PostgresOptions::default()
                };
                Arc::new(PostgresStore::open(&uri, options).await?)
            }
        };
        let schema = modules::schema(&modules::built_in()).map_err(|error| anyhow::anyhow!(error.log()))?;
        backend.prepare(&schema).await?;
        Ok(backend)
    }

    /// The bare engine in an empty folder, and how it groups.
    pub async fn probe(self, what: What, folder: &Path) -> Result<Option<(Box<dyn Engine>, Group)>> {
        Ok(match self {
            Self::Memory => None,
            Self::Sqlite | Self::SqliteNormal => {
                let options = self.sqlite();
                let probe = SqliteProbe::open(&folder.join("probe.db"), self == Self::Sqlite, what).await?;
                let group = Group {
                    linger: options.linger,
                    linger_items: options.linger_items,
                    most: options.group,
                };
                Some((Box::new(probe), group))
            }
            Self::Json => {
                let options = JsonOptions::default();
                let group = Group {
                    linger: options.linger,
                    linger_items: options.linger_items,
                    most: options.group,
                };
                Some((Box::new(JsonProbe::open(&folder.join("probe.ndjson"), what)?), group))
            }
            Self::Postgres => {
                let options = PostgresOptions::default();
                let group = Group {
                    linger: options.linger,
                    linger_items: options.linger_items,
                    most: options.group,
                };
                let (uri, namespace) = namespace()?;
                Some((Box::new(PostgresProbe::open(&uri, &namespace, what).await?), group))
            }
        })
    }

    /// A connection to Postgres in a new namespace, for bare tables.
    pub async fn bare_postgres() -> Result<sqlx::postgres::PgConnection> {
        let (uri, namespace) = namespace()?;
        postgres_connection(&uri, &namespace).await
    }

    fn sqlite(self) -> SqliteOptions {
        SqliteOptions {
            synchronous: if self == Self::SqliteNormal {
                Synchronous::Normal
            } else {
                Synchronous::Full
            },
            ..SqliteOptions::default()
        }
    }
}
