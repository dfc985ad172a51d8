//! What is fetched from an address that somebody gave: within bounds, checked, and never taken by half.
//!
//! Proxies are those that the agent's environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), as the agent's own connection does it.

use std::{
    io::Write as _,
    sync::{Arc, PoisonError},
    time::Duration,
};

use fleet_core::kernel::{Class, Code};
use reqwest::{StatusCode, redirect};
use sha2::{Digest as _, Sha256};

use super::{Device, files};
use crate::{
    actions::action::Problem,
    executor::RunFile,
    link::{LinkError, unreachable_error},
};

/// What was asked for did not come.
pub(in crate::actions) const FAILED: Code = Code::new("download.failed", Class::Unavailable);
/// It is larger than what is taken.
pub(in crate::actions) const TOO_LARGE: Code = Code::new("download.too_large", Class::Invalid);
/// What came is not what its digest says.
pub(in crate::actions) const ALTERED: Code = Code::new("download.altered", Class::Conflict);

/// The largest file that is fetched, in bytes.
pub(in crate::actions) const MAX_FILE: u64 = 2 << 30;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long a connection, and the next part of an answer, may take.
const SILENCE: Duration = Duration::from_secs(30);
/// How often an answer may be the address of another one.
const MAX_REDIRECTS: usize = 5;

/// Takes the parts of what comes.
pub(in crate::actions) type Sink<'s> = &'s mut (dyn FnMut(&[u8]) -> Result<(), Problem> + Send);

impl Device {
    /// Fetches what is at an address, part by part, and checks its digest at the end: until this is back nothing that came is to be
    /// believed. `limit` is in bytes.
    pub(in crate::actions) async fn download(
        &self,
        url: &str,
        sha256: Option<&str>,
        limit: u64,
        sink: Sink<'_>,
    ) -> Result<(), Problem> {
        self.check_time()?;
        let mut cancellation = self.cancellation.clone();
        let fetched = tokio::time::timeout(PATIENCE.min(self.time_left()), fetch(url, sha256, limit, sink));
        tokio::select! {
            fetched = fetched => match fetched {
                Ok(fetched) => fetched,
                Err(_) if self.time_left().is_zero() => Err(Problem::TimedOut),
                Err(_) => Err(failed(url, "it took longer than five minutes")),
            },
            () = cancellation.requested() => Err(Problem::Cancelled),
        }
    }

    /// The file that is at an address. A run fetches it once; it is gone when the run ends.
    pub(in crate::actions) async fn fetched(
        &self,
        url: &str,
        sha256: Option<&str>,
        suffix: &str,
    ) -> Result<Arc<RunFile>, Problem> {
        let before = self.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(file) = before {
            return Ok(file);
        }
        self.say(&format!("fetching {}\n", shown(url))).await;
        let file = self.executor.file_of(self.run, suffix);
        let place = "the file that is fetched";
        let (file, mut sink) = file.map_err(|error| files::failed(place, "made", &error))?;
        let mut put = |part: &[u8]| {
            sink.write_all(part)
                .map_err(|error| files::failed(place, "written", &error))
        };
        self.download(url, sha256, MAX_FILE, &mut put).await?;
        let file = Arc::new(file);
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(file.clone());
        Ok(file)
    }
}

async fn fetch(url: &str, sha256: Option<&str>, limit: u64, sink: Sink<'_>) -> Result<(), Problem> {
    let broken = |error: reqwest::Error| {
        let why = match unreachable_error(&error) {
            LinkError::Unreachable(why) | LinkError::Handshake(why) => why,
            other => other.to_string(),
        };
        failed(url, &why)
    };
    let mut response = client().map_err(broken)?.get(url).send().await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(failed(url, &format!("the answer was {}", response.status())));
    }
    let too_large = || {
        let why = format!("{} has more than {limit} bytes", shown(url));
        Problem::new(TOO_LARGE, why)
    };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let (mut length, mut digest) = (0, Sha256::new());
    loop {
        let part = tokio::time::timeout(SILENCE, response.chunk()).await;
        let part = part.map_err(|_| failed(url, "nothing came for half a minute"))?;
        let Some(part) = part.map_err(broken)? else {
            break;
        };
        length += part.len() as u64;
        if length > limit {
            return Err(too_large());
        }
        digest.update(&part);
        sink(&part)?;
    }
    let digest = hexadecimal(&digest.finalize());
    match sha256 {
        Some(expected) if expected != digest => {
            let why = format!("{} has the SHA-256 {digest}, and not {expected}", shown(url));
            Err(Problem::new(ALTERED, why))
        }
        _ => Ok(()),
    }
}

/// A client of its own: what is fetched is often elsewhere, which the agent's connection to its server never follows.
fn client() -> reqwest::Result<reqwest::Client> {
    let follow = redirect::Policy::custom(|attempt| {
        let before: Vec<_> = attempt.previous().iter().map(|url| url.scheme()).collect();
        match refuses(&before, attempt.url().scheme()) {
            Some(why) => attempt.error(why),
            None => attempt.follow(),
        }
    });
    reqwest::Client::builder()
        .user_agent(concat!("fleet-agent/", env!("CARGO_PKG_VERSION")))
        .redirect(follow)
        .connect_timeout(SILENCE)
        .build()
}

/// Why an answer that leads elsewhere is not followed, by the schemes of the addresses up to here and of the next one.
fn refuses(before: &[&str], next: &str) -> Option<&'static str> {
    if before.len() > MAX_REDIRECTS {
        return Some("it leads elsewhere too often");
    }
    match next {
        "https" => None,
        // Somebody on the way could answer there.
        "http" if before.contains(&"https") => Some("it leads from https to http"),
        "http" => None,
        _ => Some("it leads to what is no http"),
    }
}

fn failed(url: &str, why: &str) -> Problem {
    Problem::new(FAILED, format!("{} could not be fetched: {why:.500}", shown(url)))
}

/// An address, for people: without its query, in which there may be what lets in.
pub(in crate::actions) fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[&str], next: &str, followed: bool) {
        assert_eq!(refuses(before, next).is_none(), followed, "{before:?} {next}");
    }

    #[test]
    fn what_leads_elsewhere_is_followed_and_never_to_less() {
        check(&["https"], "https", true);
        check(&["http"], "https", true);
        check(&["http"], "http", true);
        check(&["https"], "http", false);
        check(&["http", "https"], "http", false);
        check(&["https"], "file", false);
        check(&["https"; 5], "https", true);
        check(&["https"; 6], "https", false);
    }
}
