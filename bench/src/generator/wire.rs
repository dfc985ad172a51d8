//! As much of HTTP/1.1 (RFC 9112) and of WebSocket (RFC 6455) as the generator needs: it must cost little beside the server.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// More than any answer that is expected here.
const MAX_ANSWER: usize = 256 * 1024;

/// What a message is and where its content stands, once it is all there.
type Found<T> = Result<Option<(T, Range<usize>)>>;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer belongs to the last answer.
    taken: usize,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(2_048),
            taken: 0,
        })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next answer to a request: status and body.
    pub async fn answer(&mut self) -> Result<(u16, &[u8])> {
        let (status, body) = self.next(answer).await?;
        Ok((status, &self.buffer[body]))
    }

    /// The next text.
    pub async fn text(&mut self) -> Result<&[u8]> {
        let ((), text) = self.next(text).await?;
        Ok(&self.buffer[text])
    }

    async fn next<T>(&mut self, read: fn(&[u8]) -> Found<T>) -> Result<(T, Range<usize>)> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        loop {
            if let Some((kind, range)) = read(&self.buffer)? {
                self.taken = range.end;
                return Ok((kind, range));
            }
            if self.buffer.len() > MAX_ANSWER {
                bail!("an answer without end");
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// Status and place of the body, once it is all there. The answers that are asked for have a length.
fn answer(bytes: &[u8]) -> Found<u16> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer that is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status
        .and_then(|code| code.parse().ok())
        .context("an answer without status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, length)| length.trim().parse::<usize>())?;
    let body = end + 4..end + 4 + length;
    Ok((bytes.len() >= body.end).then_some((status, body)))
}

/// Place of a text frame's payload, once it is all there. Servers do not mask.
fn text(bytes: &[u8]) -> Found<()> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let (begin, length) = match second {
        126 if bytes.len() >= 4 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        126 => return Ok(None),
        length if length < 126 => (2, usize::from(length)),
        _ => bail!("a frame that is too long, or masked"),
    };
    if first != 0x81 {
        bail!("a frame of kind {first:#x} instead of a text");
    }
    Ok((bytes.len() >= begin + length).then_some(((), begin..begin + length)))
}

/// A POST; `assertion` goes into the header of that name.
pub fn post(path: &str, header: &str, assertion: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}: {assertion}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The request that opens a WebSocket.
pub fn upgrade(path: &str, header: &str, assertion: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}: {assertion}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .into_bytes()
}

/// A text frame of a client. It has to be masked; a mask of zeroes is one.
pub fn frame(text: &[u8]) -> Result<Vec<u8>> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length)?),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length)?.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_all_there() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ndate: x\r\n\r\n{}HTTP/1.1";
        let end = whole.len() - 8;
        for cut in 0..end {
            assert_eq!(answer(&whole[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(answer(whole).unwrap(), Some((200, end - 2..end)));
        assert_eq!(answer(b"HTTP/1.1 101 Switching\r\n\r\n").unwrap(), Some((101, 26..26)));
        assert!(answer(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_text_is_read_when_it_is_all_there() {
        for length in [0, 5, 125, 126, 300, 65_535] {
            let payload = vec![b'x'; length];
            let masked = frame(&payload).unwrap();
            // Without the mask it is what a server would send.
            let begin = if length < 126 { 2 } else { 4 };
            let mut bytes = masked[..begin].to_vec();
            bytes[1] &= 0x7f;
            bytes.extend_from_slice(&masked[begin + 4..]);
            assert_eq!(text(&bytes[..bytes.len() - 1]).unwrap(), None, "{length}");
            assert_eq!(text(&bytes).unwrap(), Some(((), begin..begin + length)));
        }
        assert!(text(&[0x88, 0]).is_err());
        assert!(text(&[0x81, 127]).is_err());
    }
}
