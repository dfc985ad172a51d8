//! Whom to run as.

use std::{path::PathBuf, process::Stdio, time::Duration};

use fleet_core::kernel::Result;
use tokio::{process::Command, time::timeout};

use super::USER_UNKNOWN;

/// A user of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The home.
    pub home: PathBuf,
    /// The shell; `/bin/sh` where it is empty.
    pub shell: String,
}

/// Who something runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// Who has this name in the device's user database.
    Name(String),
    /// A user who was looked up already.
    User(User),
}

impl RunAs {
    /// The user's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::User(user) => &user.name,
        }
    }
}

/// Finds a user by name: in `/etc/passwd`, or through `getent`, which knows of directories too.
pub(super) async fn find(name: &str) -> Result<User> {
    let unknown = || USER_UNKNOWN.error(format!("this device has no user {name:.40}"));
    if name.is_empty() || name.len() > 256 || name.starts_with('-') || name.contains([':', '\n', '\0']) {
        return Err(unknown());
    }
    let local = tokio::fs::read("/etc/passwd").await.unwrap_or_default();
    if let Some(user) = find_in(&local, name) {
        return Ok(user);
    }
    // The program is optional: where it is missing there is no directory either.
    let asked = Command::new("/usr/bin/getent")
        .args(["passwd", name])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(Duration::from_secs(10), asked).await {
        Ok(Ok(answer)) => find_in(&answer.stdout, name).ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

/// Finds a user in a table of passwd(5).
fn find_in(table: &[u8], name: &str) -> Option<User> {
    String::from_utf8_lossy(table).lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [found, _, uid, gid, _, home, shell] = fields[..] else {
            return None;
        };
        if found != name {
            return None;
        }
        Some(User {
            name: found.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.into(),
            shell: shell.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, name: &str, expected: Option<(u32, u32, &str)>) {
        let table = format!("root:x:0:0:root:/root:/bin/bash\n# comment\n{line}\nlast:x:9:9::/:/bin/sh\n");
        let got = find_in(table.as_bytes(), name);
        let got = got
            .as_ref()
            .map(|user| (user.uid, user.gid, user.home.to_str().unwrap()));
        assert_eq!(got, expected, "{line}");
    }

    #[test]
    fn users_are_found_by_their_exact_name() {
        check(
            "web:x:33:34:Web,,,:/var/www:/usr/sbin/nologin",
            "web",
            Some((33, 34, "/var/www")),
        );
        check("web:x:33:34::/var/www:", "web", Some((33, 34, "/var/www")));
        check("web:x:33:34::/var/www:", "we", None);
        check("web:x:33:34::/var/www:", "33", None);
    }

    #[test]
    fn a_broken_line_is_nobody() {
        check("web:x:33", "web", None);
        check("web:x:-1:34::/:/bin/sh", "web", None);
        check("web:x:99999999999:34::/:/bin/sh", "web", None);
        check("web:x:33:34::/:/bin/sh:more", "web", None);
    }

    #[tokio::test]
    async fn the_devices_own_users_are_known_and_others_are_not() {
        assert_eq!(find("root").await.unwrap().uid, 0);
        for name in ["no-such-user-here", "", "-s", "a:b", "0"] {
            assert_eq!(find(name).await.unwrap_err().code(), USER_UNKNOWN, "{name}");
        }
    }
}
