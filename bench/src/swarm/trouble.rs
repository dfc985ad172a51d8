//! Why an agent got no answer, or not the one that it hoped for.

use std::{borrow::Cow, fmt, time::Duration};

use fleet_core::protocol::Bye;

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or it broke.
    Broken(String),
    /// The server refused, or ended the session.
    Refused {
        /// Its stable code.
        code: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// What came is not what the protocol says, or the pinned server did not sign it.
    Untrusted(&'static str),
}

impl Trouble {
    /// How the report counts it: its code, or why there was no connection. There are few of either.
    pub fn counted_as(&self) -> Cow<'_, str> {
        match self {
            Self::Broken(why) => format!("connection: {why}").into(),
            Self::Refused { .. } | Self::Untrusted(_) => self.name().into(),
        }
    }

    /// Its code.
    pub fn name(&self) -> &str {
        match self {
            Self::Broken(_) => "connection",
            Self::Refused { code, .. } => code,
            Self::Untrusted(_) => "untrusted",
        }
    }

    /// Whether the device has to ask for its next certificate.
    pub fn is_about_certificate(&self) -> bool {
        matches!(
            self.name(),
            "certificate.required" | "certificate.superseded" | "certificate.expired"
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => f.write_str(why),
            Self::Refused { code, .. } => write!(f, "refused: {code}"),
            Self::Untrusted(why) => write!(f, "not to be trusted: {why}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(_: serde_json::Error) -> Self {
        Self::Untrusted("it cannot be read")
    }
}

impl From<Bye> for Trouble {
    fn from(bye: Bye) -> Self {
        Self::Refused {
            code: bye.code,
            retry_after: bye
                .retry_after_seconds
                .map(|seconds| Duration::from_secs(u64::from(seconds))),
        }
    }
}
