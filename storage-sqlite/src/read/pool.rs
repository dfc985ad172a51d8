//! The connections that read: each is lent to one view at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fleet_core::store::{Error, Result};
use sqlx::sqlite::SqliteConnection;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{closed, from_engine},
    file::Place,
    sql::literal,
};

/// Steps of the engine between two looks at whether a statement is still wanted: about a millisecond.
const STEPS: i32 = 20_000;

/// A bounded set of read-only connections.
#[derive(Debug)]
pub(crate) struct Readers {
    place: Arc<Place>,
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
    count: usize,
    wait: Duration,
}

/// A connection, and the switch that stops what it is doing.
#[derive(Debug)]
struct Reader {
    conn: SqliteConnection,
    stop: Arc<AtomicBool>,
}

impl Readers {
    pub(crate) fn new(place: Arc<Place>, count: usize, wait: Duration) -> Arc<Self> {
        let count = count.clamp(1, 64);
        Arc::new(Self {
            place,
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(count)),
            count,
            wait,
        })
    }

    /// Lends a connection that stands in a read transaction; fails when none gets free in time.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<Lent> {
        let permit = match timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(closed()),
            Err(_) => {
                return Err(Error::Unavailable(
                    format!("all {} views are in use, for {:?} already", self.count, self.wait).into(),
                ));
            }
        };
        let idle = self.lock().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => self.connect().await?,
        };
        reader.stop.store(false, Ordering::Relaxed);
        let mut lent = Lent {
            reader: Some(reader),
            permit: Some(permit),
            readers: Arc::clone(self),
            runtime: Handle::current(),
        };
        // Deferred: the transaction begins with the first reading.
        literal("BEGIN").execute(lent.conn()?).await.map_err(from_engine)?;
        Ok(lent)
    }

    async fn connect(&self) -> Result<Reader> {
        let mut conn = self.place.connect_reader().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        conn.lock_handle()
            .await
            .map_err(from_engine)?
            .set_progress_handler(STEPS, move || !seen.load(Ordering::Relaxed));
        Ok(Reader { conn, stop })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends no more, and waits a while for what is lent.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        let back = timeout(Duration::from_secs(2), self.permits.acquire_many(all)).await;
        drop(back);
        self.permits.close();
        self.lock().clear();
    }
}

/// A connection on loan. It goes back when dropped, after its transaction has ended.
#[derive(Debug)]
pub(crate) struct Lent {
    reader: Option<Reader>,
    permit: Option<OwnedSemaphorePermit>,
    readers: Arc<Readers>,
    runtime: Handle,
}

impl Lent {
    pub(crate) fn conn(&mut self) -> Result<&mut SqliteConnection> {
        match &mut self.reader {
            Some(reader) => Ok(&mut reader.conn),
            None => Err(closed()),
        }
    }

    /// The switch that stops what the connection is doing.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        match &self.reader {
            Some(reader) => Arc::clone(&reader.stop),
            None => Arc::default(),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(mut reader), permit) = (self.reader.take(), self.permit.take()) else {
            return;
        };
        // A statement that nobody waits for any more ends soon; only then can the transaction end.
        reader.stop.store(true, Ordering::Relaxed);
        let readers = Arc::clone(&self.readers);
        self.runtime.spawn(async move {
            // ROLLBACK itself must not be stopped, and runs after whatever was running.
            if let Err(error) = end(&mut reader).await {
                tracing::warn!(%error, "a reading connection is replaced");
            } else if !readers.permits.is_closed() {
                readers.lock().push(reader);
            }
            drop(permit);
        });
    }
}

async fn end(reader: &mut Reader) -> Result<(), sqlx::Error> {
    // Waits for the connection's thread, that is, for the statement that was stopped.
    drop(reader.conn.lock_handle().await?);
    reader.stop.store(false, Ordering::Relaxed);
    literal("ROLLBACK").execute(&mut reader.conn).await.map(drop)
}
