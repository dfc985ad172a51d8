//! `wifi`: profiles of NetworkManager, as files (nm-settings-keyfile(5)).

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code, named_uuid},
    work::operations::actions::{paths, wifi::WifiParams},
};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device, FoundKind, Place},
};

/// A profile of this name is there that is not of this action.
pub(super) const NOT_OURS: Code = Code::new("wifi.not_ours", Class::Conflict);

const FOLDER: &str = "/etc/NetworkManager/system-connections";
/// Below it, the certificates of each network in a folder of its own.
const CERTIFICATES: &str = "/etc/NetworkManager/fleet";
/// There while NetworkManager runs.
const RUNNING: &str = "/run/NetworkManager";
/// The line of a profile that says whose it is. NetworkManager keeps it when somebody alters the profile.
const MARK: &str = "org.fleet.wifi";
const MAX_BYTES: u64 = 1 << 20;

/// Keeps a network.
pub(super) struct Wifi;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// A file is written; what is in it is not said.
    Write { path: String, text: String },
    /// A file is removed.
    Remove(String),
    /// The folder of its certificates is removed.
    RemoveFolder(String),
    /// NetworkManager reads the profile.
    Load(String),
    /// NetworkManager forgets what is there no more.
    Reload,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, .. } => write!(f, "write {path}"),
            Self::Remove(path) | Self::RemoveFolder(path) => write!(f, "remove {path}"),
            Self::Load(_) => f.write_str("have NetworkManager read it"),
            Self::Reload => f.write_str("have NetworkManager read its profiles anew"),
        }
    }
}

#[async_trait]
impl Action for Wifi {
    type Params = WifiParams;
    type Step = Step;

    fn writes(_: &WifiParams) -> Vec<String> {
        vec![FOLDER.to_owned()]
    }

    async fn look(params: &WifiParams, device: &Device) -> Result<Vec<Step>, Problem> {
        if !device.exists(FOLDER) {
            return Err(Problem::not_applicable("this device has no NetworkManager"));
        }
        let path = profile_path(&params.name);
        let there = read(device, &path)?;
        let is_ours = |text: &str| text.lines().any(|line| line == mark(&params.name));
        if there.as_deref().is_some_and(|text| !is_ours(text)) {
            return Err(match params.state.is_absent() {
                // What somebody else has put there stays.
                true => Problem::not_applicable(format!("{path} is not of this action")),
                false => Problem::new(
                    NOT_OURS,
                    format!("{path} is there, and not of this action; remove it, or take another name"),
                ),
            });
        }
        let tells = device.exists(RUNNING) && device.has_program("nmcli");
        match params.state.is_absent() {
            true => Ok(look_absent(params, device, there.is_some(), tells)),
            false => look_present(params, device, there, tells).await,
        }
    }

    async fn act(_: &WifiParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let nmcli = |arguments: &[&str]| Call::new("nmcli", arguments.iter().copied());
        match step {
            Step::Write { path, text } => {
                device.make_parents(path)?;
                place(device, path)?.write(text.as_bytes(), 0o600, 0, 0)
            }
            Step::Remove(path) => place(device, path)?.remove(),
            Step::RemoveFolder(path) => match device.place(path, paths::check_removal)? {
                Some(place) => place.remove_tree().await,
                None => Ok(()),
            },
            Step::Load(path) => device.must(&nmcli(&["connection", "load", path])).await.map(drop),
            Step::Reload => device.must(&nmcli(&["connection", "reload"])).await.map(drop),
        }
    }

    fn makes(step: &Step) -> bool {
        matches!(step, Step::Write { .. })
    }

    fn is_lasting(step: &Step) -> bool {
        *step != Step::Reload
    }
}

fn look_absent(params: &WifiParams, device: &Device, is_there: bool, tells: bool) -> Vec<Step> {
    let folder = folder(&params.name);
    let mut steps = Vec::new();
    if is_there {
        steps.push(Step::Remove(profile_path(&params.name)));
    }
    if device.exists(&folder) {
        steps.push(Step::RemoveFolder(folder));
    }
    if is_there && tells {
        steps.push(Step::Reload);
    }
    steps
}

async fn look_present(
    params: &WifiParams,
    device: &Device,
    there: Option<String>,
    tells: bool,
) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    // The profile names them: they are there first.
    for (path, text) in certificates(params) {
        if !is_kept(device, &path, &text)? {
            steps.push(Step::Write { path, text });
        }
    }
    let path = profile_path(&params.name);
    let text = profile(params);
    let is_written = there.is_some() && is_kept(device, &path, &text)?;
    if !is_written {
        steps.push(Step::Write {
            path: path.clone(),
            text,
        });
    }
    if params.psk.is_some() && device.exists(&folder(&params.name)) {
        steps.push(Step::RemoveFolder(folder(&params.name)));
    }
    if tells && (!steps.is_empty() || !is_known(params, device).await?) {
        steps.push(Step::Load(path));
    }
    Ok(steps)
}

/// Whether NetworkManager knows the profile.
async fn is_known(params: &WifiParams, device: &Device) -> Result<bool, Problem> {
    let uuid = uuid(&params.name);
    let call = Call::new("nmcli", ["-g", "connection.id", "connection", "show", "uuid", &uuid]);
    Ok(device.ask(&call).await?.succeeded())
}

fn profile_path(name: &str) -> String {
    format!("{FOLDER}/fleet-{name}.nmconnection")
}

fn folder(name: &str) -> String {
    format!("{CERTIFICATES}/{name}")
}

fn mark(name: &str) -> String {
    format!("{MARK}={name}")
}

fn uuid(name: &str) -> String {
    named_uuid("wifi profile", name).to_string()
}

/// The files that the profile names.
fn certificates(params: &WifiParams) -> Vec<(String, String)> {
    let file = |name: &str, text: &str| {
        let text = format!("{}\n", text.trim().replace("\r\n", "\n"));
        (format!("{}/{name}", folder(&params.name)), text)
    };
    let ca = params.ca_certificate.as_deref().map(|text| file("ca.pem", text));
    let certificate = params
        .client_certificate
        .as_deref()
        .map(|text| file("client.pem", text));
    let key = params.client_key.as_ref().map(|key| file("client.key", key.reveal()));
    [ca, certificate, key].into_iter().flatten().collect()
}

/// The profile, as NetworkManager reads it.
fn profile(params: &WifiParams) -> String {
    let name = &params.name;
    let mut text = format!(
        "[connection]\nid=fleet-{name}\nuuid={}\ntype=wifi\nautoconnect={}\nautoconnect-priority={}\n\n[wifi]\nmode=infrastructure\n",
        uuid(name),
        params.auto_connect,
        params.priority
    );
    // As bytes: so nothing in it means anything.
    let ssid: String = params.ssid.bytes().map(|byte| format!("{byte};")).collect();
    text.push_str(&format!("ssid={ssid}\n"));
    if params.hidden {
        text.push_str("hidden=true\n");
    }
    text.push_str("\n[wifi-security]\n");
    match &params.psk {
        Some(psk) => text.push_str(&format!("key-mgmt=wpa-psk\npsk={}\n", escaped(psk.reveal()))),
        None => {
            let folder = folder(name);
            let identity = escaped(params.identity.as_deref().unwrap_or_default());
            text.push_str(&format!(
                "key-mgmt=wpa-eap\n\n[802-1x]\neap=tls;\nidentity={identity}\nca-cert={folder}/ca.pem\n\
                 client-cert={folder}/client.pem\nprivate-key={folder}/client.key\nprivate-key-password-flags=4\n"
            ));
        }
    }
    text.push_str(&format!(
        "\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n\n[user]\n{}\n",
        mark(name)
    ));
    text
}

/// A text as the value of a key (GKeyFile): a space at its end would be lost.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(' ', "\\s")
}

fn place(device: &Device, path: &str) -> Result<Place, Problem> {
    let place = device.place(path, paths::check_file)?;
    place.ok_or_else(|| Problem::new(FILES_FAILED, format!("the folder above {path} is not there")))
}

fn read(device: &Device, path: &str) -> Result<Option<String>, Problem> {
    let Some(place) = device.place(path, paths::check_file)? else {
        return Ok(None);
    };
    match place.found()? {
        None => Ok(None),
        Some(found) if found.kind == FoundKind::File => {
            Ok(Some(String::from_utf8_lossy(&place.read(MAX_BYTES)?).into_owned()))
        }
        Some(_) => Err(Problem::new(NOT_OURS, format!("{path} is no file"))),
    }
}

/// Whether a file says this, and only root can read it.
fn is_kept(device: &Device, path: &str, text: &str) -> Result<bool, Problem> {
    let is_text = read(device, path)?.as_deref() == Some(text);
    let found = match is_text {
        true => place(device, path)?.found()?,
        false => None,
    };
    Ok(found.is_some_and(|found| (found.mode, found.uid, found.gid) == (0o600, 0, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_it_or_begins_another() {
        assert_eq!(escaped(" a b "), "\\sa\\sb\\s");
        assert_eq!(escaped("a\\s"), "a\\\\s");
        let params = WifiParams {
            name: "x".into(),
            ssid: "A;\n".into(),
            psk: Some("p;=[x]#".to_owned().into()),
            ..WifiParams::default()
        };
        let text = profile(&params);
        assert!(text.contains("\nssid=65;59;10;\n"), "{text}");
        assert!(text.contains("\npsk=p;=[x]#\n"), "{text}");
    }
}
