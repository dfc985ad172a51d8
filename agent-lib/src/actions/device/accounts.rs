//! The local users and groups, as their files tell: passwd(5), shadow(5), group(5). Users of directories are not among them.

use super::Device;
use crate::actions::{ACCOUNT_UNKNOWN, action::Problem};

/// Where the account files are.
pub(in crate::actions) const ACCOUNT_FILES: &str = "/etc";
/// The most of an account file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// A local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions) struct Account {
    pub(in crate::actions) name: String,
    pub(in crate::actions) uid: u32,
    pub(in crate::actions) gid: u32,
    pub(in crate::actions) comment: String,
    pub(in crate::actions) home: String,
    pub(in crate::actions) shell: String,
}

/// A local group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions) struct GroupEntry {
    pub(in crate::actions) name: String,
    pub(in crate::actions) gid: u32,
    /// Who is in it beside those whose first group it is.
    pub(in crate::actions) members: Vec<String>,
}

/// The entry of a user in shadow(5).
#[derive(Clone, PartialEq, Eq)]
pub(in crate::actions) struct ShadowEntry {
    /// The hash of the password, or what stands in its place; behind a `!` it is locked.
    pub(in crate::actions) password: String,
    /// The day on which the password was changed.
    pub(in crate::actions) last_change: String,
    /// The day from which on nobody signs in.
    pub(in crate::actions) expires: String,
}

impl Device {
    /// All local users.
    pub(in crate::actions) fn users(&self) -> Result<Vec<Account>, Problem> {
        Ok(users(&self.read_text("/etc/passwd", MAX_BYTES)?))
    }

    /// A local user.
    pub(in crate::actions) fn user(&self, name: &str) -> Result<Option<Account>, Problem> {
        Ok(self.users()?.into_iter().find(|user| user.name == name))
    }

    /// All local groups.
    pub(in crate::actions) fn groups(&self) -> Result<Vec<GroupEntry>, Problem> {
        Ok(groups(&self.read_text("/etc/group", MAX_BYTES)?))
    }

    /// A local group.
    pub(in crate::actions) fn group(&self, name: &str) -> Result<Option<GroupEntry>, Problem> {
        Ok(self.groups()?.into_iter().find(|group| group.name == name))
    }

    /// What shadow(5) has of a user; all empty where it has nothing.
    pub(in crate::actions) fn shadow_entry(&self, name: &str) -> Result<ShadowEntry, Problem> {
        let text = self.read_text("/etc/shadow", MAX_BYTES)?;
        let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = line
            .into_iter()
            .find(|fields| fields.first() == Some(&name))
            .unwrap_or_default();
        let field = |at: usize| line.get(at).copied().unwrap_or_default().to_owned();
        Ok(ShadowEntry {
            password: field(1),
            last_change: field(2),
            expires: field(7),
        })
    }

    /// The number of a user, which may be given as one.
    pub(in crate::actions) fn uid(&self, name: &str) -> Result<u32, Problem> {
        let known = self.user(name)?.map(|user| user.uid).or_else(|| name.parse().ok());
        known.ok_or_else(|| Problem::new(ACCOUNT_UNKNOWN, format!("this device has no local user {name}")))
    }

    /// The number of a group, which may be given as one.
    pub(in crate::actions) fn gid(&self, name: &str) -> Result<u32, Problem> {
        let known = self.group(name)?.map(|group| group.gid).or_else(|| name.parse().ok());
        known.ok_or_else(|| Problem::new(ACCOUNT_UNKNOWN, format!("this device has no local group {name}")))
    }
}

pub(super) fn users(text: &str) -> Vec<Account> {
    let users = text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, comment, home, shell] = fields[..] else {
            return None;
        };
        Some(Account {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            comment: comment.to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
        })
    });
    users.collect()
}

fn groups(text: &str) -> Vec<GroupEntry> {
    let groups = text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            return None;
        };
        Some(GroupEntry {
            name: name.to_owned(),
            gid: gid.parse().ok()?,
            members: members
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_are_nobody() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nx:x:-1:0::/:\n\n+nis::::::\n";
        let names: Vec<_> = users(text).into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["root"]);
        let found = groups("wheel:x:10:a,b\nempty:x:11:\nbroken:x\nx:x:y:\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].members, ["a", "b"]);
        assert!(found[1].members.is_empty());
    }
}
