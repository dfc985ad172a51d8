//! Opens the store that a URI names.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    kernel::Clock,
    store::{Backend, Error, Result},
};
use fleet_storage_json::{JsonOptions, JsonStore};
use fleet_storage_postgres::{PostgresOptions, PostgresStore};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};

use super::StoreUri;

/// How long one view may last when nothing else uses the store: a day.
const OFFLINE_VIEW: Duration = Duration::from_secs(24 * 60 * 60);

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Serving: it is made when it is not there.
    Serve,
    /// Reading or changing what is there, with no server beside: it is not made.
    Existing,
    /// Being filled, with no server beside: it is made when it is not there.
    Fill,
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The store.
    pub backend: Arc<dyn Backend>,
    counts: Counts,
}

/// Who counts.
#[derive(Clone, Debug)]
enum Counts {
    Json(JsonStore),
    Postgres(PostgresStore),
    Sqlite(SqliteStore),
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Transactions of the engine, each with one synchronisation.
    pub transactions: u64,
    /// Commits and ingests in them.
    pub works: u64,
}

impl Opened {
    /// What it has done so far, where the backend counts.
    pub fn effort(&self) -> Option<Effort> {
        let (transactions, works) = match &self.counts {
            Counts::Json(store) => (store.statistics().transactions, store.statistics().works),
            Counts::Postgres(store) => (store.statistics().transactions, store.statistics().works),
            Counts::Sqlite(store) => (store.statistics().transactions, store.statistics().works),
        };
        Some(Effort { transactions, works })
    }
}

/// Opens a store. The caller prepares its schema.
///
/// # Errors
/// [`Error::Refused`] when it is not there and should be, in use by another process, or of another version;
/// [`Error::Unavailable`] when it cannot be reached.
pub async fn open(uri: &StoreUri, purpose: Purpose, clock: Arc<dyn Clock>) -> Result<Opened> {
    if purpose == Purpose::Existing && uri.exists() == Some(false) {
        return Err(Error::Refused(format!("there is no store at {uri}")));
    }
    match uri {
        StoreUri::Sqlite(path) => {
            let mut options = SqliteOptions::default();
            if purpose != Purpose::Serve {
                options.view_limit = OFFLINE_VIEW;
            }
            let store = SqliteStore::open(path, options, clock).await?;
            Ok(Opened {
                backend: Arc::new(store.clone()),
                counts: Counts::Sqlite(store),
            })
        }
        StoreUri::Json(path) => {
            let store = JsonStore::open(path, JsonOptions::default(), clock).await?;
            Ok(Opened {
                backend: Arc::new(store.clone()),
                counts: Counts::Json(store),
            })
        }
        StoreUri::Postgres(uri) => {
            let mut options = PostgresOptions::default();
            if purpose != Purpose::Serve {
                options.view_limit = OFFLINE_VIEW;
            }
            let store = PostgresStore::open(uri, options).await?;
            Ok(Opened {
                backend: Arc::new(store.clone()),
                counts: Counts::Postgres(store),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet_core::kernel::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_folder_of_json_is_opened_by_its_uri() {
        let folder = tempfile::tempdir().unwrap();
        let uri: StoreUri = format!("json:{}", folder.path().join("json").display())
            .parse()
            .unwrap();
        let clock = || Arc::new(SystemClock);
        let refused = open(&uri, Purpose::Existing, clock()).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        let opened = open(&uri, Purpose::Serve, clock()).await.unwrap();
        assert_eq!(opened.backend.info().backend, "json");
        assert_eq!(
            opened.effort(),
            Some(Effort {
                transactions: 0,
                works: 0
            })
        );
        opened.backend.close().await.unwrap();
        open(&uri, Purpose::Existing, clock())
            .await
            .unwrap()
            .backend
            .close()
            .await
            .unwrap();
    }
}
