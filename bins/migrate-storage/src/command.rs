//! The commands: open the pair, call the engine, close in order, say what happened.

use std::{future::Future, time::Duration};

use fleet_bins_common::{
    logging::{complain, print},
    storage::StoreUri,
};
use fleet_core::{
    blobs::BlobTransfer,
    store::migration::{Activity, MigrationError, Options, Stage},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Command, Pairs, Places, Run, Stores,
    blobs::{self, Blobs},
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

    /// With what became of the blobs, or null when they stay where they are.
    fn with_blobs(mut self, blobs: Option<&BlobTransfer>) -> Self {
        self.json["blobs"] = serde_json::to_value(blobs).unwrap_or_default();
        self
    }
}

/// Does what was asked for.
pub(crate) async fn run(command: Command) -> Exit {
    let (json, result) = match &command {
        Command::Plan(pairs) => (pairs.stores.json, plan(&pairs.stores, &pairs.blobs).await),
        Command::Status(stores) => (stores.json, status(stores).await),
        Command::Verify(pairs) => (pairs.stores.json, verify(pairs).await),
        Command::Abandon(stores) => (stores.json, abandon(stores).await),
        Command::Run(run) | Command::Back(run) if run.dry_run => (run.stores.json, plan(&run.stores, &run.blobs).await),
        Command::Run(run) => (run.stores.json, go(run, false).await),
        Command::Back(run) => (run.stores.json, go(run, true).await),
        Command::Blobs(asked) => (asked.json, move_blobs(asked).await),
    };
    match result {
        Ok(answer) => {
            if json {
                print(&answer.json.to_string());
            } else {
                answer.lines.iter().for_each(|line| print(line));
            }
            answer.exit
        }
        Err(failure) => {
            if json {
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

async fn plan(stores: &Stores, places: &Places) -> Result<Answer, Failure> {
    let blobs = Blobs::open(places, false)?;
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = watched(&pair, blobs.as_ref(), interrupted(), async {
        let found = pair.migration.plan().await?;
        let blobs = match &blobs {
            Some(blobs) => Some(blobs.plan(&pair.source).await?),
            None => None,
        };
        Ok::<_, Failure>((found, blobs))
    })
    .await;
    pair.close().await?;
    let (mut found, blobs) = found?;
    pair.name_target(&mut found.status.target);
    let mut lines = show::plan(&found);
    lines.extend(show::planned_blobs(blobs.as_ref()));
    let mut answer = Answer::of(&found, lines).with_blobs(blobs.as_ref());
    if !found.is_possible() {
        answer.exit = Failure::refused(found.status.problems).exit;
    } else if blobs.is_some_and(|blobs| blobs.damaged > 0) {
        answer.exit = Exit::Different;
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

async fn verify(pairs: &Pairs) -> Result<Answer, Failure> {
    let stores = &pairs.stores;
    let blobs = Blobs::open(&pairs.blobs, false)?;
    let pair = Pair::open(&stores.from, &stores.to, false, Options::default()).await?;
    let found = watched(&pair, blobs.as_ref(), interrupted(), async {
        let found = pair.migration.verify().await?;
        let blobs = match &blobs {
            Some(blobs) => Some(blobs.prove(&pair.target).await?),
            None => None,
        };
        Ok::<_, Failure>((found, blobs))
    })
    .await;
    pair.close().await?;
    let (found, blobs) = found?;
    let mut lines = show::verification(&found);
    lines.extend(blobs.iter().flat_map(show::proved_blobs));
    let mut answer = Answer::of(&found, lines).with_blobs(blobs.as_ref());
    if !found.is_equal() || blobs.is_some_and(|blobs| blobs.damaged > 0) {
        answer.exit = Exit::Different;
    }
    Ok(answer)
}

/// Blobs move, and their store stays.
async fn move_blobs(asked: &crate::Blobs) -> Result<Answer, Failure> {
    let places = Blobs::between(&asked.from, &asked.to, !asked.dry_run)?;
    let store = blobs::store(&asked.storage).await?;
    let goes_on = format!(
        "migrate-storage blobs --storage {} --from {} --to {}",
        asked.storage, asked.from, asked.to
    );
    let work = async {
        if asked.dry_run {
            return places.plan(&store).await;
        }
        let copied = places.copy(&store).await?;
        places.finish(&store, &copied).await
    };
    let moved = tokio::select! {
        done = work => done,
        () = progress::show_blobs(places.progress()) => Err(interrupted_move(&goes_on)),
        () = asked_to_stop() => Err(interrupted_move(&goes_on)),
    };
    let closed = store.close().await;
    let done = moved.map_err(|failure| failure.with_command(&goes_on))?;
    closed.map_err(|error| {
        let message = format!("the store did not close cleanly: {error}");
        Failure::new(
            Exit::Failed,
            "migration.not_closed",
            message,
            "run `fleet-server check`",
        )
    })?;
    let lines = match asked.dry_run {
        true => show::planned_blobs(Some(&done)),
        false => show::moved_blobs(&done, &asked.to.to_string()),
    };
    let mut answer = Answer::of(&done, lines);
    if done.damaged > 0 {
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
    let blobs = Blobs::open(&run.blobs, true)?;
    let pair = Pair::open(&run.stores.from, &run.stores.to, true, options).await?;
    let goes_on = goes_on(run, back);
    let moved = watched(&pair, blobs.as_ref(), interrupted_move(&goes_on), async {
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
        // Most of them while the source still serves.
        let copied = match &blobs {
            Some(blobs) => blobs.copy(&pair.source).await?,
            None => BlobTransfer::default(),
        };
        let is_way_back = matches!(plan.status.stage, Some(Stage::WayBack));
        let moved = match (run.online, back) {
            // Its own refusals hold for an online move too.
            (true, false) if !is_way_back => pair.migration.online(None).await,
            (true, true) if !matches!(plan.status.stage, Some(Stage::Apart)) => pair.migration.online(None).await,
            (_, false) => pair.migration.run().await,
            (_, true) => pair.migration.back().await,
        }?;
        let blobs = match &blobs {
            Some(blobs) => Some(blobs.finish(&pair.target, &copied).await?),
            None => None,
        };
        Ok((moved, blobs))
    })
    .await;
    let closed = pair.close().await;
    let (report, blobs) = moved.map_err(|failure| failure.with_command(&goes_on))?;
    closed?;
    let mut lines = show::report(&report);
    if let (Some(blobs), Some(to)) = (&blobs, &run.blobs.blobs_to) {
        lines.extend(show::moved_blobs(blobs, &to.to_string()));
    }
    Ok(Answer::of(&report, lines).with_blobs(blobs.as_ref()))
}

/// The command that goes on with a move; passwords are hidden.
fn goes_on(run: &Run, back: bool) -> String {
    let verb = if back { "back" } else { "run" };
    let online = if run.online { " --online" } else { "" };
    let blobs = match (&run.blobs.blobs_from, &run.blobs.blobs_to) {
        (Some(from), Some(to)) => format!(" --blobs-from {from} --blobs-to {to}"),
        _ => String::new(),
    };
    format!(
        "migrate-storage {verb}{online} --resume --from {} --to {}{blobs}",
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
    Blobs(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Blobs(failure)
    }
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
            Stopped::Blobs(failure) => failure,
        }
    }
}

/// Shows progress while something is done, and stops it when somebody asks to. While writers wait for the switch-over it is not
/// stopped but brought to its end, a matter of a second; who asks again means it.
async fn watched<T, E>(
    pair: &Pair,
    blobs: Option<&Blobs>,
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
    let blobs_shown = async {
        match blobs {
            Some(blobs) => progress::show_blobs(blobs.progress()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => Ok(done?),
        () = progress::show(pair.migration.progress()) => Err(interrupted),
        () = blobs_shown => Err(interrupted),
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
