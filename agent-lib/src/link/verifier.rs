//! Whom a device believes on the server's own TLS port: a certificate of class *server* from one of the fleet's authorities.
//! What the server is called does not matter: nobody else has such a certificate.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use fleet_core::{
    certificates::{Peer, PresentedCertificate},
    kernel::{Clock, SigningKey},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    time_provider::TimeProvider,
};

/// Makes the TLS configurations of agents.
#[derive(Debug)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<OwnServer>,
    time: Arc<dyn TimeProvider>,
}

impl Trust {
    /// Believes servers with a certificate of these authorities at the time of this clock. Without `authorities` anybody is believed:
    /// for asking what an answer's own signature proves.
    ///
    /// # Errors
    /// When an authority's certificate cannot be read.
    pub fn new(clock: Arc<dyn Clock>, authorities: Option<&[Vec<u8>]>) -> Result<Self, Error> {
        Self::make(clock, authorities, None)
    }

    /// The same for many agents in one process that meet the same server: the issuer of its certificate is looked at once, the signature
    /// of its key in each handshake.
    ///
    /// # Errors
    /// When an authority's certificate cannot be read.
    pub fn for_many(clock: Arc<dyn Clock>, authorities: Option<&[Vec<u8>]>) -> Result<Self, Error> {
        Self::make(clock, authorities, Some(OnceLock::new()))
    }

    fn make(
        clock: Arc<dyn Clock>,
        authorities: Option<&[Vec<u8>]>,
        looked_at: Option<OnceLock<Vec<u8>>>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = OwnServer {
            roots: authorities.map(roots).transpose()?,
            algorithms: provider.signature_verification_algorithms,
            looked_at,
        };
        Ok(Self {
            provider,
            verifier: Arc::new(verifier),
            time: Arc::new(ClockTime(clock)),
        })
    }

    /// TLS 1.3 only, with the certificate and the key of an agent where it has one already.
    ///
    /// # Errors
    /// When certificate and key cannot be used.
    pub fn config(&self, certificate: Option<(&[u8], &SigningKey)>) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone());
        let mut config = match certificate {
            Some((der, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
                builder.with_client_auth_cert(vec![CertificateDer::from(der.to_vec())], key.into())?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn roots(authorities: &[Vec<u8>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for der in authorities {
        roots.add(CertificateDer::from(der.as_slice()))?;
    }
    Ok(roots)
}

#[derive(Debug)]
struct OwnServer {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The certificate that was looked at, where once is enough.
    looked_at: Option<OnceLock<Vec<u8>>>,
}

impl ServerCertVerifier for OwnServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let known = self.looked_at.as_ref().and_then(OnceLock::get);
        if known.is_some_and(|der| **der == **certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        match PresentedCertificate::read(certificate).map(|presented| presented.peer) {
            Some(Peer::Server(_)) => {
                if let Some(looked_at) = &self.looked_at {
                    let _ = looked_at.set(certificate.to_vec());
                }
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// On a device the server's time as well as it is known: the device's own clock may be off by years.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
