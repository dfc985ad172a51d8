//! Talking to the server.
//!
//! ```text
//! session   where the server is and who we are, from one call to the next
//! failure   problems and exit codes
//! page      lists, page by page
//! resolve   names and last digits to ids
//! sse       the parser of server-sent events
//! upload    files, piece by piece
//! download  texts, piece by piece
//! follow    the output of a run, live, over broken connections
//! ```

mod download;
mod failure;
mod follow;
mod page;
mod resolve;
mod session;
mod sse;
mod upload;

use std::{net::IpAddr, time::Duration};

use fleet_core::kernel::{Clock as _, SystemClock, SystemRandom, random_uuid};
use reqwest::{
    Method, Response, Url,
    header::{ACCEPT, AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER},
};
use serde_json::Value;

pub use failure::{Exit, Failure, Result};
pub use follow::{Chunk, events, follow};
pub use page::{Pages, all};
pub use resolve::{
    ACTION, ACTION_SET, AGENT_RELEASE, APPROVAL, ASSIGNMENT, AUTHORITY, DEFINITION, DEVICE, GROUP, KEY, Noun, PLAN,
    RUN, SESSION, TOKEN, USER, WINDOW, id_of,
};
pub use session::{Session, default_path};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence of the server; streams send a sign of life more often.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest answer, in bytes; a page of 500 items is far below.
const MAX_ANSWER: usize = 64 << 20;
/// How often a request that may be repeated is repeated.
const REPEATS: u32 = 3;
/// The first pause before a repeat; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a server may ask for before we give up instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Parameters of a request.
pub type Query = Vec<(&'static str, String)>;

/// A server, and who we are to it.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// What a change or a read gave.
#[derive(Debug)]
pub struct Answer {
    /// The revision, for conditional changes.
    pub etag: Option<String>,
    /// The body; null where there is none.
    pub body: Value,
}

/// A request before it is sent; it may be sent several times.
struct Request<'a> {
    method: Method,
    url: Url,
    body: Option<&'a Value>,
    headers: HeaderMap,
    /// Whether a request whose answer was lost may be sent again.
    repeatable: bool,
}

impl Client {
    /// A client of the server at `url`.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        let base = parse_base(url)?;
        let http = builder(&base)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| Failure::new(Exit::Failed, "client", format!("no HTTP client: {}", chain(&error))))?;
        Ok(Self { http, base, token })
    }

    /// The address of the server.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether passwords and tokens travel readable over a network.
    pub fn is_readable_by_others(&self) -> bool {
        self.base.scheme() == "http" && !is_loopback(&self.base)
    }

    /// Reads.
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer> {
        self.answer(self.request(Method::GET, path, query, true)).await
    }

    /// Reads what is no JSON.
    pub async fn get_text(&self, path: &[&str], query: &[(&str, String)]) -> Result<String> {
        let response = self.send(&self.request(Method::GET, path, query, true)).await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        let bytes = self.read(response).await?;
        String::from_utf8(bytes).map_err(|_| Failure::unexpected(format!("the answer of {} is not text", self.url())))
    }

    /// Whether a path at the root, such as `healthz`, answers well; an error when there is no answer at all.
    pub async fn is_well(&self, path: &str) -> Result<bool> {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = Request {
            method: Method::GET,
            url,
            body: None,
            headers: HeaderMap::new(),
            repeatable: false,
        };
        Ok(self.send(&request).await?.status().is_success())
    }

    /// Asks for something to be created or done. With a key, on routes that take one, it happens once, however often it has to be
    /// sent; without, it is sent again only when no connection came about.
    pub async fn post(&self, path: &[&str], body: &Value, key: Option<&str>) -> Result<Answer> {
        let mut request = self.request(Method::POST, path, &[], key.is_some());
        request.body = Some(body);
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request.headers.insert("idempotency-key", key);
        }
        self.answer(request).await
    }

    /// Sets.
    pub async fn put(&self, path: &[&str], body: &Value) -> Result<Answer> {
        let mut request = self.request(Method::PUT, path, &[], true);
        request.body = Some(body);
        self.answer(request).await
    }

    /// Changes what was read with `etag`, and nothing newer.
    pub async fn patch(&self, path: &[&str], body: &Value, etag: Option<&str>) -> Result<Answer> {
        // The answer to a repeat would be a conflict with ourselves.
        let mut request = self.request(Method::PATCH, path, &[], false);
        request.body = Some(body);
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            request.headers.insert(IF_MATCH, etag);
        }
        self.answer(request).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &[&str]) -> Result<Answer> {
        self.delete_with(path, &[]).await
    }

    /// Deletes, as the parameters say.
    pub async fn delete_with(&self, path: &[&str], query: &[(&str, String)]) -> Result<Answer> {
        // The answer to a repeat would be "not found".
        self.answer(self.request(Method::DELETE, path, query, false)).await
    }

    /// Opens a stream of events.
    async fn stream(&self, path: &[&str], last_event: Option<&str>) -> Result<Response> {
        let mut request = self.request(Method::GET, path, &[], true);
        request
            .headers
            .insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last_event.and_then(|last| HeaderValue::from_str(last).ok()) {
            request.headers.insert("last-event-id", last);
        }
        let response = self.send(&request).await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        Ok(response)
    }

    fn request<'a>(&self, method: Method, path: &[&str], query: &[(&str, String)], repeatable: bool) -> Request<'a> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each is one segment, whatever characters a name has.
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Request {
            method,
            url,
            body: None,
            headers: HeaderMap::new(),
            repeatable,
        }
    }

    async fn answer(&self, request: Request<'_>) -> Result<Answer> {
        let response = self.send(&request).await?;
        self.answer_of(response).await
    }

    async fn answer_of(&self, response: Response) -> Result<Answer> {
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        let etag = response
            .headers()
            .get(ETAG)
            .and_then(|etag| etag.to_str().ok())
            .map(str::to_owned);
        let bytes = self.read(response).await?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .map_err(|error| Failure::unexpected(format!("the answer of {} is not JSON: {error}", self.url())))?
        };
        Ok(Answer { etag, body })
    }

    async fn failure(&self, response: Response) -> Failure {
        let status = response.status().as_u16();
        let body = self.read(response).await.unwrap_or_default();
        Failure::of_answer(status, &body)
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::unexpected("the answer is longer than any answer of ours"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Sends, again where that cannot do harm: when no connection came about, and for repeatable requests also when the answer
    /// was lost or the server asked to come back.
    async fn send(&self, request: &Request<'_>) -> Result<Response> {
        let mut pause = FIRST_PAUSE;
        for left in (0..=REPEATS).rev() {
            let mut builder = self
                .http
                .request(request.method.clone(), request.url.clone())
                .headers(request.headers.clone());
            builder = self.authorised(builder)?;
            if let Some(body) = request.body {
                builder = builder.json(body);
            }
            match builder.send().await {
                Ok(response) => match wait_asked_for(&response) {
                    Some(wait) if left > 0 && request.repeatable && wait <= LONGEST_PAUSE => {
                        tokio::time::sleep(wait.max(pause)).await;
                    }
                    _ => return Ok(response),
                },
                Err(error) if left > 0 && (error.is_connect() || request.repeatable && !error.is_timeout()) => {
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(self.unreachable(&error)),
            }
            pause *= 2;
        }
        Err(Failure::unreachable(format!("{} does not answer", self.url())))
    }

    fn authorised(&self, builder: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder> {
        let Some(token) = &self.token else {
            return Ok(builder);
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Failure::usage("the token holds characters that no token has"))?;
        value.set_sensitive(true);
        Ok(builder.header(AUTHORIZATION, value))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::unreachable(format!("{} cannot be reached: {}", self.url(), chain(error)))
            .hint("is the server running, and is the address right? `fleet login URL` sets it")
    }
}

fn builder(base: &Url) -> reqwest::ClientBuilder {
    let http = reqwest::Client::builder()
        .user_agent(concat!("fleet/", env!("CARGO_PKG_VERSION")))
        // A redirect could lead the token elsewhere.
        .redirect(reqwest::redirect::Policy::none());
    match is_loopback(base) {
        true => http.no_proxy(),
        false => http,
    }
}

/// A new key under which a creation happens once.
pub fn new_key() -> String {
    random_uuid(SystemClock.now(), &SystemRandom).to_string()
}

/// The pause that a server that is busy asks for.
fn wait_asked_for(response: &Response) -> Option<Duration> {
    if !matches!(response.status().as_u16(), 429 | 502..=504) {
        return None;
    }
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    Some(Duration::from_secs(
        seconds.and_then(|text| text.parse().ok()).unwrap_or(0),
    ))
}

fn parse_base(url: &str) -> Result<Url> {
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let base = Url::parse(&with_scheme).map_err(|error| Failure::usage(format!("{url} is no address: {error}")))?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return Err(Failure::usage(format!(
            "{url} is no address; write it as https://fleet.example.org"
        )));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(Failure::usage(
            "an address holds no name and no password; use `fleet login`",
        ));
    }
    Ok(base)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The last cause of an error, which says most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_base(url: &str, expected: Option<&str>) {
        let client = Client::new(url, None);
        assert_eq!(client.as_ref().ok().map(Client::url), expected, "{url}");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        check_base("http://127.0.0.1:8080", Some("http://127.0.0.1:8080"));
        check_base("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080"));
        check_base("fleet.example.org", Some("https://fleet.example.org"));
        check_base("https://example.org/fleet", Some("https://example.org/fleet"));
        check_base("ftp://example.org", None);
        check_base("https://admin:secret@example.org", None);
        check_base("", None);
    }

    #[test]
    fn a_segment_stays_one_segment() {
        let client = Client::new("https://example.org/fleet", None).unwrap();
        let query = [("label", "a=b&c".to_owned())];
        let request = client.request(Method::GET, &["packages", "dpkg", "../libstdc++6/x"], &query, true);
        assert_eq!(
            request.url.as_str(),
            "https://example.org/fleet/api/v1/packages/dpkg/..%2Flibstdc++6%2Fx?label=a%3Db%26c"
        );
    }

    #[test]
    fn passwords_over_plain_http_are_readable_but_on_this_machine() {
        for (url, readable) in [
            ("http://127.0.0.1:1", false),
            ("http://[::1]:1", false),
            ("http://localhost:1", false),
            ("https://example.org", false),
            ("http://example.org", true),
            ("http://192.168.1.1", true),
        ] {
            assert_eq!(
                Client::new(url, None).unwrap().is_readable_by_others(),
                readable,
                "{url}"
            );
        }
    }
}
