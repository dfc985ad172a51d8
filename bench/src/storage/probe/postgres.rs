//! One connection; each group is one transaction of one statement for each table, fed by arrays.

use std::collections::HashMap;

use anyhow::Result;
use async_trait::async_trait;
use fleet_core::store::Value;
use sqlx::{
    AssertSqlSafe, Connection as _, Postgres,
    postgres::{PgArguments, PgConnection},
    query::Query,
};

use super::{super::load::Order, Engine, Pair, What};

/// Two tables in a namespace of their own.
pub struct PostgresProbe {
    connection: PgConnection,
    what: What,
}

/// A connection that works in a new namespace.
pub async fn postgres_connection(uri: &str, namespace: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(uri).await?;
    let enter = format!("CREATE SCHEMA {namespace}; SET search_path = {namespace}");
    sqlx::raw_sql(AssertSqlSafe(enter)).execute(&mut connection).await?;
    Ok(connection)
}

impl PostgresProbe {
    pub async fn open(uri: &str, namespace: &str, what: What) -> Result<Self> {
        let mut connection = postgres_connection(uri, namespace).await?;
        let create = match what {
            What::Heartbeats => {
                "CREATE TABLE state (id uuid PRIMARY KEY, body bytea NOT NULL); \
                 CREATE TABLE sample (stream uuid NOT NULL, at bigint NOT NULL, n bigint NOT NULL, body bytea NOT NULL, \
                 PRIMARY KEY (stream, at, n))"
            }
            What::Commits => {
                "CREATE TABLE link (id uuid PRIMARY KEY, body bytea NOT NULL, rev bigint, seq bigint, server uuid); \
                 CREATE INDEX ON link (server, id); \
                 CREATE TABLE audit (stream uuid NOT NULL, at bigint NOT NULL, n bigint NOT NULL, body bytea NOT NULL, \
                 number bigint, hash bytea, actor uuid, action text, subject uuid, outcome text, PRIMARY KEY (stream, at, n)); \
                 CREATE INDEX ON audit (actor, at, stream, n); CREATE INDEX ON audit (action, at, stream, n); \
                 CREATE INDEX ON audit (subject, at, stream, n); CREATE INDEX ON audit (outcome, at, stream, n); \
                 CREATE TABLE batch (id uuid PRIMARY KEY, seq bigint NOT NULL, fingerprint bytea NOT NULL, feed bytea NOT NULL); \
                 CREATE INDEX ON batch (seq)"
            }
        };
        sqlx::raw_sql(create).execute(&mut connection).await?;
        Ok(Self { connection, what })
    }
}

type Prepared<'q> = Query<'q, Postgres, PgArguments>;

fn keyed<'q>(what: What, group: &[Pair]) -> Prepared<'q> {
    // One statement touches a row once: the newest body counts.
    let newest: HashMap<_, _> = group.iter().map(|pair| (pair.id, pair)).collect();
    let ids: Vec<_> = newest.keys().copied().collect();
    let bodies: Vec<_> = newest.values().map(|pair| pair.body.to_vec()).collect();
    match what {
        What::Heartbeats => sqlx::query(
            "INSERT INTO state (id, body) SELECT * FROM unnest($1::uuid[], $2::bytea[]) \
             ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        )
        .bind(ids)
        .bind(bodies),
        What::Commits => sqlx::query(
            "INSERT INTO link (id, body, rev, seq, server) \
             SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bigint[], $4::bigint[], $5::uuid[]) \
             ON CONFLICT (id) DO UPDATE SET body = excluded.body, rev = excluded.rev, seq = excluded.seq, server = excluded.server",
        )
        .bind(ids)
        .bind(bodies)
        .bind(newest.values().map(|pair| order(pair, |order| order.rev)).collect::<Vec<_>>())
        .bind(newest.values().map(|pair| order(pair, |order| order.seq)).collect::<Vec<_>>())
        .bind(newest.values().map(|pair| id(pair.keys.first())).collect::<Vec<_>>()),
    }
}

fn rows<'q>(what: What, group: &[Pair]) -> Prepared<'q> {
    let insert = match what {
        What::Heartbeats => {
            "INSERT INTO sample (stream, at, n, body) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[])"
        }
        What::Commits => {
            "INSERT INTO audit (stream, at, n, body, actor, action, subject, outcome, number, hash) SELECT * FROM \
             unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[], $5::uuid[], $6::text[], $7::uuid[], $8::text[], \
             $9::bigint[], $10::bytea[])"
        }
    };
    let query = sqlx::query(insert)
        .bind(group.iter().map(|pair| pair.stream).collect::<Vec<_>>())
        .bind(group.iter().map(|pair| pair.at).collect::<Vec<_>>())
        .bind(group.iter().map(|pair| i64::from(pair.n)).collect::<Vec<_>>())
        .bind(group.iter().map(|pair| pair.row.to_vec()).collect::<Vec<_>>());
    if what == What::Heartbeats {
        return query;
    }
    let ids = |n: usize| group.iter().map(|pair| id(pair.columns.get(n))).collect::<Vec<_>>();
    let texts = |n: usize| group.iter().map(|pair| text(pair.columns.get(n))).collect::<Vec<_>>();
    query
        .bind(ids(0))
        .bind(texts(1))
        .bind(ids(2))
        .bind(texts(3))
        .bind(
            group
                .iter()
                .map(|pair| order(pair, |order| order.seq))
                .collect::<Vec<_>>(),
        )
        .bind(
            group
                .iter()
                .map(|pair| order(pair, |order| order.hash.to_vec()))
                .collect::<Vec<_>>(),
        )
}

fn batches<'q>(group: &[Pair]) -> Prepared<'q> {
    let remembered = group
        .iter()
        .filter_map(|pair| Some((pair.stream, pair.order.as_ref()?)));
    sqlx::query(
        "INSERT INTO batch (id, seq, fingerprint, feed) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[])",
    )
    .bind(remembered.clone().map(|(id, _)| id).collect::<Vec<_>>())
    .bind(remembered.clone().map(|(_, order)| order.seq).collect::<Vec<_>>())
    .bind(remembered.clone().map(|(_, order)| order.fingerprint.to_vec()).collect::<Vec<_>>())
    .bind(remembered.map(|(_, order)| order.feed.clone()).collect::<Vec<_>>())
}

fn order<T>(pair: &Pair, read: impl FnOnce(&Order) -> T) -> Option<T> {
    pair.order.as_ref().map(read)
}

fn id(value: Option<&Value>) -> Option<uuid::Uuid> {
    match value {
        Some(Value::Id(id)) => Some(*id),
        _ => None,
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

#[async_trait]
impl Engine for PostgresProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        sqlx::query("BEGIN").execute(&mut self.connection).await?;
        keyed(self.what, group).execute(&mut self.connection).await?;
        rows(self.what, group).execute(&mut self.connection).await?;
        if self.what == What::Commits {
            batches(group).execute(&mut self.connection).await?;
        }
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}
