use std::sync::{Arc, Mutex};

use fleet_core::{
    devices::DeviceId,
    kernel::{SeededRandom, SigningKey, SystemClock, Timestamp},
    protocol::{ASSERTION_HEADER, PROOF_HEADER, Proof, agree},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{clock::ServerClock, identity::Identity};

const EPOCH: u64 = 7;

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Agrees on keys.
    Agrees,
    /// Knows nothing of keys, as servers did before.
    Old,
    /// Signs its half with a key that is not its identity.
    Impostor,
}

/// A server that notes how each request was proved: `signed`, `signed, asking`, `proved 1`, or `refused`.
struct Server {
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

struct Seen {
    manner: Manner,
    notes: Vec<String>,
    key: Option<SessionKey>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Starts it; the prover of a device that is enrolled with it.
    async fn start(manner: Manner) -> (Self, Prover) {
        let random = Arc::new(SeededRandom::new(1));
        let identity = SigningKey::generate(&*random);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let device = Identity {
            own_tls: false,
            device: DeviceId::new(Timestamp::from_seconds(1_800_000_000), &*random),
            name: "web".into(),
            address: format!("http://{}", listener.local_addr().unwrap()),
            server: identity.public(),
            key: SigningKey::generate(&*random),
        };
        let seen = Arc::new(Mutex::new(Seen {
            manner,
            notes: Vec::new(),
            key: None,
        }));
        let id = device.device;
        let serving = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, seen.clone(), identity.clone(), id));
                }
            }
        });
        let clock = Arc::new(ServerClock::new(Arc::new(SystemClock)));
        let http = Http::new(Arc::new(device), std::path::Path::new(""), clock, random).unwrap();
        (Self { seen, serving }, Prover::new(http))
    }

    fn notes(&self) -> Vec<String> {
        self.seen.lock().unwrap().notes.clone()
    }

    fn forget_key(&self) {
        self.seen.lock().unwrap().key = None;
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>, identity: SigningKey, device: DeviceId) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
            head.push(std::mem::take(&mut line));
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let Some(length) = header("content-length") else { return };
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        let (status, text) = answer(
            &mut seen.lock().unwrap(),
            header(PROOF_HEADER),
            header(ASSERTION_HEADER).is_some(),
            &body,
            &identity,
            device,
        );
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn answer(
    seen: &mut Seen,
    proof: Option<String>,
    signed: bool,
    body: &[u8],
    identity: &SigningKey,
    device: DeviceId,
) -> (u16, String) {
    let mut answer = ExchangeAnswer {
        frames: vec![ServerFrame::Unknown],
        key: None,
    };
    if let Some(proof) = proof {
        let proof = Proof::parse(&proof).unwrap();
        let holds = |key: &SessionKey| key.verifies(&proof, "POST", PATH, body);
        if !seen.key.as_ref().is_some_and(holds) {
            seen.notes.push("refused".into());
            return (401, r#"{"code":"proof.invalid"}"#.into());
        }
        seen.notes.push(format!("proved {}", proof.counter));
    } else {
        assert!(signed);
        let exchange: Exchange = serde_json::from_slice(body).unwrap();
        seen.notes.push(match exchange.key {
            Some(_) => "signed, asking".into(),
            None => "signed".into(),
        });
        let request = exchange.key.filter(|_| seen.manner != Manner::Old);
        if let (Some(request), Some(epoch)) = (request, exchange.epoch) {
            let random = SeededRandom::new(100 + seen.notes.len() as u64);
            let other = SigningKey::generate(&random);
            let signer = if seen.manner == Manner::Impostor {
                &other
            } else {
                identity
            };
            let (key, half) = agree(&request, device, epoch, signer, &random).unwrap();
            (seen.key, answer.key) = (Some(key), Some(half));
        }
    }
    (200, serde_json::to_string(&answer).unwrap())
}

async fn send(prover: &mut Prover, epoch: Option<u64>) -> Result<Vec<ServerFrame>, LinkError> {
    let exchange = Exchange {
        epoch,
        frames: Vec::new(),
        wait_seconds: 0,
        key: None,
    };
    prover.exchange(exchange, Duration::from_secs(30)).await
}

async fn send_all(prover: &mut Prover, epochs: &[Option<u64>]) {
    for epoch in epochs {
        assert_eq!(send(prover, *epoch).await, Ok(vec![ServerFrame::Unknown]));
    }
}

#[tokio::test]
async fn one_signature_of_a_session_is_enough() {
    let (server, mut prover) = Server::start(Manner::Agrees).await;
    send_all(&mut prover, &[None, Some(EPOCH), Some(EPOCH), Some(EPOCH)]).await;
    assert_eq!(server.notes(), ["signed", "signed, asking", "proved 1", "proved 2"]);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_gets_a_signature_at_once() {
    let (server, mut prover) = Server::start(Manner::Agrees).await;
    send_all(&mut prover, &[Some(EPOCH), Some(EPOCH)]).await;
    server.forget_key();
    send_all(&mut prover, &[Some(EPOCH), Some(EPOCH)]).await;
    let notes = ["signed, asking", "proved 1", "refused", "signed, asking", "proved 1"];
    assert_eq!(server.notes(), notes);
}

#[tokio::test]
async fn a_server_without_session_keys_gets_signatures() {
    let (server, mut prover) = Server::start(Manner::Old).await;
    send_all(&mut prover, &[None, Some(EPOCH), Some(EPOCH)]).await;
    assert_eq!(server.notes(), ["signed", "signed, asking", "signed, asking"]);
}

#[tokio::test]
async fn a_key_is_of_one_session_and_is_renewed_in_time() {
    let (server, mut prover) = Server::start(Manner::Agrees).await;
    send_all(&mut prover, &[Some(EPOCH), Some(EPOCH), Some(EPOCH + 1)]).await;
    if let Some(held) = &mut prover.key {
        held.renew_at = Instant::now();
    }
    send_all(&mut prover, &[Some(EPOCH + 1), Some(EPOCH + 1)]).await;
    let notes = [
        "signed, asking",
        "proved 1",
        "signed, asking",
        "signed, asking",
        "proved 1",
    ];
    assert_eq!(server.notes(), notes);
}

#[tokio::test]
async fn a_key_that_is_not_signed_by_the_pinned_server_ends_the_session() {
    let (_server, mut prover) = Server::start(Manner::Impostor).await;
    let outcome = send(&mut prover, Some(EPOCH)).await;
    assert!(matches!(outcome, Err(LinkError::Untrusted(_))), "{outcome:?}");
}
