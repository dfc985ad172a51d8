//! What a policy says, and what speaks against a run.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use fleet_core::{
    kernel::{Result, Timestamp},
    work::operations::{
        actions::app_image::{self, AppImageParams},
        shell,
    },
};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::{
    POLICY_INVALID,
    windows::{Day, Hours},
};

/// The members of parameters that name paths on the device; each a text or a list of texts.
const PATHS: [&str; 6] = ["interpreter", "working_directory", "path", "paths", "home", "folder"];

/// What this device does not do.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    rules: Rules,
    windows: Vec<Window>,
    /// Who a run is when it names nobody.
    agent_user: String,
    zone: TimeZone,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rules {
    allow_kinds: Option<Vec<Pattern>>,
    forbid_kinds: Vec<Pattern>,
    allow_users: Option<Vec<String>>,
    forbid_users: Vec<String>,
    forbid_paths: Vec<PathBuf>,
    windows: Vec<WindowText>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    kinds: Vec<Pattern>,
    days: Option<Vec<Day>>,
    from: String,
    until: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Window {
    kinds: Vec<Pattern>,
    hours: Hours,
}

/// Why a run is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A pattern of `forbid_kinds` matches.
    KindForbidden {
        /// The pattern.
        pattern: String,
    },
    /// No pattern of `allow_kinds` matches.
    KindNotAllowed,
    /// The user is in `forbid_users`.
    UserForbidden {
        /// The user.
        user: String,
    },
    /// The user is not in `allow_users`.
    UserNotAllowed {
        /// The user.
        user: String,
    },
    /// The parameters do not say in a readable way who the run is to be.
    UserUnreadable,
    /// A path lies at or below one of `forbid_paths`.
    PathForbidden {
        /// Which of those.
        path: String,
    },
    /// A path is not absolute, or leads up by `..`: where it ends cannot be told.
    PathUnreadable,
    /// There are `windows` for this kind, and it is none of them.
    OutsideWindows,
}

impl Refusal {
    /// The rule, as it is called in the policy file.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::KindForbidden { .. } => "forbid_kinds",
            Self::KindNotAllowed => "allow_kinds",
            Self::UserForbidden { .. } | Self::UserUnreadable => "forbid_users",
            Self::UserNotAllowed { .. } => "allow_users",
            Self::PathForbidden { .. } | Self::PathUnreadable => "forbid_paths",
            Self::OutsideWindows => "windows",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} of its policy this device ", self.rule())?;
        match self {
            Self::KindForbidden { pattern } => write!(f, "executes no {pattern}"),
            Self::KindNotAllowed => f.write_str("does not execute this kind of operation"),
            Self::UserForbidden { user } | Self::UserNotAllowed { user } => write!(f, "runs nothing as {user}"),
            Self::UserUnreadable => f.write_str("must know who the run is to be, and the parameters do not say it"),
            Self::PathForbidden { path } => write!(f, "lets nothing be done in {path}"),
            Self::PathUnreadable => f.write_str("takes only absolute paths without .."),
            Self::OutsideWindows => f.write_str("executes this kind of operation at other times"),
        }
    }
}

impl Policy {
    /// A policy that allows everything.
    pub fn permissive(agent_user: impl Into<String>) -> Self {
        Self {
            rules: Rules::default(),
            windows: Vec::new(),
            agent_user: agent_user.into(),
            zone: TimeZone::UTC,
        }
    }

    /// Reads the text of a policy.
    ///
    /// # Errors
    /// [`POLICY_INVALID`](super::POLICY_INVALID) on an unknown key, a pattern or path that can never match, or what is no TOML.
    pub fn parse(text: &str, agent_user: impl Into<String>, zone: TimeZone) -> Result<Self> {
        let rules: Rules = toml::from_str(text).map_err(|error| POLICY_INVALID.error(error.to_string()))?;
        let users = rules.allow_users.iter().flatten().chain(&rules.forbid_users);
        if let Some(user) = users.into_iter().find(|user| user.trim() != *user || user.is_empty()) {
            return Err(POLICY_INVALID.error(format!("{user:?} is no user's name")));
        }
        if let Some(path) = rules.forbid_paths.iter().find(|path| plain(path).is_none()) {
            return Err(POLICY_INVALID.error(format!("forbid_paths: {path:?} is not an absolute path without ..")));
        }
        let windows = rules.windows.iter().map(|window| {
            let hours = Hours::new(window.days.as_deref(), &window.from, &window.until)
                .map_err(|why| POLICY_INVALID.error(format!("windows: {why}")))?;
            Ok(Window {
                kinds: window.kinds.clone(),
                hours,
            })
        });
        Ok(Self {
            windows: windows.collect::<Result<_>>()?,
            rules,
            agent_user: agent_user.into(),
            zone,
        })
    }

    /// Whether a run of this kind with these parameters may begin on this device at this time. Who it runs as is the member
    /// `run_as` of the parameters; without it, the agent's own user, unless a script runs as each of those who are signed in. Paths are what `interpreter`, `working_directory`, `path`,
    /// `paths`, `home` and `folder` name, and the file that `app-image` puts into its folder.
    ///
    /// # Errors
    /// The first rule that speaks against it.
    pub fn permits(&self, kind: &str, params: &Value, at: Timestamp) -> std::result::Result<(), Refusal> {
        self.permits_kind(kind)?;
        self.permits_user(kind, params)?;
        self.permits_paths(kind, params)?;
        let mut windows = self
            .windows
            .iter()
            .filter(|window| window.kinds.iter().any(|pattern| pattern.matches(kind)))
            .peekable();
        match windows.peek().is_none() || windows.any(|window| window.hours.contains(at, &self.zone)) {
            true => Ok(()),
            false => Err(Refusal::OutsideWindows),
        }
    }

    fn permits_kind(&self, kind: &str) -> std::result::Result<(), Refusal> {
        if let Some(pattern) = self.rules.forbid_kinds.iter().find(|pattern| pattern.matches(kind)) {
            return Err(Refusal::KindForbidden {
                pattern: pattern.0.clone(),
            });
        }
        match &self.rules.allow_kinds {
            Some(allowed) if !allowed.iter().any(|pattern| pattern.matches(kind)) => Err(Refusal::KindNotAllowed),
            _ => Ok(()),
        }
    }

    fn permits_user(&self, kind: &str, params: &Value) -> std::result::Result<(), Refusal> {
        if kind == shell::NAME && params.get("scope").is_some_and(|scope| scope == "users") {
            // Each of those who are signed in is judged when that is known.
            return Ok(());
        }
        if self.rules.allow_users.is_none() && self.rules.forbid_users.is_empty() {
            return Ok(());
        }
        match params.get("run_as") {
            None | Some(Value::Null) => self.permits_running_as(&self.agent_user),
            Some(Value::String(user)) => self.permits_running_as(user),
            Some(_) => Err(Refusal::UserUnreadable),
        }
    }

    /// Whether something may run as a user whom the parameters do not name: somebody who is signed in, say.
    ///
    /// # Errors
    /// The rule that speaks against it.
    pub fn permits_running_as(&self, user: &str) -> std::result::Result<(), Refusal> {
        let is_it = |name: &String| name == user;
        if self.rules.forbid_users.iter().any(is_it) {
            return Err(Refusal::UserForbidden { user: user.to_owned() });
        }
        match &self.rules.allow_users {
            Some(allowed) if !allowed.iter().any(is_it) => Err(Refusal::UserNotAllowed { user: user.to_owned() }),
            _ => Ok(()),
        }
    }

    fn permits_paths(&self, kind: &str, params: &Value) -> std::result::Result<(), Refusal> {
        if self.rules.forbid_paths.is_empty() {
            return Ok(());
        }
        let implied = implied_path(kind, params).map(Value::String);
        for value in PATHS.iter().filter_map(|member| params.get(member)).chain(&implied) {
            let several = match value {
                Value::Null => &[],
                Value::Array(several) => &several[..],
                one => std::slice::from_ref(one),
            };
            for value in several {
                let path = value.as_str().and_then(|text| plain(Path::new(text)));
                let path = path.ok_or(Refusal::PathUnreadable)?;
                let forbidden = self
                    .rules
                    .forbid_paths
                    .iter()
                    .find(|forbidden| path.starts_with(forbidden));
                if let Some(forbidden) = forbidden {
                    return Err(Refusal::PathForbidden {
                        path: forbidden.display().to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The path of a file that parameters mean without naming it whole.
fn implied_path(kind: &str, params: &Value) -> Option<String> {
    // What is no AppImage's parameters is not carried out either.
    let params = (kind == app_image::NAME).then(|| AppImageParams::deserialize(params).ok());
    params.flatten().map(|params| params.path())
}

/// An absolute path without `..`: it ends where it says, links aside.
fn plain(path: &Path) -> Option<&Path> {
    let leads_up = path.components().any(|part| part == Component::ParentDir);
    (path.is_absolute() && !leads_up).then_some(path)
}

/// The name of a kind, `prefix.*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(String);

impl Pattern {
    fn matches(&self, kind: &str) -> bool {
        match self.0.strip_suffix('*') {
            // The dot belongs to the prefix: `packages.*` is not `packagesx`.
            Some(prefix) => kind.len() > prefix.len() && kind.starts_with(prefix),
            None => self.0 == kind,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let name = text.strip_suffix(".*").unwrap_or(&text);
        let word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        };
        if text == "*" || name.split('.').all(word) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is neither the name of an operation kind nor a prefix such as \"packages.*\""
            ))
        }
    }
}
