//! What a check of a store finds, and what that means for those who asked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data was lost, and a repair went on without it. It is said for good, and nothing is left to do.
    Known,
    /// An index or a count is wrong; the data itself is intact.
    Repairable,
    /// Data is damaged or missing.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known => "known loss",
            Self::Repairable => "repairable",
            Self::Damage => "damage",
        })
    }
}

/// What `check` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a key, a lane, a file.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

impl Finding {
    /// Whether nothing is left to do about a store of which these were found.
    pub fn none_open(findings: &[Self]) -> bool {
        findings.iter().all(|finding| finding.severity == Severity::Known)
    }

    /// Fails with the first that keeps a copy from serving: it may have a wrong index, which is made anew, and lacks what is known to
    /// be lost.
    pub fn no_damage(findings: Vec<Self>) -> Result<(), Self> {
        let is_damage = |finding: &Self| finding.severity == Severity::Damage;
        findings.into_iter().find(is_damage).map_or(Ok(()), Err)
    }
}
