//! A web server on the loopback interface, with a few files.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What is answered to the question for a path.
#[derive(Clone)]
pub(super) enum Reply {
    /// This, with its length.
    File(Vec<u8>),
    /// This, without saying how long it is.
    Unmeasured(Vec<u8>),
    /// This, and a length that it does not have.
    Claims(u64, Vec<u8>),
    /// Another path of this server.
    Elsewhere(&'static str),
    /// Nothing, ever.
    Silence,
}

/// The server; it ends with this value.
pub(super) struct Web {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Web {
    pub(super) async fn with(files: impl IntoIterator<Item = (&'static str, Reply)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let log = asked.clone();
        serving.spawn(async move {
            let mut answering = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                answering.spawn(answer(stream, files.clone(), log.clone()));
            }
        });
        Self {
            address,
            asked,
            _serving: serving,
        }
    }

    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// How many questions there were.
    pub(super) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn answer(mut stream: TcpStream, files: BTreeMap<&'static str, Reply>, asked: Arc<Mutex<Vec<String>>>) {
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        question.push(byte);
    }
    let question = String::from_utf8(question).unwrap();
    let path = question
        .split(' ')
        .nth(1)
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    asked.lock().unwrap().push(path.clone());
    let (head, body) = match files.get(path.as_str()) {
        Some(Reply::File(body)) => (format!("200 OK\r\ncontent-length: {}", body.len()), body.clone()),
        Some(Reply::Unmeasured(body)) => ("200 OK".to_owned(), body.clone()),
        Some(Reply::Claims(length, body)) => (format!("200 OK\r\ncontent-length: {length}"), body.clone()),
        Some(Reply::Elsewhere(path)) => (
            format!("302 Found\r\ncontent-length: 0\r\nlocation: {path}"),
            Vec::new(),
        ),
        Some(Reply::Silence) => std::future::pending().await,
        None => ("404 Not Found\r\ncontent-length: 0".to_owned(), Vec::new()),
    };
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
    // Whoever asked may have heard enough.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
