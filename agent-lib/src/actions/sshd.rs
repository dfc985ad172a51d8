//! The SSH server's own settings: files beside `sshd_config`, each checked by the server before it holds.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::{
        paths,
        ssh_access::{AccessParams, FILE_PREFIX},
        sshd_settings::SshdParams,
    },
};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device, FoundKind, Place},
    members::{self, Membership},
};

/// The settings are none that the SSH server takes; what was there before is there again.
pub(super) const INVALID: Code = Code::new("sshd.invalid", Class::Invalid);
/// The SSH server does not take its own settings even without this action.
pub(super) const BROKEN: Code = Code::new("sshd.broken", Class::Conflict);
/// The SSH server reads no settings beside `sshd_config`.
pub(super) const NO_DROP_INS: Code = Code::new("sshd.no_drop_ins", Class::Conflict);

const CONFIG: &str = "/etc/ssh/sshd_config";
const FOLDER: &str = "/etc/ssh/sshd_config.d";
/// The folder that sshd needs even to check its settings, and what it says without.
const PRIVATE: &str = "/run/sshd";
const NO_FOLDER: &str = "Missing privilege separation directory: ";
const MAX_BYTES: u64 = 1 << 20;
/// The most files in the folder that are looked at.
const MAX_FILES: usize = 10_000;
/// Where `ssh.access` stands among others: before them, as the first word holds.
const ACCESS_PRIORITY: u16 = 100;

/// Keeps settings.
pub(super) struct Settings;
/// Keeps who comes in.
pub(super) struct Access;

/// What is done.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// Something about the group.
    Group(Membership),
    /// A file is written, and holds only if the server takes it.
    Write { path: String, text: String },
    /// A file is removed.
    Remove(String),
    /// The server reads its settings anew.
    Reload,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(step) => step.fmt(f),
            Self::Write { path, text } => write!(f, "write {path}: {}", text.trim_end().replace('\n', "; ")),
            Self::Remove(path) => write!(f, "remove {path}"),
            Self::Reload => f.write_str("have the SSH server read its settings anew"),
        }
    }
}

#[async_trait]
impl Action for Settings {
    type Params = SshdParams;
    type Step = Step;

    fn writes(_: &SshdParams) -> Vec<String> {
        vec![FOLDER.to_owned()]
    }

    async fn look(params: &SshdParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let lines = params
            .directives
            .iter()
            .map(|set| format!("{} {}\n", set.key, set.value));
        let text = (!params.state.is_absent()).then(|| lines.collect());
        look_at_file(device, params.priority, &params.name, text)
    }

    async fn act(_: &SshdParams, device: &Device, step: &Step) -> Result<(), Problem> {
        act(device, "", step).await
    }

    fn is_lasting(step: &Step) -> bool {
        *step != Step::Reload
    }
}

#[async_trait]
impl Action for Access {
    type Params = AccessParams;
    type Step = Step;

    fn writes(_: &AccessParams) -> Vec<String> {
        vec![FOLDER.to_owned()]
    }

    async fn look(params: &AccessParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("groupadd")?;
        let group = params.group();
        let word = |allowed: bool| if allowed { "yes" } else { "no" };
        let text = (!params.state.is_absent()).then(|| {
            // The last line ends the block: what follows in other files is not about the group.
            format!(
                "Match Group {group}\n    PubkeyAuthentication {}\n    PasswordAuthentication {}\nMatch all\n",
                word(params.allow_pubkey),
                word(params.allow_password)
            )
        });
        let is_absent = text.is_none();
        let files = look_at_file(device, ACCESS_PRIORITY, &format!("{FILE_PREFIX}{}", params.name), text)?;
        let users = (!is_absent).then_some(params.users.as_slice());
        let group = members::look(device, &group, users).await?.into_iter().map(Step::Group);
        // The group is there before it is named, and goes after that.
        Ok(match is_absent {
            true => files.into_iter().chain(group).collect(),
            false => group.chain(files).collect(),
        })
    }

    async fn act(params: &AccessParams, device: &Device, step: &Step) -> Result<(), Problem> {
        act(device, &params.group(), step).await
    }

    fn is_lasting(step: &Step) -> bool {
        *step != Step::Reload
    }
}

/// What is to be done so that there is this one file of a name, or none.
fn look_at_file(device: &Device, priority: u16, name: &str, text: Option<String>) -> Result<Vec<Step>, Problem> {
    device.require_program("sshd")?;
    let mut steps = Vec::new();
    let ours = format!("-fleet-{name}.conf");
    let wanted = format!("{priority:04}{ours}");
    for file in device.names_in(FOLDER, MAX_FILES)? {
        let is_ours = file
            .strip_suffix(&ours)
            .is_some_and(|number| number.len() == 4 && number.bytes().all(|c| c.is_ascii_digit()));
        if is_ours && (text.is_none() || file != wanted) {
            steps.push(Step::Remove(format!("{FOLDER}/{file}")));
        }
    }
    if let Some(text) = text {
        if !has_drop_ins(&device.read_text(CONFIG, MAX_BYTES)?) {
            return Err(Problem::new(
                NO_DROP_INS,
                format!("{CONFIG} has no line `Include {FOLDER}/*.conf`, so a file there would not hold"),
            ));
        }
        let path = format!("{FOLDER}/{wanted}");
        if read(device, &path)?.as_deref() != Some(text.as_bytes()) {
            steps.insert(0, Step::Write { path, text });
        }
    }
    if !steps.is_empty() && device.exists("/run/systemd/system") {
        steps.push(Step::Reload);
    }
    Ok(steps)
}

/// Whether the settings name the folder (sshd_config(5), Include), outside of blocks that are not for all.
fn has_drop_ins(config: &str) -> bool {
    let lines = config.lines().map(str::trim);
    let mut words = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .take_while(|words| !words.first().is_some_and(|word| word.eq_ignore_ascii_case("match")));
    words.any(|words| match &words[..] {
        [keyword, patterns @ ..] if keyword.eq_ignore_ascii_case("include") => patterns
            .iter()
            .any(|pattern| pattern.trim_matches('"').ends_with("sshd_config.d/*.conf")),
        _ => false,
    })
}

fn place(device: &Device, path: &str) -> Result<Place, Problem> {
    let place = device.place(path, paths::check_file)?;
    place.ok_or_else(|| Problem::new(FILES_FAILED, format!("{FOLDER} is not there")))
}

fn read(device: &Device, path: &str) -> Result<Option<Vec<u8>>, Problem> {
    let Some(place) = device.place(path, paths::check_file)? else {
        return Ok(None);
    };
    match place.found()? {
        Some(found) if found.kind == FoundKind::File => place.read(MAX_BYTES).map(Some),
        _ => Ok(None),
    }
}

async fn act(device: &Device, group: &str, step: &Step) -> Result<(), Problem> {
    match step {
        Step::Group(step) => members::act(device, group, step).await,
        Step::Write { path, text } => write(device, path, text).await,
        Step::Remove(path) => place(device, path)?.remove(),
        Step::Reload => reload(device).await,
    }
}

async fn write(device: &Device, path: &str, text: &str) -> Result<(), Problem> {
    if let Err(why) = check(device).await? {
        return Err(Problem::new(
            BROKEN,
            format!("the SSH server does not take its settings as they are: {why}"),
        ));
    }
    device.make_parents(path)?;
    let before = read(device, path)?;
    place(device, path)?.write(text.as_bytes(), 0o600, 0, 0)?;
    // Also when the check itself could not be done: what nobody has checked does not stay.
    let checked = check(device).await;
    if checked != Ok(Ok(())) {
        match before {
            Some(before) => place(device, path)?.write(&before, 0o600, 0, 0)?,
            None => place(device, path)?.remove()?,
        }
    }
    checked?.map_err(|why| Problem::new(INVALID, format!("the SSH server does not take these settings: {why}")))
}

/// Whether the server takes all its settings; why not.
async fn check(device: &Device) -> Result<Result<(), String>, Problem> {
    let config = format!("{}{CONFIG}", device.scratch_root().unwrap_or_default());
    let call = Call::new("sshd", ["-t", "-f", &config]);
    let mut answer = device.ask(&call).await?;
    // Where a socket starts it, its folder is there only while it runs.
    if answer.stderr.contains(&format!("{NO_FOLDER}{PRIVATE}"))
        && let Some(place) = device.place(PRIVATE, paths::check_folder)?
        && place.found()?.is_none()
    {
        place.make_folder()?;
        answer = device.ask(&call).await?;
    }
    Ok(match answer.succeeded() {
        true => Ok(()),
        false => Err(answer.last_words()),
    })
}

/// Distributions call the unit one or the other.
async fn reload(device: &Device) -> Result<(), Problem> {
    let mut last = String::new();
    for unit in ["ssh.service", "sshd.service"] {
        let answer = device
            .ask(&Call::new(
                "systemctl",
                ["--no-ask-password", "try-reload-or-restart", unit],
            ))
            .await?;
        if answer.succeeded() {
            return Ok(());
        }
        last = answer.last_words();
    }
    device
        .warn(format!("the SSH server could not be told of its settings: {last}"))
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_where_the_settings_include_its_folder() {
        assert!(has_drop_ins("# x\nInclude /etc/ssh/sshd_config.d/*.conf\n"));
        assert!(has_drop_ins("include \"/etc/ssh/sshd_config.d/*.conf\"\n"));
        assert!(!has_drop_ins("#Include /etc/ssh/sshd_config.d/*.conf\n"));
        assert!(!has_drop_ins(
            "Match User ana\n  Include /etc/ssh/sshd_config.d/*.conf\n"
        ));
        assert!(!has_drop_ins("Include /etc/ssh/other/*.conf\n"));
    }
}
