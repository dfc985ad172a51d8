//! The commands: `fleet NOUN VERB`, one file per noun.

mod agents;
mod approvals;
mod asking;
mod assignments;
mod audit;
mod auth;
mod authorities;
mod batches;
mod confirm;
mod desired;
mod device_state;
mod devices;
mod dispatch_key;
mod escrow;
mod groups;
mod keys;
mod live;
mod packages;
mod plans;
mod promotions;
mod rollouts;
mod run;
mod run_output;
mod runs;
mod schedule;
mod secret;
mod sessions;
mod settings;
mod status;
mod storage;
mod tokens;
mod users;
mod windows;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::{
    client::{Client, Exit, Failure, Pages, Query, Result, Session, default_path},
    output::{Column, Format, Output, note},
};

/// The operator's command line.
#[derive(Debug, Parser)]
#[command(
    name = "fleet",
    version,
    about = "Sees and commands a fleet of devices",
    max_term_width = 120
)]
#[command(after_help = "\
Examples:
  fleet login https://fleet.example.org --name admin
  fleet devices list --label env=prod --updates
  fleet run --label env=prod -- uptime
  fleet devices packages web-1 --updates -o json

Wherever an id is wanted, a name or the last 8 digits of the id do as well.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found or denied, 4 conflict, 5 server unreachable,
6 finished with failures on some devices.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// How results are written.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
    /// The server's address, instead of that of `fleet login`. A token for it is read from FLEET_TOKEN.
    #[arg(long, global = true, env = "FLEET_URL", value_name = "URL")]
    url: Option<String>,
    /// Where the session is kept [default: $XDG_CONFIG_HOME/fleet/credentials.toml].
    #[arg(long, global = true, env = "FLEET_CREDENTIALS", value_name = "FILE")]
    credentials: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign in and keep the session.
    Login(auth::Login),
    /// End the session and forget it.
    Logout,
    /// Who is signed in, and what they may do.
    Whoami,
    /// Set your own password.
    Password(auth::OwnPassword),
    /// Claim a new server: create its first administrator with the one-time token that it printed.
    Bootstrap(auth::Bootstrap),
    /// Whether the server is well, and the fleet in numbers.
    Status,
    /// Devices: list, show, set, label, delete; their packages, inventory and events.
    #[command(subcommand, visible_alias = "device")]
    Devices(devices::Command),
    /// Escrow: passwords and passphrases that devices made.
    #[command(subcommand)]
    Escrow(escrow::Command),
    /// Groups of devices.
    #[command(subcommand, visible_alias = "group")]
    Groups(groups::Command),
    /// Installed packages over the whole fleet.
    #[command(subcommand, visible_alias = "package")]
    Packages(packages::Command),
    /// Enrolment tokens, with which machines join.
    #[command(subcommand, visible_alias = "token")]
    Tokens(tokens::Command),
    /// Agents: the releases that the server hands out.
    #[command(subcommand, visible_alias = "agent")]
    Agents(agents::Command),
    /// Certificate authorities, whom devices and server trust on the agents' own TLS port.
    #[command(subcommand, visible_alias = "authority")]
    Authorities(authorities::Command),
    /// The key that signs work, which agents have pinned.
    #[command(subcommand)]
    DispatchKey(dispatch_key::Command),
    /// Run a command on devices and follow its output.
    Run(run::Run),
    /// Bring devices into a state: a file, a package, a service, a user and the like.
    Apply(run::Apply),
    /// Have devices collect and report their inventory anew.
    Refresh(run::Refresh),
    /// Have devices fetch what they shall be, and apply all of it now.
    Sync(run::Sync),
    /// Runs: what was done on a device, and what it printed.
    #[command(subcommand)]
    Runs(runs::Command),
    /// Batches: one request for work on many devices.
    #[command(subcommand, visible_alias = "batch")]
    Batches(batches::Command),
    /// Rollouts: work that goes from wave to wave.
    #[command(subcommand, visible_alias = "rollout")]
    Rollouts(rollouts::Command),
    /// Plans: work that is kept under a name, to be done again and again.
    #[command(subcommand, visible_alias = "plan")]
    Plans(plans::Command),
    /// Approvals: work that begins only when others agree.
    #[command(subcommand, visible_alias = "approval")]
    Approvals(approvals::Command),
    /// Agree to work that somebody else asked for: `fleet approvals approve` in short.
    Approve(approvals::Decide),
    /// Windows: when devices may be changed, and when they must not be.
    #[command(subcommand, visible_alias = "window")]
    Windows(windows::Command),
    /// Actions: what shall be on devices, and stay so.
    #[command(subcommand, visible_alias = "action")]
    Actions(desired::Actions),
    /// Action sets: actions that are applied one after another.
    #[command(subcommand, visible_alias = "action-set")]
    ActionSets(desired::Containers),
    /// Definitions: what a sort of device shall be, of sets and actions.
    #[command(subcommand, visible_alias = "definition")]
    Definitions(desired::Containers),
    /// Assign an action, a set or a definition to devices, whose agents keep it from then on.
    Assign(assignments::Assign),
    /// Assignments: what shall be where.
    #[command(subcommand, visible_alias = "assignment")]
    Assignments(assignments::Assignments),
    /// What a device shall be.
    Manifest(device_state::Manifest),
    /// Why actions apply to a device, or do not.
    Why(device_state::Why),
    /// Schedules: what a cron expression would do.
    #[command(subcommand, visible_alias = "schedules")]
    Schedule(schedule::Command),
    /// Kinds of work that devices can be given.
    Operations,
    /// Users.
    #[command(subcommand, visible_alias = "user")]
    Users(users::Command),
    /// API keys, for programs.
    #[command(subcommand, visible_alias = "key")]
    Keys(keys::Command),
    /// Your own sessions.
    #[command(subcommand, visible_alias = "session")]
    Sessions(sessions::Command),
    /// What may be granted, and the least role that has it.
    Permissions,
    /// The audit: who did what, when, to what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Settings of the server, each with its source.
    #[command(subcommand, visible_alias = "setting")]
    Settings(settings::Command),
    /// The server's store: what it is, checks, backups.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Follow what changes, live; one JSON object a line.
    Events,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// How results are written.
    pub fn format(&self) -> Format {
        self.global.output
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Args)]
pub struct Paging {
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All there are.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    client: Client,
    output: Output,
}

/// Does what was asked for.
pub async fn run(cli: Cli) -> Result<()> {
    let mut output = Output::standard(cli.global.output);
    let global = &cli.global;
    // These need no session.
    match cli.command {
        Command::Completions { shell } => return status::completions(shell, &mut output),
        Command::Login(login) => return auth::login(global, login, &mut output).await,
        Command::Bootstrap(bootstrap) => return auth::bootstrap(bootstrap, &mut output).await,
        Command::Logout => return auth::logout(global, &mut output).await,
        _ => {}
    }
    let mut context = Context {
        client: global.client()?,
        output,
    };
    let context = &mut context;
    match cli.command {
        Command::Whoami => auth::whoami(context).await,
        Command::Password(password) => auth::set_own_password(context, password).await,
        Command::Status => status::status(context).await,
        Command::Devices(command) => devices::run(context, command).await,
        Command::Escrow(command) => escrow::run(context, command).await,
        Command::Groups(command) => groups::run(context, command).await,
        Command::Packages(command) => packages::run(context, command).await,
        Command::Tokens(command) => tokens::run(context, command).await,
        Command::Agents(command) => agents::run(context, command).await,
        Command::Authorities(command) => authorities::run(context, command).await,
        Command::DispatchKey(command) => dispatch_key::run(context, command).await,
        Command::Run(command) => run::run(context, command).await,
        Command::Apply(command) => run::apply(context, command).await,
        Command::Refresh(command) => run::refresh(context, command).await,
        Command::Sync(command) => run::sync(context, command).await,
        Command::Runs(command) => runs::run(context, command).await,
        Command::Batches(command) => batches::run(context, command).await,
        Command::Rollouts(command) => rollouts::run(context, command).await,
        Command::Approvals(command) => approvals::run(context, command).await,
        Command::Approve(decide) => approvals::run(context, approvals::Command::Approve(decide)).await,
        Command::Plans(command) => plans::run(context, command).await,
        Command::Windows(command) => windows::run(context, command).await,
        Command::Actions(command) => desired::actions(context, command).await,
        Command::ActionSets(command) => desired::containers(context, desired::Sort::Set, command).await,
        Command::Definitions(command) => desired::containers(context, desired::Sort::Definition, command).await,
        Command::Assign(assign) => assignments::assign(context, assign).await,
        Command::Assignments(command) => assignments::assignments(context, command).await,
        Command::Manifest(manifest) => device_state::manifest(context, manifest).await,
        Command::Why(why) => device_state::why(context, why).await,
        Command::Schedule(command) => schedule::run(context, command).await,
        Command::Operations => status::operations(context).await,
        Command::Users(command) => users::run(context, command).await,
        Command::Keys(command) => keys::run(context, command).await,
        Command::Sessions(command) => sessions::run(context, command).await,
        Command::Permissions => status::permissions(context).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Settings(command) => settings::run(context, command).await,
        Command::Storage(command) => storage::run(context, command).await,
        Command::Events => status::events(context).await,
        Command::Completions { .. } | Command::Login(_) | Command::Bootstrap(_) | Command::Logout => Ok(()),
    }
}

impl Global {
    fn credentials(&self) -> Result<PathBuf> {
        self.credentials.clone().map_or_else(default_path, Ok)
    }

    /// The server and who we are: from the environment, else from the session that is kept. A session's token goes to the server
    /// that gave it, and nowhere else.
    fn client(&self) -> Result<Client> {
        let token = std::env::var_os("FLEET_TOKEN")
            .and_then(|token| token.into_string().ok())
            .filter(|token| !token.is_empty());
        let session = Session::load(&self.credentials()?)?;
        let not_signed_in = |what: String| {
            Failure::new(Exit::NotFound, "session.none", what)
                .hint("sign in with `fleet login URL`, or set FLEET_URL and FLEET_TOKEN")
        };
        match (&self.url, token, session) {
            (Some(url), Some(token), _) => Client::new(url, Some(token)),
            (None, Some(token), Some(session)) => Client::new(&session.url, Some(token)),
            (None, Some(_), None) => Err(Failure::usage(
                "FLEET_TOKEN is set, but not where to: set FLEET_URL too",
            )),
            (Some(url), None, Some(session)) => {
                let client = Client::new(url, None)?;
                if client.url() == session.url {
                    Client::new(url, Some(session.token))
                } else {
                    Err(not_signed_in(format!(
                        "nobody is signed in at {url}, but at {}",
                        session.url
                    )))
                }
            }
            (None, None, Some(session)) => Client::new(&session.url, Some(session.token)),
            (url, None, None) => Err(not_signed_in(match url {
                Some(url) => format!("nobody is signed in at {url}"),
                None => "nobody is signed in".into(),
            })),
        }
    }
}

impl Context {
    /// Writes a list, page by page.
    async fn list(
        &mut self,
        path: &[&str],
        query: Query,
        paging: Paging,
        columns: &'static [Column],
        nothing: &str,
    ) -> Result<()> {
        let limit = if paging.all { usize::MAX } else { paging.limit as usize };
        let mut pages = Pages::new(&self.client, path, query, limit);
        let mut list = self.output.list(columns);
        while let Some(items) = pages.next().await? {
            list.page(&items)?;
        }
        list.end(nothing)?;
        if pages.has_more() {
            note("there are more: --limit N or --all shows them");
        }
        Ok(())
    }

    /// Writes one thing.
    async fn show(&mut self, path: &[&str]) -> Result<()> {
        let value = self.client.get(path, &[]).await?.body;
        self.output.thing(&value)
    }

    /// Changes a thing as it is now: a change by somebody else in between is a conflict.
    async fn change(&mut self, path: &[&str], change: &Value, words: &str) -> Result<()> {
        let found = self.client.get(path, &[]).await?;
        let changed = self.client.patch(path, change, found.etag.as_deref()).await?;
        self.output.done(words, &changed.body)
    }
}

/// Adds a parameter where there is a value.
fn with(query: &mut Query, name: &'static str, value: Option<impl ToString>) {
    if let Some(value) = value {
        query.push((name, value.to_string()));
    }
}

/// `name=value`.
fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

/// A length of time such as `30s`, `5m`, `2h` or `7d`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "write a number and a unit, such as 30s, 5m, 2h or 7d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit)
        .filter(|seconds| *seconds <= 100 * 365 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("2h", Some(7_200)),
            ("7d", Some(604_800)),
            ("30", None),
            ("m", None),
            ("-1s", None),
            ("5 m", None),
            ("1w", None),
            ("99999999999999999999s", None),
            ("9999999999999d", None),
            ("5ü", None),
        ] {
            assert_eq!(duration(text).ok().map(|it| it.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn pairs_have_a_name() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(pair("a=").unwrap(), ("a".into(), String::new()));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn every_command_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{path}: {} has no help",
                    argument.get_id()
                );
            }
            for below in command.get_subcommands() {
                check(below, &path);
            }
        }
        check(&Cli::command(), "");
    }
}
