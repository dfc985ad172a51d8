//! Devices that prove themselves by a certificate, and how they come by one.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{LinkService, LinkedDevice, service::linked};
use crate::{
    certificates::{DeviceCertificate, Peer, PresentedCertificate, renew_at},
    devices::DeviceId,
    kernel::{Class, Code, Error, Result},
    protocol::{CertificateAnswer, CertificateBody, CertificateRequest, TrustAnswer, TrustBody},
};

/// The server's own TLS port wants a certificate of this fleet, and of a device.
pub const CERTIFICATE_REQUIRED: Code = Code::new("certificate.required", Class::Unauthenticated);
/// The certificate names somebody else than a device.
pub const CERTIFICATE_OF_OTHER_CLASS: Code = Code::new("certificate.other_class", Class::Denied);
/// A newer certificate was issued to this device, or its authority is trusted no more: ask for the next one.
pub const CERTIFICATE_SUPERSEDED: Code = Code::new("certificate.superseded", Class::Unauthenticated);
/// The certificate's time is over: ask for the next one.
pub const CERTIFICATE_EXPIRED: Code = Code::new("certificate.expired", Class::Unauthenticated);

/// The longest nonce of a request, in bytes.
const MAX_NONCE: usize = 64;

impl LinkService<'_> {
    /// Who stands at the other end of a connection: the device that the certificate names, as long as it is the newest that
    /// was issued to it, over the key that it enrolled with: whoever got hold of an authority's key has no device's key. To be
    /// asked for each request: a connection may outlive its certificate.
    pub async fn authenticate_certificate(&self, presented: &PresentedCertificate) -> Result<LinkedDevice> {
        let Peer::Device(device) = presented.peer else {
            return Err(CERTIFICATE_OF_OTHER_CLASS.error("this certificate is not that of a device"));
        };
        let device = self.device(device).await?;
        let linked = linked(&device, None)?;
        let certificate = device
            .certificate
            .as_ref()
            .filter(|newest| newest.serial == presented.serial && device.key == presented.key);
        self.check(certificate)?;
        Ok(linked)
    }

    /// Refuses a certificate that does not count any more.
    fn check(&self, certificate: Option<&DeviceCertificate>) -> Result<()> {
        let certificate = certificate.filter(|certificate| self.fleet.certificates().trusts(certificate.authority));
        let certificate = certificate.ok_or_else(|| {
            CERTIFICATE_SUPERSEDED.error("this is not a certificate that counts for this device; ask for the next one")
        })?;
        if self.fleet.clock().now() >= certificate.not_after {
            return Err(CERTIFICATE_EXPIRED.error("the time of this certificate is over; ask for the next one"));
        }
        Ok(())
    }

    /// Whether a device that connected by a certificate may stay: as long as its newest one lasts, which it renews meanwhile.
    pub async fn check_certified(&self, device: DeviceId) -> Result<()> {
        let device = self.device(device).await?;
        self.check(device.certificate.as_ref())
    }

    /// The authorities that are trusted. Anybody may ask: they are public.
    pub fn trust(&self, request: &CertificateRequest) -> Result<TrustAnswer> {
        let body = TrustBody {
            nonce: nonce(request)?,
            authorities: self.authorities(),
            time: self.fleet.clock().now(),
        };
        TrustAnswer::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }

    /// The next certificate of a device that has just signed its request with its key. The ones before it count no more.
    pub async fn certify(&self, device: &LinkedDevice, request: &CertificateRequest) -> Result<CertificateAnswer> {
        let nonce = nonce(request)?;
        let key = device
            .signed_by
            .ok_or_else(|| CERTIFICATE_REQUIRED.error("a request for a certificate is signed with the device's key"))?;
        let issued = self.fleet.certificates().renew(device.id, &key).await?;
        let now = self.fleet.clock().now();
        let body = CertificateBody {
            nonce,
            device: device.id,
            certificate: STANDARD.encode(&issued.certificate),
            renew_at: renew_at(now, issued.not_after, issued.spread()),
            not_after: issued.not_after,
            authorities: self.authorities(),
            time: now,
        };
        CertificateAnswer::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }

    fn authorities(&self) -> Vec<String> {
        let bundle = self.fleet.certificates().bundle();
        bundle.iter().map(|der| STANDARD.encode(der)).collect()
    }
}

fn nonce(request: &CertificateRequest) -> Result<String> {
    if request.nonce.is_empty() || request.nonce.len() > MAX_NONCE || request.nonce.contains('\0') {
        return Err(Error::invalid_field(
            "/nonce",
            format!("1 to {MAX_NONCE} characters of base64url"),
        ));
    }
    Ok(request.nonce.clone())
}
