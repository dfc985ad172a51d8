//! The TLS that the server speaks itself: what the configuration says of it, and the ports made from that.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use fleet_api::{
    listen,
    tls::{PortTls, TlsListener},
};
use fleet_core::Fleet;
use tokio::net::TcpListener;

use crate::config::{File, Flags, Sourced, pick};

/// Certificate and key of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the configuration says of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) agents_listen: Sourced<Option<SocketAddr>>,
    pub(crate) agents_url: Sourced<Option<String>>,
    pub(crate) api: Sourced<bool>,
    pub(crate) files: Sourced<Option<Files>>,
    pub(crate) names: Sourced<Vec<String>>,
}

impl Tls {
    /// Puts the sources together and checks what they say.
    pub(crate) fn combine(flags: &Flags, file: &File) -> anyhow::Result<Self> {
        let files = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Some(Files {
                certificate: certificate.clone(),
                key: key.clone(),
            }))),
            (None, None) => Ok(None),
            _ => bail!("tls_certificate and tls_key belong together"),
        };
        let files = pick(
            files(&flags.tls_certificate, &flags.tls_key)?,
            files(&file.tls_certificate, &file.tls_key)?,
            || None,
        );
        let mut api = pick(flags.tls.then_some(true), file.tls, || false);
        if files.value.is_some() {
            api = Sourced {
                value: true,
                source: files.source,
            };
        }
        let names = (!flags.tls_name.is_empty()).then(|| flags.tls_name.clone());
        let agents_url = pick(
            flags.agents_url.clone().map(Some),
            file.agents_url.clone().map(Some),
            || None,
        );
        if let Some(url) = &agents_url.value
            && !url.starts_with("https://")
        {
            bail!("agents_url {url:?} does not begin with https://");
        }
        Ok(Self {
            agents_listen: pick(flags.agents_listen.map(Some), file.agents_listen.map(Some), || None),
            agents_url,
            api,
            files,
            names: pick(names, file.tls_names.clone(), Vec::new),
        })
    }

    /// The API's port, if it speaks TLS.
    pub(crate) fn api(
        &self,
        fleet: &Fleet,
        listener: TcpListener,
        public_url: Option<&str>,
    ) -> anyhow::Result<TlsListener> {
        let tls = match &self.files.value {
            Some(files) => PortTls::files(fleet, files.certificate.clone(), files.key.clone()),
            None => {
                let mut names = self.names.value.clone();
                if names.is_empty() {
                    names = vec!["localhost".into(), listener.local_addr()?.ip().to_string()];
                    names.extend(public_url.and_then(host).map(str::to_owned));
                }
                PortTls::issued(fleet, names)
            }
        };
        Ok(TlsListener::new(
            listener,
            tls.context("the API cannot be served by TLS")?,
        ))
    }

    /// The agents' port, if there is one, and the address that agents reach it by.
    pub(crate) async fn agents(
        &self,
        fleet: &Fleet,
        public_url: Option<&str>,
    ) -> anyhow::Result<Option<(TlsListener, String)>> {
        let Some(address) = self.agents_listen.value else {
            return Ok(None);
        };
        let listener =
            listen(address).with_context(|| format!("cannot listen on {address}; is another server running?"))?;
        let address = listener.local_addr()?;
        let url = match (&self.agents_url.value, public_url.and_then(host)) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(host)) => format!("https://{host}:{}", address.port()),
            (None, None) if address.ip().is_unspecified() => {
                bail!("agents cannot be told to connect to {address}; say --agents-url or --public-url")
            }
            (None, None) => format!("https://{address}"),
        };
        // Agents know the server by its authority and its class, whatever it is called.
        let names = host(&url).map(|host| host.trim_matches(['[', ']']).to_owned());
        let tls = PortTls::agents(fleet, names.into_iter().collect()).context("agents cannot be served by TLS")?;
        Ok(Some((TlsListener::new(listener, tls), url)))
    }
}

/// The host of a URL, without port; an IPv6 address in its brackets.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(host(url), expected, "{url}");
        check("https://fleet.example.org", Some("fleet.example.org"));
        check("https://fleet.example.org:8443/x", Some("fleet.example.org"));
        check("https://192.0.2.7:8443", Some("192.0.2.7"));
        check("https://[2001:db8::7]:8443/", Some("[2001:db8::7]"));
        check("https://[2001:db8::7]", Some("[2001:db8::7]"));
        check("https://", None);
        check("fleet.example.org", None);
    }
}
