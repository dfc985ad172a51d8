//! Rollouts: work that goes from wave to wave.

use std::time::Duration;

use clap::{Args, Subcommand};
use fleet_core::work::rollouts::{NewFailureLimit, NewRollout, NewWave};
use serde_json::{Value, json};

use super::{Context, Paging, asking::typed, batches::whole, duration};
use crate::{
    client::{Client, GROUP, Query, Result, id_of},
    output::{Column, Format, Show, note},
};

/// `fleet rollouts`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the rollouts that are not over, newest first.
    List {
        /// Those that are over, too.
        #[arg(long)]
        over: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show where a rollout stands, and why it waits or halted.
    Show {
        /// The batch's whole id.
        batch: String,
    },
    /// Hold a rollout: no further run begins; what devices have goes on.
    Pause {
        /// The batch's whole id.
        batch: String,
    },
    /// Let a rollout go on that was held or that halted, or have its next wave begin.
    Resume {
        /// The batch's whole id.
        batch: String,
    },
    /// Give a rollout up: what has not begun is taken back.
    Abort {
        /// The batch's whole id.
        batch: String,
        /// Stop what devices have already, too.
        #[arg(long)]
        stop_running: bool,
    },
}

const COLUMNS: &[Column] = &[
    Column::new("BATCH", "/batch", Show::Text),
    Column::new("OPERATION", "/operation", Show::Text),
    Column::new("PHASE", "/phase/type", Show::Text),
    Column::new("RUNS", "/runs", Show::Text),
    Column::new("ENDED", "/ended", Show::Text),
    Column::new("FAILED", "/failed", Show::Text),
    Column::new("STANDS", "/in_words", Show::Text),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("HELD BY", "/paused_by", Show::Actor).wide(),
];

const FAILURES: &[Column] = &[
    Column::new("DEVICE", "/device_name", Show::Text),
    Column::new("RUN", "/run", Show::Id),
    Column::new("STATE", "/state", Show::Text),
    Column::new("MESSAGE", "/message", Show::Text),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { over, paging } => {
            let mut query = Query::new();
            if !over {
                query.push(("open", "true".to_owned()));
            }
            context.list(&["rollouts"], query, paging, COLUMNS, "no rollouts").await
        }
        Command::Show { batch } => show(context, &batch).await,
        Command::Pause { batch } => act(context, &batch, "pause", &json!({})).await,
        Command::Resume { batch } => act(context, &batch, "resume", &json!({})).await,
        Command::Abort { batch, stop_running } => {
            act(context, &batch, "abort", &json!({"stop_running": stop_running})).await
        }
    }
}

async fn show(context: &mut Context, batch: &str) -> Result<()> {
    let rollout = context
        .client
        .get(&["batches", whole(batch)?, "rollout"], &[])
        .await?
        .body;
    if context.output.format() != Format::Table {
        return context.output.thing(&rollout);
    }
    note(rollout["in_words"].as_str().unwrap_or("?"));
    let failures = rollout["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
    if failures.is_empty() {
        return context.output.thing(&rollout);
    }
    let mut list = context.output.list(FAILURES);
    list.page(failures)?;
    list.end("no failures")
}

async fn act(context: &mut Context, batch: &str, verb: &str, body: &Value) -> Result<()> {
    let path = ["batches", whole(batch)?, "rollout", verb];
    let rollout = context.client.post(&path, body, None).await?.body;
    let words = rollout["in_words"].as_str().unwrap_or("?").to_owned();
    context.output.done(&words, &rollout)
}

/// How work goes from wave to wave.
#[derive(Debug, Default, Args)]
pub struct Waves {
    /// A wave: so many devices, a share such as 10%, or group:NAME; may be repeated. The rest comes last.
    #[arg(long, value_name = "N|N%|group:NAME", value_parser = wave)]
    wave: Vec<WaveOf>,
    /// At most so many devices at the same time.
    #[arg(long, value_name = "N")]
    max_parallel: Option<u32>,
    /// Halt with more failures than so many, or than this share of a wave.
    #[arg(long, value_name = "N|N%", value_parser = limit)]
    max_failures: Option<NewFailureLimit>,
    /// Watch the devices of a wave for this long before the next one begins.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    watch: Option<Duration>,
    /// Pass over devices that are offline: no wave waits for them.
    #[arg(long)]
    ignore_offline: bool,
}

/// A wave as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WaveOf {
    Count(u32),
    Percent(u32),
    Group(String),
}

fn wave(text: &str) -> std::result::Result<WaveOf, String> {
    let wrong = |_| "write a number, a share such as 10%, or group:NAME".to_owned();
    match (text.strip_prefix("group:"), text.strip_suffix('%')) {
        (Some(group), _) if !group.is_empty() => Ok(WaveOf::Group(group.to_owned())),
        (_, Some(percent)) => percent.parse().map(WaveOf::Percent).map_err(wrong),
        _ => text.parse().map(WaveOf::Count).map_err(wrong),
    }
}

fn limit(text: &str) -> std::result::Result<NewFailureLimit, String> {
    let wrong = |_| "write a number, or a share such as 5%".to_owned();
    match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .map(|percent| NewFailureLimit::Percent { percent })
            .map_err(wrong),
        None => text
            .parse()
            .map(|failures| NewFailureLimit::Count { failures })
            .map_err(wrong),
    }
}

impl Waves {
    /// What is asked for; nothing where all begin at once.
    pub async fn rollout(&self, client: &Client, by_hand: bool) -> Result<Option<NewRollout>> {
        let is_asked = !self.wave.is_empty()
            || self.max_parallel.is_some()
            || self.max_failures.is_some()
            || self.watch.is_some()
            || by_hand
            || self.ignore_offline;
        if !is_asked {
            return Ok(None);
        }
        let mut waves = Vec::with_capacity(self.wave.len());
        for wave in &self.wave {
            waves.push(match wave {
                WaveOf::Count(devices) => NewWave::Count { devices: *devices },
                WaveOf::Percent(percent) => NewWave::Percent { percent: *percent },
                WaveOf::Group(name) => NewWave::Groups {
                    groups: vec![typed(id_of(client, &GROUP, name).await?)?],
                },
            });
        }
        let watch = self.watch.map_or(0, |watch| watch.as_secs());
        Ok(Some(NewRollout {
            waves,
            max_parallel: self.max_parallel,
            max_failures: self.max_failures,
            watch_seconds: u32::try_from(watch).unwrap_or(u32::MAX),
            by_hand,
            ignore_offline: self.ignore_offline,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_and_limits_are_read_as_they_are_written() {
        for (text, expected) in [
            ("1", Some(WaveOf::Count(1))),
            ("10%", Some(WaveOf::Percent(10))),
            ("group:canaries", Some(WaveOf::Group("canaries".into()))),
            ("group:50%", Some(WaveOf::Group("50%".into()))),
            ("group:", None),
            ("-1", None),
            ("1.5%", None),
            ("canaries", None),
        ] {
            assert_eq!(wave(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("0", Some(NewFailureLimit::Count { failures: 0 })),
            ("5%", Some(NewFailureLimit::Percent { percent: 5 })),
            ("%", None),
            ("five", None),
        ] {
            assert_eq!(limit(text).ok(), expected, "{text}");
        }
    }
}
