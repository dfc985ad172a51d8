//! Requests and frames over a connection that keeps no memory while it is idle.

use std::{cell::RefCell, future::poll_fn, pin::Pin, task::ready, time::Duration};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::{stream::Stream, trouble::Trouble};
use crate::generator::wire;

/// More than any answer that is expected here.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

thread_local! {
    /// What is read goes here first, so that a connection which waits has no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 * 1024]);
}

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// A message of a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Text(Vec<u8>),
    /// The server closes.
    Close,
    /// Anything else.
    Other,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// How long a slow network takes before everything that is sent.
    delay: Option<Duration>,
}

impl Connection {
    pub fn new(stream: Stream, delay: Option<Duration>) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            delay,
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next answer to a request.
    pub async fn answer(&mut self) -> Result<Answer, Trouble> {
        self.next(answer).await
    }

    /// The next message. Dropping this future loses nothing.
    pub async fn message(&mut self) -> Result<Message, Trouble> {
        self.next(message).await
    }

    async fn next<T>(&mut self, read: fn(&[u8]) -> Found<T>) -> Result<T, Trouble> {
        loop {
            if let Some((found, taken)) = read(&self.buffer)? {
                self.buffer.drain(..taken);
                if self.buffer.is_empty() {
                    self.buffer = Vec::new();
                }
                return Ok(found);
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(Trouble::Untrusted("an answer without end"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Trouble> {
        let Self { stream, buffer, .. } = self;
        let read = poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut scratch = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch))?;
                buffer.extend_from_slice(scratch.filled());
                std::task::Poll::Ready(Ok::<_, std::io::Error>(scratch.filled().len()))
            })
        })
        .await?;
        match read {
            0 => Err(Trouble::Broken("the server closed the connection".into())),
            _ => Ok(()),
        }
    }
}

/// What was found and how many bytes it takes, once it is all there.
type Found<T> = Result<Option<(T, usize)>, Trouble>;

fn answer(bytes: &[u8]) -> Found<Answer> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let malformed = Trouble::Untrusted("an answer that is no HTTP");
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed.clone())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|code| code.parse().ok()).ok_or(malformed.clone())?;
    let (mut length, mut retry_after) = (0, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().map_err(|_| malformed.clone())?;
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.trim().parse().ok().map(Duration::from_secs);
        }
    }
    let body = end + 4..(end + 4).checked_add(length).ok_or(malformed)?;
    Ok(bytes.get(body.clone()).map(|content| {
        let answer = Answer {
            status,
            retry_after,
            body: content.to_vec(),
        };
        (answer, body.end)
    }))
}

/// Servers do not mask, and ours neither splits messages nor sends long ones.
fn message(bytes: &[u8]) -> Found<Message> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let (begin, length) = match second {
        126 => match bytes.get(2..4) {
            Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        length if length < 126 => (2, usize::from(length)),
        _ => return Err(Trouble::Untrusted("a frame that is too long, or masked")),
    };
    let Some(content) = bytes.get(begin..begin + length) else {
        return Ok(None);
    };
    let message = match first {
        0x81 => Message::Text(content.to_vec()),
        0x88 => Message::Close,
        0x89 | 0x8a => Message::Other,
        _ => return Err(Trouble::Untrusted("a frame of another kind")),
    };
    Ok(Some((message, begin + length)))
}

/// A POST with these headers.
pub fn post(path: &str, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: fleet\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// The request that opens a WebSocket; with an assertion where the connection itself proves nothing.
pub fn upgrade(path: &str, assertion: Option<(&str, &str)>) -> Vec<u8> {
    let (name, value) = assertion.unwrap_or(("accept", "*/*"));
    wire::upgrade(path, name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_all_there() {
        let whole = b"HTTP/1.1 429 Slow\r\nRetry-After: 8\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1";
        let end = whole.len() - 8;
        for cut in 0..end {
            assert_eq!(answer(&whole[..cut]).unwrap(), None, "{cut}");
        }
        let expected = Answer {
            status: 429,
            retry_after: Some(Duration::from_secs(8)),
            body: b"{}".to_vec(),
        };
        assert_eq!(answer(whole).unwrap(), Some((expected, end)));
        assert!(answer(b"nonsense\r\n\r\n").is_err());
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", usize::MAX);
        assert!(answer(endless.as_bytes()).is_err());
    }

    #[test]
    fn a_message_is_read_when_it_is_all_there() {
        for length in [0, 5, 125, 126, 300, 65_535] {
            let payload = vec![b'x'; length];
            let masked = wire::frame(&payload).unwrap();
            // Without the mask it is what a server would send.
            let begin = if length < 126 { 2 } else { 4 };
            let mut bytes = masked[..begin].to_vec();
            bytes[1] &= 0x7f;
            bytes.extend_from_slice(&masked[begin + 4..]);
            assert_eq!(message(&bytes[..bytes.len() - 1]).unwrap(), None, "{length}");
            let all = begin + length;
            assert_eq!(message(&bytes).unwrap(), Some((Message::Text(payload), all)));
        }
        assert_eq!(message(&[0x88, 0, 7]).unwrap(), Some((Message::Close, 2)));
        assert_eq!(message(&[0x89, 0]).unwrap(), Some((Message::Other, 2)));
        assert!(message(&[0x81, 127]).is_err());
        assert!(message(&[0x82, 0]).is_err());
    }
}
