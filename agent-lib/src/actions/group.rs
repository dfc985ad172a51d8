//! `group`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::group::GroupParams,
};

use super::{
    action::{Action, Problem},
    device::{ACCOUNT_FILES, Call, Device},
};

/// The group, or its number, is not one that actions touch.
pub(super) const PROTECTED: Code = Code::new("group.protected", Class::Denied);

/// Keeps a group.
pub(super) struct Group;

/// What is done to it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// It is made.
    Create,
    /// It gets another number.
    Number(u32),
    /// These are in it, and no others.
    Members(Vec<String>),
    /// It is removed.
    Remove,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("make the group"),
            Self::Number(gid) => write!(f, "give the group the number {gid}"),
            Self::Members(members) if members.is_empty() => f.write_str("put everybody out of the group"),
            Self::Members(members) => write!(f, "have in the group: {}", members.join(", ")),
            Self::Remove => f.write_str("remove the group"),
        }
    }
}

#[async_trait]
impl Action for Group {
    type Params = GroupParams;
    type Step = Step;

    fn writes(_: &GroupParams) -> Vec<String> {
        vec![ACCOUNT_FILES.to_owned()]
    }

    async fn look(params: &GroupParams, device: &Device) -> Result<Vec<Step>, Problem> {
        device.require_program("groupadd")?;
        let found = device.group(&params.name)?;
        if found.as_ref().is_some_and(|group| group.gid == 0) {
            return Err(Problem::new(
                PROTECTED,
                format!("{} has the number 0, which is root's", params.name),
            ));
        }
        if params.state.is_absent() {
            return Ok(found.map(|_| Step::Remove).into_iter().collect());
        }
        let mut steps = Vec::new();
        match (&found, params.gid) {
            (None, _) => steps.push(Step::Create),
            (Some(group), Some(gid)) if group.gid != gid => steps.push(Step::Number(gid)),
            _ => {}
        }
        if let Some(members) = &params.members {
            let members = members_here(device, members).await?;
            let mut there = found.map(|group| group.members).unwrap_or_default();
            there.sort_unstable();
            if there != members {
                steps.push(Step::Members(members));
            }
        }
        Ok(steps)
    }

    async fn act(params: &GroupParams, device: &Device, step: &Step) -> Result<(), Problem> {
        let name = params.name.as_str();
        let call = match step {
            Step::Create => {
                let number = params.gid.map(|gid| format!("--gid={gid}"));
                let system = params.system.then(|| "--system".to_owned());
                shadow_tool(device, "groupadd")
                    .with(number.into_iter().chain(system))
                    .with([name])
            }
            Step::Number(gid) => shadow_tool(device, "groupmod")
                .with([format!("--gid={gid}")])
                .with([name]),
            Step::Members(members) => set_members(device, name, members),
            Step::Remove => shadow_tool(device, "groupdel").with([name]),
        };
        device.must(&call).await.map(drop)
    }

    fn makes(step: &Step) -> bool {
        matches!(step, Step::Create)
    }
}

/// A tool of the shadow suite, told of the root.
pub(super) fn shadow_tool(device: &Device, program: &str) -> Call {
    let root = device.scratch_root().map(|root| ["--root", root]);
    Call::new(program, root.into_iter().flatten())
}

/// Puts these into a group, and all others out of it.
pub(super) fn set_members(device: &Device, group: &str, members: &[String]) -> Call {
    shadow_tool(device, "gpasswd").with(["--members", &members.join(","), group])
}

/// Those of the names that are users of the device, sorted; a warning for those who are not.
pub(super) async fn members_here(device: &Device, names: &[String]) -> Result<Vec<String>, Problem> {
    let users = device.users()?;
    let (mut here, missing): (Vec<_>, Vec<_>) = names
        .iter()
        .cloned()
        .partition(|name| users.iter().any(|user| user.name == *name));
    if !missing.is_empty() {
        device
            .warn(format!(
                "this device has no local user {}; passed over",
                missing.join(", ")
            ))
            .await;
    }
    here.sort_unstable();
    Ok(here)
}
