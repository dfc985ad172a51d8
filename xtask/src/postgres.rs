//! A PostgreSQL cluster of our own for tests: found, made, started, stopped, removed. It listens on a socket in its folder and
//! nowhere else.
//!
//! This file stands on nothing but the standard library: the tests of storage-postgres include it, for runs without
//! `cargo xtask test`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The oldest version that the backend works with.
const OLDEST: u32 = 14;

/// How a cluster of tests is set up. It synchronises with the disk as any other does: that is what tests are about. Before it comes
/// back from a crash it synchronises all that it has, too; by one call here, which takes a fraction of one for each file.
const SETTINGS: &str = "\
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 300
shared_buffers = 128MB
max_locks_per_transaction = 256
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
checkpoint_timeout = 30min
log_min_messages = panic
log_checkpoints = off
autovacuum_naptime = 10s
recovery_init_sync_method = syncfs
";

/// The folder of the server's programs: the newest that Debian has, or the one on the path.
pub fn programs() -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| *version >= OLDEST)
        .max();
    if let Some(version) = newest {
        return Ok(PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    }
    let asked = Command::new("pg_config").arg("--bindir").output();
    let folder = asked
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    match folder {
        Some(folder) if folder.join("initdb").exists() => Ok(folder),
        _ => Err(format!(
            "PostgreSQL {OLDEST} or later is not installed; run `cargo xtask setup`, or leave it out with `--without postgres`"
        )),
    }
}

/// The pooler that Debian has, as tests put it between a store and its database.
pub fn pooler() -> Option<PathBuf> {
    let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
    places.into_iter().map(PathBuf::from).find(|place| place.exists())
}

/// A cluster in a folder.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
}

impl Cluster {
    /// Makes a cluster in a folder, where there is none yet, and starts it, where it does not run.
    pub fn start(folder: &Path) -> Result<Self, String> {
        let cluster = Self {
            folder: folder.to_owned(),
            programs: programs()?,
        };
        let data = cluster.data();
        if !data.join("ready").exists() {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
            if is_root() {
                // The server refuses to run as root.
                run(Command::new("chown").arg("postgres:").arg(folder))?;
            }
            let mut initdb = cluster.program("initdb");
            initdb.args([
                "--no-sync",
                "--auth=trust",
                "--username=fleet",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ]);
            run(initdb.arg(&data))?;
            let config = data.join("postgresql.conf");
            let settings = fs::read_to_string(&config).map_err(|error| error.to_string())?;
            let socket = format!("unix_socket_directories = '{}'\n", folder.display());
            fs::write(&config, settings + SETTINGS + &socket).map_err(|error| error.to_string())?;
            fs::write(data.join("ready"), "").map_err(|error| error.to_string())?;
        }
        if !cluster.runs() {
            cluster.begin()?;
        }
        Ok(cluster)
    }

    /// Starts the server; returns once it takes connections.
    pub fn begin(&self) -> Result<(), String> {
        let mut start = self.control("start");
        run(start.args(["-w", "-t", "60", "-l"]).arg(self.folder.join("log")))
    }

    /// Stops the server: `fast` ends sessions, `immediate` is what a loss of power looks like.
    pub fn stop(&self, mode: &str) -> Result<(), String> {
        run(self.control("stop").args(["-w", "-t", "60", "-m", mode]))
    }

    /// Stops the server and removes the folder.
    pub fn remove(&self) {
        let _ = self.stop("immediate");
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// The address of a database of it.
    pub fn uri(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://fleet@localhost:5432/{database}?host={socket}")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn runs(&self) -> bool {
        run(&mut self.control("status")).is_ok()
    }

    fn control(&self, what: &str) -> Command {
        let mut control = self.program("pg_ctl");
        control.args([what, "-s", "-D"]).arg(self.data());
        control
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Wherever we stand, that user may not.
        command.current_dir("/");
        command
    }
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Runs a command; what it prints is told only when it fails. A server that it starts must not inherit our pipes: whoever reads
/// them would wait for the server's end.
fn run(command: &mut Command) -> Result<(), String> {
    let program = format!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
