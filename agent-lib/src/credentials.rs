//! What this device presents on the server's own TLS port, and whom it believes there. It changes every day, so it has a file of
//! its own beside the identity; when that is lost, the device's key gets another.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleet_core::kernel::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::identity::{IDENTITY_UNREADABLE, read_bounded, remove, write_private};

const FILE: &str = "certificate.json";
const NEW_FILE: &str = "certificate.json.new";
/// A certificate and all authorities take a tenth of this.
const MAX_BYTES: u64 = 64 * 1024;

/// Certificate and trusted authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The certificates of the authorities that are trusted: DER.
    pub authorities: Vec<Vec<u8>>,
    /// This device's own.
    pub certificate: Option<Certificate>,
}

/// A certificate of this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DER.
    pub der: Vec<u8>,
    /// When the next one should be asked for.
    pub renew_at: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    authorities: Vec<String>,
    certificate: Option<StoredCertificate>,
}

#[derive(Serialize, Deserialize)]
struct StoredCertificate {
    der: String,
    renew_at: Timestamp,
    not_after: Timestamp,
}

impl Credentials {
    /// Reads what is in a state directory. What is missing or damaged is as if it had never been there: the key gets it anew.
    pub fn load(state: &Path) -> Self {
        let path = state.join(FILE);
        match read_bounded(&path, MAX_BYTES) {
            Ok(text) => Self::parse(&text).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the certificate cannot be read, and is asked for anew");
                Self::default()
            }),
            Err(_) => Self::default(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let certificate = stored.certificate.map(|certificate| {
            Some(Certificate {
                der: STANDARD.decode(certificate.der).ok()?,
                renew_at: certificate.renew_at,
                not_after: certificate.not_after,
            })
        });
        Some(Self {
            authorities: decode(&stored.authorities)?,
            certificate: match certificate {
                Some(certificate) => Some(certificate?),
                None => None,
            },
        })
    }

    /// Removes those of a state directory; harmless when there are none.
    ///
    /// # Errors
    /// When the disk does not let them go.
    pub fn remove(state: &Path) -> Result<()> {
        remove(&state.join(FILE))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&self, state: &Path) -> Result<()> {
        let stored = Stored {
            v: 1,
            authorities: self.authorities.iter().map(|der| STANDARD.encode(der)).collect(),
            certificate: self.certificate.as_ref().map(|certificate| StoredCertificate {
                der: STANDARD.encode(&certificate.der),
                renew_at: certificate.renew_at,
                not_after: certificate.not_after,
            }),
        };
        let text = serde_json::to_string(&stored).map_err(Error::internal)?;
        write_private(state, NEW_FILE, FILE, text.as_bytes()).map_err(|error| {
            IDENTITY_UNREADABLE.error(format!("{} cannot be written: {error}", state.join(FILE).display()))
        })
    }
}

/// Certificates as the server sends them.
pub(crate) fn decode(certificates: &[String]) -> Option<Vec<Vec<u8>>> {
    certificates.iter().map(|text| STANDARD.decode(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read where a file says this.
    #[track_caller]
    fn check(text: &str, expected: &Credentials) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), text).unwrap();
        assert_eq!(&Credentials::load(directory.path()), expected, "{text:?}");
    }

    #[test]
    fn credentials_are_read_back_and_what_cannot_be_read_is_nothing() {
        let nothing = Credentials::default();
        for text in [
            "",
            "{}",
            "\0",
            r#"{"v":1,"authorities":["?"],"certificate":null}"#,
            &"x".repeat(100_000),
        ] {
            check(text, &nothing);
        }
        let some = Credentials {
            authorities: vec![vec![1, 2], vec![3]],
            certificate: Some(Certificate {
                der: vec![4],
                renew_at: Timestamp::from_seconds(1),
                not_after: Timestamp::from_seconds(2),
            }),
        };
        let directory = tempfile::tempdir().unwrap();
        some.save(directory.path()).unwrap();
        assert_eq!(Credentials::load(directory.path()), some);
    }
}
