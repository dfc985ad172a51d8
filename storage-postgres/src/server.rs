//! The database: how it is reached, and what it must be.

use std::{str::FromStr as _, time::Duration};

use fleet_core::store::{Error, Result};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::time::timeout;

use crate::{
    error::from_engine,
    options::{Listen, PostgresOptions, take_from_uri},
    sql::{Sql, literal},
    tables::{Engine, FORMAT, Fixed, Limits},
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Postgres 14, as the server counts.
const OLDEST: i64 = 140_000;

/// Marks our advisory lock; taken only while a store's first tables are made.
const MAKING: i64 = 0x666c_6565_7400;

/// Where a store is.
#[derive(Debug)]
pub(crate) struct Server {
    to: PgConnectOptions,
    /// Where others' commits are heard of.
    pub(crate) listen: Option<PgConnectOptions>,
    pub(crate) fixed: Fixed,
    pub(crate) namespace: String,
    /// Whether the engine synchronises with the disk at all.
    pub(crate) durable: bool,
}

fn options_of(uri: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(uri).map_err(|error| {
        // The address itself may hold a password: only the reason is told.
        Error::Refused(format!("the address of the database cannot be read: {error}"))
    })?;
    // What a pooler would refuse or could not keep: start parameters of our own, and named statements.
    let options = options.extra_float_digits(None).statement_cache_capacity(0);
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("fleet"),
    };
    Ok(options.disable_statement_logging())
}

async fn connect(to: &PgConnectOptions) -> Result<PgConnection> {
    match timeout(CONNECT, PgConnection::connect_with(to)).await {
        Ok(connected) => connected.map_err(from_engine),
        Err(_) => Err(Error::Unavailable(
            format!("the database does not answer within {CONNECT:?}").into(),
        )),
    }
}

impl Server {
    /// Looks at the database, and makes the store's first tables where there are none.
    pub(crate) async fn open(uri: &str, options: PostgresOptions) -> Result<(Self, PostgresOptions)> {
        let (uri, options) = take_from_uri(uri, options)?;
        let to = options_of(&uri)?;
        let listen = match &options.listen {
            Listen::Same => Some(to.clone()),
            Listen::At(uri) => Some(options_of(uri)?),
            Listen::Off => None,
        };
        let mut conn = connect(&to).await?;
        let engine = examine(&mut conn).await?;
        if !engine.durable {
            tracing::warn!("the database runs with fsync = off: what it acknowledges does not survive a loss of power");
        }
        let limits = Limits {
            statement: options.statement_limit,
            lock: options.lock_limit,
            view: options.view_limit,
        };
        let server = Self {
            to,
            listen,
            fixed: Fixed::new(&options.schema, limits, &engine),
            namespace: options.schema.clone(),
            durable: engine.durable,
        };
        let made = server.make(&mut conn).await;
        let _ = conn.close().await;
        made.map(|()| (server, options))
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        connect(&self.to).await
    }

    /// Where the store is, without secrets.
    pub(crate) fn location(&self) -> String {
        let host = match self.to.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => self.to.get_host().to_owned(),
        };
        format!(
            "postgres://{host}:{}/{}?schema={}",
            self.to.get_port(),
            self.to.get_database().unwrap_or_default(),
            self.namespace
        )
    }

    /// The channel on which servers wake each other.
    pub(crate) fn channel(&self) -> String {
        format!("fleet_{}", self.namespace)
    }

    async fn make(&self, conn: &mut PgConnection) -> Result<()> {
        literal(conn, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await
            .map_err(from_engine)?;
        let made = self.make_within(conn).await;
        let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = literal(conn, end).await.map_err(from_engine);
        made.and(ended)
    }

    async fn make_within(&self, conn: &mut PgConnection) -> Result<()> {
        // Two servers may come to an empty database at one time.
        let lock = Sql::new("SELECT pg_advisory_xact_lock($1)");
        lock.query()
            .bind(MAKING)
            .execute(&mut *conn)
            .await
            .map_err(from_engine)?;
        let found = Sql::new(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace \
             WHERE s.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
        );
        let rows = found.query().bind(self.namespace.clone()).fetch_all(&mut *conn).await;
        let names: Result<Vec<String>, _> = rows.map_err(from_engine)?.iter().map(|row| row.try_get(0)).collect();
        let names = names.map_err(from_engine)?;
        if names.iter().any(|name| name == "state") && names.iter().any(|name| name == "gate") {
            return self.match_format(conn).await;
        }
        if !names.is_empty() {
            return Err(Error::Refused(format!(
                "the namespace {} holds tables of something else; say ?schema= for another one",
                self.namespace
            )));
        }
        let there = Sql::new("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)");
        let there = there.query().bind(self.namespace.clone()).fetch_one(&mut *conn).await;
        let there: bool = there.and_then(|row| row.try_get(0)).map_err(from_engine)?;
        if !there {
            let create = Sql::new(format!("CREATE SCHEMA {}", self.fixed.namespace));
            create.run(&mut *conn).await.map_err(from_engine)?;
        }
        self.fixed.create.run(conn).await.map_err(from_engine)
    }

    /// Refuses a store of a newer version, and brings one of an older version to this one's format.
    async fn match_format(&self, conn: &mut PgConnection) -> Result<()> {
        let format = Sql::new(format!("SELECT format FROM {}", self.fixed.state()));
        let rows = format.rows(conn).await.map_err(from_engine)?;
        let format: i64 = match rows.first() {
            Some(row) => row.try_get(0).map_err(from_engine)?,
            None => return Err(Error::Corrupt("the store does not say where it stands".into())),
        };
        if format > FORMAT {
            return Err(Error::Refused(format!(
                "the store has format {format} and a newer version wrote it; this one knows formats up to {FORMAT}"
            )));
        }
        if format < FORMAT {
            self.fixed.upgrade.run(conn).await.map_err(from_engine)?;
        }
        Ok(())
    }
}

/// Refuses a database that cannot hold a store; says what it is set to.
async fn examine(conn: &mut PgConnection) -> Result<Engine> {
    let asked = Sql::new(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
         current_setting('server_encoding'), pg_is_in_recovery(), current_setting('default_transaction_read_only'), \
         current_setting('synchronous_commit'), current_setting('fsync'), \
         EXISTS (SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))",
    );
    let rows = asked.rows(conn).await.map_err(from_engine)?;
    let row = rows
        .first()
        .ok_or_else(|| Error::Unavailable("the database gives no answer".into()))?;
    let text = |column: usize| row.try_get::<String, _>(column).map_err(from_engine);
    let version: i64 = row.try_get(0).map_err(from_engine)?;
    let (said, encoding) = (text(1)?, text(2)?);
    if version < OLDEST {
        return Err(Error::Refused(format!(
            "the database is PostgreSQL {said}; 14 or later is needed"
        )));
    }
    if encoding != "UTF8" {
        return Err(Error::Refused(format!(
            "the database's encoding is {encoding}, and has to be UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    let recovers: bool = row.try_get(3).map_err(from_engine)?;
    if recovers || text(4)? == "on" {
        return Err(Error::Refused(
            "the database takes no writes: it is a standby, or set to read only".into(),
        ));
    }
    Ok(Engine {
        synchronous: text(5)? != "off",
        durable: text(6)? == "on",
        lz4: row.try_get(7).map_err(from_engine)?,
    })
}
