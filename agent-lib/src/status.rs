//! What a running agent leaves for `fleet-agent status`: a small file in the state directory, written when the session changes.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use fleet_core::kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{read_bounded, write_private};

const FILE: &str = "status.json";
const NEW_FILE: &str = "status.json.new";
const MAX_BYTES: u64 = 16 * 1024;

/// How the agent stands with its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The version of this shape.
    pub v: u32,
    /// The version of the agent.
    pub version: String,
    /// When the agent was started.
    pub started_at: Timestamp,
    /// The session, while there is one.
    pub session: Option<SessionStatus>,
    /// Why there is none, or why the one before ended.
    pub last_end: Option<EndStatus>,
    /// How far the device's clock is behind the server's, in seconds; negative when it is ahead.
    pub clock_offset_seconds: i64,
}

/// A session that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Since when.
    pub since: Timestamp,
    /// `socket` or `poll`.
    pub transport: String,
    /// Its number.
    pub epoch: u64,
    /// The version of the server.
    pub server_version: String,
}

/// The end of a session, or of a try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndStatus {
    /// When it was the first time; the same reason again changes nothing.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The file.
#[derive(Debug)]
pub(crate) struct StatusFile {
    state: PathBuf,
    current: Mutex<AgentStatus>,
}

impl StatusFile {
    /// Begins anew.
    pub(crate) fn new(state: PathBuf, started_at: Timestamp) -> Self {
        let first = AgentStatus {
            v: 1,
            version: crate::VERSION.to_owned(),
            started_at,
            session: None,
            last_end: None,
            clock_offset_seconds: 0,
        };
        write(&state, &first);
        Self {
            state,
            current: Mutex::new(first),
        }
    }

    /// A session is open.
    pub(crate) fn opened(&self, session: SessionStatus, clock_offset_seconds: i64) {
        self.change(|status| {
            status.session = Some(session);
            status.clock_offset_seconds = clock_offset_seconds;
        });
    }

    /// It ended, or did not come about.
    pub(crate) fn ended(&self, at: Timestamp, reason: &str) {
        self.change(|status| {
            let same = status.session.is_none() && status.last_end.as_ref().is_some_and(|end| end.reason == reason);
            if !same {
                status.session = None;
                status.last_end = Some(EndStatus {
                    at,
                    reason: reason.to_owned(),
                });
            }
        });
    }

    /// What did not change is not written: a server that is away for long wears out no disk.
    fn change(&self, change: impl FnOnce(&mut AgentStatus)) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = current.clone();
        change(&mut after);
        if after != *current {
            write(&self.state, &after);
            *current = after;
        }
    }
}

fn write(state: &std::path::Path, status: &AgentStatus) {
    let written = serde_json::to_string(status)
        .map_err(std::io::Error::other)
        .and_then(|text| write_private(state, NEW_FILE, FILE, text.as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "the status could not be written");
    }
}

/// What the agent of a state directory wrote last; none when there is nothing that can be read.
pub fn read(state: &std::path::Path) -> Option<AgentStatus> {
    let text = read_bounded(&state.join(FILE), MAX_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn it_tells_of_the_session_and_of_why_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let file = StatusFile::new(folder.path().into(), at(1));
        let now = || read(folder.path()).unwrap();
        assert_eq!((now().started_at, now().session, now().last_end), (at(1), None, None));
        file.ended(at(2), "no way");
        let session = SessionStatus {
            since: at(3),
            transport: "socket".into(),
            epoch: 7,
            server_version: "1".into(),
        };
        file.opened(session.clone(), -5);
        assert_eq!((now().session, now().clock_offset_seconds), (Some(session), -5));
        assert_eq!(now().last_end.unwrap().at, at(2), "why the one before ended is kept");
        file.ended(at(4), "bye");
        assert_eq!(
            (now().session, now().last_end.unwrap().reason),
            (None, "bye".to_owned())
        );
    }

    #[test]
    fn the_same_reason_again_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::new(folder.path().into(), at(1));
        file.ended(at(2), "no way");
        let inode = || folder.path().join(FILE).metadata().unwrap().ino();
        let before = inode();
        for second in 3..1_000 {
            file.ended(at(second), "no way");
        }
        assert_eq!(inode(), before);
        assert_eq!(read(folder.path()).unwrap().last_end.unwrap().at, at(2));
    }
}
