//! A server that answers as a test wants, and the real command line against it.

use std::{
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, Response, Uri},
};
use futures::StreamExt as _;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

type Answer = dyn Fn(&Seen, usize) -> Response<Body> + Send + Sync;

/// A server on the loopback interface, for the length of a test.
pub struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    /// Answers with `answer`, which is given the request and how often that method and path were asked for before.
    pub fn start(answer: impl Fn(&Seen, usize) -> Response<Body> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let answer: Arc<Answer> = Arc::new(answer);
        let router = Router::new().fallback({
            let seen = seen.clone();
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let request = Seen {
                    method,
                    target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                    headers,
                    body,
                };
                let before = {
                    let mut seen = seen.lock().unwrap();
                    let is_same = |other: &&Seen| other.target == request.target && other.method == request.method;
                    let before = seen.iter().filter(is_same).count();
                    seen.push(request.clone());
                    before
                };
                answer(&request, before)
            }
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            seen,
            _runtime: runtime,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for, in order, as `METHOD /path?query`.
    pub fn asked(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.target))
            .collect()
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Runs `fleet` with a token for this server.
    pub fn fleet(&self, arguments: &[&str]) -> Done {
        fleet(
            arguments,
            &[("FLEET_URL", &self.url()), ("FLEET_TOKEN", "fls1_test")],
            "",
        )
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `fleet` in an environment of its own.
pub fn fleet(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Done {
    use std::io::Write as _;
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    command.env_clear().env("HOME", home.path());
    for (name, value) in environment {
        command.env(name, value);
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Done {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// An answer with a JSON body.
pub fn json(status: u16, body: serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A problem document.
pub fn problem(status: u16, code: &str, detail: &str) -> Response<Body> {
    json(
        status,
        serde_json::json!({"type": format!("urn:fleet:problem:{code}"), "status": status, "code": code, "detail": detail, "errors": []}),
    )
}

/// A page of a list.
pub fn page(items: serde_json::Value, next: Option<&str>) -> Response<Body> {
    json(200, serde_json::json!({"items": items, "next": next}))
}

/// A stream of events; it ends well, or breaks in the middle.
pub fn stream(text: &str, breaks: bool) -> Response<Body> {
    let pieces = futures::stream::once(std::future::ready(Ok(Bytes::from(text.to_owned()))));
    let end = futures::stream::iter(breaks.then_some(())).then(|()| async {
        // The server sends what it has when the next piece is not there yet.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("the cable is cut"))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(pieces.chain(end)))
        .unwrap()
}
