//! Whom a device believes on the server's own TLS port: a certificate of class *server* from one of the fleet's authorities.
//! What the server is called does not matter: nobody else has such a certificate.

use std::{sync::Arc, time::Duration};

use fleet_core::{
    certificates::{Peer, PresentedCertificate},
    kernel::{Clock as _, SigningKey},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    time_provider::TimeProvider,
};

use crate::clock::ServerClock;

/// TLS 1.3 only. Without `authorities` anybody is believed: for asking what an answer's own signature proves.
pub(super) fn client_config(
    clock: Arc<ServerClock>,
    authorities: Option<&[Vec<u8>]>,
    certificate: Option<Vec<u8>>,
    key: &SigningKey,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = OwnServer {
        roots: authorities.map(roots).transpose()?,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ServerTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match certificate {
        Some(der) => {
            let key = PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
            builder.with_client_auth_cert(vec![CertificateDer::from(der)], key.into())?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
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
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        match PresentedCertificate::read(certificate).map(|presented| presented.peer) {
            Some(Peer::Server(_)) => Ok(ServerCertVerified::assertion()),
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

/// The server's time as well as the device knows it: its own clock may be off by years.
#[derive(Debug)]
struct ServerTime(Arc<ServerClock>);

impl TimeProvider for ServerTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
