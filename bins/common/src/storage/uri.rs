//! What names a store.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What a URI may look like.
const EXPECTED: &str = "expected sqlite:PATH, json:PATH or postgres://USER@HOST/DATABASE";

/// Why a text names no store. It never repeats a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not one of the engines.
    #[error("{0:?} names no store; {EXPECTED}")]
    Unknown(String),
    /// An engine and no place.
    #[error("{0}: names no place; {EXPECTED}")]
    Empty(&'static str),
    /// `sqlite://x` would mean the host x, and there is none.
    #[error("{0}: write the path after one colon: {0}:PATH")]
    Slashes(&'static str),
}

/// Names a store. Shown without its password; the password is kept for opening only.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUri {
    /// A SQLite database in this file.
    Sqlite(PathBuf),
    /// A folder of JSON files.
    Json(PathBuf),
    /// A database of a Postgres server, as its own tools name it.
    Postgres(String),
}

impl StoreUri {
    /// The engine's name.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Json(_) => "json",
            Self::Postgres(_) => "postgres",
        }
    }

    /// The file or folder, for engines that have one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) | Self::Json(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// Whether several processes may use it at once.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Whether something is there already; none where only the server behind it could tell.
    pub fn exists(&self) -> Option<bool> {
        match self {
            Self::Sqlite(path) => Some(path.exists()),
            Self::Json(path) => Some(std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())),
            Self::Postgres(_) => None,
        }
    }
}

impl FromStr for StoreUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| UriError::Unknown(redacted(text)))?;
        match scheme {
            "sqlite" => path("sqlite", rest).map(Self::Sqlite),
            "json" => path("json", rest).map(Self::Json),
            "postgres" | "postgresql" if rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty()) => {
                Ok(Self::Postgres(text.to_owned()))
            }
            "postgres" | "postgresql" => Err(UriError::Empty("postgres")),
            _ => Err(UriError::Unknown(redacted(text))),
        }
    }
}

/// `PATH`, or `///PATH` as people write URIs of files.
fn path(engine: &'static str, rest: &str) -> Result<PathBuf, UriError> {
    match rest.strip_prefix("//") {
        None if rest.is_empty() => Err(UriError::Empty(engine)),
        None => Ok(rest.into()),
        Some(absolute) if absolute.starts_with('/') => Ok(absolute.into()),
        Some(_) => Err(UriError::Slashes(engine)),
    }
}

/// A text that may be a URI, without what may be a password: whatever stands between `://` and the last `@`, after the first
/// colon; and parameters that are called password.
fn redacted(text: &str) -> String {
    let (address, parameters) = match text.split_once('?') {
        Some((address, parameters)) => (address, Some(parameters)),
        None => (text, None),
    };
    let mut shown = match (address.split_once("://"), address.rfind('@')) {
        (Some((scheme, rest)), Some(at)) if at > scheme.len() + 3 => {
            let credentials = &rest[..at - scheme.len() - 3];
            let user = credentials.split(':').next().unwrap_or_default();
            let hidden = if credentials.contains(':') { ":***" } else { "" };
            format!("{scheme}://{user}{hidden}{}", &address[at..])
        }
        _ => address.to_owned(),
    };
    let mut separator = '?';
    for parameter in parameters.into_iter().flat_map(|text| text.split('&')) {
        shown.push(separator);
        separator = '&';
        match parameter.split_once('=') {
            // `listen_uri` is an address of its own, with whatever it holds.
            Some((name, _)) if name.to_ascii_lowercase().contains("pass") || name == "listen_uri" => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(parameter),
        }
    }
    shown
}

impl fmt::Display for StoreUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Json(path) => write!(f, "json:{}", path.display()),
            Self::Postgres(text) => f.write_str(&redacted(text)),
        }
    }
}

impl fmt::Debug for StoreUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a text is shown once it is read; or why it is refused.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<StoreUri>(), expected) {
            (Ok(uri), Ok(shown)) => assert_eq!(uri.to_string(), shown, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn files_and_folders_are_named_by_their_path() {
        check("sqlite:fleet.db", Ok("sqlite:fleet.db"));
        check("sqlite:/var/lib/fleet/fleet.db", Ok("sqlite:/var/lib/fleet/fleet.db"));
        check("json:///srv/json", Ok("json:/srv/json"));
        check("json:", Err("names no place"));
        check("sqlite://fleet.db", Err("after one colon"));
    }

    #[test]
    fn what_is_no_store_is_refused() {
        check("oracle:x", Err("expected sqlite:PATH"));
        check("fleet.db", Err("expected sqlite:PATH"));
        check("postgres:fleet", Err("names no place"));
    }

    #[test]
    fn passwords_are_never_shown() {
        check(
            "postgres://fleet:hunter2@db:5432/fleet",
            Ok("postgres://fleet:***@db:5432/fleet"),
        );
        check("postgresql://fleet@db/fleet", Ok("postgresql://fleet@db/fleet"));
        check(
            "postgres://fleet:hun@ter/2@db/fleet",
            Ok("postgres://fleet:***@db/fleet"),
        );
        check(
            "postgres:///fleet?host=/run/postgresql&password=hunter2&sslmode=require",
            Ok("postgres:///fleet?host=/run/postgresql&password=***&sslmode=require"),
        );
        check(
            "postgres://fleet@pooler/fleet?listen_uri=postgres%3A%2F%2Ffleet%3Ahunter2%40db",
            Ok("postgres://fleet@pooler/fleet?listen_uri=***"),
        );
        check("mysql://root:hunter2@db/x", Err("mysql://root:***@db/x"));
    }
}
