//! Devices.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Context, Paging, device_state, pair, with};
use crate::{
    client::{Client, DEVICE, Failure, GROUP, Query, Result, id_of},
    output::{Column, Show},
};

/// `fleet devices`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List devices.
    #[command(after_help = "\
Examples:
  fleet devices list --presence offline
  fleet devices list --label env=prod --security-updates --sort -seen_at")]
    List(List),
    /// Show a device.
    Show {
        /// The device.
        device: String,
    },
    /// Change a device's name, or whether it may connect.
    Set(Set),
    /// Set labels (NAME=VALUE) and remove them (NAME-).
    #[command(after_help = "Example:\n  fleet devices label web-1 env=prod old-")]
    Label {
        /// The device.
        device: String,
        /// What to set and to remove.
        #[arg(required = true, value_name = "NAME=VALUE|NAME-")]
        labels: Vec<String>,
    },
    /// Revoke the key and the certificate of devices: they are cut off, until they are enrolled again with a new key.
    Revoke {
        /// The devices.
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Let devices in that wait for approval.
    #[command(after_help = "\
Examples:
  fleet devices list --presence pending
  fleet devices approve web-1
  fleet devices approve web-1 --known     # it is the known device whose machine id it has, reinstalled")]
    Approve {
        /// The devices.
        #[arg(required = true)]
        devices: Vec<String>,
        /// As the known device whose machine id it has, with its history; the key of that device counts no more.
        #[arg(long)]
        known: bool,
    },
    /// Turn devices away that wait for approval. Their agents stop.
    Reject {
        /// The devices.
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Delete devices with all that is known of them. Their agents are refused from then on.
    Delete {
        /// The devices.
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// List the packages of a device.
    Packages(Packages),
    /// Show which parts of the inventory there are, or one part.
    Inventory {
        /// The device.
        device: String,
        /// The part, such as `system` or `mounts`.
        section: Option<String>,
    },
    /// Whom a device belongs to; gives it to users.
    Owners(device_state::Owners),
    /// What may be chosen on a device, and what was.
    Available(device_state::Available),
    /// Choose what is available on a device: from then on it applies.
    #[command(after_help = "Example:\n  fleet devices select laptop-7 --definition 'Office programs'")]
    Select(device_state::Selection),
    /// Choose it no more.
    Deselect(device_state::Selection),
    /// Make a token by which whoever is at a device chooses a passphrase of its disk, once; print what to type there.
    DiskPassphraseToken(device_state::DiskPassphraseToken),
    /// Which key of its own each disk of a device has: none, its TPM's, or a passphrase.
    DiskKeys {
        /// The device.
        device: String,
    },
    /// What happened to a device, newest first.
    Events {
        /// The device.
        device: String,
        #[command(flatten)]
        paging: Paging,
    },
}

/// Whether a device is heard of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Presence {
    Online,
    Offline,
    Never,
    Pending,
}

/// Which devices.
#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Words that begin a word of the name, host name, labels, operating system or addresses.
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// With this label; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// In this group.
    #[arg(long)]
    group: Option<String>,
    /// Heard of, or not.
    #[arg(long, value_enum)]
    presence: Option<Presence>,
    /// With this operating system, such as `debian`.
    #[arg(long)]
    os: Option<String>,
    /// With updates waiting.
    #[arg(long)]
    updates: bool,
    /// With security updates waiting.
    #[arg(long)]
    security_updates: bool,
    /// That should be restarted.
    #[arg(long)]
    reboot_required: bool,
}

/// `fleet devices list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// By this field; downwards with a `-` before it.
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

/// `fleet devices set`
#[derive(Debug, Args)]
pub struct Set {
    /// The device.
    device: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// Keep it from connecting.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let it connect again.
    #[arg(long)]
    enable: bool,
    /// Whether its agent may be given other versions of itself.
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    agent_updates: Option<bool>,
}

fn on_or_off(text: &str) -> std::result::Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".into()),
    }
}

/// `fleet devices packages`
#[derive(Debug, Args)]
pub struct Packages {
    /// The device.
    device: String,
    /// Only those with an update.
    #[arg(long)]
    updates: bool,
    /// Only those whose name has these words.
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("PRESENCE", "/presence", Show::State),
    Column::new("SEEN", "/seen_at", Show::Ago),
    Column::new("OS", "/os_name", Show::Text),
    Column::new("UPDATES", "/updates", Show::Text),
    Column::new("SECURITY", "/security_updates", Show::Text),
    Column::new("REBOOT", "/reboot_required", Show::Text).wide(),
    Column::new("KERNEL", "/kernel", Show::Text).wide(),
    Column::new("ADDRESSES", "/addresses", Show::Text).wide(),
    Column::new("LABELS", "/labels", Show::Labels),
    Column::new("AGENT", "/agent_version", Show::Text).wide(),
];

const PACKAGES: &[Column] = &[
    Column::new("NAME", "/name", Show::Text),
    Column::new("VERSION", "/version", Show::Text),
    Column::new("ARCHITECTURE", "/architecture", Show::Text),
    Column::new("AVAILABLE", "/available_version", Show::Text),
    Column::new("SECURITY", "/security", Show::Text),
    Column::new("HELD", "/held", Show::Text).wide(),
    Column::new("ORIGIN", "/origin", Show::Text).wide(),
    Column::new("SIZE", "/installed_size_bytes", Show::Size).wide(),
];

const SECTIONS: &[Column] = &[
    Column::new("SECTION", "/section", Show::Text),
    Column::new("COLLECTED", "/collected_at", Show::Ago),
    Column::new("RECEIVED", "/received_at", Show::Ago),
    Column::new("HASH", "/hash", Show::Text).wide(),
];

const EVENTS: &[Column] = &[
    Column::new("AT", "/at", Show::Text),
    Column::new("EVENT", "/event", Show::Text),
    Column::new("DETAILS", "/details", Show::Labels),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List(list) => {
            let mut query = list.filter.query(&context.client).await?;
            with(&mut query, "sort", list.sort);
            let nothing = "no devices; `fleet tokens create` makes a token with which a machine joins";
            context.list(&["devices"], query, list.paging, COLUMNS, nothing).await
        }
        Command::Show { device } => {
            let id = id_of(&context.client, &DEVICE, &device).await?;
            context.show(&["devices", &id]).await
        }
        Command::Set(set) => set.run(context).await,
        Command::Label { device, labels } => {
            let change = json!({"labels": labels_change(&labels)?});
            let id = id_of(&context.client, &DEVICE, &device).await?;
            context
                .change(&["devices", &id], &change, &format!("{device} is labelled"))
                .await
        }
        Command::Revoke { devices } => {
            for device in &devices {
                let id = id_of(&context.client, &DEVICE, device).await?;
                let path = ["devices", &id, "revoke"];
                context.client.post(&path, &json!({}), None).await?;
                context.output.done_to(&format!("revoked {device}"), &id)?;
            }
            Ok(())
        }
        Command::Approve { devices, known } => {
            let body = json!({"as": if known { "known" } else { "itself" }});
            for device in &devices {
                let id = id_of(&context.client, &DEVICE, device).await?;
                let approved = context
                    .client
                    .post(&["devices", &id, "approve"], &body, None)
                    .await?
                    .body;
                let id = approved["id"].as_str().unwrap_or(&id).to_owned();
                context.output.done_to(&format!("approved {device}"), &id)?;
            }
            Ok(())
        }
        Command::Reject { devices } => {
            for device in &devices {
                let id = id_of(&context.client, &DEVICE, device).await?;
                context
                    .client
                    .post(&["devices", &id, "reject"], &json!({}), None)
                    .await?;
                context.output.done_to(&format!("rejected {device}"), &id)?;
            }
            Ok(())
        }
        Command::Delete { devices } => {
            // All are known before the first is gone.
            let mut ids = Vec::new();
            for device in &devices {
                ids.push(id_of(&context.client, &DEVICE, device).await?);
            }
            for (device, id) in devices.iter().zip(&ids) {
                context.client.delete(&["devices", id]).await?;
                context.output.done_to(&format!("deleted {device}"), id)?;
            }
            Ok(())
        }
        Command::Packages(packages) => {
            let id = id_of(&context.client, &DEVICE, &packages.device).await?;
            let mut query = Query::new();
            with(&mut query, "updates", packages.updates.then_some(true));
            with(&mut query, "search", packages.search);
            let nothing = if packages.updates { "no updates" } else { "no packages" };
            let path = ["devices", &id, "packages"];
            context.list(&path, query, packages.paging, PACKAGES, nothing).await
        }
        Command::Inventory { device, section } => {
            let id = id_of(&context.client, &DEVICE, &device).await?;
            match section {
                Some(section) => context.show(&["devices", &id, "inventory", &section]).await,
                None => {
                    let every = Paging { limit: 500, all: true };
                    let path = ["devices", &id, "inventory"];
                    context
                        .list(&path, Query::new(), every, SECTIONS, "no inventory yet")
                        .await
                }
            }
        }
        Command::Owners(owners) => device_state::owners(context, owners).await,
        Command::Available(available) => device_state::available(context, available).await,
        Command::Select(selection) => device_state::select(context, selection, true).await,
        Command::Deselect(selection) => device_state::select(context, selection, false).await,
        Command::DiskPassphraseToken(token) => device_state::disk_passphrase_token(context, token).await,
        Command::DiskKeys { device } => device_state::disk_keys(context, &device).await,
        Command::Events { device, paging } => {
            let id = id_of(&context.client, &DEVICE, &device).await?;
            let path = ["devices", &id, "events"];
            context.list(&path, Query::new(), paging, EVENTS, "no events").await
        }
    }
}

impl Filter {
    /// The filter as parameters.
    pub async fn query(&self, client: &Client) -> Result<Query> {
        let mut query = Query::new();
        with(&mut query, "search", self.search.as_ref());
        for label in &self.label {
            query.push(("label", label.clone()));
        }
        if let Some(group) = &self.group {
            query.push(("group", id_of(client, &GROUP, group).await?));
        }
        let presence = self.presence.and_then(|presence| presence.to_possible_value());
        with(&mut query, "presence", presence.as_ref().map(|value| value.get_name()));
        with(&mut query, "os", self.os.as_ref());
        with(&mut query, "updates", self.updates.then_some(true));
        with(&mut query, "security_updates", self.security_updates.then_some(true));
        with(&mut query, "reboot_required", self.reboot_required.then_some(true));
        Ok(query)
    }
}

impl Set {
    async fn run(self, context: &mut Context) -> Result<()> {
        let mut change = Map::new();
        if let Some(name) = &self.name {
            change.insert("name".into(), json!(name));
        }
        if self.disable || self.enable {
            change.insert("disabled".into(), json!(self.disable));
        }
        if let Some(on) = self.agent_updates {
            change.insert("agent_updates_enabled".into(), json!(on));
        }
        if change.is_empty() {
            return Err(Failure::usage(
                "say what to change: --name, --disable, --enable or --agent-updates",
            ));
        }
        let id = id_of(&context.client, &DEVICE, &self.device).await?;
        let words = format!("{} is changed", self.device);
        context.change(&["devices", &id], &Value::Object(change), &words).await
    }
}

/// Labels as a merge patch (RFC 7396): null removes.
fn labels_change(labels: &[String]) -> Result<Value> {
    let mut change = Map::new();
    for label in labels {
        let (name, value) = match (pair(label), label.strip_suffix('-')) {
            (Ok((name, value)), _) => (name, Value::String(value)),
            (Err(_), Some(name)) if !name.is_empty() => (name.to_owned(), Value::Null),
            _ => {
                return Err(Failure::usage(format!(
                    "{label}: write NAME=VALUE to set a label, NAME- to remove it"
                )));
            }
        };
        if change.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("label {name} is named twice")));
        }
    }
    Ok(Value::Object(change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[&str], expected: Option<Value>) {
        let labels: Vec<_> = labels.iter().map(|label| label.to_string()).collect();
        assert_eq!(labels_change(&labels).ok(), expected);
    }

    #[test]
    fn labels_are_set_and_removed() {
        check(&["env=prod", "old-"], Some(json!({"env": "prod", "old": null})));
        check(&["a=b-"], Some(json!({"a": "b-"})));
        check(&["a="], Some(json!({"a": ""})));
        check(&["a"], None);
        check(&["-"], None);
        check(&["a=1", "a-"], None);
    }
}
