//! `cargo xtask up`: a server and an agent on this very machine, driven as a user would drive them: by the programs themselves.

mod check;
mod data;
mod fleet;
mod server;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{POLL, Service, Stop},
    workspace::Workspace,
};
use data::Data;
use fleet::Fleet;
use server::Server;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where everything is kept; found again by the next `up`.
    #[arg(long, default_value = "fleet-data", value_name = "DIR", conflicts_with = "check")]
    data: PathBuf,
    /// Build and run what people would install.
    #[arg(long)]
    release: bool,
    /// Try it out instead: in a temporary folder, on a free port, until packages are listed and a command has run.
    #[arg(long)]
    check: bool,
    /// With --check: one JSON object on the last line.
    #[arg(long, requires = "check")]
    json: bool,
    /// Use what is built already.
    #[arg(long, hide = true)]
    no_build: bool,
}

/// How long everything may take once it is built.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the agent and the server may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Programs that were built here.
struct Programs {
    server: PathBuf,
    agent: PathBuf,
    fleet: PathBuf,
}

/// A server and an agent that is enrolled and online.
struct Up {
    server: Server,
    agent: Service,
    fleet: Fleet,
    device: String,
    device_name: String,
}

/// Starts everything; returns when it was asked to stop, or when the check is done.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.no_build {
        eprintln!("building server, agent and command line");
        workspace.build_programs(arguments.release)?;
    }
    let programs = Programs {
        server: workspace.binary("fleet-server", arguments.release),
        agent: workspace.binary("fleet-agent", arguments.release),
        fleet: workspace.binary("fleet", arguments.release),
    };
    // From here on a signal only asks: children are ended by us, in order.
    let stop = Stop::listen()?;
    if arguments.check {
        return check::run(&programs, &stop, arguments.json);
    }
    let path = std::path::absolute(&arguments.data)?;
    let data = Data::open(&path)?;
    let mut up = start(
        &programs,
        &data,
        &stop,
        Instant::now() + PATIENCE,
        Some("127.0.0.1:8080"),
    )?;
    println!("{}", welcome(&programs, &data, &up));
    let ended = loop {
        if stop.is_set() {
            break Ok(());
        }
        if let Err(error) = up.server.must_run().and_then(|()| up.agent.must_run()) {
            break Err(error.context(format!("the logs are in {}", path.display())));
        }
        sleep(POLL);
    };
    eprintln!("stopping the agent, then the server");
    ended.and(up.stop())?;
    eprintln!("stopped; `cargo xtask up` finds {} again", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Starts the server, signs in (as the first administrator where there is none yet), enrols this machine unless it is, starts the
/// agent and waits until the server hears of it.
fn start(programs: &Programs, data: &Data, stop: &Stop, deadline: Instant, prefer: Option<&str>) -> Result<Up> {
    eprintln!("starting the server with its data in {}", data.path().display());
    let mut server = Server::start(&programs.server, data, stop, deadline, prefer)?;
    eprintln!("the server listens on {}", server.address());
    let fleet = Fleet::new(&programs.fleet, data, stop, deadline);
    sign_in(&fleet, data, server.address())?;
    let state = data.path().join("agent");
    let device = match enrolled_device(programs, &state)? {
        Some(device) => device,
        None => {
            eprintln!("enrolling this machine");
            enrol(programs, &fleet, &state)?;
            enrolled_device(programs, &state)?.context("the agent does not know its device after it was enrolled")?
        }
    };
    let log = data.log("agent.log")?;
    let mut agent = Service::start(
        "the agent",
        isolated(&programs.agent)
            .args(["run", "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
    )?;
    eprintln!("waiting for the agent");
    let shown = wait_for(stop, deadline, "the device is not online", || {
        server.must_run()?;
        agent.must_run()?;
        let shown = fleet.json(&["devices", "show", &device])?;
        Ok((shown["presence"] == "online").then_some(shown))
    })
    .with_context(|| format!("the agent's log ends with\n{}", data.tail("agent.log")))?;
    let device_name = shown["name"].as_str().unwrap_or(&device).to_owned();
    Ok(Up {
        server,
        agent,
        fleet,
        device,
        device_name,
    })
}

fn sign_in(fleet: &Fleet, data: &Data, address: &str) -> Result<()> {
    let bootstrap = data.path().join("bootstrap-token");
    let credentials = data.credentials(address)?;
    if bootstrap.exists() {
        eprintln!("claiming the first administrator");
        // They are written before they are used: an interrupted `up` must not lock itself out.
        data.keep(&credentials)?;
        let claimed = fleet.call(
            &[
                "bootstrap",
                address,
                "--name",
                &credentials.name,
                "--password-file",
                "-",
                "--token-file",
            ],
            Some(&bootstrap),
            &credentials.password,
        );
        // The file outlives the claim when the server was ended in between; signing in tells.
        if let Err(error) = claimed {
            return login(fleet, address, &credentials).map_err(|_| error);
        }
    } else if !data.has_credentials() {
        bail!(
            "{} has its first administrator already, but no file `credentials` to sign in with; remove the folder or take another with --data",
            data.path().display()
        );
    }
    data.keep(&credentials)?;
    login(fleet, address, &credentials)
}

fn login(fleet: &Fleet, address: &str, credentials: &data::Credentials) -> Result<()> {
    let arguments = ["login", address, "--name", &credentials.name, "--password-file", "-"];
    fleet.call(&arguments, None, &credentials.password).map(drop)
}

/// The device that the agent is enrolled as.
fn enrolled_device(programs: &Programs, state: &Path) -> Result<Option<String>> {
    if !state.exists() {
        return Ok(None);
    }
    let output = isolated(&programs.agent)
        .args(["status", "--json", "--state"])
        .arg(state)
        .output()
        .context("fleet-agent status")?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(status["device"].as_str().map(str::to_owned))
}

fn enrol(programs: &Programs, fleet: &Fleet, state: &Path) -> Result<()> {
    let token = fleet.json(&["tokens", "create", "--description", "cargo xtask up", "--expires", "1h"])?;
    let token = token["token"].as_str().context("the new enrolment token has no text")?;
    let output = isolated(&programs.agent)
        .args(["enrol", "--state"])
        .arg(state)
        // Not as an argument: those are visible to everybody on the machine.
        .env("FLEET_TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .context("fleet-agent does not start")?;
    if !output.status.success() {
        bail!(
            "fleet-agent enrol failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Asks again and again until there is an answer.
fn wait_for<T>(
    stop: &Stop,
    deadline: Instant,
    what_is_wrong: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if stop.is_set() {
            bail!("stopped while {what_is_wrong}");
        }
        if Instant::now() >= deadline {
            bail!("{what_is_wrong} after {} s", PATIENCE.as_secs());
        }
        sleep(POLL * 4);
    }
}

/// A command without the settings that the user's own environment has for a fleet elsewhere.
fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLEET_") {
            command.env_remove(name);
        }
    }
    command
}

impl Up {
    fn stop(self) -> Result<()> {
        let agent = self.agent.stop(STOP_PATIENCE);
        let server = self.server.stop(STOP_PATIENCE);
        agent.and(server)
    }
}

fn welcome(programs: &Programs, data: &Data, up: &Up) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let short = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let Ok(credentials) = data.credentials(up.server.address()) else {
        return "running".into();
    };
    let (fleet, name) = (short(&programs.fleet), &up.device_name);
    format!(
        "
fleet is running, and this machine is its first device.

  address    {address}
  name       {user}
  password   {password}
  kept in    {kept}
  device     {name} ({device})

Try in another terminal:

  export FLEET_CREDENTIALS={cli}
  {fleet} devices list
  {fleet} devices packages {name} --updates
  {fleet} run --on {name} -- uname -a
  {fleet} audit list

Ctrl-C stops the agent and the server; the next `cargo xtask up` finds everything again.",
        address = up.server.address(),
        user = credentials.name,
        password = credentials.password,
        kept = short(&data.path().join("credentials")),
        device = up.device,
        cli = short(&data.cli_credentials()),
    )
}
