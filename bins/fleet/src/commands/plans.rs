//! Plans: work that is kept under a name, to be done again and again.

use std::time::Duration;

use clap::{Args, Subcommand};
use fleet_core::work::Priority;
use serde_json::{Map, Value, json};

use super::{
    Context, Paging,
    asking::{On, Retries, priority},
    confirm::Confirm,
    duration,
    rollouts::Waves,
    run::{Script, object},
};
use crate::{
    client::{Client, Failure, PLAN, Query, Result, id_of, new_key},
    output::{Column, Show},
};

/// `fleet plans`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List plans.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a plan, when it is due next, and what became of the last time.
    Show {
        /// The plan.
        plan: String,
    },
    /// Make a plan.
    #[command(after_help = "\
Examples:
  fleet plans create 'Nightly inventory' --all --operation inventory.refresh --cron '0 2 * * *' --zone Europe/Berlin --spread 30m
  fleet plans create 'Clean up' --group web --cron '30 4 * * sun' --make-up-within 6h -- apt-get clean
  fleet plans create 'Agents' --all --operation agent.update --cron '0 3 * * mon' --wave group:canaries --wave 10% --watch 10m --max-failures 2
  fleet plans create 'Collect logs' --label env=prod --script collect.sh")]
    Create(Create),
    /// Change a plan; what is not given stays as it is.
    #[command(after_help = "\
Examples:
  fleet plans set 'Clean up' --cron '30 5 * * sun'
  fleet plans set 'Clean up' --disable
  fleet plans set 'Clean up' --by-hand")]
    Set(Set),
    /// Do a plan's work now; its schedule goes on as it would.
    Start {
        /// The plan.
        plan: String,
    },
    /// Delete a plan; what it made before goes on.
    Delete {
        /// The plan.
        plan: String,
    },
}

/// `fleet plans create`
#[derive(Debug, Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// Its schedule does not count yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    options: Options,
}

/// `fleet plans set`
#[derive(Debug, Args)]
#[command(mut_group("which", |which| which.required(false)))]
pub struct Set {
    /// The plan.
    plan: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// Its schedule counts.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Its schedule does not count.
    #[arg(long)]
    disable: bool,
    /// It has no schedule any more.
    #[arg(long, conflicts_with_all = ["cron", "at"])]
    by_hand: bool,
    /// Heed the windows of the devices.
    #[arg(long, conflicts_with = "ignore_windows")]
    heed_windows: bool,
    /// Its work does not go from wave to wave any more.
    #[arg(long, conflicts_with_all = ["wave", "max_parallel", "max_failures", "watch", "waves_by_hand", "ignore_offline"])]
    all_at_once: bool,
    /// No dry run comes first any more.
    #[arg(long, conflicts_with = "dry_run_first")]
    no_dry_run_first: bool,
    /// Its work is not tried again by itself any more.
    #[arg(long, conflicts_with_all = ["retry", "retry_after", "retry_after_at_most", "retry_on"])]
    no_retry: bool,
    #[command(flatten)]
    on: Option<On>,
    #[command(flatten)]
    options: Options,
}

/// What a plan does, and when.
#[derive(Debug, Args)]
struct Options {
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// The kind of operation [default: shell, with the command or script].
    #[arg(long, conflicts_with_all = ["file", "command"])]
    operation: Option<String>,
    /// Its parameters as JSON; `@FILE` reads them from a file, `-` from standard input.
    #[arg(long, value_name = "JSON", requires = "operation")]
    params: Option<String>,
    #[command(flatten)]
    script: Script,
    /// Again and again: minute, hour, day of month, month and day of week.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of the expression [default: UTC].
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// Once, at this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "cron")]
    at: Option<String>,
    /// Do what was missed while the server was down, once, if that is no longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "skip_missed")]
    make_up_within: Option<Duration>,
    /// Leave out what was missed while the server was down; this is the default.
    #[arg(long)]
    skip_missed: bool,
    /// Spread the beginnings over this long, so that not all devices work at once.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    spread: Option<Duration>,
    /// How long it may take on a device, such as 30s or 2h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// How long to wait for devices that are offline [default: until the next time].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Begin whatever the windows say.
    #[arg(long)]
    ignore_windows: bool,
    /// How urgent it is: low, normal or high [default: normal].
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// Say each time what would be done, and do it where something would be changed once somebody agreed.
    #[arg(long)]
    dry_run_first: bool,
    /// Begin only when so many others agree, each time.
    #[arg(long, value_name = "N")]
    approvals: Option<u32>,
    #[command(flatten)]
    waves: Waves,
    /// Begin each wave but the first only after `fleet rollouts resume`.
    #[arg(long)]
    waves_by_hand: bool,
    #[command(flatten)]
    retries: Retries,
    #[command(flatten)]
    confirm: Confirm,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("COUNTS", "/enabled", Show::Text),
    Column::new("WHEN", "/in_words", Show::Text),
    Column::new("NEXT", "/next_at", Show::Ago),
    Column::new("LAST", "/last/due_at", Show::Ago),
    Column::new("OUTCOME", "/last/outcome/type", Show::Text),
    Column::new("BY", "/changed_by", Show::Actor).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["plans"], Query::new(), paging, COLUMNS, "no plans")
                .await
        }
        Command::Show { plan } => {
            let id = id_of(&context.client, &PLAN, &plan).await?;
            context.show(&["plans", &id]).await
        }
        Command::Create(create) => {
            let mut body = members(&context.client, Some(&create.on), &create.options).await?;
            if !body.contains_key("operation") {
                return Err(Failure::usage(
                    "say what it does: -- COMMAND, --script FILE, or --operation with --params",
                ));
            }
            body.insert("name".into(), json!(create.name));
            body.insert("enabled".into(), json!(!create.disabled));
            let operation = operation_of(&body);
            let send = async |body: &Value| context.client.post(&["plans"], body, None).await;
            let made = create.options.confirm.send(Value::Object(body), &operation, send).await;
            let plan = made?.body;
            let when = plan["in_words"].as_str().unwrap_or("only when it is started by hand");
            context
                .output
                .done(&format!("created plan {}: {when}", create.name), &plan)
        }
        Command::Set(set) => {
            let mut change = members(&context.client, set.on.as_ref(), &set.options).await?;
            if let Some(name) = set.name {
                change.insert("name".into(), json!(name));
            }
            if set.enable || set.disable {
                change.insert("enabled".into(), json!(set.enable));
            }
            if set.by_hand {
                change.insert("schedule".into(), Value::Null);
            }
            if set.heed_windows {
                change.insert("ignore_windows".into(), json!(false));
            }
            if set.no_dry_run_first {
                change.insert("dry_run_first".into(), json!(false));
            }
            if set.no_retry {
                change.insert("retry".into(), Value::Null);
            }
            if set.all_at_once {
                change.insert("rollout".into(), Value::Null);
            }
            if change.is_empty() {
                return Err(Failure::usage("say what to change, such as --cron, or --disable"));
            }
            let id = id_of(&context.client, &PLAN, &set.plan).await?;
            let words = format!("plan {} is changed", set.plan);
            let path = ["plans", &id];
            let found = context.client.get(&path, &[]).await?;
            let operation = match change.contains_key("operation") {
                true => operation_of(&change),
                false => found.body["operation"].as_str().unwrap_or("?").to_owned(),
            };
            let send = async |body: &Value| context.client.patch(&path, body, found.etag.as_deref()).await;
            let changed = set
                .options
                .confirm
                .send(Value::Object(change), &operation, send)
                .await?;
            context.output.done(&words, &changed.body)
        }
        Command::Start { plan } => {
            let id = id_of(&context.client, &PLAN, &plan).await?;
            let path = ["plans", &id, "start"];
            let batch = context.client.post(&path, &json!({}), Some(&new_key())).await?.body;
            let (id, runs) = (batch["id"].as_str().unwrap_or("?"), &batch["runs"]);
            context
                .output
                .done(&format!("batch {id} does it on {runs} devices"), &batch)
        }
        Command::Delete { plan } => {
            let id = id_of(&context.client, &PLAN, &plan).await?;
            context.client.delete(&["plans", &id]).await?;
            context.output.done_to(&format!("deleted plan {plan}"), &id)
        }
    }
}

fn operation_of(members: &Map<String, Value>) -> String {
    let operation = members.get("operation").and_then(Value::as_str);
    operation.unwrap_or("?").to_owned()
}

/// The members that were given.
async fn members(client: &Client, on: Option<&On>, options: &Options) -> Result<Map<String, Value>> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.into(), value);
        }
    };
    if let Some(on) = on {
        let targets = on.targets(client).await?;
        put("targets", Some(json!(targets)));
    }
    if let Some(operation) = &options.operation {
        put("operation", Some(json!(operation)));
        let params = options.params.as_deref().map(object).transpose()?;
        put("params", Some(Value::Object(params.unwrap_or_default())));
    } else if let Some(params) = options.script.params().await? {
        put("operation", Some(json!("shell")));
        put("params", Some(params));
    }
    put("description", options.description.as_ref().map(|text| json!(text)));
    let zone = options.zone.as_deref().unwrap_or("UTC");
    let cron = options.cron.as_ref();
    put(
        "schedule",
        cron.map(|cron| json!({"type": "cron", "cron": cron, "zone": zone})),
    );
    put(
        "schedule",
        options.at.as_ref().map(|at| json!({"type": "once", "at": at})),
    );
    let made_up = options
        .make_up_within
        .map(|within| json!({"policy": "run_once", "within_seconds": within.as_secs()}));
    put("missed", made_up);
    put("missed", options.skip_missed.then(|| json!({"policy": "skip"})));
    for (name, time) in [
        ("spread_seconds", options.spread),
        ("timeout_seconds", options.timeout),
        ("expires_in_seconds", options.expires),
    ] {
        put(name, time.map(|time| json!(time.as_secs())));
    }
    put("ignore_windows", options.ignore_windows.then_some(json!(true)));
    put("priority", options.priority.map(|priority| json!(priority)));
    put("dry_run_first", options.dry_run_first.then_some(json!(true)));
    put("approvals", options.approvals.map(|approvals| json!(approvals)));
    let rollout = options.waves.rollout(client, options.waves_by_hand).await?;
    if let Some(rollout) = rollout {
        members.insert("rollout".into(), json!(rollout));
    }
    if let Some(retry) = options.retries.policy()? {
        members.insert("retry".into(), json!(retry));
    }
    Ok(members)
}
