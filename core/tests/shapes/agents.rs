//! What `blobs` and `agents` store.

use fleet_core::{
    access::Actor,
    agents::{AgentRelease, AgentReleaseId, ReleaseSource},
    blobs::{Blob, BlobDigest, BlobId, BlobRef},
    protocol::Sha256Digest,
};

use crate::{
    sample::{Sample, document, show},
    values::at,
};

pub fn samples() -> Vec<Sample> {
    let digest = BlobDigest::from_bytes([0xab; 32]);
    let blob = Blob {
        id: BlobId::of(digest),
        digest,
        size_bytes: 5_000_000,
        stored_at: at(0),
        unreferenced_since: Some(at(60)),
        unnamed_since: Some(at(60)),
        leaving_since: Some(at(120)),
    };
    let referred_to = Blob {
        unreferenced_since: None,
        unnamed_since: None,
        leaving_since: None,
        ..blob.clone()
    };
    let (version, sha256) = ("1.4.0".parse().unwrap(), Sha256Digest::from_bytes([7; 32]));
    let withdrawn = AgentRelease {
        id: AgentReleaseId::of("linux-x86_64", &version, sha256),
        version,
        platform: "linux-x86_64".into(),
        blob: BlobRef {
            digest,
            size_bytes: 5_000_000,
            media_type: "application/octet-stream".into(),
        },
        sha256,
        source: ReleaseSource::Uploaded,
        created_by: Actor::Anonymous,
        created_at: at(0),
        withdrawn_at: Some(at(60)),
    };
    let handed_out = AgentRelease {
        source: ReleaseSource::Imported,
        created_by: Actor::System { part: "agents".into() },
        withdrawn_at: None,
        ..withdrawn.clone()
    };
    vec![
        document("that is leaving", &blob),
        document("that somebody refers to", &referred_to),
        document("that was withdrawn", &withdrawn),
        document("that came with the server", &handed_out),
    ]
}

#[test]
fn what_is_stored_of_blobs_and_agents() {
    insta::assert_snapshot!(show(&samples()));
}
