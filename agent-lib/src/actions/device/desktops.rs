//! Who is signed in to a desktop, as logind tells by loginctl(1).

use std::collections::BTreeMap;

use super::{Account, Call, Device, accounts};
use crate::actions::action::Problem;

/// The most sessions that are looked at: a server of terminals has some hundreds.
const MAX_SESSIONS: usize = 1_000;
/// The properties that decide.
const PROPERTIES: [&str; 5] = ["Name", "User", "Class", "Type", "State"];

impl Device {
    /// Everybody who is signed in to a desktop, by number. What is about to begin or to end is no session.
    pub(in crate::actions) async fn desktop_users(&self) -> Result<Vec<Account>, Problem> {
        self.require_program("loginctl")?;
        let call = Call::new("loginctl", ["list-sessions", "--no-legend", "--no-pager"]);
        let answer = self.ask(&call).await?;
        if !answer.succeeded() {
            return Err(call.failed(&answer));
        }
        let sessions = session_ids(&answer.stdout);
        if sessions.len() > MAX_SESSIONS {
            let left_out = sessions.len() - MAX_SESSIONS;
            self.warn(format!(
                "{left_out} sessions were left out: there are more than {MAX_SESSIONS}"
            ))
            .await;
        }
        let mut found = BTreeMap::new();
        for session in sessions.into_iter().take(MAX_SESSIONS) {
            let properties = PROPERTIES.map(|name| format!("--property={name}"));
            let call = Call::new("loginctl", ["show-session", "--no-pager"]);
            let answer = self.ask(&call.with(properties).with(["--", session])).await?;
            // One that cannot be shown has ended meanwhile.
            let user = desktop_user(&answer.stdout).filter(|_| answer.succeeded());
            if let Some((name, uid)) = user.filter(|(_, uid)| !found.contains_key(uid)) {
                match self.account(&name).await? {
                    Some(account) if account.uid == uid => drop(found.insert(uid, account)),
                    _ => self.warn(format!("{name} is signed in, and no user here")).await,
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// A user of this device, or of the directory that it asks.
    async fn account(&self, name: &str) -> Result<Option<Account>, Problem> {
        if let Some(account) = self.user(name)? {
            return Ok(Some(account));
        }
        // Where it is missing there is no directory either.
        if !self.has_program("getent") {
            return Ok(None);
        }
        let answer = self.ask(&Call::new("getent", ["--", "passwd", name])).await?;
        let found = accounts::users(&answer.stdout);
        Ok(found.into_iter().find(|account| account.name == name))
    }
}

/// What stands first in each line of a list.
fn session_ids(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

/// Whose session it is, where it is one of a desktop.
fn desktop_user(shown: &str) -> Option<(String, u32)> {
    let shown: BTreeMap<_, _> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let of = |name: &str| shown.get(name).copied().unwrap_or_default();
    let is_desktop = of("Class") == "user"
        && matches!(of("Type"), "x11" | "wayland" | "mir")
        && matches!(of("State"), "active" | "online");
    let user = (of("Name").to_owned(), of("User").parse().ok()?);
    (is_desktop && !user.0.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(properties: [&str; 5], expected: Option<(&str, u32)>) {
        let lines = PROPERTIES
            .iter()
            .zip(properties)
            .map(|(name, value)| format!("{name}={value}\n"));
        let found = desktop_user(&lines.collect::<String>());
        let found = found.as_ref().map(|(name, uid)| (name.as_str(), *uid));
        assert_eq!(found, expected, "{properties:?}");
    }

    #[test]
    fn a_desktop_is_a_graphical_session_of_a_user_that_has_begun_and_not_ended() {
        let ana = Some(("ana", 1500));
        check(["ana", "1500", "user", "wayland", "active"], ana);
        check(["ana", "1500", "user", "x11", "online"], ana);
        check(["ana", "1500", "user", "mir", "active"], ana);
        for properties in [
            ["ana", "1500", "user", "tty", "active"],
            ["ana", "1500", "user", "unspecified", "online"],
            ["gdm", "120", "greeter", "wayland", "active"],
            ["ana", "1500", "lock-screen", "x11", "active"],
            ["ana", "1500", "user", "x11", "opening"],
            ["ana", "1500", "user", "x11", "closing"],
            ["ana", "x", "user", "x11", "active"],
            ["", "1500", "user", "x11", "active"],
        ] {
            check(properties, None);
        }
        assert_eq!(desktop_user(""), None);
    }

    #[test]
    fn sessions_stand_first_in_their_lines_whatever_follows() {
        let before_250 = "      2 1500 ana seat0 tty2\n     c1  120 gdm seat0 tty1\n\n";
        assert_eq!(session_ids(before_250), ["2", "c1"]);
        let since_256 = "2 1500 ana seat0 1234 user tty2 no -\n";
        assert_eq!(session_ids(since_256), ["2"]);
        assert!(session_ids("").is_empty());
    }
}
