//! What every store has, whatever its schema: where it stands, its history, its leases.
//!
//! **The history** has a row for each batch: its id, its place in commit order, what tells a repeat from a reuse, and its entries
//! of the feed (`feed.rs` has their form). One row, and not one per entry: entries are only ever read in order, and a row with
//! its index entry costs the engine more than all that is in it.
//!
//! **The gate** is an empty table whose lock everybody takes for the length of a transaction: views in `ACCESS SHARE` mode,
//! writers in `ROW EXCLUSIVE` mode, whoever changes the store as a whole in `SHARE ROW EXCLUSIVE` mode (which waits for writers
//! and keeps them out), and whoever takes whole partitions away in `ACCESS EXCLUSIVE` mode (views, too). Such locks end with
//! their transaction, whatever becomes of its connection, and work through a pooler.
//!
//! **Commit order** is the row of `state`: a group of commits locks it before it reads what it depends on, and raises it before
//! it commits. So the order of commits is the order of `seq`, on however many servers, and a view that reads `seq` sees all
//! that was committed up to it and nothing after.

use std::time::Duration;

use fleet_core::store::{Link, Name};

use crate::sql::{Ident, Sql, Table};

/// The version of the format. A store with a greater one is refused.
pub(crate) const FORMAT: i64 = 2;

/// Statements that depend on the namespace alone. Those that begin a transaction are several in one message.
#[derive(Debug)]
pub(crate) struct Fixed {
    /// Makes everything.
    pub(crate) create: Sql,
    /// Begins a group of commits: a row `seq, declared, standing, tracking, noted`, then `lane, number, hash` of each chain.
    pub(crate) begin_commits: Sql,
    /// Begins a group of ingests: a row as above.
    pub(crate) begin_ingests: Sql,
    /// Begins a patch of a store that is being filled: a row as above. It is durable once something later is: [`Fixed::mark`].
    pub(crate) begin_patch: Sql,
    /// Begins building indexes: a row as above.
    pub(crate) begin_build: Sql,
    /// Begins something that keeps all writers out: a row as above.
    pub(crate) begin_alone: Sql,
    /// Begins a view: a row `seq`.
    pub(crate) begin_view: Sql,
    /// Begins a look at the feed: a row `seq, floor, standing`.
    pub(crate) begin_feed: Sql,
    /// Begins anything else.
    pub(crate) begin: Sql,
    /// A row as above.
    pub(crate) stands: Sql,
    /// Keeps out views as well; for whole partitions.
    pub(crate) shut: Sql,
    /// Makes a store of format 1 one of this format.
    pub(crate) upgrade: Sql,
    /// `id, seq, fingerprint, revs` (ids).
    pub(crate) batches: Sql,
    /// Inserts batches (ids, seqs, fingerprints, revs as bytes, entries of the feed).
    pub(crate) remember: Sql,
    /// `seq, entries` after a place, at most so many; those of batches that changed nothing are left out.
    pub(crate) read_feed: Sql,
    /// `number, hash` of a chain (lane).
    pub(crate) head: Sql,
    /// `seq, floor, first` where first is the oldest place that is kept.
    pub(crate) oldest: Sql,
    /// Moves the floor (floor).
    pub(crate) set_floor: Sql,
    /// Forgets up to a place (seq).
    pub(crate) forget: Sql,
    /// Makes sure that a lease has a row (name).
    pub(crate) make_lease: Sql,
    /// `holder, until, fence`, locked (name).
    pub(crate) lock_lease: Sql,
    /// Sets a lease (name, holder, until, fence).
    pub(crate) set_lease: Sql,
    /// The time, in microseconds.
    pub(crate) now: Sql,
    /// Tells others (channel, text).
    pub(crate) notify: Sql,
    /// `type, owner, column, spec, filled`.
    pub(crate) catalogue: Sql,
    /// Notes an owner or a column (type, owner, column, spec, filled).
    pub(crate) note: Sql,
    /// Forgets a column (type, owner, column).
    pub(crate) forget_column: Sql,
    /// `column` of those that are not filled (type, owner).
    pub(crate) unfilled: Sql,
    /// `stream, at, n` up to which an owner is filled (type, owner).
    pub(crate) filled_upto: Sql,
    /// Sets that (type, owner, stream, at, n).
    pub(crate) set_filled_upto: Sql,
    /// Forgets that (type, owner).
    pub(crate) forget_fill: Sql,
    /// Everything of an owner is filled (type, owner).
    pub(crate) set_filled: Sql,
    /// Who prepares (digest); nobody may write meanwhile.
    pub(crate) set_preparing: Sql,
    /// Who may write (digest).
    pub(crate) set_declared: Sql,
    /// `declared, preparing`.
    pub(crate) shape: Sql,
    /// `seq, floor, the history's newest`.
    pub(crate) places: Sql,
    /// Moves commit order and floor to a place, unless they are further already (seq).
    pub(crate) raise_seq: Sql,
    /// Begins anew, as an empty store.
    pub(crate) restart: Sql,
    /// Forgets the history and the leases.
    pub(crate) forget_history: Sql,
    /// Changes nothing, but gives a commit something to synchronise.
    pub(crate) mark: Sql,
    /// Sets the standing (text).
    pub(crate) set_standing: Sql,
    /// `standing`.
    pub(crate) standing: Sql,
    /// Raises where a chain ends (lane, number, hash).
    pub(crate) raise_head: Sql,
    /// Begins to take notes, or ceases to (whether).
    pub(crate) set_tracking: Sql,
    /// `tracking, noted`, locked.
    pub(crate) lock_notes: Sql,
    /// Takes notes (numbers, types, names, ids, ats, numbers of rows).
    pub(crate) add_notes: Sql,
    /// Where the notes stand (number).
    pub(crate) set_noted: Sql,
    /// Forgets notes up to a number.
    pub(crate) forget_notes: Sql,
    /// `n, type, name, id, at, number` after a number, at most so many.
    pub(crate) read_notes: Sql,
    state: Table,
    heads: Table,
    /// The namespace of the tables.
    pub(crate) namespace: Ident,
    /// The namespace of the views for people.
    pub(crate) views: Ident,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) statement: Duration,
    pub(crate) lock: Duration,
    pub(crate) view: Duration,
}

/// What the engine is set to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Engine {
    /// Whether it commits synchronously by itself.
    pub(crate) synchronous: bool,
    /// Whether it synchronises with the disk at all.
    pub(crate) durable: bool,
    /// Whether it has the compression that takes a fraction of the other's time, for large bodies.
    pub(crate) lz4: bool,
}

/// The standing of a new store, as it is stored.
pub(crate) const SERVING: &str = r#"{"phase":"serving"}"#;

impl Fixed {
    pub(crate) fn new(namespace: &str, limits: Limits, engine: &Engine) -> Self {
        let schema = Ident::new(&[namespace]);
        let table = |name: &str| Table::new(&schema, &[name]);
        let (state, gate, history) = (table("state"), table("gate"), table("history"));
        let (heads, leases, catalogue, fills) = (table("heads"), table("leases"), table("catalogue"), table("fills"));
        let tracked = table("tracked");
        let sql = |text: String| Sql::new(text);
        let begin = |statement: Duration, lock: Duration| {
            // A server that stalls in the middle must not hold up the others: the engine ends its session.
            let durable = if engine.synchronous {
                ""
            } else {
                "; SET LOCAL synchronous_commit = on"
            };
            let quick = if engine.lz4 {
                "; SET LOCAL default_toast_compression = lz4"
            } else {
                ""
            };
            format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = {}; \
                 SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}{durable}{quick}",
                statement.as_millis().max(1),
                lock.as_millis().max(1),
                (statement + Duration::from_secs(5)).as_millis(),
            )
        };
        let write = begin(limits.statement, limits.lock);
        // Preparing, checking and moving work on whole tables.
        let hour = Duration::from_secs(3_600);
        let view = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; \
             SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            limits.view.as_millis().max(1),
            limits.lock.as_millis().max(1),
            (limits.view * 2 + Duration::from_secs(5)).as_millis()
        );
        let stands = format!("SELECT seq, declared, standing, tracking, noted FROM {state}");
        let create_history = format!(
            "CREATE TABLE {history} (id uuid PRIMARY KEY, seq bigint NOT NULL, fingerprint bytea NOT NULL, \
             revs bytea NOT NULL, feed bytea NOT NULL); CREATE INDEX \"history.seq\" ON {history} (seq)"
        );
        let (old_feed, old_batches) = (table("feed"), table("batches"));
        let create = [
            format!(
                "CREATE TABLE {state} (one boolean PRIMARY KEY DEFAULT true CHECK (one), format bigint NOT NULL, \
                 seq bigint NOT NULL, floor bigint NOT NULL, declared text NOT NULL, preparing text NOT NULL, \
                 standing text NOT NULL, tracking boolean NOT NULL, noted bigint NOT NULL) \
                 WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000)"
            ),
            format!("INSERT INTO {state} VALUES (true, {FORMAT}, 0, 0, '', '', '{SERVING}', false, 0)"),
            format!("CREATE TABLE {gate} ()"),
            create_history.clone(),
            format!("CREATE TABLE {heads} (lane text PRIMARY KEY, number bigint NOT NULL, hash bytea NOT NULL)"),
            format!(
                "CREATE TABLE {leases} (name text COLLATE \"C\" PRIMARY KEY, holder uuid, until bigint NOT NULL, \
                 fence bigint NOT NULL) WITH (fillfactor = 50)"
            ),
            format!(
                "CREATE TABLE {catalogue} (type text, owner text, \"column\" text, spec text NOT NULL, \
                 filled boolean NOT NULL, PRIMARY KEY (type, owner, \"column\"))"
            ),
            format!(
                "CREATE TABLE {tracked} (n bigint PRIMARY KEY, type bigint NOT NULL, name text NOT NULL, \
                 id uuid NOT NULL, at bigint NOT NULL, number bigint NOT NULL)"
            ),
            format!(
                "CREATE TABLE {fills} (type text, owner text, stream uuid NOT NULL, at bigint NOT NULL, n bigint NOT NULL, \
                 PRIMARY KEY (type, owner))"
            ),
        ]
        .join("; ");
        Self {
            create: sql(create),
            begin_commits: sql(format!(
                "{write}; LOCK TABLE {gate} IN ROW EXCLUSIVE MODE; {stands} FOR UPDATE; \
                 SELECT lane, number, hash FROM {heads}"
            )),
            begin_ingests: sql(format!("{write}; LOCK TABLE {gate} IN ROW EXCLUSIVE MODE; {stands}")),
            begin_patch: sql(format!(
                "{write}; SET LOCAL synchronous_commit = off; LOCK TABLE {gate} IN ROW EXCLUSIVE MODE; {stands}"
            )),
            begin_build: sql(format!(
                "{}; LOCK TABLE {gate} IN ROW EXCLUSIVE MODE; {stands}",
                begin(hour, limits.lock.max(Duration::from_secs(60)))
            )),
            begin_alone: sql(format!(
                "{}; LOCK TABLE {gate} IN SHARE ROW EXCLUSIVE MODE; {stands} FOR UPDATE",
                begin(hour, limits.lock.max(Duration::from_secs(60)))
            )),
            // The lock comes first: the snapshot is that of the first reading.
            begin_view: sql(format!(
                "{view}; LOCK TABLE {gate} IN ACCESS SHARE MODE; SELECT seq FROM {state}"
            )),
            begin_feed: sql(format!("{view}; SELECT seq, floor, standing FROM {state}")),
            begin: sql(write.clone()),
            stands: sql(stands.clone()),
            shut: sql(format!(
                "SET LOCAL lock_timeout = 300; LOCK TABLE {gate} IN ACCESS EXCLUSIVE MODE"
            )),
            // Where several batches have one place, all but one of them changed nothing; whose entries they are does not matter.
            upgrade: sql(format!(
                "LOCK TABLE {gate} IN ACCESS EXCLUSIVE MODE; {create_history}; \
                 INSERT INTO {history} (id, seq, fingerprint, revs, feed) SELECT b.id, b.seq, b.fingerprint, b.revs, \
                 CASE WHEN row_number() OVER (PARTITION BY b.seq ORDER BY b.id) > 1 THEN ''::bytea ELSE coalesce((SELECT \
                 string_agg(decode(lpad(to_hex(f.type), 2, '0') || lpad(to_hex(octet_length(f.name)), 2, '0'), 'hex') \
                 || convert_to(f.name, 'UTF8') || uuid_send(f.id) || int8send(coalesce(f.rev, 0)), ''::bytea ORDER BY f.n) \
                 FROM {old_feed} f WHERE f.seq = b.seq), ''::bytea) END FROM {old_batches} b; \
                 DROP TABLE {old_feed}, {old_batches}; UPDATE {state} SET format = {FORMAT}"
            )),
            batches: sql(format!(
                "SELECT h.id, h.seq, h.fingerprint, h.revs FROM {history} h WHERE h.id = ANY($1)"
            )),
            remember: sql(format!(
                "INSERT INTO {history} (id, seq, fingerprint, revs, feed) SELECT * FROM \
                 unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[])"
            )),
            read_feed: sql(format!(
                "SELECT h.seq, h.feed FROM {history} h WHERE h.seq > $1 AND h.feed <> ''::bytea ORDER BY h.seq LIMIT $2"
            )),
            head: sql(format!("SELECT number, hash FROM {heads} WHERE lane = $1")),
            oldest: sql(format!(
                "SELECT seq, floor, coalesce((SELECT min(h.seq) FROM {history} h), 9223372036854775807) FROM {state} FOR UPDATE"
            )),
            set_floor: sql(format!("UPDATE {state} SET floor = $1")),
            forget: sql(format!("DELETE FROM {history} WHERE seq <= $1")),
            make_lease: sql(format!(
                "INSERT INTO {leases} (name, holder, until, fence) VALUES ($1, NULL, 0, 0) ON CONFLICT DO NOTHING"
            )),
            lock_lease: sql(format!(
                "SELECT holder, until, fence FROM {leases} WHERE name = $1 FOR UPDATE"
            )),
            set_lease: sql(format!(
                "UPDATE {leases} SET holder = $2, until = $3, fence = $4 WHERE name = $1"
            )),
            now: sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint".into()),
            notify: sql("SELECT pg_notify($1, $2)".into()),
            catalogue: sql(format!(
                "SELECT type, owner, \"column\", spec, filled FROM {catalogue} ORDER BY type, owner, \"column\""
            )),
            note: sql(format!(
                "INSERT INTO {catalogue} (type, owner, \"column\", spec, filled) VALUES ($1, $2, $3, $4, $5)"
            )),
            forget_column: sql(format!(
                "DELETE FROM {catalogue} WHERE type = $1 AND owner = $2 AND \"column\" = $3"
            )),
            unfilled: sql(format!(
                "SELECT \"column\" FROM {catalogue} WHERE type = $1 AND owner = $2 AND NOT filled"
            )),
            filled_upto: sql(format!(
                "SELECT stream, at, n FROM {fills} WHERE type = $1 AND owner = $2"
            )),
            set_filled_upto: sql(format!(
                "INSERT INTO {fills} (type, owner, stream, at, n) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (type, owner) \
                 DO UPDATE SET stream = excluded.stream, at = excluded.at, n = excluded.n"
            )),
            forget_fill: sql(format!("DELETE FROM {fills} WHERE type = $1 AND owner = $2")),
            set_filled: sql(format!(
                "UPDATE {catalogue} SET filled = true WHERE type = $1 AND owner = $2"
            )),
            set_preparing: sql(format!("UPDATE {state} SET declared = '', preparing = $1")),
            set_declared: sql(format!("UPDATE {state} SET declared = $1, preparing = ''")),
            shape: sql(format!("SELECT declared, preparing FROM {state}")),
            places: sql(format!(
                "SELECT seq, floor, coalesce((SELECT max(h.seq) FROM {history} h), 0) FROM {state}"
            )),
            raise_seq: sql(format!(
                "UPDATE {state} SET seq = greatest(seq, $1), floor = greatest(seq, $1)"
            )),
            restart: sql(format!("DELETE FROM {heads}; UPDATE {state} SET seq = 0, floor = 0")),
            forget_history: sql(format!(
                "DELETE FROM {history}; DELETE FROM {leases}; UPDATE {state} SET floor = seq"
            )),
            mark: sql(format!("UPDATE {state} SET seq = seq")),
            set_standing: sql(format!("UPDATE {state} SET standing = $1")),
            standing: sql(format!("SELECT standing FROM {state}")),
            raise_head: sql(format!(
                "INSERT INTO {heads} AS h (lane, number, hash) VALUES ($1, $2, $3) ON CONFLICT (lane) DO UPDATE \
                 SET number = excluded.number, hash = excluded.hash WHERE excluded.number >= h.number"
            )),
            set_tracking: sql(format!("UPDATE {state} SET tracking = $1, noted = 0")),
            lock_notes: sql(format!("SELECT tracking, noted FROM {state} FOR UPDATE")),
            add_notes: sql(format!(
                "INSERT INTO {tracked} (n, type, name, id, at, number) SELECT * FROM \
                 unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[])"
            )),
            set_noted: sql(format!("UPDATE {state} SET noted = $1")),
            forget_notes: sql(format!("DELETE FROM {tracked} WHERE n <= $1")),
            read_notes: sql(format!(
                "SELECT n, type, name, id, at, number FROM {tracked} WHERE n > $1 ORDER BY n LIMIT $2"
            )),
            views: Ident::new(&[&format!("{namespace}_read")]),
            state,
            heads,
            namespace: schema,
        }
    }

    /// Sets where chains end, raises commit order and commits, in one message.
    pub(crate) fn commit_at(&self, heads: &[(Name, Link)], seq: i64) -> Sql {
        let mut text = String::new();
        for (lane, link) in heads {
            let (lane, hash) = (Ident::new(&[lane]), blake3::Hash::from(link.hash).to_hex());
            text += &format!(
                "INSERT INTO {} (lane, number, hash) VALUES ('{}', {}, decode('{hash}', 'hex')) \
                 ON CONFLICT (lane) DO UPDATE SET number = excluded.number, hash = excluded.hash; ",
                self.heads,
                lane.bare(),
                link.number
            );
        }
        Sql::new(format!("{text}UPDATE {} SET seq = {seq}; COMMIT", self.state))
    }

    /// The table that says where the store stands.
    pub(crate) fn state(&self) -> &Table {
        &self.state
    }
}
