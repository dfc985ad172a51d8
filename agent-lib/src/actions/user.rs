//! `user`. What becomes of its home: `homes.rs`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::{
        operations::actions::{paths, user::UserParams},
        secrets::SecretText,
    },
};

use super::{
    FILES_FAILED, PATH_PROTECTED,
    action::{Action, Problem},
    device::{ACCOUNT_FILES, Account, Call, Device, FoundKind, Place},
    group::shadow_tool,
    homes,
    passwords::first,
};

/// The user is one that actions do not touch: root, or the agent's own.
pub(super) const PROTECTED: Code = Code::new("user.protected", Class::Denied);
/// The user is there with another number.
pub(super) const OTHER_UID: Code = Code::new("user.other_uid", Class::Conflict);

/// The day of expiry that stands for a disabled user: the second day of 1970 (shadow(5)).
pub(super) const DISABLED: &str = "1";
/// Where the sign-in screen reads whom it leaves out.
const ACCOUNTS: &str = "/var/lib/AccountsService/users";
const HIDDEN: &str = "[User]\nSystemAccount=true\n";
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// How often a password is hashed (crypt(5)): some tenths of a second for who signs in, and for each try of who has the hash.
const SHA_ROUNDS: &str = "500000";

/// Keeps a user.
pub(super) struct User;

/// What is done to it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is made.
    Create,
    /// It is made with a first password that the server keeps; with `true` one that has to be changed.
    CreateWithPassword(bool),
    /// It was made, and gets that password now.
    MakePassword(bool),
    /// It becomes the owner of its home, which was there before it.
    OwnHome(String),
    /// These options of `usermod` make it as it should be.
    Change(Vec<String>),
    /// Its home is made.
    MakeHome(String),
    /// It gets its first password; with `true` one that has to be changed.
    Password(bool),
    /// Nobody signs in as it any more.
    Disable,
    /// It may be signed in as again; `true` where its password comes back.
    Enable(bool),
    /// These keys sign in as it.
    Keys(String),
    /// The sign-in screen leaves it out, or shows it.
    Hide(bool),
    /// Its sessions end.
    EndSessions(u32),
    /// It is removed, with its home or without.
    Remove { with_home: bool },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("make the user"),
            Self::CreateWithPassword(false) => f.write_str("make the user, with a password that the server keeps"),
            Self::CreateWithPassword(true) => {
                f.write_str("make the user, with a password that the server keeps, to be changed at the next sign-in")
            }
            Self::MakePassword(_) => f.write_str("give the user the password that the server keeps"),
            Self::OwnHome(home) => write!(f, "give it {home}"),
            Self::Change(options) => write!(f, "change the user: {}", options.join(" ")),
            Self::MakeHome(home) => write!(f, "make its home {home}"),
            Self::Password(false) => f.write_str("set its first password"),
            Self::Password(true) => f.write_str("set its first password, to be changed at the next sign-in"),
            Self::Disable => f.write_str("disable the user"),
            Self::Enable(_) => f.write_str("enable the user"),
            Self::Keys(keys) => write!(f, "let {} keys sign in as it, and no others", keys.lines().count()),
            Self::Hide(true) => f.write_str("hide it from the sign-in screen"),
            Self::Hide(false) => f.write_str("show it on the sign-in screen"),
            Self::EndSessions(_) => f.write_str("end its sessions"),
            Self::Remove { with_home: true } => f.write_str("remove the user and its home"),
            Self::Remove { with_home: false } => f.write_str("remove the user"),
        }
    }
}

#[async_trait]
impl Action for User {
    type Params = UserParams;
    type Step = Step;

    fn writes(params: &UserParams) -> Vec<String> {
        let home = params.wants_home().then(|| home(params, None));
        [ACCOUNT_FILES.to_owned()].into_iter().chain(home).collect()
    }

    async fn look(params: &UserParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("useradd")?;
        let found = device.user(&params.name)?;
        if let Some(user) = &found
            && (user.uid == 0 || (device.is_live() && user.uid == rustix::process::geteuid().as_raw()))
        {
            return Err(Problem::new(
                PROTECTED,
                format!("{} is root, or the agent's own user", params.name),
            ));
        }
        if params.state.is_absent() {
            return look_absent(params, device, found).await;
        }
        let mut steps = Vec::new();
        match &found {
            None => {
                steps.push(match params.generate_password {
                    true => Step::CreateWithPassword(params.force_password_change),
                    false => Step::Create,
                });
                steps.extend(home_before(params, device).map(Step::OwnHome));
            }
            Some(user) => {
                look_at_account(params, device, user, &mut steps)?;
                steps.extend(homes::due(device, &params.name)?.map(Step::OwnHome));
            }
        }
        let (password, expires) = match &found {
            Some(_) => {
                let entry = device.shadow_entry(&params.name)?;
                (entry.password, entry.expires)
            }
            None => Default::default(),
        };
        let is_disabled = expires == DISABLED && password.starts_with(['!', '*']);
        if params.password.is_some() && !has_password(&password) {
            device.require_program("chpasswd")?;
            steps.push(Step::Password(params.force_password_change));
        }
        if params.generate_password {
            device.require_program("chpasswd")?;
            // It changes nothing here, and is said once.
            if !params.dry_run && device.is_first("told which passwords are in use") {
                first::tell(device).await?;
            }
            if found.is_some() && first::is_due(device, &params.name, has_password(&password))? {
                steps.push(Step::MakePassword(params.force_password_change));
            }
        }
        match (params.disabled, found.is_some()) {
            (true, _) if !is_disabled => steps.push(Step::Disable),
            // A password comes back only where there is one behind the lock.
            (false, true) if expires == DISABLED => steps.push(Step::Enable(password.starts_with("!$"))),
            _ => {}
        }
        if let Some(keys) = &params.ssh_authorized_keys {
            let keys: String = keys.iter().map(|key| format!("{key}\n")).collect();
            if !keys_are(params, device, found.as_ref(), &keys)? {
                steps.push(Step::Keys(keys));
            }
        }
        if let Some(hidden) = params.hidden
            && device.exists(ACCOUNTS)
            && hidden != is_hidden(device, &params.name)?
        {
            steps.push(Step::Hide(hidden));
        }
        Ok(steps)
    }

    async fn act(params: &UserParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let name = params.name.as_str();
        let usermod = |options: &[&str]| {
            shadow_tool(device, "usermod")
                .with(options.iter().copied())
                .with([name])
        };
        let call = match step {
            Step::Create | Step::CreateWithPassword(_) => return create(params, device, step).await,
            Step::MakePassword(is_forced) => return first::set(device, name, *is_forced).await,
            Step::Change(options) => shadow_tool(device, "usermod").with(options.clone()).with([name]),
            Step::Password(is_forced) => return set_password(params, device, *is_forced).await,
            Step::Disable => usermod(&["--lock", "--expiredate", DISABLED]),
            Step::Enable(true) => usermod(&["--unlock", "--expiredate", ""]),
            Step::Enable(false) => usermod(&["--expiredate", ""]),
            Step::OwnHome(home) => {
                let user = there(params, device)?;
                let place = home_place(device, home)?;
                // One that is gone meanwhile is made at the next look, as the user's.
                if let Some(found) = place.found()? {
                    place.adjust(found.mode, user.uid, user.gid)?;
                }
                return homes::forget(device, name);
            }
            Step::MakeHome(home) => return homes::make(device, &there(params, device)?, home).await,
            Step::Keys(keys) => return write_keys(device, &there(params, device)?, keys),
            Step::Hide(hidden) => return hide(device, name, *hidden),
            Step::EndSessions(uid) => return end_sessions(device, name, *uid).await,
            Step::Remove { with_home } => {
                let with_home = with_home.then_some("--remove");
                device
                    .must(&shadow_tool(device, "userdel").with(with_home).with([name]))
                    .await?;
                homes::forget(device, name)?;
                return first::forget(device, name).await;
            }
        };
        device.must(&call).await.map(drop)
    }

    fn makes(step: &Step) -> bool {
        matches!(step, Step::Create | Step::CreateWithPassword(_))
    }

    fn is_lasting(step: &Step) -> bool {
        !matches!(step, Step::EndSessions(_))
    }
}

/// Whether there is a password behind whatever locks it (shadow(5)).
fn has_password(field: &str) -> bool {
    !matches!(field.trim_start_matches('!'), "" | "*" | "x")
}

async fn set_password(params: &UserParams, device: &Device, is_forced: bool) -> Result<(), Problem> {
    let name = params.name.as_str();
    let Some(password) = &params.password else {
        return Ok(());
    };
    chpasswd(device, name, password).await?;
    match is_forced {
        true => expire(device, name).await,
        false => Ok(()),
    }
}

/// Has whoever signs in with the password choose another one first.
pub(super) async fn expire(device: &Device, name: &str) -> Result<(), Problem> {
    let call = shadow_tool(device, "chage").with(["--lastday", "0", name]);
    device.must(&call).await.map(drop)
}

/// Sets a password. The program hashes it, and reads it where nobody else does.
pub(super) async fn chpasswd(device: &Device, name: &str, password: &SecretText) -> Result<(), Problem> {
    let call = shadow_tool(device, "chpasswd").with(["--crypt-method", "SHA512", "--sha-rounds", SHA_ROUNDS]);
    let input = format!("{name}:{}\n", password.reveal());
    let answer = device.ask(&call.clone().reading(input)).await?;
    match answer.succeeded() {
        true => Ok(()),
        false => Err(call.failed(&answer)),
    }
}

async fn look_absent(params: &UserParams, device: &Device, found: Option<Account>) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    if is_hidden(device, &params.name)? {
        steps.push(Step::Hide(false));
    }
    let Some(user) = found else {
        return Ok(steps);
    };
    if device.is_live() {
        steps.push(Step::EndSessions(user.uid));
    }
    let with_home = match home_to_remove(device, &user)? {
        Ok(with_home) => with_home,
        Err(why) => {
            device.warn(format!("its home {} stays: {why}", user.home)).await;
            false
        }
    };
    steps.push(Step::Remove { with_home });
    Ok(steps)
}

/// Whether the home goes with its user; why it stays, though it is there.
fn home_to_remove(device: &Device, user: &Account) -> Result<Result<bool, String>, Problem> {
    let place = device.place(&user.home, paths::check_removal).and_then(|place| {
        place.iter().try_for_each(|place| device.check_no_mounts(&place.path))?;
        Ok(place)
    });
    let place = match place {
        Err(Problem::Failed { code, message, .. }) if code == PATH_PROTECTED => return Ok(Err(message)),
        place => place?,
    };
    let Some(found) = place.as_ref().map(Place::found).transpose()?.flatten() else {
        return Ok(Ok(false));
    };
    if found.uid != user.uid {
        return Ok(Err(format!("it belongs to {}", found.uid)));
    }
    let home = format!("{}/", user.home);
    let others = device.users()?;
    let mut others = others.iter().filter(|other| other.name != user.name);
    match others.find(|other| format!("{}/", other.home).starts_with(&home)) {
        Some(other) => Ok(Err(format!("it is the home of {}, too, or holds it", other.name))),
        None => Ok(Ok(true)),
    }
}

fn look_at_account(params: &UserParams, device: &Device, user: &Account, steps: &mut Vec<Step>) -> Result<(), Problem> {
    if let Some(uid) = params.uid.filter(|uid| *uid != user.uid) {
        let why = format!(
            "{} has the number {} and not {uid}; its files would become another's",
            user.name, user.uid
        );
        return Err(Problem::new(OTHER_UID, why));
    }
    let mut options = Vec::new();
    let mut differs = |option: &str, wanted: Option<&String>, is: &str| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
            options.extend([option.to_owned(), wanted.clone()]);
        }
    };
    differs("--shell", params.shell.as_ref(), &user.shell);
    differs("--home", params.home.as_ref(), &user.home);
    differs("--comment", params.comment.as_ref(), &user.comment);
    if let Some(group) = &params.primary_group
        && device.gid(group)? != user.gid
    {
        options.extend(["--gid".to_owned(), group.clone()]);
    }
    if !options.is_empty() {
        steps.push(Step::Change(options));
    }
    let home = home(params, Some(user));
    if params.wants_home() && !device.exists(&home) {
        steps.push(Step::MakeHome(home));
    }
    Ok(())
}

fn home(params: &UserParams, user: Option<&Account>) -> String {
    let said = params.home.clone();
    said.or_else(|| user.map(|user| user.home.clone()))
        .unwrap_or_else(|| format!("/home/{}", params.name))
}

fn there(params: &UserParams, device: &Device) -> Result<Account, Problem> {
    let user = device.user(&params.name)?;
    user.ok_or_else(|| Problem::new(super::ACCOUNT_UNKNOWN, format!("{} is gone meanwhile", params.name)))
}

/// The home that is there before its user, where one is wanted.
fn home_before(params: &UserParams, device: &Device) -> Option<String> {
    let home = home(params, None);
    (params.wants_home() && device.exists(&home)).then_some(home)
}

async fn create(params: &UserParams, device: &Device, step: &Step) -> Result<(), Problem> {
    let name = params.name.as_str();
    let useradd = useradd(params, device)?;
    if let Some(home) = home_before(params, device) {
        homes::remember(device, name, home)?;
    }
    let made = match step {
        Step::CreateWithPassword(is_forced) => first::make(device, name, &useradd, *is_forced).await,
        _ => device.must(&useradd).await.map(drop),
    };
    if made.is_err() && device.user(name)?.is_none() {
        homes::forget(device, name)?;
    }
    made
}

fn useradd(params: &UserParams, device: &Device) -> Result<Call, Problem> {
    let first = |paths: [&str; 2]| {
        let found = paths.into_iter().find(|path| device.exists(path));
        found.unwrap_or(paths[1]).to_owned()
    };
    let shell = params
        .shell
        .clone()
        .unwrap_or_else(|| match params.system || params.disabled {
            true => first(["/sbin/nologin", "/usr/sbin/nologin"]),
            false => first(["/bin/bash", "/bin/sh"]),
        });
    let mut options = vec!["--shell".to_owned(), shell, "--home-dir".to_owned(), home(params, None)];
    options.push(match params.wants_home() {
        true => "--create-home".to_owned(),
        false => "--no-create-home".to_owned(),
    });
    if params.system {
        options.push("--system".to_owned());
    }
    if let Some(uid) = params.uid {
        options.push(format!("--uid={uid}"));
    }
    if let Some(comment) = &params.comment {
        options.extend(["--comment".to_owned(), comment.clone()]);
    }
    match &params.primary_group {
        Some(group) => options.extend(["--gid".to_owned(), group.clone()]),
        // A group of its own may be left from before.
        None if device.group(&params.name)?.is_some() => options.extend(["--gid".to_owned(), params.name.clone()]),
        None => options.push("--user-group".to_owned()),
    }
    Ok(shadow_tool(device, "useradd").with(options).with([&params.name]))
}

pub(super) fn home_place(device: &Device, home: &str) -> Result<Place, Problem> {
    let place = device.place(home, paths::check_file)?;
    place.ok_or_else(|| Problem::new(FILES_FAILED, format!("the folder above {home} is not there")))
}

/// A place in a home. A link that its user has put there leads nowhere else: what root writes there would be written elsewhere.
pub(super) fn in_home(device: &Device, home: &str, path: &str) -> Result<Option<Place>, Problem> {
    let real = device.leads_to(home)?;
    device.place(&format!("{home}/{path}"), |path, own| {
        paths::check_file(path, own)?;
        let is_inside = [home, &real]
            .iter()
            .any(|home| path.strip_prefix(*home).is_some_and(|rest| rest.starts_with('/')));
        match is_inside {
            true => Ok(()),
            false => Err(format!("it leads out of {home}")),
        }
    })
}

fn keys_are(params: &UserParams, device: &Device, user: Option<&Account>, keys: &str) -> Result<bool, Problem> {
    let Some(user) = user else {
        return Ok(keys.is_empty());
    };
    let home = home(params, Some(user));
    let place = match device.exists(&home) {
        true => in_home(device, &home, ".ssh/authorized_keys")?,
        false => None,
    };
    let Some((place, found)) = place
        .map(|place| place.found().map(|found| (place, found)))
        .transpose()?
    else {
        return Ok(keys.is_empty());
    };
    Ok(match found {
        None => keys.is_empty(),
        Some(found) if found.kind == FoundKind::File => {
            let is_right = (found.uid, found.gid, found.mode) == (user.uid, user.gid, 0o600);
            is_right && found.bytes == keys.len() as u64 && place.read(MAX_BYTES)? == keys.as_bytes()
        }
        Some(_) => false,
    })
}

fn write_keys(device: &Device, user: &Account, keys: &str) -> Result<(), Problem> {
    let no_home = || Problem::new(FILES_FAILED, format!("{} has no home to keep keys in", user.name));
    if !device.exists(&user.home) {
        return Err(no_home());
    }
    let folder = in_home(device, &user.home, ".ssh")?.ok_or_else(no_home)?;
    match folder.found()?.map(|found| found.kind) {
        None => folder.make_folder_of(0o700, user.uid, user.gid)?,
        Some(FoundKind::Folder | FoundKind::Link) => {}
        Some(_) => return Err(Problem::new(FILES_FAILED, format!("{} is no folder", folder.path))),
    }
    let file = in_home(device, &user.home, ".ssh/authorized_keys")?.ok_or_else(no_home)?;
    file.write(keys.as_bytes(), 0o600, user.uid, user.gid)
}

fn accounts_place(device: &Device, name: &str) -> Result<Option<Place>, Problem> {
    device.place(&format!("{ACCOUNTS}/{name}"), paths::check_file)
}

fn is_hidden(device: &Device, name: &str) -> Result<bool, Problem> {
    let Some(place) = accounts_place(device, name)? else {
        return Ok(false);
    };
    match place.found()? {
        Some(found) if found.kind == FoundKind::File => {
            Ok(String::from_utf8_lossy(&place.read(MAX_BYTES)?).contains("SystemAccount=true"))
        }
        _ => Ok(false),
    }
}

fn hide(device: &Device, name: &str, hidden: bool) -> Result<(), Problem> {
    match (accounts_place(device, name)?, hidden) {
        (Some(place), true) => place.write(HIDDEN.as_bytes(), 0o600, 0, 0),
        (Some(place), false) => place.remove(),
        (None, _) => Ok(()),
    }
}

/// Ends what runs as the user, as far as it can be ended: whoever is left keeps `userdel` from its work, and it says so.
pub(super) async fn end_sessions(device: &Device, name: &str, uid: u32) -> Result<(), Problem> {
    for call in [
        Call::new("loginctl", ["terminate-user", name]),
        Call::new("pkill", ["--signal", "KILL", "--uid", &uid.to_string()]),
    ] {
        if device.has_program(&call.program) {
            device.ask(&call).await?;
        }
    }
    Ok(())
}
