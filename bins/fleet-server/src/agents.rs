//! The agents that come with the server.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use bytes::{Bytes, BytesMut};
use fleet_core::{
    Fleet,
    agents::{Imported, PLATFORMS},
    kernel::Error,
    protocol::{AgentVersion, MAX_AGENT, Sha256Digest},
};
use futures::stream;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// Makes the agents of a folder (`fleet-agent-<platform>`, of the server's own version) releases, where they are not yet. One that
/// cannot be taken in keeps the server from nothing.
pub(crate) async fn import_agents(fleet: &Fleet, folder: &Path) {
    let Ok(version) = env!("CARGO_PKG_VERSION").parse::<AgentVersion>() else {
        return;
    };
    for platform in PLATFORMS {
        let path = folder.join(format!("fleet-agent-{platform}"));
        let path = path.as_path();
        match import(fleet, platform, &version, path).await {
            Ok(None | Some(Imported::Known)) => {}
            Ok(Some(Imported::Added)) => {
                tracing::info!(platform, %version, path = %path.display(), "an agent is handed out")
            }
            Ok(Some(_)) => {
                tracing::warn!(platform, %version, path = %path.display(), "not handed out: another one of this version was uploaded");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"), "an agent was not taken in")
            }
        }
    }
}

async fn import(
    fleet: &Fleet,
    platform: &'static str,
    version: &AgentVersion,
    path: &Path,
) -> anyhow::Result<Option<Imported>> {
    let releases = fleet.agent_releases();
    let logged = |error: Error| anyhow::anyhow!(error.log());
    let file = path.to_owned();
    let Some(sha256) = tokio::task::spawn_blocking(move || digest(&file)).await?? else {
        return Ok(None);
    };
    if releases.knows(platform, sha256).await.map_err(logged)? {
        return Ok(Some(Imported::Known));
    }
    let file = tokio::fs::File::open(path).await?;
    let parts = stream::try_unfold(file, |mut file| async move {
        let mut room = BytesMut::with_capacity(READ);
        let read = file.read_buf(&mut room).await.map_err(Error::internal)?;
        Ok::<Option<(Bytes, _)>, Error>((read > 0).then(|| (room.freeze(), file)))
    });
    releases
        .import(platform, version, parts)
        .await
        .map(Some)
        .map_err(logged)
}

/// The SHA-256 of a file; none where there is none.
fn digest(path: &Path) -> io::Result<Option<Sha256Digest>> {
    // A pipe in its place would keep us waiting: O_NONBLOCK.
    let mut file = match fs::File::options().read(true).custom_flags(0o4000).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 || found.len() > MAX_AGENT {
        return Err(io::Error::other(format!("it is no file of 1 byte to {MAX_AGENT}")));
    }
    let (mut hasher, mut room) = (Sha256::new(), vec![0; READ]);
    loop {
        match file.read(&mut room)? {
            0 => return Ok(Some(Sha256Digest::from_bytes(hasher.finalize().into()))),
            read => hasher.update(&room[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_a_file_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet-agent-linux-x86_64");
        assert_eq!(digest(&path).unwrap(), None);
        fs::write(&path, "abc").unwrap();
        // FIPS 180-2, B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&path).unwrap().unwrap().to_string(), expected);
        fs::write(&path, "").unwrap();
        assert!(digest(&path).is_err());
        assert!(digest(folder.path()).is_err());
    }
}
