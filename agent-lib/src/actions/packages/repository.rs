//! `package.repository`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::{
        armor,
        package_repository::{RepositoryParams, SigningKey},
        paths,
    },
};
use sha2::{Digest as _, Sha256};

use super::{
    manager::Manager,
    sources::{AptSource, IniSection, apt_sources, apt_text, has_section, pacman_block, with_pacman_block},
};
use crate::actions::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Call, Device, Place, shown},
    file::{Owned, check_kind},
};

/// The device knows the repository already, by what somebody else has written.
pub(in crate::actions) const CONFLICT: Code = Code::new("package_repository.conflict", Class::Conflict);
/// What was fetched or given is no key.
pub(in crate::actions) const KEY_INVALID: Code = Code::new("package_repository.key_invalid", Class::Invalid);

const APT: &str = "/etc/apt/sources.list.d";
const APT_MAIN: &str = "/etc/apt/sources.list";
const APT_KEYS: &str = "/etc/apt/keyrings";
const DNF: &str = "/etc/yum.repos.d";
const ZYPPER: &str = "/etc/zypp/repos.d";
const RPM_KEYS: &str = "/etc/pki/rpm-gpg";
const PACMAN: &str = "/etc/pacman.conf";
/// What the files of this project begin with.
const OURS: &str = "fleet-";

/// The largest file of a manager that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The largest key that is fetched, in bytes.
const MAX_KEY: u64 = 10 << 20;
/// The most files of a folder that are looked at.
const MAX_FILES: usize = 10_000;

/// Keeps a repository.
pub(in crate::actions) struct Repository;

/// What is done about it.
#[derive(PartialEq, Eq)]
pub(in crate::actions) enum Step {
    /// A key gets its place; `rpm` takes it, too, where that is who judges.
    Key { path: String, from: Option<String> },
    /// A file is written; people read what it says.
    Write { path: String, text: String, says: String },
    /// A file is removed.
    Remove { path: String, why: &'static str },
    /// The manager reads anew what the repository has.
    Refresh,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { path, from } => match from {
                Some(url) => write!(f, "fetch the key {} as {path}", shown(url)),
                None => write!(f, "write the key {path}"),
            },
            Self::Write { path, says, .. } => write!(f, "write {path}: {says}"),
            Self::Remove { path, why } => write!(f, "remove {path}{why}"),
            Self::Refresh => f.write_str("read anew what there is to install"),
        }
    }
}

#[async_trait]
impl Action for Repository {
    type Params = RepositoryParams;
    type Step = Step;

    fn writes(_: &RepositoryParams) -> Vec<String> {
        vec!["/etc".to_owned()]
    }

    async fn look(params: &RepositoryParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let manager = Manager::of(device)?;
        let wanted = match params.state.is_absent() {
            true => None,
            false => Some(Wanted::of(params, manager, device)?),
        };
        let mut steps = Vec::new();
        let key = wanted.as_ref().and_then(|wanted| wanted.key);
        let key_path = key_path(manager, &params.name);
        if let (Some(path), Some(key)) = (&key_path, key)
            && !is_key(key, read(device, path)?.as_deref())
        {
            let (path, from) = (path.clone(), key.url.clone());
            steps.push(Step::Key { path, from });
        }
        match manager {
            Manager::Pacman => steps.extend(look_at_pacman(params, device, wanted.as_ref())?),
            Manager::Apt | Manager::Dnf | Manager::Zypper => {
                steps.extend(look_at_file(params, manager, device, wanted.as_ref())?);
            }
            Manager::Apk => return Err(no_section()),
        }
        if let Some(path) = key_path.filter(|_| key.is_none())
            && read(device, &path)?.is_some()
        {
            steps.push(Step::Remove { path, why: "" });
        }
        let is_read = match &wanted {
            Some(wanted) => wanted.is_enabled,
            // The others keep no lists of what they do not know any more, or do no harm with them.
            None => manager == Manager::Apt,
        };
        if is_read && !steps.is_empty() {
            steps.push(Step::Refresh);
        }
        Ok(steps)
    }

    async fn act(params: &RepositoryParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let manager = Manager::of(device)?;
        match step {
            Step::Key { path, .. } => {
                let key = Wanted::of(params, manager, device)?.key.ok_or_else(no_section)?;
                let text = key_text(key, device).await?;
                write(device, path, text.as_bytes())?;
                match manager {
                    Manager::Dnf | Manager::Zypper => import(device, path).await,
                    _ => Ok(()),
                }
            }
            Step::Write { path, text, .. } => write(device, path, text.as_bytes()),
            Step::Remove { path, .. } => place(device, path)?.map_or(Ok(()), |place| place.remove()),
            Step::Refresh if params.state.is_absent() => manager.refresh_on(device).await,
            Step::Refresh => {
                let answer = device
                    .run(&manager.refresh_one(device.scratch_root(), &params.name))
                    .await?;
                if !answer.succeeded() {
                    let why = answer.last_words();
                    device
                        .warn(format!("what the repository has could not be read: {why}"))
                        .await;
                }
                Ok(())
            }
        }
    }

    fn is_lasting(step: &Step) -> bool {
        *step != Step::Refresh
    }
}

/// What the device's manager is to know.
struct Wanted<'p> {
    /// What is written; nothing for pacman, whose block has a place of its own.
    text: Text,
    key: Option<&'p SigningKey>,
    is_enabled: bool,
    /// What apt knows it by.
    source: Option<AptSource>,
    /// What people should know before it is done.
    caution: &'static str,
}

enum Text {
    Whole(String),
    Section(IniSection),
    Block(String),
}

impl<'p> Wanted<'p> {
    fn of(params: &'p RepositoryParams, manager: Manager, device: &Device) -> Result<Self, Problem> {
        let name = &params.name;
        // Managers read it as a path of the machine that they run on.
        let root = device.scratch_root().unwrap_or_default();
        let key_path = key_path(manager, name).map(|path| format!("{root}{path}"));
        let key_path = |key: &Option<SigningKey>| key_path.clone().filter(|_| key.is_some());
        let unsigned = |unsigned: bool| match unsigned {
            true => {
                " (what comes from it is installed without a signature: whoever can answer in its place owns this device)"
            }
            false => "",
        };
        Ok(match manager {
            Manager::Apt => {
                let apt = params.apt.as_ref().filter(|apt| !apt.disabled).ok_or_else(no_section)?;
                Self {
                    text: Text::Whole(apt_text(apt, key_path(&apt.key).as_deref())),
                    key: apt.key.as_ref(),
                    is_enabled: true,
                    source: Some(AptSource::new(&apt.url, &apt.distribution)),
                    caution: unsigned(apt.trusted),
                }
            }
            Manager::Dnf => {
                let dnf = params.dnf.as_ref().filter(|dnf| !dnf.disabled).ok_or_else(no_section)?;
                Self {
                    text: Text::Section(IniSection::dnf(name, dnf, key_path(&dnf.key).as_deref())),
                    key: dnf.key.as_ref(),
                    is_enabled: dnf.enabled,
                    source: None,
                    caution: unsigned(!dnf.gpgcheck),
                }
            }
            Manager::Zypper => {
                let zypper = params.zypper.as_ref().filter(|zypper| !zypper.disabled);
                let zypper = zypper.ok_or_else(no_section)?;
                Self {
                    text: Text::Section(IniSection::zypper(name, zypper, key_path(&zypper.key).as_deref())),
                    key: zypper.key.as_ref(),
                    is_enabled: zypper.enabled,
                    source: None,
                    caution: unsigned(!zypper.gpgcheck),
                }
            }
            Manager::Pacman => {
                let pacman = params.pacman.as_ref().filter(|pacman| !pacman.disabled);
                let pacman = pacman.ok_or_else(no_section)?;
                let is_unsigned = |level: &String| level.contains("Never") || level.contains("TrustAll");
                Self {
                    text: Text::Block(pacman_block(name, pacman)),
                    key: None,
                    is_enabled: true,
                    source: None,
                    caution: unsigned(pacman.sig_level.as_ref().is_some_and(is_unsigned)),
                }
            }
            Manager::Apk => return Err(no_section()),
        })
    }

    /// What is written, and what people read of it.
    fn texts(&self) -> (String, String) {
        let text = match &self.text {
            Text::Whole(text) | Text::Block(text) => text.clone(),
            Text::Section(section) => section.text(),
        };
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let says = format!("{}{}", lines.join("; "), self.caution);
        (text, says)
    }
}

fn no_section() -> Problem {
    Problem::not_applicable("the repository has no section for this device's package manager, or a disabled one")
}

/// The file of a repository, where it has one of its own.
fn file_path(manager: Manager, name: &str) -> Option<String> {
    match manager {
        Manager::Apt => Some(format!("{APT}/{OURS}{name}.sources")),
        Manager::Dnf => Some(format!("{DNF}/{OURS}{name}.repo")),
        Manager::Zypper => Some(format!("{ZYPPER}/{OURS}{name}.repo")),
        Manager::Pacman | Manager::Apk => None,
    }
}

/// The file of its key.
fn key_path(manager: Manager, name: &str) -> Option<String> {
    match manager {
        Manager::Apt => Some(format!("{APT_KEYS}/{OURS}{name}.asc")),
        Manager::Dnf | Manager::Zypper => Some(format!("{RPM_KEYS}/{OURS}{name}.asc")),
        Manager::Pacman | Manager::Apk => None,
    }
}

/// What is to be done about the file of a repository, and about others that name it.
fn look_at_file(
    params: &RepositoryParams,
    manager: Manager,
    device: &Device,
    wanted: Option<&Wanted<'_>>,
) -> Result<Vec<Step>, Problem> {
    let path = file_path(manager, &params.name).ok_or_else(no_section)?;
    let found = read(device, &path)?;
    let Some(wanted) = wanted else {
        let remove = found.map(|_| Step::Remove { path, why: "" });
        return Ok(remove.into_iter().collect());
    };
    let rivals = match (&wanted.source, manager) {
        (Some(source), _) => apt_rivals(device, &path, source)?,
        (None, Manager::Dnf) => {
            check_no_section(device, DNF, &path, &params.name)?;
            Vec::new()
        }
        (None, _) => {
            check_no_section(device, ZYPPER, &path, &params.name)?;
            Vec::new()
        }
    };
    let found = found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let is_there = match (&wanted.text, &found) {
        (_, None) => false,
        (Text::Section(section), Some(found)) => section.is_in(found),
        (Text::Whole(text) | Text::Block(text), Some(found)) => text == found,
    };
    let (text, says) = wanted.texts();
    let write = (!is_there).then_some(Step::Write { path, text, says });
    Ok(rivals.into_iter().chain(write).collect())
}

/// Other files that name a source: apt refuses everything when two of them name different keys. One that names nothing else goes; where
/// more stands in it, somebody has to decide.
fn apt_rivals(device: &Device, own: &str, source: &AptSource) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    let names = device.names_in(APT, MAX_FILES)?;
    let names = names
        .iter()
        .filter(|name| name.ends_with(".list") || name.ends_with(".sources"))
        .map(|name| (format!("{APT}/{name}"), name.starts_with(OURS)));
    for (path, is_ours) in names
        .chain([(APT_MAIN.to_owned(), false)])
        .filter(|(path, _)| path != own)
    {
        let found = apt_sources(&path, &device.read_text(&path, MAX_BYTES)?);
        if !found.contains(source) {
            continue;
        }
        if is_ours || path == APT_MAIN || found.iter().any(|found| found != source) {
            let why = format!(
                "{path} names this repository, too, and more than that or for another action; take it out there first"
            );
            return Err(Problem::new(CONFLICT, why));
        }
        steps.push(Step::Remove {
            path,
            why: ", which names the same repository",
        });
    }
    Ok(steps)
}

/// Fails when another file has a section of the name.
fn check_no_section(device: &Device, folder: &str, own: &str, name: &str) -> Result<(), Problem> {
    for file in device.names_in(folder, MAX_FILES)? {
        let path = format!("{folder}/{file}");
        if file.ends_with(".repo") && path != own && has_section(&device.read_text(&path, MAX_BYTES)?, name) {
            let why = format!("{path} has a section [{name}] already; take it out there first, or choose another name");
            return Err(Problem::new(CONFLICT, why));
        }
    }
    Ok(())
}

fn look_at_pacman(
    params: &RepositoryParams,
    device: &Device,
    wanted: Option<&Wanted<'_>>,
) -> Result<Vec<Step>, Problem> {
    let path = PACMAN.to_owned();
    let found = read(device, &path)?.unwrap_or_default();
    let found = String::from_utf8(found)
        .map_err(|_| Problem::new(FILES_FAILED, format!("{path} is no text in UTF-8, and left alone")))?;
    let texts = wanted.map(Wanted::texts);
    let block = texts.as_ref().map(|(block, _)| block.as_str());
    let text = with_pacman_block(&found, &params.name, block)
        .map_err(|problem| Problem::new(CONFLICT, format!("{path}: {problem}")))?;
    let says = texts.map_or_else(|| format!("without [{}]", params.name), |(_, says)| says);
    let write = (text != found).then_some(Step::Write { path, text, says });
    Ok(write.into_iter().collect())
}

/// Whether a file holds the key: the text that is given; or what has the digest, as text or as the bytes that the text stands for.
fn is_key(key: &SigningKey, found: Option<&[u8]>) -> bool {
    let Some(found) = found else {
        return false;
    };
    if let Some(text) = &key.text {
        return found == text.as_bytes();
    }
    let is_digest = |bytes: &[u8]| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        key.sha256.as_ref() == Some(&digest)
    };
    let bytes = std::str::from_utf8(found)
        .ok()
        .and_then(|text| armor::dearmored(text).ok());
    is_digest(found) || bytes.is_some_and(|bytes| is_digest(&bytes))
}

/// The key as text, fetched where only its address is given.
async fn key_text(key: &SigningKey, device: &Device) -> Result<String, Problem> {
    let Some(url) = &key.url else {
        return Ok(key.text.clone().unwrap_or_default());
    };
    let mut bytes = Vec::new();
    let mut sink = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Ok(())
    };
    device.download(url, key.sha256.as_deref(), MAX_KEY, &mut sink).await?;
    armor::armored(&bytes).map_err(|problem| Problem::new(KEY_INVALID, format!("{}: {problem}", shown(url))))
}

/// Has rpm take a key. One that it does not take is not left there, or the next look would find nothing to do.
async fn import(device: &Device, path: &str) -> Result<(), Problem> {
    let root = device.scratch_root();
    let call = Call::new("rpm", root.map(|root| format!("--root={root}")))
        .with(["--import", &format!("{}{path}", root.unwrap_or_default())]);
    let imported = device.must(&call).await.map(drop);
    if imported.is_err()
        && let Some(place) = place(device, path)?
    {
        place.remove()?;
    }
    imported
}

impl Manager {
    /// Reads anew what one repository has, where the manager can tell it from the others.
    fn refresh_one(self, root: Option<&str>, name: &str) -> Call {
        let call = self.call(root);
        match self {
            Self::Apt => {
                let file = format!("{}{APT}/{OURS}{name}.sources", root.unwrap_or_default());
                call.with([
                    "-o".to_owned(),
                    format!("Dir::Etc::sourcelist={file}"),
                    "-o".to_owned(),
                    "Dir::Etc::sourceparts=-".to_owned(),
                    // The lists of the others stay.
                    "-o".to_owned(),
                    "APT::Get::List-Cleanup=0".to_owned(),
                    // What cannot be reached is a failure, too.
                    "-o".to_owned(),
                    "APT::Update::Error-Mode=any".to_owned(),
                    "update".to_owned(),
                ])
            }
            Self::Dnf => call.with([format!("--repo={name}"), "makecache".to_owned()]),
            Self::Zypper => call.with(["refresh", name]),
            Self::Pacman | Self::Apk => self.refresh(root),
        }
    }
}

fn place(device: &Device, path: &str) -> Result<Option<Place>, Problem> {
    device.place(path, paths::check_file)
}

/// What a file holds; nothing when it is not there.
fn read(device: &Device, path: &str) -> Result<Option<Vec<u8>>, Problem> {
    let Some(place) = place(device, path)? else {
        return Ok(None);
    };
    match place.found()? {
        Some(found) => {
            check_kind(path, &found, false)?;
            place.read(MAX_KEY * 2).map(Some)
        }
        None => Ok(None),
    }
}

/// Writes a file, with its folders; whose it is stays, where it is there.
fn write(device: &Device, path: &str, bytes: &[u8]) -> Result<(), Problem> {
    device.make_parents(path)?;
    let gone = || Problem::new(FILES_FAILED, format!("the folder of {path} is not there"));
    let place = place(device, path)?.ok_or_else(gone)?;
    let owned = Owned::wanted(device, place.found()?.as_ref(), (None, None, None), 0o644)?;
    place.write(bytes, owned.mode, owned.uid, owned.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(manager: Manager, expected: &str) {
        let typed = manager.refresh_one(None, "a").arguments.join(" ");
        assert!(typed.ends_with(expected), "{typed}");
    }

    #[test]
    fn only_what_the_repository_has_is_read_anew() {
        check(
            Manager::Apt,
            "-o Dir::Etc::sourcelist=/etc/apt/sources.list.d/fleet-a.sources -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 \
             -o APT::Update::Error-Mode=any update",
        );
        check(Manager::Dnf, "--repo=a makecache");
        check(Manager::Zypper, "refresh a");
        check(Manager::Pacman, "--sync --refresh");
    }
}
