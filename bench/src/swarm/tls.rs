//! What agents present and whom they believe on the server's own TLS port.

use std::sync::{Arc, Mutex, PoisonError};

use fleet_core::{
    certificates::{Peer, PresentedCertificate},
    kernel::SigningKey,
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
};

/// Makes the TLS configurations of agents.
#[derive(Debug)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<FleetServer>,
}

impl Trust {
    /// Believes servers with a certificate of these authorities; without any, everybody: for asking what the answer's own signature
    /// proves.
    pub fn new(authorities: Option<&[Vec<u8>]>) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = FleetServer {
            roots: authorities.map(roots).transpose()?,
            algorithms: provider.signature_verification_algorithms,
            verified: Mutex::default(),
        };
        Ok(Self {
            provider,
            verifier: Arc::new(verifier),
        })
    }

    /// For one agent, with its certificate and its key where it has one already.
    pub fn config(&self, certificate: Option<(&[u8], &SigningKey)>) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
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

/// A certificate of class *server* from an authority of the fleet, whatever the server is called, as an agent has it. All agents here
/// meet the same certificate: its issuer is looked at once, its key's signature in each handshake.
#[derive(Debug)]
struct FleetServer {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    verified: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for FleetServer {
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
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.as_deref() == Some(&**certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        match PresentedCertificate::read(certificate).map(|presented| presented.peer) {
            Some(Peer::Server(_)) => {
                *verified = Some(certificate.to_vec());
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
