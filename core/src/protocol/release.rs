//! What an agent believes about another version of itself: a manifest for one platform, signed by the server's dispatch key.
//!
//! Version, platform, length and digest are one signed thing, so that nothing can be put together from two releases; it
//! expires soon, so that an old one cannot be shown for ever; and it names the oldest version that agents may become.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::kernel::{PublicKey, Signature, SigningKey, Timestamp, canonical};

const TAG: &str = "fleet agent manifest v1";
/// The longest version, in bytes.
const MAX_VERSION: usize = 64;
/// The largest agent, in bytes.
pub const MAX_AGENT: u64 = 128 << 20;

/// The version of an agent, by Semantic Versioning 2.0.0; ordered as that says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentVersion(semver::Version);

/// A text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers, such as 1.4.0, and at most {MAX_VERSION} bytes long")]
pub struct AgentVersionError;

impl AgentVersion {
    /// The version of three numbers.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }
}

impl FromStr for AgentVersion {
    type Err = AgentVersionError;

    fn from_str(text: &str) -> Result<Self, AgentVersionError> {
        if text.len() > MAX_VERSION {
            return Err(AgentVersionError);
        }
        semver::Version::parse(text).map(Self).map_err(|_| AgentVersionError)
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for AgentVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The SHA-256 (FIPS 180-4) of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(Self(bytes))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a SHA-256 is 64 hexadecimal digits in lower case"))
    }
}

/// One version of the agent for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentManifest {
    /// The version that the file says it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1.4.0"))]
    pub version: AgentVersion,
    /// Operating system and processor, such as `linux-x86_64`.
    #[cfg_attr(feature = "openapi", schema(example = "linux-x86_64"))]
    pub platform: String,
    /// The size of the file, in bytes; at most 128 MiB.
    pub length: u64,
    /// The SHA-256 of the file, in hexadecimal.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 64, max_length = 64))]
    pub sha256: Sha256Digest,
    /// Not to be believed at this time or later, by the server's clock.
    pub expires_at: Timestamp,
    /// The oldest version that agents may become from now on; at most `version`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1.2.0"))]
    pub rollback_floor: AgentVersion,
}

/// A manifest, and the dispatch key's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedManifest {
    /// The manifest.
    pub manifest: AgentManifest,
    /// The dispatch key's signature over its canonical form.
    pub signature: Signature,
}

/// Why a manifest is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The signature is not the dispatch key's.
    #[error("the manifest is not signed by the server's dispatch key")]
    Forged,
    /// It is for other machines.
    #[error("the manifest is for another platform")]
    OtherPlatform,
    /// Its time is over.
    #[error("the manifest has expired")]
    Expired,
    /// It is signed, and yet makes no sense: an empty or huge file, or a floor above its own version.
    #[error("the manifest contradicts itself")]
    Contradictory,
}

impl ManifestError {
    /// The code that the agent reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Forged => "agent_manifest.forged",
            Self::OtherPlatform => "agent_manifest.other_platform",
            Self::Expired => "agent_manifest.expired",
            Self::Contradictory => "agent_manifest.contradictory",
        }
    }
}

impl SignedManifest {
    /// Signs a manifest. Fails when it has no canonical form.
    pub fn sign(manifest: AgentManifest, dispatch: &SigningKey) -> Result<Self, canonical::CanonicalError> {
        let signature = dispatch.sign(TAG, &canonical::to_vec(&manifest)?);
        Ok(Self { manifest, signature })
    }

    /// The manifest, if an agent of this platform may believe it now.
    pub fn verify(
        &self,
        dispatch: &PublicKey,
        platform: &str,
        now: Timestamp,
    ) -> Result<&AgentManifest, ManifestError> {
        let manifest = &self.manifest;
        let message = canonical::to_vec(manifest).map_err(|_| ManifestError::Forged)?;
        if !dispatch.verifies(TAG, &message, &self.signature) {
            return Err(ManifestError::Forged);
        }
        if manifest.platform != platform {
            return Err(ManifestError::OtherPlatform);
        }
        if now >= manifest.expires_at {
            return Err(ManifestError::Expired);
        }
        if manifest.length == 0 || manifest.length > MAX_AGENT || manifest.rollback_floor > manifest.version {
            return Err(ManifestError::Contradictory);
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn version(text: &str) -> AgentVersion {
        text.parse().unwrap()
    }

    fn manifest() -> AgentManifest {
        AgentManifest {
            version: version("1.4.0"),
            platform: "linux-x86_64".into(),
            length: 5_000_000,
            sha256: Sha256Digest::from_bytes([7; 32]),
            expires_at: NOW.plus(Duration::from_secs(3_600)),
            rollback_floor: version("1.2.0"),
        }
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    /// A manifest that is changed before it is signed, and once more after that.
    #[track_caller]
    fn check(
        before: impl FnOnce(&mut AgentManifest),
        after: impl FnOnce(&mut SignedManifest),
        expected: Result<(), ManifestError>,
    ) {
        let mut manifest = manifest();
        before(&mut manifest);
        let mut signed = SignedManifest::sign(manifest, &key(1)).unwrap();
        after(&mut signed);
        let found = signed.verify(&key(1).public(), "linux-x86_64", NOW);
        assert_eq!(found.map(drop), expected);
    }

    #[test]
    fn only_what_the_dispatch_key_signed_is_believed() {
        let changed = |change: fn(&mut AgentManifest)| {
            check(
                |_| {},
                |signed| change(&mut signed.manifest),
                Err(ManifestError::Forged),
            );
        };
        check(|_| {}, |_| {}, Ok(()));
        changed(|manifest| manifest.version = version("1.4.1"));
        changed(|manifest| manifest.platform = "linux-aarch64".into());
        changed(|manifest| manifest.length += 1);
        changed(|manifest| manifest.sha256 = Sha256Digest::from_bytes([8; 32]));
        changed(|manifest| manifest.expires_at = Timestamp::MAX);
        changed(|manifest| manifest.rollback_floor = version("0.0.1"));
        let by_another = |signed: &mut SignedManifest| *signed = SignedManifest::sign(manifest(), &key(2)).unwrap();
        check(|_| {}, by_another, Err(ManifestError::Forged));
    }

    #[test]
    fn what_is_signed_must_be_for_this_platform_and_time_and_make_sense() {
        check(
            |manifest| manifest.platform = "linux-armv7".into(),
            |_| {},
            Err(ManifestError::OtherPlatform),
        );
        check(
            |manifest| manifest.expires_at = NOW,
            |_| {},
            Err(ManifestError::Expired),
        );
        for change in [
            |manifest: &mut AgentManifest| manifest.length = 0,
            |manifest: &mut AgentManifest| manifest.length = MAX_AGENT + 1,
            |manifest: &mut AgentManifest| manifest.rollback_floor = version("1.4.1"),
        ] {
            check(change, |_| {}, Err(ManifestError::Contradictory));
        }
        check(|manifest| manifest.rollback_floor = version("1.4.0"), |_| {}, Ok(()));
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_and_come_after_their_previews() {
        let ordered = ["0.9.9", "0.10.0", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0", "10.0.0"];
        assert!(ordered.map(version).is_sorted());
        for bad in [
            "",
            "1",
            "1.2",
            "v1.2.3",
            "1.2.3 ",
            "01.2.3",
            "1.2.99999999999999999999",
            &"1".repeat(80),
        ] {
            assert_eq!(bad.parse::<AgentVersion>(), Err(AgentVersionError), "{bad}");
        }
    }

    #[test]
    fn a_digest_has_one_way_to_be_written() {
        let text = "0a".repeat(32);
        assert_eq!(Sha256Digest::parse(&text).unwrap().to_string(), text);
        for bad in ["", &"0A".repeat(32), &"0a".repeat(31), &"0g".repeat(32)] {
            assert_eq!(Sha256Digest::parse(bad), None, "{bad}");
        }
    }
}
