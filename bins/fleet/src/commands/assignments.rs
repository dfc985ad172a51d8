//! Assignments: what shall be where.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Context, Paging, desired::named, with};
use crate::{
    client::{ACTION, ACTION_SET, ASSIGNMENT, Client, DEFINITION, DEVICE, Failure, GROUP, Query, Result, USER, id_of},
    output::{Column, Show},
};

/// `fleet assign`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fleet assign --action Motd --to-group web
  fleet assign --definition 'Web server' --to-group web --mode available
  fleet assign --set Base --to-device web-1 --mode excluded")]
pub struct Assign {
    #[command(flatten)]
    source: SourceName,
    #[command(flatten)]
    target: TargetName,
    /// How.
    #[arg(long, value_enum, default_value_t = Mode::Required)]
    mode: Mode,
    /// What comes first has the least.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    order: i32,
}

/// What is assigned.
#[derive(Debug, Args)]
#[group(id = "source", required = true, multiple = false)]
pub struct SourceName {
    /// An action.
    #[arg(long)]
    action: Option<String>,
    /// An action set.
    #[arg(long)]
    set: Option<String>,
    /// A definition.
    #[arg(long)]
    definition: Option<String>,
}

/// To whom.
#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false)]
pub struct TargetName {
    /// To a device.
    #[arg(long)]
    to_device: Option<String>,
    /// To a device group.
    #[arg(long)]
    to_group: Option<String>,
    /// To the devices of a user.
    #[arg(long)]
    to_user: Option<String>,
}

/// How something is assigned.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// It always applies.
    Required,
    /// It applies where it was chosen.
    Available,
    /// It does not apply.
    Excluded,
    /// It is taken away.
    Uninstall,
}

/// `fleet assignments`
#[derive(Debug, Subcommand)]
pub enum Assignments {
    /// List assignments, oldest first.
    #[command(after_help = "\
Examples:
  fleet assignments list --to-group web --mode available
  fleet assignments list --action Motd")]
    List(List),
    /// Show an assignment.
    Show {
        /// The assignment.
        assignment: String,
    },
    /// Change how something is assigned, or its place; what is not given stays as it is.
    Set {
        /// The assignment.
        assignment: String,
        /// How.
        #[arg(long, value_enum)]
        mode: Option<Mode>,
        /// What comes first has the least.
        #[arg(long, allow_negative_numbers = true)]
        order: Option<i32>,
    },
    /// Take an assignment back.
    Delete {
        /// The assignment.
        assignment: String,
    },
}

/// `fleet assignments list`
#[derive(Debug, Args)]
#[command(mut_group("source", |source| source.required(false)), mut_group("target", |target| target.required(false)))]
pub struct List {
    #[command(flatten)]
    source: Option<SourceName>,
    #[command(flatten)]
    target: Option<TargetName>,
    /// Only those of this mode.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("WHAT", "/source_name", Show::Text),
    Column::new("IS A", "/source/type", Show::Text),
    Column::new("TO", "/target_name", Show::Text),
    Column::new("IS A", "/target/type", Show::Text),
    Column::new("MODE", "/mode", Show::Text),
    Column::new("ORDER", "/order", Show::Text),
];

/// Assigns.
pub async fn assign(context: &mut Context, assign: Assign) -> Result<()> {
    let source = assign.source.find(&context.client).await?;
    let target = assign.target.find(&context.client).await?;
    let mode = assign.mode.name();
    let body = json!({"assignments": [{"source": source, "target": target, "mode": mode, "order": assign.order}]});
    let made = context.client.post(&["assignments"], &body, None).await?.body;
    let made = made.pointer("/items/0").unwrap_or(&made);
    context.output.done(&format!("assigned as {mode}"), made)
}

/// Does what was asked for with assignments.
pub async fn assignments(context: &mut Context, command: Assignments) -> Result<()> {
    match command {
        Assignments::List(list) => {
            let mut query = Query::new();
            if let Some(source) = &list.source {
                with(&mut query, "source", id_in(&source.find(&context.client).await?));
            }
            if let Some(target) = &list.target {
                with(&mut query, "target", id_in(&target.find(&context.client).await?));
            }
            with(&mut query, "mode", list.mode.map(Mode::name));
            let none = "nothing is assigned";
            context.list(&["assignments"], query, list.paging, COLUMNS, none).await
        }
        Assignments::Show { assignment } => {
            let id = id_of(&context.client, &ASSIGNMENT, &assignment).await?;
            context.show(&["assignments", &id]).await
        }
        Assignments::Set {
            assignment,
            mode,
            order,
        } => {
            let mut change = Map::new();
            if let Some(mode) = mode {
                change.insert("mode".into(), json!(mode.name()));
            }
            if let Some(order) = order {
                change.insert("order".into(), json!(order));
            }
            if change.is_empty() {
                return Err(Failure::usage("say what to change: --mode or --order"));
            }
            let id = id_of(&context.client, &ASSIGNMENT, &assignment).await?;
            let words = format!("assignment {assignment} is changed");
            context
                .change(&["assignments", &id], &Value::Object(change), &words)
                .await
        }
        Assignments::Delete { assignment } => {
            let id = id_of(&context.client, &ASSIGNMENT, &assignment).await?;
            context.client.delete(&["assignments", &id]).await?;
            context
                .output
                .done_to(&format!("took assignment {assignment} back"), &id)
        }
    }
}

fn id_in(named: &Value) -> Option<&str> {
    named["id"].as_str()
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Available => "available",
            Self::Excluded => "excluded",
            Self::Uninstall => "uninstall",
        }
    }
}

impl SourceName {
    /// What is meant, as the server names it.
    pub async fn find(&self, client: &Client) -> Result<Value> {
        match self {
            Self { action: Some(name), .. } => named(client, "action", &ACTION, name).await,
            Self { set: Some(name), .. } => named(client, "action_set", &ACTION_SET, name).await,
            Self { definition, .. } => {
                let name = definition.as_deref().unwrap_or_default();
                named(client, "definition", &DEFINITION, name).await
            }
        }
    }
}

impl TargetName {
    async fn find(&self, client: &Client) -> Result<Value> {
        match self {
            Self {
                to_device: Some(name), ..
            } => named(client, "device", &DEVICE, name).await,
            Self {
                to_group: Some(name), ..
            } => named(client, "device_group", &GROUP, name).await,
            Self { to_user, .. } => named(client, "user", &USER, to_user.as_deref().unwrap_or_default()).await,
        }
    }
}
