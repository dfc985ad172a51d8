//! Whose installation of Flatpak is meant.

use crate::actions::{
    action::Problem,
    device::{Account, Device},
};

/// The most installations of users that are looked at.
const MAX_USERS: usize = 1_000;

/// Whose installation it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The device's.
    All,
    /// A user's own.
    User(Account),
}

impl Whose {
    /// What is said where it knows no remote of a name.
    pub(super) fn lacks_remote(&self, remote: &str) -> String {
        match self {
            Self::All => {
                format!("this device knows no remote {remote}; add it with flatpak remote-add --system first")
            }
            Self::User(user) => format!(
                "{} knows no remote {remote}; add it as that user with flatpak remote-add --user first",
                user.name
            ),
        }
    }
}

/// Everybody who has installed something for themselves: the local users, and whoever of a directory is signed in.
pub(super) async fn who_has_installations(device: &Device) -> Result<Vec<Account>, Problem> {
    let mut users = device.users()?;
    // Where nobody tells who is signed in, all who are known are those of this device.
    match device.desktop_users().await {
        Ok(signed_in) => users.extend(signed_in),
        Err(Problem::Failed { .. } | Problem::NotApplicable(_)) => {}
        Err(problem) => return Err(problem),
    }
    users.retain(|user| user.home.starts_with('/') && device.exists(&format!("{}/.local/share/flatpak", user.home)));
    users.sort_by_key(|user| user.uid);
    // Two names for one number have one installation where they have one home.
    users.dedup_by(|one, other| (one.uid, &one.home) == (other.uid, &other.home));
    if users.len() > MAX_USERS {
        let left_out = users.len() - MAX_USERS;
        device
            .warn(format!(
                "{left_out} users were left out: more than {MAX_USERS} have installed something"
            ))
            .await;
        users.truncate(MAX_USERS);
    }
    Ok(users)
}
