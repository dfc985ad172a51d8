//! The connections that read: each is lent to one view at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fleet_core::store::{Error, Result};
use sqlx::postgres::{PgConnection, PgRow};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::{Class, class, closed, from_engine},
    server::Server,
    sql::Sql,
    writer::rollback,
};

/// A bounded set of connections.
#[derive(Debug)]
pub(crate) struct Readers {
    server: Arc<Server>,
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
    count: usize,
    wait: Duration,
}

impl Readers {
    pub(crate) fn new(server: Arc<Server>, count: usize, wait: Duration) -> Arc<Self> {
        let count = count.clamp(1, 256);
        Arc::new(Self {
            server,
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(count)),
            count,
            wait,
        })
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Lends a connection on which a transaction was begun, with the rows that beginning it gave; fails when none gets free
    /// in time.
    pub(crate) async fn begin(self: &Arc<Self>, begin: &Sql) -> Result<(Lent, Vec<PgRow>)> {
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
        let mut lent = Lent {
            conn: None,
            ended: false,
            copying: false,
            permit: Some(permit),
            readers: Arc::clone(self),
            runtime: Handle::current(),
        };
        if let Some(conn) = idle {
            // Set down before it is used: a dropped call gives it back.
            lent.conn = Some(conn);
            match begin.rows(lent.conn()?).await {
                Ok(rows) => return Ok((lent, rows)),
                // It ended while it lay idle, and so, very likely, did the others.
                Err(error) if class(&error) == Class::Lost => {
                    lent.conn = None;
                    self.lock().clear();
                }
                Err(error) => return Err(from_engine(error)),
            }
        }
        lent.conn = Some(self.server.connect().await?);
        let rows = begin.rows(lent.conn()?).await.map_err(from_engine)?;
        Ok((lent, rows))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, conn: PgConnection) {
        if !self.permits.is_closed() {
            self.lock().push(conn);
        }
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
    conn: Option<PgConnection>,
    /// Whether its transaction was committed.
    ended: bool,
    /// Whether rows are being copied.
    copying: bool,
    permit: Option<OwnedSemaphorePermit>,
    readers: Arc<Readers>,
    runtime: Handle,
}

impl Lent {
    pub(crate) fn conn(&mut self) -> Result<&mut PgConnection> {
        self.conn.as_mut().ok_or_else(closed)
    }

    /// Rows are copied from here on, or no more. A copy that was given up in the middle leaves a connection of which nobody can say
    /// which answer comes next: it is not used again.
    pub(crate) fn copying(&mut self, copying: bool) {
        self.copying = copying;
    }

    /// Its transaction was committed: there is none to take back.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(mut conn), permit) = (self.conn.take(), self.permit.take()) else {
            return;
        };
        let readers = Arc::clone(&self.readers);
        if self.copying {
            return;
        }
        if self.ended {
            readers.give_back(conn);
            return;
        }
        self.runtime.spawn(async move {
            // Waits for a statement that nobody waits for any more; the engine ends one that takes too long.
            if let Err(error) = rollback(&mut conn).await {
                tracing::debug!(%error, "a reading connection is replaced");
            } else {
                readers.give_back(conn);
            }
            drop(permit);
        });
    }
}
