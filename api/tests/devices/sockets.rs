use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::extract::ws::{Message, Utf8Bytes};
use fleet_api::serve_agent;
use fleet_core::{
    kernel::Clock as _,
    link::LinkedDevice,
    protocol::{AgentFrame, Assertion, Hello, PROTOCOL, PROTOCOL_MIN, ServerFrame},
};
use futures::{Sink, Stream};

use crate::support::{App, Device};

/// A socket of an agent that has said so much and is silent then. After so many messages to it, it breaks.
struct Socket {
    says: Vec<AgentFrame>,
    heard: Vec<ServerFrame>,
    breaks_after: usize,
}

impl Stream for &mut Socket {
    type Item = Result<Message, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.says.pop();
        let text = |frame: &AgentFrame| Message::Text(Utf8Bytes::from(serde_json::to_string(frame).unwrap()));
        Poll::Ready(next.as_ref().map(|frame| Ok(text(frame))))
    }
}

impl Sink<Message> for &mut Socket {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        match self.heard.len() < self.breaks_after {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(axum::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)))),
        }
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), axum::Error> {
        if let Message::Text(text) = message {
            self.heard.push(serde_json::from_str(&text).unwrap());
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }
}

async fn linked(app: &App, device: &Device) -> LinkedDevice {
    let (method, path) = ("GET", "/agent/v1/link");
    let assertion = Assertion::sign(&device.key, device.id, app.clock.now(), &*app.random, method, path, &[]);
    app.fleet
        .link()
        .authenticate(&assertion, method, path, &[])
        .await
        .unwrap()
}

/// Serves a device that says hello over a socket that breaks after so many messages; what it heard, and the sessions that are open
/// afterwards.
async fn served(breaks_after: usize) -> (Vec<ServerFrame>, usize) {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let hello = Hello {
        nonce: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL,
        agent_version: "1.0.0".into(),
        operations: Vec::new(),
        manifest: None,
    };
    let mut socket = Socket {
        says: vec![AgentFrame::Hello(hello)],
        heard: Vec::new(),
        breaks_after,
    };
    let device = linked(&app, &device).await;
    serve_agent(app.fleet.clone(), device, false, &mut socket).await;
    (socket.heard, app.fleet.sessions().len())
}

#[tokio::test]
async fn no_session_outlives_its_socket() {
    let (heard, open) = served(usize::MAX).await;
    assert!(matches!(heard.first(), Some(ServerFrame::Welcome(_))), "{heard:?}");
    assert_eq!(open, 0);
}

#[tokio::test]
async fn a_session_whose_welcome_cannot_be_written_is_closed() {
    let (heard, open) = served(0).await;
    assert_eq!((heard, open), (Vec::new(), 0));
}
