//! What this device does not do, whatever its server says: the local policy file.
//!
//! ```toml
//! # /etc/fleet/agent-policy.toml
//! allow_kinds = ["inventory.*", "packages.*", "shell"]   # only these; all when it is left out
//! forbid_kinds = ["packages.remove"]                     # not these, even if allowed above
//! forbid_users = ["root"]                                # no run as one of these
//! ```
//!
//! A pattern is the name of an operation kind, or a prefix with `.*` for all kinds below it, or `*` for all. Without a file
//! all is allowed; a file that cannot be understood must stop the agent, not open it.

use std::{fmt, io, path::Path};

use fleet_core::kernel::{Class, Code, Result};
use serde::Deserialize;
use serde_json::Value;

/// The local policy forbids the run.
pub const POLICY_FORBIDS: Code = Code::new("policy.forbidden", Class::Denied);
/// The policy file cannot be read or understood.
pub const POLICY_INVALID: Code = Code::new("policy.invalid", Class::Invalid);

/// Where the policy is by default.
pub const POLICY_PATH: &str = "/etc/fleet/agent-policy.toml";

/// A policy larger than this is a mistake.
const MAX_BYTES: u64 = 64 << 10;

/// What this device does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Rules,
    /// Who a run is when it names nobody.
    agent_user: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rules {
    allow_kinds: Option<Vec<Pattern>>,
    forbid_kinds: Vec<Pattern>,
    forbid_users: Vec<String>,
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
    /// The parameters do not say in a readable way who the run is to be.
    UserUnreadable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KindForbidden { pattern } => write!(f, "the policy of this device forbids {pattern}"),
            Self::KindNotAllowed => f.write_str("the policy of this device does not allow this kind of operation"),
            Self::UserForbidden { user } => write!(f, "the policy of this device forbids to run as {user}"),
            Self::UserUnreadable => f.write_str("the parameters do not say who the run is to be"),
        }
    }
}

impl Policy {
    /// A policy that allows everything.
    pub fn permissive(agent_user: impl Into<String>) -> Self {
        Self {
            rules: Rules::default(),
            agent_user: agent_user.into(),
        }
    }

    /// Reads a policy file; `agent_user` is the name of the user that the agent runs as. Without a file all is allowed.
    ///
    /// # Errors
    /// [`POLICY_INVALID`] when there is a file that cannot be read or understood; an agent must not work then.
    pub fn load(path: &Path, agent_user: impl Into<String>) -> Result<Self> {
        let unusable = |why: &dyn fmt::Display| POLICY_INVALID.error(format!("the policy {}: {why}", path.display()));
        let size = match std::fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::permissive(agent_user)),
            Err(error) => return Err(unusable(&error)),
        };
        if size > MAX_BYTES {
            return Err(unusable(&format_args!(
                "has {size} bytes; at most {MAX_BYTES} are read"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
        Self::parse(&text, agent_user).map_err(|error| unusable(&error))
    }

    /// Reads the text of a policy.
    ///
    /// # Errors
    /// [`POLICY_INVALID`] on an unknown key, a pattern that can never match, or what is no TOML.
    pub fn parse(text: &str, agent_user: impl Into<String>) -> Result<Self> {
        let rules: Rules = toml::from_str(text).map_err(|error| POLICY_INVALID.error(error.to_string()))?;
        if let Some(user) = rules
            .forbid_users
            .iter()
            .find(|user| user.trim() != *user || user.is_empty())
        {
            return Err(POLICY_INVALID.error(format!("forbid_users: {user:?} is no user's name")));
        }
        Ok(Self {
            rules,
            agent_user: agent_user.into(),
        })
    }

    /// Whether a run of this kind with these parameters may happen on this device. Who it runs as is the member `run_as`
    /// of the parameters; without it, the agent's own user.
    ///
    /// # Errors
    /// The first rule that speaks against it.
    pub fn permits(&self, kind: &str, params: &Value) -> std::result::Result<(), Refusal> {
        if let Some(pattern) = self.rules.forbid_kinds.iter().find(|pattern| pattern.matches(kind)) {
            return Err(Refusal::KindForbidden {
                pattern: pattern.0.clone(),
            });
        }
        if let Some(allowed) = &self.rules.allow_kinds
            && !allowed.iter().any(|pattern| pattern.matches(kind))
        {
            return Err(Refusal::KindNotAllowed);
        }
        if self.rules.forbid_users.is_empty() {
            return Ok(());
        }
        let user = match params.get("run_as") {
            None | Some(Value::Null) => &self.agent_user,
            Some(Value::String(user)) => user,
            Some(_) => return Err(Refusal::UserUnreadable),
        };
        match self.rules.forbid_users.contains(user) {
            true => Err(Refusal::UserForbidden { user: user.clone() }),
            false => Ok(()),
        }
    }
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
        let word = |word: &str| !word.is_empty() && word.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if text == "*" || name.split('.').all(word) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is neither the name of an operation kind nor a prefix such as \"packages.*\""
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(policy: &str, kind: &str, params: Value, refused: Option<&str>) {
        let policy = Policy::parse(policy, "root").unwrap();
        let got = policy.permits(kind, &params).err().map(|refusal| match refusal {
            Refusal::KindForbidden { pattern } => format!("forbids {pattern}"),
            Refusal::KindNotAllowed => "not allowed".to_owned(),
            Refusal::UserForbidden { user } => format!("not as {user}"),
            Refusal::UserUnreadable => "as whom".to_owned(),
        });
        assert_eq!(got.as_deref(), refused, "{kind} {params}");
    }

    #[test]
    fn an_empty_policy_allows_everything() {
        check("", "shell", json!({}), None);
        check("# nothing", "a.b.c", json!(null), None);
    }

    #[test]
    fn kinds_are_forbidden_by_name_or_by_prefix() {
        let policy = r#"forbid_kinds = ["shell", "packages.*"]"#;
        check(policy, "shell", json!({}), Some("forbids shell"));
        check(policy, "shell.more", json!({}), None);
        check(policy, "packages.upgrade", json!({}), Some("forbids packages.*"));
        check(policy, "packages.a.b", json!({}), Some("forbids packages.*"));
        check(policy, "packages", json!({}), None);
        check(policy, "packages.", json!({}), None);
        check(policy, "packagesx.upgrade", json!({}), None);
        check(policy, "inventory.refresh", json!({}), None);
        check(r#"forbid_kinds = ["*"]"#, "x", json!({}), Some("forbids *"));
    }

    #[test]
    fn with_a_list_of_allowed_kinds_all_others_are_refused() {
        let policy = r#"allow_kinds = ["inventory.*", "packages.*"]
                        forbid_kinds = ["packages.remove"]"#;
        check(policy, "inventory.refresh", json!({}), None);
        check(policy, "packages.remove", json!({}), Some("forbids packages.remove"));
        check(policy, "shell", json!({}), Some("not allowed"));
        check("allow_kinds = []", "inventory.refresh", json!({}), Some("not allowed"));
        check(r#"allow_kinds = ["*"]"#, "shell", json!({}), None);
    }

    #[test]
    fn users_are_forbidden_also_when_the_run_names_nobody() {
        let policy = r#"forbid_users = ["root", "postgres"]"#;
        check(
            policy,
            "shell",
            json!({ "run_as": "postgres" }),
            Some("not as postgres"),
        );
        check(policy, "shell", json!({ "run_as": "web" }), None);
        check(policy, "shell", json!({}), Some("not as root"));
        check(policy, "shell", json!({ "run_as": null }), Some("not as root"));
        check(policy, "shell", json!({ "run_as": 0 }), Some("as whom"));
        check("", "shell", json!({ "run_as": 0 }), None);
    }

    #[track_caller]
    fn check_invalid(policy: &str, about: &str) {
        let error = Policy::parse(policy, "root").unwrap_err();
        assert_eq!(error.code(), POLICY_INVALID);
        assert!(error.message().contains(about), "{}", error.message());
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_never_ignored() {
        check_invalid(r#"forbid_kind = ["shell"]"#, "forbid_kind");
        check_invalid(r#"forbid_kinds = "shell""#, "forbid_kinds");
        check_invalid(r#"forbid_kinds = ["Shell"]"#, "Shell");
        check_invalid(r#"forbid_kinds = ["pack*"]"#, "pack*");
        check_invalid(r#"forbid_kinds = [""]"#, "operation kind");
        check_invalid(r#"allow_kinds = ["a..b"]"#, "a..b");
        check_invalid(r#"forbid_users = [" root"]"#, "root");
        check_invalid("forbid_users = [1]", "forbid_users");
        check_invalid("[[[", "");
    }

    #[test]
    fn a_missing_file_allows_everything_and_a_broken_one_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent-policy.toml");
        let load = || Policy::load(&path, "root");
        assert_eq!(load().unwrap(), Policy::permissive("root"));
        std::fs::write(&path, "forbid_kinds = ['shell']").unwrap();
        assert!(load().unwrap().permits("shell", &json!({})).is_err());
        for broken in [b"surprise = 1".to_vec(), b"\xff\xfe".to_vec(), vec![b'#'; 70_000]] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(load().unwrap_err().code(), POLICY_INVALID);
        }
        assert_eq!(Policy::load(folder.path(), "root").unwrap_err().code(), POLICY_INVALID);
    }
}
