//! Manifest and program from the server. Whatever stands in between, it can keep the agent from an update and do nothing else.

use std::{io, time::Duration};

use fleet_core::protocol::{AgentManifest, AgentVersion, MAX_EXCHANGE, SignedManifest};

use super::{
    PLATFORM,
    slots::Slot,
    store::{Placed, SlotStore},
};
use crate::link::{Http, LinkError, unreachable_error};

/// How long a manifest may take.
const MANIFEST_TIME: Duration = Duration::from_secs(30);
/// How long a program may take.
const PROGRAM_TIME: Duration = Duration::from_secs(30 * 60);
/// How long the next part of it may take: somebody who sends a byte now and then holds no agent up.
const SILENCE: Duration = Duration::from_secs(30);
/// The slowest that a program may come, in bytes a second, once a minute of it has passed.
const SLOWEST: u64 = 2 * 1024;

/// Why there is no update.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The server could not be asked, or refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What came is not believed.
    #[error("{1}")]
    Untrusted(&'static str, String),
    /// The disk does not take it.
    #[error("the update cannot be stored: {0}")]
    Disk(#[from] io::Error),
}

impl FetchError {
    /// The code that the run ends with.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Link(error) => error.code().unwrap_or("agent_update.unreachable"),
            Self::Untrusted(code, _) => code,
            Self::Disk(_) => "agent_update.disk",
        }
    }

    /// Whether another try may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Link(LinkError::Refused { status, .. }) => matches!(status, 429 | 500..),
            Self::Link(LinkError::Untrusted(_)) | Self::Untrusted(..) | Self::Disk(_) => false,
            Self::Link(_) => true,
        }
    }
}

/// The manifest of a version, or of the newest, that the pinned dispatch key has signed for this platform and time.
pub(super) async fn manifest(http: &Http, version: Option<&AgentVersion>) -> Result<AgentManifest, FetchError> {
    let query = version.map(|version| format!("version={}", version.to_string().replace('+', "%2B")));
    let path = format!("/agent/v1/releases/{PLATFORM}");
    let mut response = http.get(&path, query.as_deref(), MANIFEST_TIME).await?;
    let mut text = Vec::new();
    while let Some(part) = next(&mut response).await? {
        if text.len() + part.len() > MAX_EXCHANGE {
            return Err(FetchError::Untrusted(
                "agent_manifest.too_long",
                "the manifest is too long".into(),
            ));
        }
        text.extend_from_slice(&part);
    }
    let signed: SignedManifest = serde_json::from_slice(&text)
        .map_err(|_| FetchError::Untrusted("agent_manifest.malformed", "what came is no manifest".into()))?;
    let dispatch = http.dispatch_key().ok_or_else(|| {
        let message = "this device has not pinned the key that signs work yet; it does so with its first session";
        FetchError::Untrusted("agent_manifest.no_pin", message.into())
    })?;
    match signed.verify(&dispatch, PLATFORM, http.clock().at_least()) {
        Ok(manifest) => Ok(manifest.clone()),
        Err(error) => Err(FetchError::Untrusted(error.code(), error.to_string())),
    }
}

/// The program of a manifest: as long as that says, and with that digest.
pub(super) async fn program(
    http: &Http,
    store: &SlotStore,
    slot: Slot,
    manifest: &AgentManifest,
) -> Result<Placed, FetchError> {
    let path = format!("/agent/v1/binaries/{}/{}", manifest.platform, manifest.sha256);
    let mut response = http.get(&path, None, PROGRAM_TIME).await?;
    let began = tokio::time::Instant::now();
    let mut incoming = store.begin(slot)?;
    let mut length = 0;
    while let Some(part) = next(&mut response).await? {
        // A part of at most a few hundred kilobytes: the disk's cache takes it at once.
        length = incoming.write(&part)?;
        if length > manifest.length {
            incoming.finish()?.0.discard();
            return Err(other("the program is longer than its manifest says"));
        }
        let seconds = began.elapsed().as_secs();
        if seconds > 60 && length < seconds * SLOWEST {
            incoming.finish()?.0.discard();
            return Err(LinkError::Unreachable("the program comes too slowly".into()).into());
        }
    }
    let (placed, sha256) = tokio::task::spawn_blocking(|| incoming.finish())
        .await
        .map_err(io::Error::other)??;
    if length != manifest.length || sha256 != manifest.sha256 {
        placed.discard();
        return Err(other("the program is not what its manifest says"));
    }
    Ok(placed)
}

fn other(message: &str) -> FetchError {
    FetchError::Untrusted("agent_update.other_program", message.into())
}

async fn next(response: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, FetchError> {
    match tokio::time::timeout(SILENCE, response.chunk()).await {
        Ok(part) => Ok(part.map_err(|error| unreachable_error(&error))?),
        Err(_) => Err(LinkError::Unreachable("the server went silent".into()).into()),
    }
}
