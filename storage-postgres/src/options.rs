//! What may be tuned, and where the database is.

use std::{fmt, sync::Arc, time::Duration};

use fleet_core::{
    kernel::Clock,
    store::{Error, Result},
};

/// Whose time leases lapse by.
#[derive(Clone, Debug, Default)]
pub enum LeaseClock {
    /// The database's: one clock for all servers.
    #[default]
    Database,
    /// This one; for tests.
    Given(Arc<dyn Clock>),
}

/// How a store hears at once of what other servers commit. Without it, it asks once a second.
#[derive(Clone, Default)]
pub enum Listen {
    /// On a connection to the same address. Behind a pooler in transaction mode that hears nothing, and does no harm.
    #[default]
    Same,
    /// On a connection to this URI, past a pooler.
    At(String),
    /// Not at all.
    Off,
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "Same",
            // A URI may hold a password.
            Self::At(_) => "At(…)",
            Self::Off => "Off",
        })
    }
}

/// How a store is opened. The defaults suit a server with some thousands of devices, alone or among others.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The namespace of the tables: 1 to 40 of `a-z`, `0-9` and `_`, beginning with a letter. `?schema=` in the URI wins.
    pub schema: String,
    /// How other servers' commits are heard of. `?listen=off` and `?listen_uri=` in the URI win.
    pub listen: Listen,
    /// Whose time leases lapse by.
    pub lease_clock: LeaseClock,
    /// How long an ingest may wait for company; zero: not at all.
    pub linger: Duration,
    /// How many latest values and rows end the wait.
    pub linger_items: usize,
    /// At most this many batches or ingests share one transaction; 1 to 10,000.
    pub group: usize,
    /// How many views may be open at once; 1 to 256. Each has a connection.
    pub readers: usize,
    /// How long a view may be held.
    pub view_limit: Duration,
    /// How long a call waits for a free view before it fails.
    pub view_wait: Duration,
    /// How long a statement of a write may take before it fails.
    pub statement_limit: Duration,
    /// How long a write waits for its turn among servers before it fails.
    pub lock_limit: Duration,
    /// How often the truth about other servers' commits is asked for.
    pub poll: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "fleet".into(),
            listen: Listen::Same,
            lease_clock: LeaseClock::Database,
            linger: Duration::from_millis(20),
            linger_items: 512,
            group: 512,
            readers: 8,
            view_limit: Duration::from_secs(60),
            view_wait: Duration::from_secs(30),
            statement_limit: Duration::from_secs(30),
            lock_limit: Duration::from_secs(10),
            poll: Duration::from_secs(1),
        }
    }
}

/// A URI without what is ours in its query, and the options with it.
pub(crate) fn take_from_uri(uri: &str, mut options: PostgresOptions) -> Result<(String, PostgresOptions)> {
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("schema", value)) => options.schema = value.to_owned(),
            Some(("listen", "off")) => options.listen = Listen::Off,
            Some(("listen", other)) => {
                return Err(refused(format!("listen={other} is unknown; there is listen=off")));
            }
            Some(("listen_uri", value)) => options.listen = Listen::At(percent_decoded(value)?),
            _ => kept.push(pair),
        }
    }
    let name = &options.schema;
    let fits = (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if !fits || name.starts_with("pg_") {
        return Err(refused(format!(
            "schema={name} is no name for a namespace: 1 to 40 of a-z, 0-9 and _, beginning with a letter, not with pg_"
        )));
    }
    let uri = if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    };
    Ok((uri, options))
}

fn refused(problem: String) -> Error {
    Error::Refused(format!("the address of the database: {problem}"))
}

fn percent_decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(refused("listen_uri is not percent-encoded".into())),
        }
    }
    String::from_utf8(bytes).map_err(|_| refused("listen_uri is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Option<(&str, &str, &str)>) {
        let taken = take_from_uri(uri, PostgresOptions::default());
        let taken = taken.map(|(uri, options)| (uri, options.schema, format!("{:?}", options.listen)));
        let taken = taken
            .as_ref()
            .map(|(uri, schema, listen)| (uri.as_str(), schema.as_str(), listen.as_str()));
        assert_eq!(taken.ok(), expected);
    }

    #[test]
    fn our_parts_of_the_query_are_taken_and_the_rest_is_kept() {
        check("postgres://h/d", Some(("postgres://h/d", "fleet", "Same")));
        check(
            "postgres://h/d?sslmode=require&schema=a_1&listen=off",
            Some(("postgres://h/d?sslmode=require", "a_1", "Off")),
        );
        check(
            "postgres://h/d?listen_uri=postgres%3A%2F%2Fh%2Fd",
            Some(("postgres://h/d", "fleet", "At(…)")),
        );
        for refused in [
            "schema=",
            "schema=A",
            "schema=a%22",
            "schema=pg_x",
            "listen=on",
            "listen_uri=%4",
        ] {
            check(&format!("postgres://h/d?{refused}"), None);
        }
    }
}
