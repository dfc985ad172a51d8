//! Servers wake each other: what one commits the others hear of, or find when they ask, once a second.

use std::{sync::Arc, time::Duration};

use fleet_core::store::{Error, Result, Seq};
use sqlx::{
    Row as _,
    postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    error::from_engine,
    server::Server,
    sql::{literal, read_uint, signed},
    store::Shared,
};

/// Commits within this time are told of together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(2);

/// What is told when the store began or ceased to serve; for a commit its place is.
const TURNED: &str = "turned";

/// Asks for the truth, and tells others of our own commits, on a connection of its own. Ends when the store is closed.
pub(crate) async fn ask_and_tell(server: Arc<Server>, shared: Arc<Shared>, poll: Duration) {
    let mut ticks = interval(poll.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut own = shared.own.subscribe();
    let mut conn = None;
    let mut standing = String::new();
    loop {
        tokio::select! {
            () = shared.until_closed() => break,
            _ = ticks.tick() => ask(&server, &shared, &mut conn, &mut standing).await,
            () = shared.heard.notified() => ask(&server, &shared, &mut conn, &mut standing).await,
            () = shared.turned.notified() => told(tell(&server, &mut conn, TURNED.to_owned()).await, &mut conn),
            changed = own.changed() => {
                if changed.is_err() {
                    break;
                }
                sleep(TOGETHER).await;
                let seq = *own.borrow_and_update();
                told(tell(&server, &mut conn, signed(seq).to_string()).await, &mut conn);
            }
        }
    }
}

fn told(told: Result<()>, conn: &mut Option<PgConnection>) {
    if let Err(error) = told {
        // They find it when they ask.
        tracing::debug!(%error, "other servers were not told");
        *conn = None;
    }
}

async fn connection<'c>(server: &Server, conn: &'c mut Option<PgConnection>) -> Result<&'c mut PgConnection> {
    match conn {
        Some(conn) => Ok(conn),
        None => Ok(conn.insert(server.connect().await?)),
    }
}

async fn ask(server: &Server, shared: &Shared, conn: &mut Option<PgConnection>, standing: &mut String) {
    let before = *shared.newest.borrow();
    match newest(server, conn).await {
        Ok((seq, now)) => {
            shared.stands_at(before, seq);
            if *standing != now {
                // Who follows the feed of a store that was frozen learns that it ends.
                *standing = now;
                shared.newest.send_modify(|_| {});
            }
        }
        Err(error) => {
            tracing::warn!(%error, "other servers' commits cannot be asked for");
            *conn = None;
        }
    }
}

async fn newest(server: &Server, conn: &mut Option<PgConnection>) -> Result<(Seq, String)> {
    let conn = connection(server, conn).await?;
    let rows = server.fixed.begin_feed.rows(conn).await.map_err(from_engine)?;
    literal(conn, "ROLLBACK").await.map_err(from_engine)?;
    match rows.first() {
        Some(row) => Ok((
            read_uint(row, 0).map_err(from_engine)?,
            row.try_get(2).map_err(from_engine)?,
        )),
        None => Err(Error::Corrupt("the store does not say where it stands".into())),
    }
}

async fn tell(server: &Server, conn: &mut Option<PgConnection>, what: String) -> Result<()> {
    let conn = connection(server, conn).await?;
    let told: std::result::Result<(), sqlx::Error> = async {
        server.fixed.begin.run(conn).await?;
        let notify = server.fixed.notify.query().bind(server.channel());
        notify.bind(what).execute(&mut *conn).await?;
        literal(conn, "COMMIT").await
    }
    .await;
    told.map_err(from_engine)
}

/// Listens to others. A connection that breaks is made again. Ends when the store is closed, or where a pooler stands between.
pub(crate) async fn listen(to: PgConnectOptions, channel: String, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.until_closed() => return,
            ended = hear(&to, &channel, &shared) => match ended {
                Ok(Ended::Broken) => {}
                Ok(Ended::Pooled) => {
                    tracing::info!(
                        "a pooler stands before the database: other servers' commits are asked for once a second; \
                         with listen_uri=… in the URI, which leads past the pooler, they are heard of at once"
                    );
                    return;
                }
                Err(error) => tracing::debug!(%error, "listening to other servers begins again"),
            },
        }
        tokio::select! {
            () = shared.until_closed() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// Why nothing is heard any more.
enum Ended {
    /// The connection broke.
    Broken,
    /// Whoever listens through a pooler makes one of *its* connections listen, and whoever is lent that one next is told what
    /// he did not ask for, in the middle of an answer.
    Pooled,
}

/// A parameter that the listening connection begins with. A pooler refuses the connection for it, or leaves it out.
const DIRECT: (&str, &str) = ("fleet.direct", "on");

/// The code of a refused parameter: `protocol_violation`.
const PROTOCOL_VIOLATION: &str = "08P01";

/// Until the connection breaks.
async fn hear(to: &PgConnectOptions, channel: &str, shared: &Shared) -> std::result::Result<Ended, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(to.clone().options([DIRECT]));
    let mut listener = match PgListener::connect_with(&pool).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(PROTOCOL_VIOLATION) => {
            return Ok(Ended::Pooled);
        }
        connected => connected?,
    };
    let is_direct = format!(
        "SELECT coalesce(current_setting('{}', true), '') = '{}'",
        DIRECT.0, DIRECT.1
    );
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(is_direct))
        .fetch_one(&mut listener)
        .await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(Ended::Pooled);
    }
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    while let Some(heard) = listener.try_recv().await? {
        // Anybody with an account can say anything there: it is taken as a reason to ask, and for nothing else.
        let is_news = match heard.payload() {
            TURNED => true,
            place => place.parse().is_ok_and(|seq: u64| seq > *shared.newest.borrow()),
        };
        if is_news {
            shared.heard.notify_one();
        }
    }
    Ok(Ended::Broken)
}
