//! `service`: units of systemd.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::{
        paths,
        service::{Running, ServiceParams},
    },
};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device, FoundKind, Place},
};

/// The unit is masked: somebody has decided that it does not start.
pub(super) const MASKED: Code = Code::new("service.masked", Class::Conflict);
/// The unit cannot be enabled: its file has no `[Install]` section.
pub(super) const NOT_ENABLEABLE: Code = Code::new("service.not_enableable", Class::Conflict);
/// The device has no such unit.
pub(super) const UNIT_UNKNOWN: Code = Code::new("service.unit_unknown", Class::NotFound);
/// What the unit's file is to say is not understood by systemd.
pub(super) const UNIT_INVALID: Code = Code::new("service.unit_invalid", Class::Invalid);

/// Where units of the administrator lie.
const FOLDER: &str = "/etc/systemd/system";
/// Where the file of a unit is looked at before it gets its place. It has no suffix that systemd reads.
const CHECKING: &str = "/etc/systemd/system/.fleet-check";
/// Says that the service manager runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// The largest unit file that is compared, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Keeps a service.
pub(super) struct Service;

/// What is done to it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// Its file is written.
    Write { path: String, bytes: Vec<u8> },
    /// Its file is removed.
    Remove(String),
    /// systemd reads its files anew.
    Reload,
    /// It starts with the device from now on.
    Enable(String),
    /// It does not any more.
    Disable(String),
    /// It starts.
    Start(String),
    /// It stops.
    Stop(String),
    /// It starts anew.
    Restart(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, bytes } => write!(f, "write {path}, {} bytes", bytes.len()),
            Self::Remove(path) => write!(f, "remove {path}"),
            Self::Reload => f.write_str("have systemd read its files anew"),
            Self::Enable(unit) => write!(f, "enable {unit}"),
            Self::Disable(unit) => write!(f, "disable {unit}"),
            Self::Start(unit) => write!(f, "start {unit}"),
            Self::Stop(unit) => write!(f, "stop {unit}"),
            Self::Restart(unit) => write!(f, "restart {unit}"),
        }
    }
}

#[async_trait]
impl Action for Service {
    type Params = ServiceParams;
    type Step = Step;

    fn writes(_: &ServiceParams) -> Vec<String> {
        vec![FOLDER.to_owned()]
    }

    async fn look(params: &ServiceParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("systemctl")?;
        let is_booted = is_booted(device);
        if !is_booted && params.running.is_some() && params.state.is_present() {
            return Err(Problem::not_applicable(
                "systemd does not run on this device, so nothing is started or stopped by it",
            ));
        }
        let unit = params.unit.clone();
        let mut steps = Vec::new();
        let is_written = Self::look_at_file(params, device, &mut steps)?;
        let enablement = enablement(device, &unit).await?;
        let wants_enabled = if params.state.is_absent() {
            Some(false)
        } else {
            params.enabled
        };
        match (wants_enabled, enablement.as_str()) {
            // What systemd calls indirect it counts as enabled: by another name, or by another unit that it names.
            (Some(true), "enabled" | "generated" | "alias" | "indirect") | (None, _) => {}
            (Some(true), "masked" | "masked-runtime") => {
                return Err(Problem::new(
                    MASKED,
                    format!("{unit} is masked; unmask it first, if it is to start"),
                ));
            }
            (Some(true), "static" | "transient") if !is_written => {
                let why = format!("{unit} has no [Install] section, so nothing would start it with the device");
                return Err(Problem::new(NOT_ENABLEABLE, why));
            }
            (Some(true), "") if !is_written => {
                return Err(Problem::new(UNIT_UNKNOWN, format!("this device has no unit {unit}")));
            }
            (Some(true), _) => steps.push(Step::Enable(unit.clone())),
            (Some(false), "enabled" | "enabled-runtime" | "linked" | "linked-runtime" | "alias") => {
                steps.push(Step::Disable(unit.clone()));
            }
            (Some(false), _) => {}
        }
        let mut is_stale = false;
        if is_booted {
            let wanted = match params.state.is_absent() {
                true => Some(Running::Stopped),
                false => params.running,
            };
            let seen = match wanted.is_some() || params.content.is_some() {
                true => seen(device, &unit).await?,
                false => Seen::default(),
            };
            is_stale = seen.is_stale && params.state.is_present();
            let is_active = seen.is_active;
            match wanted {
                Some(Running::Started) if !is_active => steps.push(Step::Start(unit)),
                // Before its file goes: systemd stops what it knows.
                Some(Running::Stopped) if is_active => steps.insert(0, Step::Stop(unit)),
                Some(Running::Restarted) => steps.push(Step::Restart(unit)),
                _ => {}
            }
        }
        // Disabling reads the file's [Install] section.
        if let Some(remove) = steps.iter().position(|step| matches!(step, Step::Remove(_))) {
            let from = steps.remove(remove);
            steps.push(from);
        }
        let changed = steps
            .iter()
            .position(|step| matches!(step, Step::Write { .. } | Step::Remove(_)));
        match changed {
            Some(at) if is_booted => steps.insert(at + 1, Step::Reload),
            // A run that was interrupted has written it, or somebody else.
            None if is_stale => steps.insert(0, Step::Reload),
            _ => {}
        }
        Ok(steps)
    }

    async fn act(params: &ServiceParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let command = match step {
            Step::Write { bytes, .. } => {
                check_unit(device, &params.unit, bytes).await?;
                let place = place(device, &params.unit)?.ok_or_else(no_folder)?;
                return place.write(bytes, 0o644, 0, 0);
            }
            Step::Remove(_) => return place(device, &params.unit)?.ok_or_else(no_folder)?.remove(),
            Step::Reload => vec!["daemon-reload"],
            Step::Enable(unit) => vec!["enable", unit],
            Step::Disable(unit) => vec!["disable", unit],
            Step::Start(unit) => vec!["start", unit],
            Step::Stop(unit) => vec!["stop", unit],
            Step::Restart(unit) => vec!["restart", unit],
        };
        device.must(&systemctl(device).with(command)).await.map(drop)
    }

    fn is_lasting(step: &Step) -> bool {
        !matches!(step, Step::Restart(_) | Step::Reload)
    }
}

impl Service {
    /// What is to be done with its file; whether it will be written.
    fn look_at_file(params: &ServiceParams, device: &Device, steps: &mut Vec<Step>) -> Result<bool, Problem> {
        let Some(content) = &params.content else {
            return Ok(false);
        };
        let path = format!("{FOLDER}/{}", params.unit);
        let place = place(device, &params.unit)?;
        let found = place.as_ref().map(Place::found).transpose()?.flatten();
        let same = match (&place, &found) {
            (Some(place), Some(found)) if found.kind == FoundKind::File => {
                found.bytes == content.len() as u64 && place.read(MAX_BYTES)? == content.as_bytes()
            }
            (_, Some(found)) if params.state.is_present() && found.kind == FoundKind::Link => {
                let why = format!("{path} is a symbolic link: the unit is masked, or another one by name");
                return Err(Problem::new(MASKED, why));
            }
            _ => false,
        };
        match (params.state.is_absent(), found) {
            // A link is somebody else's word about the unit.
            (true, Some(found)) if found.kind == FoundKind::File => steps.push(Step::Remove(path)),
            (true, _) => {}
            (false, _) if same => {}
            (false, _) => {
                let bytes = content.clone().into_bytes();
                steps.push(Step::Write { path, bytes });
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn no_folder() -> Problem {
    Problem::new(FILES_FAILED, format!("{FOLDER} is not there"))
}

fn place(device: &Device, unit: &str) -> Result<Option<Place>, Problem> {
    device.place(&format!("{FOLDER}/{unit}"), paths::check_file)
}

fn is_booted(device: &Device) -> bool {
    device.exists(BOOTED)
}

fn systemctl(device: &Device) -> Call {
    let call = Call::new("systemctl", ["--no-ask-password", "--no-pager"]);
    match device.scratch_root() {
        Some(root) if !is_booted(device) => call.with([format!("--root={root}")]),
        _ => call,
    }
}

/// What systemd says of whether the unit starts with the device; empty when it does not know the unit.
async fn enablement(device: &Device, unit: &str) -> Result<String, Problem> {
    let answer = device.ask(&systemctl(device).with(["is-enabled", unit])).await?;
    let word = answer.stdout.lines().next().unwrap_or_default().trim().to_owned();
    Ok(if word == "not-found" { String::new() } else { word })
}

/// What the service manager says of a unit.
#[derive(Default)]
struct Seen {
    is_active: bool,
    /// Its file says something else than what the manager has read.
    is_stale: bool,
}

async fn seen(device: &Device, unit: &str) -> Result<Seen, Problem> {
    let call = systemctl(device).with(["show", "--property=ActiveState", "--property=NeedDaemonReload", unit]);
    let answer = device.ask(&call).await?;
    if !answer.succeeded() {
        return Err(call.failed(&answer));
    }
    let value = |name: &str| answer.stdout.lines().find_map(|line| line.strip_prefix(name));
    let active = value("ActiveState=");
    Ok(Seen {
        is_active: matches!(active, Some("active" | "reloading" | "activating" | "refreshing")),
        is_stale: value("NeedDaemonReload=") == Some("yes"),
    })
}

/// Has systemd look at the file before it gets its place.
async fn check_unit(device: &Device, unit: &str, bytes: &[u8]) -> Result<(), Problem> {
    if !device.has_program("systemd-analyze") {
        return Ok(());
    }
    let folder = || device.place(CHECKING, paths::check_file)?.ok_or_else(no_folder);
    if folder()?.found()?.is_some() {
        folder()?.remove_tree().await?;
    }
    folder()?.make_folder()?;
    let path = format!("{CHECKING}/{unit}");
    let checked = async {
        let place = device.place(&path, paths::check_file)?.ok_or_else(no_folder)?;
        place.write(bytes, 0o644, 0, 0)?;
        let path = format!("{}{path}", device.scratch_root().unwrap_or_default());
        // The documentation is nobody's business here, and neither are the faults of other units.
        let options = ["verify", "--man=no", "--recursive-errors=no"];
        device.ask(&Call::new("systemd-analyze", options).with([path])).await
    }
    .await;
    folder()?.remove_tree().await?;
    let answer = checked?;
    if answer.succeeded() {
        return Ok(());
    }
    if answer.stderr.contains("unrecognized option") {
        device
            .warn(format!("this device's systemd is too old to check {unit} beforehand"))
            .await;
        return Ok(());
    }
    let said: Vec<_> = answer.stderr.lines().take(5).map(str::trim).collect();
    let said = said.join("; ").replace(CHECKING, FOLDER);
    Err(Problem::new(
        UNIT_INVALID,
        format!("systemd does not take {unit} as it is to be: {said:.800}"),
    ))
}
