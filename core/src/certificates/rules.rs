//! What is issued, how long it lasts, and when it is renewed. Pure.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{AuthorityId, AuthorityState, CertificateAuthority, Peer};
use crate::kernel::{Class, Code, Error, PublicKey, Randomness, Result, SigningKey, Timestamp, random_bytes};

/// A certificate or key cannot be used.
pub const INVALID: Code = Code::new("certificate.invalid", Class::Invalid);

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// A device's certificate lasts so long.
pub const DEVICE_LIFE: Duration = Duration::from_secs(DAY);
/// A server's certificate lasts so long.
pub const SERVER_LIFE: Duration = Duration::from_secs(7 * DAY);
/// An authority's certificate lasts so long: ten years.
pub(super) const AUTHORITY_LIFE: Duration = Duration::from_secs(3_650 * DAY);
/// Certificates begin a little earlier, for clocks that are behind.
const SKEW: Duration = Duration::from_secs(HOUR);
/// An announced authority issues after this long at the earliest: every device that is not away has renewed by then.
pub(super) const ANNOUNCE: Duration = Duration::from_secs(2 * DAY);
/// A retiring authority is trusted this long: all that it issued has lapsed by then, and what devices away need is its successor,
/// which they get by an assertion with their key.
pub(super) const RETIRE: Duration = Duration::from_secs(8 * DAY);

/// When a certificate is renewed: between a half and five eighths of its life, by `spread`, so that devices that were enrolled
/// together do not come together.
pub fn renew_at(issued: Timestamp, not_after: Timestamp, spread: u8) -> Timestamp {
    let life = not_after.since(issued);
    issued.plus(life / 2 + life / 8 / 256 * u32::from(spread))
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate: DER (X.509, RFC 5280).
    pub certificate: Vec<u8>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl Issued {
    /// A number of its own, to spread by.
    pub fn spread(&self) -> u8 {
        blake3::hash(self.serial.as_bytes()).as_bytes()[0]
    }
}

/// An authority that is open: its key and its certificate's parameters.
pub(super) struct Signer {
    pub(super) key: SigningKey,
    params: CertificateParams,
}

/// A key of ours as the certificate library wants it.
struct Signing<'k>(&'k SigningKey, PublicKey);

impl PublicKeyData for Signing<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signing<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_untagged(message).to_vec())
    }
}

/// A key of somebody else.
struct Subject(PublicKey);

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl Signer {
    /// The authority of a key: the same key and beginning give the same certificate.
    pub(super) fn new(key: SigningKey, not_before: Timestamp) -> Result<Self> {
        let mut params = params(&key.public(), not_before, not_before.plus(AUTHORITY_LIFE))?;
        let mut name = DistinguishedName::new();
        name.push(
            DnType::CommonName,
            format!("fleet {}", &hex::encode(key.public().as_bytes())[..16]),
        );
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        // Derived, so that servers that share a store agree on the bytes.
        params.serial_number = Some(serial(&blake3::hash(key.public().as_bytes()).as_bytes()[..16]));
        Ok(Self { key, params })
    }

    /// Its own certificate.
    pub(super) fn certificate(&self) -> Result<Vec<u8>> {
        let key = Signing(&self.key, self.key.public());
        let certificate = self.params.self_signed(&key).map_err(Error::internal)?;
        Ok(certificate.der().to_vec())
    }

    /// Issues to a device, good for TLS clients only, or to a server of these names and addresses, good for TLS servers only.
    pub(super) fn issue(
        &self,
        peer: Peer,
        key: &PublicKey,
        names: &[String],
        now: Timestamp,
        random: &dyn Randomness,
    ) -> Result<Issued> {
        let (usage, life) = match peer {
            Peer::Device(_) => (ExtendedKeyUsagePurpose::ClientAuth, DEVICE_LIFE),
            Peer::Server(_) => (ExtendedKeyUsagePurpose::ServerAuth, SERVER_LIFE),
        };
        let (not_before, not_after) = (now.minus(SKEW), now.plus(life));
        let mut params = params(key, not_before, not_after)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, peer.to_string());
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let serial = serial(&random_bytes::<16>(random));
        params.serial_number = Some(serial.clone());
        params.subject_alt_names = vec![SanType::URI(text(&peer.to_string())?)];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(text(name)?),
            });
        }
        let signing = Signing(&self.key, self.key.public());
        let issuer = Issuer::from_params(&self.params, signing);
        let certificate = params.signed_by(&Subject(*key), &issuer).map_err(Error::internal)?;
        Ok(Issued {
            certificate: certificate.der().to_vec(),
            serial: hex::encode(serial.as_ref()),
            not_before,
            not_after,
        })
    }
}

fn params(key: &PublicKey, not_before: Timestamp, not_after: Timestamp) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = seconds(not_before)?;
    params.not_after = seconds(not_after)?;
    params.key_identifier_method = KeyIdMethod::PreSpecified(blake3::hash(key.as_bytes()).as_bytes()[..20].to_vec());
    Ok(params)
}

fn seconds(at: Timestamp) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.as_seconds()).map_err(Error::internal)
}

fn text(text: &str) -> Result<rcgen::string::Ia5String> {
    rcgen::string::Ia5String::try_from(text).map_err(|error| {
        INVALID
            .error(format!("{text} cannot stand in a certificate"))
            .caused_by(error)
    })
}

/// A positive serial number of at most 16 bytes (RFC 5280 §4.1.2.2 allows 20).
fn serial(bytes: &[u8]) -> SerialNumber {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    SerialNumber::from(bytes)
}

/// PEM (RFC 7468) of a certificate.
pub(super) fn pem(certificate: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every place is a boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The private key in a PEM file as `openssl genpkey -algorithm ed25519` writes it: PKCS#8 (RFC 8410 §7).
pub fn read_private_key(pem: &str) -> Result<SigningKey> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let refused = || {
        INVALID.error("not the private key of an authority: expected an Ed25519 key as PKCS#8 in PEM, not encrypted")
    };
    let text = pem
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
        .filter(|text| text.len() <= 256)
        .ok_or_else(refused)?;
    let text = Zeroizing::new(text.split_whitespace().collect::<String>());
    let der = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| refused())?);
    SigningKey::from_pkcs8(&der).ok_or_else(refused)
}

/// What is due among the authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new one is announced.
    Announce,
    /// The announced one begins to issue.
    Promote(AuthorityId),
    /// A retired one goes.
    Delete(AuthorityId),
}

/// The step that is due, if any.
pub(super) fn next_step<'a>(
    authorities: impl Iterator<Item = &'a CertificateAuthority>,
    now: Timestamp,
) -> Option<Step> {
    let mut announced = false;
    let mut ages = false;
    let mut step = None;
    for authority in authorities {
        let age = now.since(authority.since);
        match authority.state {
            AuthorityState::Announced => {
                announced = true;
                if age >= ANNOUNCE {
                    step = step.or(Some(Step::Promote(authority.id)));
                }
            }
            AuthorityState::Issuing => ages = authority.not_after.since(now) < AUTHORITY_LIFE / 5,
            AuthorityState::Retiring if age >= RETIRE => step = step.or(Some(Step::Delete(authority.id))),
            AuthorityState::Retiring => {}
        }
    }
    step.or((ages && !announced).then_some(Step::Announce))
}
