//! A database for tests, and a namespace in it for each store. Tests of other crates that need a database include this file; it
//! stands on the standard library and the programs of PostgreSQL.
#![allow(dead_code, reason = "each test uses its part")]

#[path = "../../../xtask/src/postgres.rs"]
pub mod cluster;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cluster::Cluster;

/// The database that all tests share, each in a namespace of its own.
///
/// `cargo xtask test` starts a cluster and says where it is. Without it a cluster is started once, below the folder of builds,
/// and left running for the next run.
pub fn database() -> &'static str {
    static URI: OnceLock<String> = OnceLock::new();
    URI.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "a test is told where its database is")]
        let said = std::env::var("FLEET_TEST_POSTGRES");
        said.unwrap_or_else(|_| {
            let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
            fs::create_dir_all(below).expect("the folder is made");
            let lock = fs::File::create(below.join("postgres.lock")).expect("a lock file");
            lock.lock().expect("the lock is taken");
            let cluster = Cluster::start(&below.join("postgres")).unwrap_or_else(|error| panic!("{error}"));
            cluster.uri("postgres")
        })
    })
}

/// One of PostgreSQL's own programs, such as `psql`.
pub fn program(name: &str) -> Command {
    let folder = cluster::programs().unwrap_or_else(|error| panic!("{error}"));
    Command::new(folder.join(name))
}

/// A namespace for one store, dropped with this.
#[derive(Debug)]
pub struct Namespace {
    uri: String,
    pub name: String,
}

impl Namespace {
    pub fn new() -> Self {
        Self::at(database())
    }

    pub fn at(uri: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            uri: uri.to_owned(),
            name: format!("t{}_{next}", std::process::id()),
        }
    }

    /// The address of the store.
    pub fn uri(&self) -> String {
        self.through(&self.uri)
    }

    /// The same store by way of another address.
    pub fn through(&self, uri: &str) -> String {
        let joint = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{joint}schema={}", self.name)
    }

    /// The database, for those beside the store.
    pub fn database(&self) -> &str {
        &self.uri
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let text = format!(
            "SET client_min_messages = warning; SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS \"{0}\", \"{0}_read\", \"{0}_new\" CASCADE",
            self.name
        );
        let mut drop = program("psql");
        drop.args(["--quiet", "--no-psqlrc", "--command", &text, &self.uri]);
        drop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A database that is gone has no namespaces.
        let _ = drop.status();
    }
}
