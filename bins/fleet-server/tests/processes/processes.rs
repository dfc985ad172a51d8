//! Real processes that die on command.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_fleet-server");

/// The agent's binary, which stands beside the server's.
pub(crate) fn agent_binary() -> PathBuf {
    let path = Path::new(SERVER).with_file_name("fleet-agent");
    assert!(
        path.exists(),
        "{} is not there; run `cargo build --workspace` first, as `cargo xtask test` does",
        path.display()
    );
    path
}

fn log(folder: &Path, name: &str) -> Stdio {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(name))
        .unwrap();
    Stdio::from(file)
}

/// A server on a port that stays the same over its lives.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(data: &Path, listen: &str) -> Self {
        Self::start_with(data, listen, &[]).await
    }

    /// Starts it with more arguments.
    pub(crate) async fn start_with(data: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = Command::new(SERVER)
            .args(["serve", "--listen", listen, "--data"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log(data, "server.log"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = tokio::time::timeout(Duration::from_secs(30), async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return address.to_owned();
                }
            }
            panic!(
                "the server ended before it listened; its log:\n{}",
                std::fs::read_to_string(data.join("server.log")).unwrap_or_default()
            )
        })
        .await
        .expect("the server listens within 30 s");
        Self { child, address }
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// An agent.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    pub(crate) fn start(state: &Path, logs: &Path, transport: &str) -> Self {
        let child = agent(logs)
            .args(["run", "--transport", transport, "--state"])
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(logs, "agent.log"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// SIGKILL, which a stopped process obeys too.
    pub(crate) fn kill(&mut self) {
        // It may be dead already.
        let _ = self.child.start_kill();
    }

    /// Waits until it is gone; its exit code, where no signal ended it.
    pub(crate) async fn gone(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// SIGSTOP: alive, connected, and silent.
    pub(crate) fn freeze(&self) {
        let id = self.child.id().expect("the agent lives").to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-STOP", &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// The agent's program. The authority whose certificate is in the folder is trusted, as if the system did.
fn agent(folder: &Path) -> Command {
    let mut command = Command::new(agent_binary());
    // Who is killed leaves the package manager at work that it asked, for seconds of a core each. (A service's is ended with its group.)
    command.env("FLEET_AGENT_WITHOUT_SECTIONS", "packages");
    let authority = folder.join("ca.pem");
    if authority.exists() {
        command.env("SSL_CERT_FILE", authority);
    }
    command
}

/// Enrols a device.
pub(crate) async fn enrol(state: &Path, token: &str) {
    enrol_as("crash-test", state, token).await;
}

/// Enrols a device of this name.
pub(crate) async fn enrol_as(name: &str, state: &Path, token: &str) {
    let output = agent(state.parent().unwrap())
        .args(["enrol", "--name", name, "--state"])
        .arg(state)
        .env("FLEET_TOKEN", token)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
