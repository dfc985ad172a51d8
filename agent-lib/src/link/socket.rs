//! Frames by WebSocket: one frame, one text message.

use std::time::Duration;

use async_trait::async_trait;
use fleet_core::protocol::{ASSERTION_HEADER, AgentFrame, MAX_FRAME, ServerFrame};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{self, Message, client::IntoClientRequest as _, http::HeaderValue, protocol::WebSocketConfig},
};

use super::{Http, LinkError, Transport, TransportKind, http::is_of_tls};

/// The path of the socket.
const PATH: &str = "/agent/v1/link";
/// How long opening may take.
const OPEN: Duration = Duration::from_secs(20);
/// How long a frame may wait to be written before the connection counts as dead.
const WRITE: Duration = Duration::from_secs(20);

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Opens a socket to the server of `http`.
    pub(super) async fn open(http: &Http) -> Result<Box<dyn Transport>, LinkError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let opened = match http.carrier() {
                Some(carrier) => carrier.socket(PATH, &http.assertion("GET", PATH, &[])).await,
                None => Self::try_open(http)
                    .await
                    .map(|socket| Box::new(socket) as Box<dyn Transport>),
            };
            match opened {
                Err(error) if error.code() == Some("assertion.stale") && tries > 0 => http.learn_time().await?,
                Err(error) if http.is_certified() && error.is_about_certificate() && tries > 0 => {
                    http.certify().await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_open(http: &Http) -> Result<Self, LinkError> {
        let address = &http.identity().address;
        let url = match address.strip_prefix("https") {
            Some(rest) => format!("wss{rest}{PATH}"),
            None => format!("ws{}{PATH}", address.strip_prefix("http").unwrap_or(address)),
        };
        let invalid = LinkError::Unreachable;
        let (tls, generation) = http.tls().map(|tls| tls.config()).unzip();
        let mut request = url.into_client_request().map_err(|error| invalid(error.to_string()))?;
        if !http.is_certified() {
            let assertion =
                HeaderValue::from_str(&http.assertion("GET", PATH, &[])).map_err(|error| invalid(error.to_string()))?;
            request.headers_mut().insert(ASSERTION_HEADER, assertion);
        }
        let refused = |error: LinkError| {
            if let (Some(tls), Some(generation)) = (http.tls(), generation)
                && error.is_about_certificate()
            {
                // Before the next try another is asked for.
                tls.doubt(generation);
            }
            Err(error)
        };
        // The library's defaults hold 128 KiB for each connection; frames are small.
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(4 * 1024)
            .max_write_buffer_size(4 * MAX_FRAME)
            .max_message_size(Some(MAX_FRAME))
            .max_frame_size(Some(MAX_FRAME));
        match tokio::time::timeout(
            OPEN,
            connect_async_tls_with_config(request, Some(config), true, tls.map(Connector::Rustls)),
        )
        .await
        {
            Err(_) => Err(invalid("no answer in time".into())),
            Ok(Ok((stream, _))) => Ok(Self { stream }),
            Ok(Err(tungstenite::Error::Http(response))) => refused(refusal(&response)),
            Ok(Err(error)) if is_of_tls(&error) => refused(LinkError::Handshake(error.to_string())),
            Ok(Err(error)) => Err(invalid(error.to_string())),
        }
    }
}

fn refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> LinkError {
    let problem: serde_json::Value = response
        .body()
        .as_deref()
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    LinkError::Refused {
        status: response.status().as_u16(),
        code: text("code").unwrap_or_else(|| "link.refused".into()),
        message: text("detail").unwrap_or_else(|| response.status().to_string()),
        retry_after_seconds: response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok()),
    }
}

fn broken(error: &tungstenite::Error) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

#[async_trait]
impl Transport for Socket {
    fn kind(&self) -> TransportKind {
        TransportKind::Socket
    }

    async fn send(&mut self, frames: Vec<AgentFrame>) -> Result<(), LinkError> {
        let write = async {
            for frame in frames {
                let text = serde_json::to_string(&frame).map_err(|error| LinkError::Untrusted(error.to_string()))?;
                self.stream
                    .feed(Message::text(text))
                    .await
                    .map_err(|error| broken(&error))?;
            }
            self.stream.flush().await.map_err(|error| broken(&error))
        };
        tokio::time::timeout(WRITE, write)
            .await
            .unwrap_or_else(|_| Err(LinkError::Unreachable("the connection takes nothing any more".into())))
    }

    async fn receive(&mut self) -> Result<Vec<ServerFrame>, LinkError> {
        loop {
            match self.stream.next().await {
                None | Some(Ok(Message::Close(_))) => {
                    return Err(LinkError::Unreachable("the server closed the connection".into()));
                }
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text)
                        .map_err(|error| LinkError::Untrusted(format!("a frame that cannot be read: {error}")))?;
                    return Ok(vec![frame]);
                }
                Some(Ok(_)) => {}
            }
        }
    }

    fn opened(&mut self, _epoch: u64) {}

    fn busy(&mut self, _busy: bool) {}

    async fn close(&mut self) {
        // The other side may be gone already.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }
}
