//! The manifest from the server.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use fleet_core::{
    kernel::{Randomness, random_bytes},
    protocol::{MAX_MANIFEST, ManifestAnswer, ManifestRequest, assemble, needed_secrets},
    work::desired::manifest_digest,
};

use super::progress::Manifest;
use crate::link::{Http, LinkError};

const PATH: &str = "/agent/v1/manifest";
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for the manifest, as the difference to this one, and for all of it where that does not fit.
pub(super) async fn fetch(http: &Http, random: &dyn Randomness, before: &Manifest) -> Result<Manifest, LinkError> {
    let have = (!before.groups.is_empty())
        .then(|| manifest_digest(&before.groups, &before.windows, &[]).ok())
        .flatten();
    if have.is_some()
        && let Some(manifest) = ask(http, random, have, before).await?
    {
        return Ok(manifest);
    }
    let manifest = ask(http, random, None, &Manifest::default()).await?;
    manifest.ok_or_else(|| LinkError::Untrusted("the manifest is not the one that was signed".into()))
}

async fn ask(
    http: &Http,
    random: &dyn Randomness,
    have: Option<String>,
    before: &Manifest,
) -> Result<Option<Manifest>, LinkError> {
    let nonce = URL_SAFE_NO_PAD.encode(random_bytes::<16>(random));
    let untrusted = |why: &str| LinkError::Untrusted(why.into());
    let request = ManifestRequest {
        nonce: nonce.clone(),
        have,
    };
    let body = serde_json::to_vec(&request).map_err(|_| untrusted("a request that cannot be written"))?;
    let answer = http
        .post_for(
            PATH,
            "application/json",
            None,
            Bytes::from(body),
            PATIENCE,
            MAX_MANIFEST,
        )
        .await?;
    let answer: ManifestAnswer =
        serde_json::from_slice(&answer).map_err(|error| LinkError::Untrusted(format!("no manifest: {error}")))?;
    let dispatch = http
        .dispatch_key()
        .ok_or_else(|| untrusted("no key is pinned that signs work"))?;
    if !answer.verify(&dispatch, http.identity().device, &nonce) {
        return Err(untrusted("the manifest is not signed by the key that signs work"));
    }
    Ok(put_together(answer, before))
}

/// The manifest of an answer, for somebody who has this one; nothing where it does not fit, or secrets are missing.
fn put_together(answer: ManifestAnswer, before: &Manifest) -> Option<Manifest> {
    let groups = assemble(&before.groups, &answer)?;
    let secrets = needed_secrets(&groups, &answer.parts.reverts, &before.secrets, &answer.parts.secrets)?;
    Some(Manifest {
        version: answer.body.version,
        digest: answer.body.digest,
        groups,
        windows: answer.parts.windows,
        reverts: answer.parts.reverts,
        secrets,
    })
}
