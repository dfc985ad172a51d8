//! Schedules: what an expression would do, before it is used.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use crate::{
    client::Result,
    output::{Format, plain},
};

/// `fleet schedule`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A cron expression in words, and its next times.
    #[command(after_help = "\
Examples:
  fleet schedule preview '0 3 * * 0' --zone Europe/Berlin
  fleet schedule preview '0 4 * * tue#2' --from 2027-01-01T00:00:00Z --count 12")]
    Preview(Preview),
}

/// `fleet schedule preview`
#[derive(Debug, Args)]
pub struct Preview {
    /// Minute, hour, day of month, month and day of week.
    #[arg(value_name = "EXPRESSION")]
    cron: String,
    /// The time zone.
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// Times after this one (RFC 3339) [default: now].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How many times.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
}

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    let Command::Preview(preview) = command;
    let schedule = json!({"type": "cron", "cron": preview.cron, "zone": preview.zone});
    let mut body = json!({"schedule": schedule, "count": preview.count});
    if let Some(from) = preview.from {
        body["from"] = json!(from);
    }
    let answer = context.client.post(&["schedules", "preview"], &body, None).await?.body;
    if context.output.format() != Format::Table {
        return context.output.thing(&answer);
    }
    let description = answer["description"].as_str().unwrap_or_default();
    let times = answer["times"].as_array().into_iter().flatten();
    let lines = times.filter_map(Value::as_str).map(|at| format!("{}\n", plain(at)));
    context
        .output
        .text(&format!("{}\n{}", plain(description), lines.collect::<String>()))
}
