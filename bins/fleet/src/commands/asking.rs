//! Asking for work: on which devices, how, and following it. What is asked for says the command.

use std::time::Duration;

use clap::Args;
use fleet_core::{
    kernel::{Clock as _, SystemClock, Timestamp},
    work::{
        BatchRequest, Priority,
        batch::{NewRetry, Targets},
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, confirm::Confirm, duration, live, promotions, rollouts::Waves};
use crate::{
    client::{Client, DEVICE, Failure, GROUP, Result, id_of, new_key},
    output::{Format, note},
};

/// On which devices.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true)]
pub struct On {
    /// On these devices, with commas between them; may be repeated.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    on: Vec<String>,
    /// On devices with this label; several must all be there.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// On the devices of this group; may be repeated.
    #[arg(long, conflicts_with = "label")]
    group: Vec<String>,
    /// On the devices that this query describes, in the language of dynamic groups.
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["label", "group"])]
    query: Option<String>,
    /// On all devices.
    #[arg(long, conflicts_with_all = ["on", "label", "group", "query"])]
    all: bool,
}

/// How long, from when on, who has to agree, and whether to stay.
#[derive(Debug, Args)]
pub struct How {
    /// How long it may take on a device, such as 30s or 2h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// How long to wait for devices that are offline, such as 2h; 0s leaves out those that are offline now.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Begin at this time, such as 2026-12-01T03:00:00Z or 2026-12-01T03:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Begin after this long, such as 2h.
    #[arg(long = "in", value_name = "TIME", value_parser = duration, conflicts_with = "at")]
    after: Option<Duration>,
    /// Heed the windows of the devices although it begins now; what begins later does anyway.
    #[arg(long, conflicts_with = "ignore_windows")]
    heed_windows: bool,
    /// Begin whatever the windows say although it begins later; what begins now does anyway.
    #[arg(long)]
    ignore_windows: bool,
    /// Spread the beginnings over this long, so that not all devices work at once.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    spread: Option<Duration>,
    /// How urgent it is: low, normal or high [default: normal]. Nobody is passed by for more than two hours.
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// Begin only when so many others agree.
    #[arg(long, value_name = "N")]
    approvals: Option<u32>,
    #[command(flatten)]
    waves: Waves,
    /// Begin each wave but the first only after `fleet rollouts resume`.
    #[arg(long)]
    by_hand: bool,
    #[command(flatten)]
    retries: Retries,
    #[command(flatten)]
    confirm: Confirm,
    /// Follow the output until all is done; this is the default for what begins at once.
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Print the batch and leave; this is the default for what begins later, or when others agree.
    #[arg(long)]
    no_wait: bool,
}

/// How often, when and after which ends it is tried again by itself.
#[derive(Debug, Args)]
pub struct Retries {
    /// Try again by itself where it does not succeed, at most so often; only kinds that do no harm when they are done twice.
    #[arg(long, value_name = "N")]
    retry: Option<u32>,
    /// How long after the first attempt [default: 1m]; it doubles with each.
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "retry")]
    retry_after: Option<Duration>,
    /// How long that becomes at most [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "retry")]
    retry_after_at_most: Option<Duration>,
    /// Only after this end, such as failed or lost; may be repeated.
    #[arg(long, value_name = "STATE", requires = "retry")]
    retry_on: Vec<String>,
}

impl Retries {
    /// As it is asked for; nothing where nothing was said.
    pub fn policy(&self) -> Result<Option<NewRetry>> {
        let Some(attempts) = self.retry else {
            return Ok(None);
        };
        let mut policy = json!({"attempts": attempts, "on": self.retry_on});
        for (name, time) in [
            ("delay_seconds", self.retry_after),
            ("max_delay_seconds", self.retry_after_at_most),
        ] {
            if let Some(time) = time {
                policy[name] = json!(time.as_secs());
            }
        }
        let policy = serde_json::from_value(policy);
        policy
            .map(Some)
            .map_err(|error| Failure::usage(format!("--retry-on or a time of it is none: {error}")))
    }
}

impl How {
    /// Whether somebody said that windows are not to be heeded.
    pub fn ignores_windows(&self) -> bool {
        self.ignore_windows
    }
}

/// Asks for work on devices, and follows it.
pub(super) async fn work(context: &mut Context, on: &On, how: &How, operation: &str, params: Value) -> Result<()> {
    let request = BatchRequest {
        operation: operation.to_owned(),
        params: params.into(),
        ..BatchRequest::default()
    };
    ask(context, on, how, request).await
}

/// Asks for work on devices as a request says, and follows it.
pub(super) async fn ask(context: &mut Context, on: &On, how: &How, request: BatchRequest) -> Result<()> {
    let seconds = |time: Option<Duration>| time.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let request = BatchRequest {
        targets: on.targets(&context.client).await?,
        timeout_seconds: seconds(how.timeout),
        expires_in_seconds: seconds(how.expires),
        start_at: how.at.or_else(|| how.after.map(|after| SystemClock.now().plus(after))),
        ignore_windows: match (how.heed_windows, how.ignore_windows) {
            (true, _) => Some(false),
            (_, true) => Some(true),
            _ => None,
        },
        priority: how.priority.unwrap_or_default(),
        approvals: how.approvals,
        spread_seconds: seconds(how.spread).unwrap_or(0),
        rollout: how.waves.rollout(&context.client, how.by_hand).await?,
        retry: how.retries.policy()?,
        ..request
    };
    let body = serde_json::to_value(&request).map_err(|error| Failure::usage(error.to_string()))?;
    // One key for all attempts: however often the request has to be sent, the work is done once.
    let key = new_key();
    let send = async |body: &Value| context.client.post(&["batches"], body, Some(&key)).await;
    let what = match request.action {
        Some(_) => "the action",
        None => &request.operation,
    };
    let batch = how.confirm.send(body, what, send).await?.body;
    let id = batch["id"]
        .as_str()
        .ok_or_else(|| Failure::unexpected("the new batch has no id"))?
        .to_owned();
    let for_people = context.output.format() == Format::Table;
    let later = later(&batch);
    if how.no_wait || (later.is_some() && !how.wait) {
        if for_people {
            if let Some(later) = later {
                note(&later);
            }
            return context.output.text(&format!("{id}\n"));
        }
        return context.output.thing(&json!({"batch": batch}));
    }
    if for_people {
        let count = batch["runs"].as_u64().unwrap_or(1);
        if count > 1 {
            note(&format!("batch {id}: {count} devices"));
        }
        if let Some(later) = later {
            note(&later);
        }
        if batch["rolls_out"].as_bool() == Some(true) {
            note(&format!("it goes from wave to wave: fleet rollouts show {id}"));
        }
    }
    let cancel = format!("fleet batches cancel {id}");
    live::until_ctrl_c(
        async {
            let runs = live::runs_of(&context.client, &id).await?;
            let ended = live::follow_all(context, &id, &runs, !for_people).await?;
            let batch = match request.dry_run_first {
                true => Some(promotions::looked(&context.client, &id).await?),
                false if for_people => None,
                false => Some(context.client.get(&["batches", &id], &[]).await?.body),
            };
            if !for_people {
                context.output.thing(&json!({"batch": batch, "runs": ended}))?;
            }
            let verdict = live::verdict(&ended);
            if let Some(batch) = batch {
                promotions::told(&batch).iter().for_each(|line| note(line));
            }
            verdict
        },
        &cancel,
    )
    .await
}

/// What people are told about work that does not begin at once.
fn later(batch: &Value) -> Option<String> {
    let at = batch["start_at"].as_str();
    match (batch["approval"].as_str(), at) {
        (Some(approval), None) => Some(format!(
            "begins when somebody else agrees: fleet approvals approve {approval}"
        )),
        (Some(approval), Some(at)) => Some(format!(
            "begins at {at}, when somebody else agrees: fleet approvals approve {approval}"
        )),
        (None, Some(at)) => Some(format!("begins at {at}")),
        (None, None) => None,
    }
}

/// A priority by its name.
pub(super) fn priority(text: &str) -> std::result::Result<Priority, String> {
    Priority::from_name(text).ok_or_else(|| {
        let names = Priority::ALL.map(Priority::name);
        format!("one of {}", names.join(", "))
    })
}

impl On {
    /// The devices that are meant.
    pub async fn targets(&self, client: &Client) -> Result<Targets> {
        let (mut devices, mut groups) = (Vec::new(), Vec::new());
        for device in &self.on {
            devices.push(typed(id_of(client, &DEVICE, device).await?)?);
        }
        for group in &self.group {
            groups.push(typed(id_of(client, &GROUP, group).await?)?);
        }
        Ok(Targets {
            devices,
            groups,
            labels: self.label.clone(),
            query: self.query.clone(),
            all: self.all,
        })
    }
}

/// An id as the server writes it.
pub(super) fn typed<T: DeserializeOwned>(id: String) -> Result<T> {
    serde_json::from_value(Value::String(id)).map_err(|error| Failure::unexpected(format!("the server's id: {error}")))
}
