//! The commands: open the pair, call the engine, close in order, say what happened.

use std::{future::Future, time::Duration};

use fleet_bins_common::{
    logging::{complain, print},
    storage::StoreUri,
};
use fleet_core::store::migration::{Activity, MigrationError, Options, Stage};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Command, Run, Stores,
    exit::{Exit, Failure},
    pair::Pair,
    progress, show,
};

/// An answer: for people, for machines, and the exit code.
struct Answer {
    lines: Vec<String>,
    json: Value,
    exit: Exit,
}

impl Answer {
    fn of(value: &impl Serialize, lines: Vec<String>) -> Self {
        Self {
            lines,
            json: serde_json::to_value(value).unwrap_or_default(),
            exit: Exit::Done,
        }
    }
}

/// Does what was asked for.
pub(crate) async fn run(command: Command) -> Exit {
    let (stores, result) = match &command {
        Command::Plan(stores) => (stores, plan(stores).await),
        Command::Status(stores) => (stores, status(stores).await),
        Command::Verify(stores) => (stores, verify(stores).await),
        Command::Abandon(stores) => (stores, abandon(stores).await),
        Command::Run(run) if run.dry_run => (&run.stores, plan(&run.stores).await),
        Command::Back(run) if run.dry_run => (&run.stores, plan(&run.stores).await),
        Command::Run(run) => (&run.stores, go(run, false).await),
        Command::Back(run) => (&run.stores, go(run, true).await),
    };
    match result {
        Ok(answer) => {
            if stores.json {
                print(&answer.json.to_string());
            } else {
                answer.lines.iter().for_each(|line| print(line));
            }
            answer.exit
        }
        Err(failure) => {
            if stores.json {
                print(&failure.json().to_string());
            } else {
                complain(&format!("migrate-storage: {}", failure.message));
                if !failure.remedy.is_empty() {
                    complain(&format!("  {}", failure.remedy));
                }
            }
            failure.exit
        }
    }
}

async fn plan(stores: &Stores) -> Result<Answer, Failure> {
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = watched(&pair, interrupted(), pair.migration.plan()).await;
    pair.close().await?;
    let mut found = found?;
    pair.name_target(&mut found.status.target);
    let mut answer = Answer::of(&found, show::plan(&found));
    answer.json["blobs"] = json!(0);
    if !found.is_possible() {
        answer.exit = Failure::refused(found.status.problems).exit;
    }
    Ok(answer)
}

async fn status(stores: &Stores) -> Result<Answer, Failure> {
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = pair.migration.status().await;
    pair.close().await?;
    let mut found = found?;
    pair.name_target(&mut found.target);
    let mut answer = Answer::of(&found, show::status(&found));
    if !found.problems.is_empty() {
        answer.exit = Failure::refused(found.problems).exit;
    }
    Ok(answer)
}

async fn verify(stores: &Stores) -> Result<Answer, Failure> {
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = watched(&pair, interrupted(), pair.migration.verify()).await;
    pair.close().await?;
    let found = found?;
    let mut answer = Answer::of(&found, show::verification(&found));
    if !found.is_equal() {
        answer.exit = Exit::Different;
    }
    Ok(answer)
}

async fn abandon(stores: &Stores) -> Result<Answer, Failure> {
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = pair.migration.abandon().await;
    pair.close().await?;
    let found = found?;
    Ok(Answer::of(&found, show::status(&found)))
}

/// A move, or the way back.
async fn go(run: &Run, back: bool) -> Result<Answer, Failure> {
    if run.online && !run.stores.from.is_shared() {
        return Err(in_one_process(&run.stores.from));
    }
    let options = Options {
        check: !run.no_check,
        pause: Duration::from_millis(run.pause),
        ..Options::default()
    };
    let pair = Pair::open(&run.stores.from, &run.stores.to, true, options).await?;
    let goes_on = goes_on(run, back);
    let moved = watched(&pair, interrupted_move(&goes_on), async {
        let stage = pair.migration.status().await?.stage;
        if let Some(Stage::Filling(mark) | Stage::Frozen(mark)) = stage
            && !run.resume
        {
            return Err(Stopped::Begun(mark.id.to_string()));
        }
        // For the bar.
        let plan = pair.migration.plan().await?;
        if !plan.is_possible() {
            return Err(Stopped::Failed(MigrationError::Refused(plan.status.problems)));
        }
        let is_way_back = matches!(plan.status.stage, Some(Stage::WayBack));
        let moved = match (run.online, back) {
            // Its own refusals hold for an online move too.
            (true, false) if !is_way_back => pair.migration.online(None).await,
            (true, true) if !matches!(plan.status.stage, Some(Stage::Apart)) => pair.migration.online(None).await,
            (_, false) => pair.migration.run().await,
            (_, true) => pair.migration.back().await,
        };
        Ok(moved?)
    })
    .await;
    let closed = pair.close().await;
    let report = moved.map_err(|failure| failure.with_command(&goes_on))?;
    closed?;
    Ok(Answer::of(&report, show::report(&report)))
}

/// The command that goes on with a move; passwords are hidden.
fn goes_on(run: &Run, back: bool) -> String {
    let verb = if back { "back" } else { "run" };
    let online = if run.online { " --online" } else { "" };
    format!(
        "migrate-storage {verb}{online} --resume --from {} --to {}",
        run.stores.from, run.stores.to
    )
}

/// A store that one process holds is in the hands of its server while that writes.
fn in_one_process(from: &StoreUri) -> Failure {
    Failure::new(
        Exit::Refused,
        "migration.not_online",
        format!("{from} has one user at a time, so nobody can move it while a server writes to it"),
        "let the server move it while it runs: `fleet storage move URI`; or stop the server and leave --online out",
    )
}

/// Why a move did not end by itself.
#[derive(Debug)]
enum Stopped {
    /// Another call began it.
    Begun(String),
    Failed(MigrationError),
}

impl From<MigrationError> for Stopped {
    fn from(error: MigrationError) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Begun(id) => Self::new(
                Exit::Refused,
                "migration.begun",
                format!("move {id} between these stores is not complete"),
                "go on with --resume, or give it up with `migrate-storage abandon`",
            ),
            Stopped::Failed(error) => error.into(),
        }
    }
}

/// Shows progress while something is done, and stops it when somebody asks to. While writers wait for the switch-over it is not
/// stopped but brought to its end, a matter of a second; who asks again means it.
async fn watched<T, E>(
    pair: &Pair,
    interrupted: Failure,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let stopped = async {
        asked_to_stop().await;
        let mut progress = pair.migration.progress();
        tokio::select! {
            _ = progress.wait_for(|now| now.activity != Activity::Switching) => {}
            () = asked_to_stop() => {}
        }
    };
    tokio::select! {
        done = work => Ok(done?),
        () = progress::show(pair.migration.progress()) => Err(interrupted),
        () = stopped => Err(interrupted),
    }
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "migration.interrupted",
        "interrupted; nothing was changed",
        "run the same command again",
    )
}

fn interrupted_move(goes_on: &str) -> Failure {
    Failure::new(
        Exit::Interrupted,
        "migration.interrupted",
        "interrupted; both stores are intact",
        format!("go on with `{goes_on}`, or give it up with `migrate-storage abandon`"),
    )
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
