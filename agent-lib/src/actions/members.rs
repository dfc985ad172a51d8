//! A group that belongs to an action, with exactly its members.

use std::fmt;

use super::{
    action::Problem,
    device::Device,
    group::{members_here, set_members, shadow_tool},
};

/// What is done to it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Membership {
    /// It is made.
    Create(String),
    /// These are in it, and no others.
    Members(Vec<String>),
    /// It is removed.
    Remove(String),
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(group) => write!(f, "make the group {group}"),
            Self::Members(members) if members.is_empty() => f.write_str("put everybody out of the group"),
            Self::Members(members) => write!(f, "have in the group: {}", members.join(", ")),
            Self::Remove(group) => write!(f, "remove the group {group}"),
        }
    }
}

/// What is to be done so that a group has these members, or is gone.
pub(super) async fn look(device: &Device, group: &str, users: Option<&[String]>) -> Result<Vec<Membership>, Problem> {
    let found = device.group(group)?;
    let Some(users) = users else {
        return Ok(found
            .map(|_| Membership::Remove(group.to_owned()))
            .into_iter()
            .collect());
    };
    let wanted = members_here(device, users).await?;
    let create = found.is_none().then(|| Membership::Create(group.to_owned()));
    let mut there = found.map(|found| found.members).unwrap_or_default();
    there.sort_unstable();
    let members = (there != wanted).then_some(Membership::Members(wanted));
    Ok(create.into_iter().chain(members).collect())
}

/// Does it.
pub(super) async fn act(device: &Device, group: &str, step: &Membership) -> Result<(), Problem> {
    let call = match step {
        Membership::Create(_) => shadow_tool(device, "groupadd").with(["--system", group]),
        Membership::Members(members) => set_members(device, group, members),
        Membership::Remove(_) => shadow_tool(device, "groupdel").with([group]),
    };
    device.must(&call).await.map(drop)
}
