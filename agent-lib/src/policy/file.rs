//! Reading the policy file.

use std::{
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use fleet_core::kernel::Result;
use jiff::tz::TimeZone;

use super::{POLICY_INVALID, Policy};

/// A policy larger than this is a mistake.
const MAX_BYTES: u64 = 64 << 10;

/// The time zone that this device is set to; UTC where that cannot be told.
pub fn device_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

impl Policy {
    /// Reads a policy file; `agent_user` is the name of the user that the agent runs as, `zone` the device's time zone. Without
    /// a file all is allowed.
    ///
    /// # Errors
    /// [`POLICY_INVALID`] when there is a file that cannot be read or understood, or that somebody else than root and the
    /// agent's user could have written; an agent must not work then.
    pub fn load(path: &Path, agent_user: impl Into<String>, zone: TimeZone) -> Result<Self> {
        let unusable = |why: &dyn fmt::Display| POLICY_INVALID.error(format!("the policy {}: {why}", path.display()));
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::permissive(agent_user)),
            Err(error) => return Err(unusable(&error)),
        };
        // What was opened, and not what the name means a moment later.
        let found = file.metadata().map_err(|error| unusable(&error))?;
        if let Some(why) = foreign_hand(&found) {
            return Err(unusable(&format_args!("the file {why}")));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).metadata();
        if let Some(why) = foreign_hand(&folder.map_err(|error| unusable(&error))?) {
            return Err(unusable(&format_args!("its folder {why}")));
        }
        if found.len() > MAX_BYTES {
            let size = found.len();
            return Err(unusable(&format_args!(
                "has {size} bytes; at most {MAX_BYTES} are read"
            )));
        }
        let mut text = String::new();
        (&mut file)
            .take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| unusable(&error))?;
        Self::parse(&text, agent_user, zone).map_err(|error| unusable(&error.message()))
    }
}

/// Who else than root and the agent's user could have written it.
fn foreign_hand(found: &Metadata) -> Option<String> {
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != 0 && owner != own {
        Some(format!("belongs to user {owner}; it must belong to root"))
    } else if found.mode() & 0o022 != 0 {
        Some("can be written by others than its owner; chmod go-w".to_owned())
    } else {
        None
    }
}
