//! Homes of users that are made here: a new one is whole before it gets its name, and one that was there before its user becomes its own
//! even where the agent dies right after the user was made.

use std::collections::BTreeMap;

use fleet_core::work::operations::actions::paths;

use super::{
    action::Problem,
    device::{Account, Device, FoundKind},
    user::{MAX_BYTES, home_place, in_home},
};

/// Under which is remembered whose home was there before its user, until it is theirs.
const NOTE: &str = "homes";

type Homes = BTreeMap<String, String>;

/// A user is about to be made, whose home is there.
pub(super) fn remember(device: &Device, user: &str, home: String) -> Result<(), Problem> {
    let mut homes = device.recall::<Homes>(NOTE)?.unwrap_or_default();
    homes.insert(user.to_owned(), home);
    device.remember(NOTE, &homes)
}

/// The home that a user of this agent's has still to become the owner of.
pub(super) fn due(device: &Device, user: &str) -> Result<Option<String>, Problem> {
    let homes = device.recall::<Homes>(NOTE)?;
    Ok(homes.and_then(|mut homes| homes.remove(user)))
}

/// A user's home is its own, or the user is gone.
pub(super) fn forget(device: &Device, user: &str) -> Result<(), Problem> {
    let mut homes = device.recall::<Homes>(NOTE)?.unwrap_or_default();
    match homes.remove(user) {
        Some(_) => device.remember(NOTE, &homes),
        None => Ok(()),
    }
}

/// Makes a home as `useradd` does: with the files of `/etc/skel`, not those in folders. It is whole before it gets its name, as nobody
/// would finish one that is there; what could not be finished goes.
pub(super) async fn make(device: &Device, user: &Account, home: &str) -> Result<(), Problem> {
    device.make_parents(home)?;
    let (parent, name) = home.rsplit_once('/').unwrap_or(("", home));
    let unfinished = format!("{parent}/.{name:.200}.fleet-home");
    // What a crash left behind.
    remove(device, &unfinished).await?;
    let built = build(device, user, &unfinished, home);
    if built.is_err() {
        // The first problem is the one to tell.
        remove(device, &unfinished).await.ok();
    }
    built
}

fn build(device: &Device, user: &Account, unfinished: &str, home: &str) -> Result<(), Problem> {
    let building = home_place(device, unfinished)?;
    building.make_folder_of(0o700, user.uid, user.gid)?;
    for name in device.names_in("/etc/skel", 100)? {
        let from = device.place(&format!("/etc/skel/{name}"), paths::check_file)?;
        let Some(from) = from else { continue };
        let Some(found) = from.found()?.filter(|found| found.kind == FoundKind::File) else {
            continue;
        };
        let to = in_home(device, unfinished, &name)?;
        if let Some(to) = to {
            to.write(&from.read(MAX_BYTES)?, found.mode, user.uid, user.gid)?;
        }
    }
    building.give_place(&home_place(device, home)?)
}

/// Removes what has become of a home that is not finished, if there is any.
async fn remove(device: &Device, unfinished: &str) -> Result<(), Problem> {
    let building = home_place(device, unfinished)?;
    match building.found()?.map(|found| found.kind) {
        None => Ok(()),
        Some(FoundKind::Folder) => {
            device.check_no_mounts(&building.path)?;
            building.remove_tree().await
        }
        Some(_) => building.remove(),
    }
}
