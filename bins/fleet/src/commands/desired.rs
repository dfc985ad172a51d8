//! Desired state: actions, action sets and definitions.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use fleet_core::work::BatchRequest;
use serde_json::{Map, Value, json};

use super::{
    Context, Paging,
    asking::{How, On, ask},
    duration,
    run::{ContentFrom, object},
    with,
};
use crate::{
    client::{ACTION, ACTION_SET, Client, DEFINITION, Failure, Noun, Query, Result, id_of},
    output::{Column, Show},
};

/// `fleet actions`
#[derive(Debug, Subcommand)]
pub enum Actions {
    /// List actions.
    List {
        /// Only of this kind of operation.
        #[arg(long)]
        operation: Option<String>,
        /// Only those to which no assignment leads, neither to themselves nor to what holds them.
        #[arg(long)]
        unassigned: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an action.
    Show {
        /// The action.
        action: String,
    },
    /// Make an action.
    #[command(after_help = "\
Examples:
  fleet actions create Motd file --params '{\"path\": \"/etc/motd\", \"content\": \"welcome\\n\"}' --every 1h
  fleet actions create 'No telnet' package --params '{\"name\": \"telnet\"}' --absent")]
    Create {
        /// Its name.
        name: String,
        /// The kind of operation, such as `shell`.
        operation: String,
        /// Its parameters as JSON; `@FILE` reads them from a file, `-` from standard input.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        params: String,
        #[command(flatten)]
        content: ContentFrom,
        #[command(flatten)]
        kept: Kept,
    },
    /// Change an action; what is not given stays as it is.
    Set {
        /// The action.
        action: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        /// Its parameters as JSON; `@FILE` reads them from a file, `-` from standard input.
        #[arg(long, value_name = "JSON")]
        params: Option<String>,
        #[command(flatten)]
        content: ContentFrom,
        #[command(flatten)]
        kept: Kept,
    },
    /// Delete an action.
    Delete(Delete),
    /// Carry an action out once, on devices that need not have it assigned.
    #[command(after_help = "\
Examples:
  fleet actions run Motd --on web-1
  fleet actions run 'No telnet' --group web --dry-run-first --wave 10%")]
    Run(Box<Once>),
}

/// `fleet actions run`
#[derive(Debug, Args)]
pub struct Once {
    /// The action.
    action: String,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    how: How,
    /// Say what would be done, and do it where something would be changed once somebody agreed.
    #[arg(long)]
    dry_run_first: bool,
}

/// How an action is kept up.
#[derive(Debug, Args)]
pub struct Kept {
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// What it is about shall be there.
    #[arg(long, conflicts_with = "absent")]
    present: bool,
    /// What it is about shall not be there.
    #[arg(long)]
    absent: bool,
    /// How long it may take, such as 5m.
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    rhythm: Rhythm,
}

/// How often devices look.
#[derive(Debug, Args)]
pub struct Rhythm {
    /// How often devices look, such as 8h.
    #[arg(long, value_parser = duration, conflicts_with = "cron")]
    every: Option<Duration>,
    /// When devices look, by their own clocks, such as '0 3 * * *'.
    #[arg(long)]
    cron: Option<String>,
}

/// `fleet action-sets`, `fleet definitions`
#[derive(Debug, Subcommand)]
pub enum Containers {
    /// List them.
    List {
        /// Only those to which no assignment leads, neither to themselves nor to what holds them.
        #[arg(long)]
        unassigned: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one.
    Show {
        /// Which one.
        name: String,
    },
    /// Make one.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        content: Content,
    },
    /// Change one; what is not given stays as it is.
    Set {
        /// Which one.
        name: String,
        /// Its new name.
        #[arg(long)]
        rename: Option<String>,
        #[command(flatten)]
        content: Content,
    },
    /// Delete one.
    Delete(Delete),
}

/// What a set or a definition holds.
#[derive(Debug, Args)]
pub struct Content {
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// An action; again for each, in order. Together with --set, actions come behind sets.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,
    /// An action set, for a definition; again for each, in order.
    #[arg(long = "set", value_name = "SET")]
    sets: Vec<String>,
    /// What happens to the rest when one fails.
    #[arg(long)]
    on_failure: Option<OnFailure>,
    #[command(flatten)]
    rhythm: Rhythm,
}

/// What happens to the rest when one fails.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OnFailure {
    /// It is applied all the same.
    Continue,
    /// It waits for the next time.
    Stop,
}

/// What is deleted.
#[derive(Debug, Args)]
pub struct Delete {
    /// Which one.
    name: String,
    /// Take it out of what names it, and take its assignments back.
    #[arg(long)]
    force: bool,
}

/// A sort of thing that is authored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Action sets.
    Set,
    /// Definitions.
    Definition,
}

const ACTION_COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("STATE", "/state", Show::Text),
    Column::new("CHANGED", "/updated_at", Show::Ago),
    Column::new("DESCRIPTION", "/description", Show::Text),
];
const CONTAINER_COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("ON FAILURE", "/on_failure", Show::Text),
    Column::new("CHANGED", "/updated_at", Show::Ago),
    Column::new("DESCRIPTION", "/description", Show::Text),
];
/// Does what was asked for with actions.
pub async fn actions(context: &mut Context, command: Actions) -> Result<()> {
    match command {
        Actions::List {
            operation,
            unassigned,
            paging,
        } => {
            let mut query = Query::new();
            with(&mut query, "operation", operation);
            with(&mut query, "unassigned", unassigned.then_some(true));
            context
                .list(&["actions"], query, paging, ACTION_COLUMNS, "no actions")
                .await
        }
        Actions::Show { action } => {
            let id = id_of(&context.client, &ACTION, &action).await?;
            context.show(&["actions", &id]).await
        }
        Actions::Create {
            name,
            operation,
            params,
            content,
            kept,
        } => {
            let mut body = members_of(kept);
            body.insert("name".into(), json!(name));
            body.insert("operation".into(), json!(operation));
            let mut params = object(&params)?;
            content.add_to(&mut params, &context.client).await?;
            body.insert("params".into(), Value::Object(params));
            let made = context
                .client
                .post(&["actions"], &Value::Object(body), None)
                .await?
                .body;
            context.output.done(&format!("created action {name}"), &made)
        }
        Actions::Set {
            action,
            name,
            params,
            content,
            kept,
        } => {
            let mut change = members_of(kept);
            put(&mut change, "name", name);
            let mut given = params.as_deref().map(object).transpose()?.unwrap_or_default();
            content.add_to(&mut given, &context.client).await?;
            if params.is_some() || !given.is_empty() {
                change.insert("params".into(), Value::Object(given));
            }
            let id = id_of(&context.client, &ACTION, &action).await?;
            set(context, &["actions", &id], change, &action).await
        }
        Actions::Delete(what) => delete(context, &ACTION, "actions", what).await,
        Actions::Run(once) => {
            let id = id_of(&context.client, &ACTION, &once.action).await?;
            let request = BatchRequest {
                action: id.parse().ok(),
                dry_run_first: once.dry_run_first,
                ..BatchRequest::default()
            };
            ask(context, &once.on, &once.how, request).await
        }
    }
}

/// Does what was asked for with sets or definitions.
pub async fn containers(context: &mut Context, sort: Sort, command: Containers) -> Result<()> {
    let (noun, path) = match sort {
        Sort::Set => (&ACTION_SET, "action-sets"),
        Sort::Definition => (&DEFINITION, "definitions"),
    };
    match command {
        Containers::List { unassigned, paging } => {
            let mut query = Query::new();
            with(&mut query, "unassigned", unassigned.then_some(true));
            let none = "there are none";
            context.list(&[path], query, paging, CONTAINER_COLUMNS, none).await
        }
        Containers::Show { name } => {
            let id = id_of(&context.client, noun, &name).await?;
            context.show(&[path, &id]).await
        }
        Containers::Create { name, content } => {
            let mut body = content_of(&context.client, sort, content).await?;
            body.insert("name".into(), json!(name));
            let made = context.client.post(&[path], &Value::Object(body), None).await?.body;
            context.output.done(&format!("created {name}"), &made)
        }
        Containers::Set { name, rename, content } => {
            let mut change = content_of(&context.client, sort, content).await?;
            put(&mut change, "name", rename);
            let id = id_of(&context.client, noun, &name).await?;
            set(context, &[path, &id], change, &name).await
        }
        Containers::Delete(what) => delete(context, noun, path, what).await,
    }
}

pub(super) async fn named(client: &Client, kind: &str, noun: &Noun, name: &str) -> Result<Value> {
    Ok(json!({"type": kind, "id": id_of(client, noun, name).await?}))
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

fn rhythm_of(body: &mut Map<String, Value>, rhythm: Rhythm) {
    let when = match (rhythm.every, rhythm.cron) {
        (Some(every), _) => json!({"type": "interval", "every_seconds": every.as_secs()}),
        (None, Some(cron)) => json!({"type": "cron", "cron": cron}),
        (None, None) => return,
    };
    body.insert("rhythm".into(), json!({"when": when}));
}

fn members_of(kept: Kept) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "description", kept.description);
    if kept.absent || kept.present {
        let state = if kept.absent { "absent" } else { "present" };
        body.insert("state".into(), json!(state));
    }
    if let Some(timeout) = kept.timeout {
        body.insert("timeout_seconds".into(), json!(timeout.as_secs()));
    }
    rhythm_of(&mut body, kept.rhythm);
    body
}

async fn content_of(client: &Client, sort: Sort, content: Content) -> Result<Map<String, Value>> {
    let mut body = Map::new();
    put(&mut body, "description", content.description);
    let mut members = Vec::new();
    for set in &content.sets {
        if sort == Sort::Set {
            return Err(Failure::usage("an action set holds actions; a definition holds sets"));
        }
        members.push(named(client, "action_set", &ACTION_SET, set).await?);
    }
    for action in &content.actions {
        members.push(match sort {
            Sort::Set => json!(id_of(client, &ACTION, action).await?),
            Sort::Definition => named(client, "action", &ACTION, action).await?,
        });
    }
    if !members.is_empty() {
        body.insert("members".into(), Value::Array(members));
    }
    if let Some(on_failure) = content.on_failure {
        let word = match on_failure {
            OnFailure::Continue => "continue",
            OnFailure::Stop => "stop",
        };
        body.insert("on_failure".into(), json!(word));
    }
    rhythm_of(&mut body, content.rhythm);
    Ok(body)
}

async fn set(context: &mut Context, path: &[&str], change: Map<String, Value>, name: &str) -> Result<()> {
    if change.is_empty() {
        return Err(Failure::usage("say what to change; --help shows what there is"));
    }
    let words = format!("{name} is changed");
    context.change(path, &Value::Object(change), &words).await
}

async fn delete(context: &mut Context, noun: &Noun, path: &str, what: Delete) -> Result<()> {
    let id = id_of(&context.client, noun, &what.name).await?;
    let mut query = Query::new();
    with(&mut query, "force", what.force.then_some(true));
    context.client.delete_with(&[path, &id], &query).await?;
    context.output.done_to(&format!("deleted {}", what.name), &id)
}
