//! Windows: when devices may be changed, and when they must not be.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Context, Paging, duration, with};
use crate::{
    client::{Client, DEVICE, Failure, GROUP, Query, Result, WINDOW, id_of},
    output::{Column, Format, Show},
};

/// `fleet windows`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List windows.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a window.
    Show {
        /// The window.
        window: String,
    },
    /// Make a window.
    #[command(after_help = "\
Examples:
  fleet windows create Nights --all-devices --cron '0 3 * * *' --for 2h --zone Europe/Berlin
  fleet windows create Patching --group web --cron '0 4 * * tue#2' --for 4h --operation agent.update --give-up-after 12h
  fleet windows create Freeze --blackout --all-devices --from 2026-12-23T00:00:00Z --to 2027-01-02T00:00:00Z")]
    Create(Create),
    /// Change a window; what is not given stays as it is.
    #[command(after_help = "\
Examples:
  fleet windows set Nights --cron '0 2 * * *' --for 3h --zone Europe/Berlin
  fleet windows set Freeze --disable")]
    Set(Set),
    /// Delete a window.
    Delete {
        /// The window.
        window: String,
    },
    /// Whether work may begin on a device, and why.
    #[command(after_help = "Example:\n  fleet windows check web-1 agent.update --at 2026-12-24T03:00:00Z")]
    Check(Check),
    /// List when windows are.
    Calendar(Calendar),
}

/// `fleet windows create`
#[derive(Debug, Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// Work must not begin while it lasts; without this it is a maintenance window, while which it may.
    #[arg(long)]
    blackout: bool,
    /// It does not count yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    options: Options,
}

/// `fleet windows set`
#[derive(Debug, Args)]
pub struct Set {
    /// The window.
    window: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// It counts.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// It does not count.
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    options: Options,
}

/// What a window is.
#[derive(Debug, Args)]
struct Options {
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// It concerns all devices.
    #[arg(long, conflicts_with_all = ["group", "device"])]
    all_devices: bool,
    /// It concerns the devices of this group; may be repeated.
    #[arg(long)]
    group: Vec<String>,
    /// It concerns this device; may be repeated.
    #[arg(long)]
    device: Vec<String>,
    /// It starts again and again: minute, hour, day of month, month and day of week.
    #[arg(long, value_name = "EXPRESSION", requires = "lasts", conflicts_with_all = ["from", "to"])]
    cron: Option<String>,
    /// How long it lasts each time, such as 90m or 2h.
    #[arg(long = "for", id = "lasts", value_name = "DURATION", requires = "cron", value_parser = duration)]
    lasts: Option<Duration>,
    /// The time zone of the expression [default: UTC].
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// It is once, from this time on (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<String>,
    /// It is once, until this time (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// What happens to work that meets it closed.
    #[arg(long, value_enum)]
    outside: Option<Outside>,
    /// Work that meets it closed waits, and expires after so long.
    #[arg(long, value_name = "DURATION", conflicts_with = "outside", value_parser = duration)]
    give_up_after: Option<Duration>,
    /// It concerns only this kind of operation; may be repeated. Without it, all that change the device.
    #[arg(long)]
    operation: Vec<String>,
}

/// What happens to work that meets a window closed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Outside {
    /// It waits for the next opening.
    Gate,
    /// It runs all the same, and that is noted.
    Allow,
}

/// `fleet windows check`
#[derive(Debug, Args)]
pub struct Check {
    /// The device.
    device: String,
    /// The kind of operation.
    #[arg(default_value = "shell")]
    operation: String,
    /// When it would begin (RFC 3339) [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// `fleet windows calendar`
#[derive(Debug, Args)]
pub struct Calendar {
    /// Only what ends after this time (RFC 3339) [default: now].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only what starts before this time (RFC 3339) [default: 90 days later].
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only this window.
    #[arg(long)]
    window: Option<String>,
    /// As a file that calendar programs read (iCalendar), at most 1,000 times.
    #[arg(long, conflicts_with_all = ["limit", "all"])]
    ical: bool,
    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("KIND", "/kind", Show::Text),
    Column::new("COUNTS", "/enabled", Show::Text),
    Column::new("WHEN", "/in_words", Show::Text),
    Column::new("ENDS", "/current_end", Show::Ago),
    Column::new("NEXT", "/next_start", Show::Ago),
    Column::new("OUTSIDE", "/outside/policy", Show::Text).wide(),
];

const TIMES: &[Column] = &[
    Column::new("STARTS", "/starts_at", Show::Text),
    Column::new("ENDS", "/ends_at", Show::Text),
    Column::new("NAME", "/name", Show::Text),
    Column::new("KIND", "/kind", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["windows"], Query::new(), paging, COLUMNS, "no windows")
                .await
        }
        Command::Show { window } => {
            let id = id_of(&context.client, &WINDOW, &window).await?;
            context.show(&["windows", &id]).await
        }
        Command::Create(create) => {
            let mut body = members(&context.client, create.options).await?;
            let kind = if create.blackout { "blackout" } else { "maintenance" };
            body.insert("name".into(), json!(create.name));
            body.insert("kind".into(), json!(kind));
            body.insert("enabled".into(), json!(!create.disabled));
            for (member, flags) in [
                ("scope", "--all-devices, --group or --device"),
                ("when", "--cron and --for, or --from and --to"),
            ] {
                if !body.contains_key(member) {
                    return Err(Failure::usage(format!("a window needs {flags}")));
                }
            }
            let window = context
                .client
                .post(&["windows"], &Value::Object(body), None)
                .await?
                .body;
            let words = window["in_words"].as_str().unwrap_or_default();
            let words = format!("created window {}: {words}", create.name);
            context.output.done(&words, &window)
        }
        Command::Set(set) => {
            let mut change = members(&context.client, set.options).await?;
            if let Some(name) = set.name {
                change.insert("name".into(), json!(name));
            }
            if set.enable || set.disable {
                change.insert("enabled".into(), json!(set.enable));
            }
            if change.is_empty() {
                return Err(Failure::usage(
                    "say what to change, such as --cron with --for, or --disable",
                ));
            }
            let id = id_of(&context.client, &WINDOW, &set.window).await?;
            let words = format!("window {} is changed", set.window);
            context.change(&["windows", &id], &Value::Object(change), &words).await
        }
        Command::Delete { window } => {
            let id = id_of(&context.client, &WINDOW, &window).await?;
            context.client.delete(&["windows", &id]).await?;
            context.output.done_to(&format!("deleted window {window}"), &id)
        }
        Command::Check(check) => {
            let mut body =
                json!({"device": id_of(&context.client, &DEVICE, &check.device).await?, "operation": check.operation});
            if let Some(at) = check.at {
                body["at"] = json!(at);
            }
            let decision = context.client.post(&["windows", "check"], &body, None).await?.body;
            let state = decision.pointer("/standing/state").and_then(Value::as_str);
            let state = state.unwrap_or_default().replace('_', " ");
            let reason = decision["reason"].as_str().unwrap_or_default();
            let words = crate::output::plain(&format!("{state}: {reason}"));
            context.output.done(&words, &decision)
        }
        Command::Calendar(calendar) => {
            let mut query = Query::new();
            with(&mut query, "from", calendar.from);
            with(&mut query, "to", calendar.to);
            if let Some(window) = &calendar.window {
                query.push(("window", id_of(&context.client, &WINDOW, window).await?));
            }
            if calendar.ical {
                let text = context.client.get_text(&["windows", "calendar.ics"], &query).await?;
                return match context.output.format() {
                    Format::Table => context.output.text(&text),
                    _ => context.output.thing(&json!({"calendar": text})),
                };
            }
            context
                .list(
                    &["windows", "occurrences"],
                    query,
                    calendar.paging,
                    TIMES,
                    "no window in that time",
                )
                .await
        }
    }
}

/// The members that were given.
async fn members(client: &Client, options: Options) -> Result<Map<String, Value>> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.into(), value);
    };
    if let Some(description) = options.description {
        put("description", json!(description));
    }
    if options.all_devices {
        put("scope", json!({"all": true}));
    } else if !options.group.is_empty() || !options.device.is_empty() {
        let (mut groups, mut devices) = (Vec::new(), Vec::new());
        for group in &options.group {
            groups.push(id_of(client, &GROUP, group).await?);
        }
        for device in &options.device {
            devices.push(id_of(client, &DEVICE, device).await?);
        }
        put("scope", json!({"groups": groups, "devices": devices}));
    }
    if let (Some(cron), Some(lasts)) = (options.cron, options.lasts) {
        let zone = options.zone.unwrap_or_else(|| "UTC".into());
        put(
            "when",
            json!({"type": "recurring", "cron": cron, "zone": zone, "duration_seconds": lasts.as_secs()}),
        );
    } else if let (Some(from), Some(to)) = (options.from, options.to) {
        put("when", json!({"type": "once", "starts_at": from, "ends_at": to}));
    }
    match (options.outside, options.give_up_after) {
        (_, Some(after)) => put(
            "outside",
            json!({"policy": "postpone", "give_up_after_seconds": after.as_secs()}),
        ),
        (Some(Outside::Gate), None) => put("outside", json!({"policy": "gate"})),
        (Some(Outside::Allow), None) => put("outside", json!({"policy": "allow"})),
        (None, None) => {}
    }
    if !options.operation.is_empty() {
        put("operations", json!(options.operation));
    }
    Ok(members)
}
