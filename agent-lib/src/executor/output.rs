//! From bytes to chunks: characters stay whole, small writes are put together, and there is an end to it. Pure.

use std::{collections::VecDeque, time::Duration};

use fleet_core::protocol::{MAX_CHUNK, OutputChunk, OutputStream};
use tokio::time::Instant;

/// The most chunks of a run; the rest counts as beyond the limit. Just below what the server stores.
const MAX_CHUNKS: u32 = 65_000;
/// How often output may change between the streams within one flush before order among them yields to size.
const SWITCHES: u32 = 32;

/// How long output may wait for more to join it: the more chunks a run has made, the longer, so that a week of a line a
/// second still fits into [`MAX_CHUNKS`].
fn patience(chunks: u32) -> Duration {
    match chunks {
        0..2_000 => Duration::from_millis(250),
        2_000..20_000 => Duration::from_secs(2),
        _ => Duration::from_secs(10),
    }
}

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    Out,
    Err,
}

impl Pipe {
    fn stream(self) -> OutputStream {
        match self {
            Self::Out => OutputStream::Stdout,
            Self::Err => OutputStream::Stderr,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Out => Self::Err,
            Self::Err => Self::Out,
        }
    }
}

#[derive(Debug, Default)]
struct Buffer {
    /// The beginning of a character whose end has not come yet; at most 3 bytes.
    tail: Vec<u8>,
    text: String,
}

/// The output of one run on its way to chunks.
#[derive(Debug)]
pub(super) struct Output {
    out: Buffer,
    err: Buffer,
    ready: VecDeque<OutputChunk>,
    next: u32,
    limit: u64,
    kept: u64,
    truncated: u64,
    over: bool,
    switches: u32,
    flush_at: Option<Instant>,
}

impl Output {
    /// Chunks are numbered from `first`; at most `limit` bytes of text are kept.
    pub fn new(first: u32, limit: u64) -> Self {
        Self {
            out: Buffer::default(),
            err: Buffer::default(),
            ready: VecDeque::new(),
            next: first,
            limit,
            kept: 0,
            truncated: 0,
            over: false,
            switches: 0,
            flush_at: None,
        }
    }

    /// Bytes that were not kept.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// The number of the next chunk.
    pub fn next_sequence(&self) -> u32 {
        self.next
    }

    /// When what has been put together must go.
    pub fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn pop(&mut self) -> Option<OutputChunk> {
        self.ready.pop_front()
    }

    /// Takes in bytes as they were read.
    pub fn push(&mut self, pipe: Pipe, bytes: &[u8], now: Instant) {
        if self.over {
            self.truncated += bytes.len() as u64;
            return;
        }
        if !self.buffer(pipe.other()).text.is_empty() && self.switches < SWITCHES {
            // What came first goes first.
            self.switches += 1;
            self.cut(pipe.other());
        }
        let mut joined = std::mem::take(&mut self.buffer(pipe).tail);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        while !rest.is_empty() {
            let (valid, bad) = match std::str::from_utf8(rest) {
                Ok(text) => (text, 0),
                Err(error) => {
                    let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                    let valid = std::str::from_utf8(valid).unwrap_or_default();
                    let Some(bad) = error.error_len() else {
                        // The end of the last character is still to come.
                        self.add(pipe, valid, valid.len());
                        self.buffer(pipe).tail = rest.get(valid.len()..).unwrap_or_default().to_vec();
                        break;
                    };
                    (valid, bad)
                }
            };
            self.add(pipe, valid, valid.len());
            if bad > 0 {
                self.add(pipe, "\u{fffd}", bad);
            }
            rest = rest.get(valid.len() + bad..).unwrap_or_default();
        }
        if self.over {
            self.close_over();
        } else if self.flush_at.is_none() && !self.buffer(pipe).text.is_empty() {
            self.flush_at = Some(now + patience(self.next));
        }
    }

    /// The pipe has come to its end.
    pub fn end(&mut self, pipe: Pipe) {
        let tail = std::mem::take(&mut self.buffer(pipe).tail);
        if !tail.is_empty() && !self.over {
            self.add(pipe, "\u{fffd}", tail.len());
            if self.over {
                self.close_over();
            }
        }
        self.cut(pipe);
    }

    /// Makes chunks of all that has been put together.
    pub fn flush(&mut self) {
        self.cut(Pipe::Out);
        self.cut(Pipe::Err);
        self.switches = 0;
        self.flush_at = None;
    }

    fn buffer(&mut self, pipe: Pipe) -> &mut Buffer {
        match pipe {
            Pipe::Out => &mut self.out,
            Pipe::Err => &mut self.err,
        }
    }

    /// Adds text that stands for `raw` bytes, as far as the limit allows.
    fn add(&mut self, pipe: Pipe, text: &str, raw: usize) {
        // No engine stores U+0000.
        let mut pieces = text.split('\0').peekable();
        if pieces.peek().is_some_and(|piece| piece.len() == text.len()) {
            self.add_plain(pipe, text, raw);
            return;
        }
        while let Some(piece) = pieces.next() {
            self.add_plain(pipe, piece, piece.len());
            if pieces.peek().is_some() {
                self.add_plain(pipe, "\u{fffd}", 1);
            }
        }
    }

    fn add_plain(&mut self, pipe: Pipe, text: &str, raw: usize) {
        // One read makes few chunks: looking here keeps the number well below what the server stores.
        self.over |= self.next >= MAX_CHUNKS && raw > 0;
        if self.over {
            self.truncated += raw as u64;
            return;
        }
        let room = usize::try_from(self.limit.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let fits = text.floor_char_boundary(room.min(text.len()));
        let mut rest = text.get(..fits).unwrap_or_default();
        self.kept += fits as u64;
        if fits < text.len() {
            self.over = true;
            // A replaced character goes whole; of other text every byte stands for itself.
            self.truncated += if fits == 0 { raw } else { raw - fits } as u64;
        }
        while !rest.is_empty() {
            let free = MAX_CHUNK - self.buffer(pipe).text.len();
            let take = rest.floor_char_boundary(free.min(rest.len()));
            if take == 0 {
                self.cut(pipe);
                continue;
            }
            let (now, later) = rest.split_at(take);
            self.buffer(pipe).text.push_str(now);
            rest = later;
        }
    }

    /// Makes a chunk of what one stream has put together.
    fn cut(&mut self, pipe: Pipe) {
        let text = std::mem::take(&mut self.buffer(pipe).text);
        if !text.is_empty() {
            self.put(pipe.stream(), text);
        }
    }

    fn put(&mut self, stream: OutputStream, text: String) {
        self.ready.push_back(OutputChunk {
            sequence: self.next,
            stream,
            text,
        });
        self.next += 1;
    }

    /// Sends what was kept and says that the rest is not.
    fn close_over(&mut self) {
        for pipe in [Pipe::Out, Pipe::Err] {
            self.truncated += std::mem::take(&mut self.buffer(pipe).tail).len() as u64;
        }
        self.flush();
        let text = format!("output beyond {} bytes is not kept\n", self.kept);
        self.put(OutputStream::Agent, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out for `(pipe, bytes)` as read, `None` being a flush; with the bytes not kept.
    #[track_caller]
    fn check(limit: u64, input: &[Option<(Pipe, &[u8])>], expected: &[(OutputStream, &str)], truncated: u64) {
        let mut output = Output::new(5, limit);
        let now = Instant::now();
        for step in input {
            match step {
                Some((pipe, bytes)) => output.push(*pipe, bytes, now),
                None => output.flush(),
            }
        }
        output.end(Pipe::Out);
        output.end(Pipe::Err);
        let mut got = Vec::new();
        let mut sequence = 5;
        while let Some(chunk) = output.pop() {
            assert_eq!(chunk.sequence, sequence);
            sequence += 1;
            got.push((chunk.stream, chunk.text));
        }
        let got: Vec<_> = got.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
        assert_eq!(got, expected);
        assert_eq!(output.truncated(), truncated);
        assert_eq!(output.next_sequence(), sequence);
    }

    use OutputStream::{Agent, Stderr, Stdout};
    use Pipe::{Err, Out};

    #[test]
    fn small_writes_are_put_together_until_the_flush() {
        check(100, &[Some((Out, b"a")), Some((Out, b"b"))], &[(Stdout, "ab")], 0);
        check(
            100,
            &[Some((Out, b"a")), None, None, Some((Out, b"b"))],
            &[(Stdout, "a"), (Stdout, "b")],
            0,
        );
        check(100, &[None], &[], 0);
    }

    #[test]
    fn what_was_written_first_goes_first_whatever_the_stream() {
        check(
            100,
            &[Some((Out, b"1")), Some((Err, b"2")), Some((Out, b"3"))],
            &[(Stdout, "1"), (Stderr, "2"), (Stdout, "3")],
            0,
        );
    }

    #[test]
    fn streams_that_alternate_all_the_time_do_not_make_a_chunk_each() {
        let mut output = Output::new(0, 1 << 20);
        let now = Instant::now();
        for _ in 0..1_000 {
            output.push(Out, b"o", now);
            output.push(Err, b"e", now);
        }
        output.flush();
        assert_eq!(output.next_sequence(), SWITCHES + 2);
    }

    #[test]
    fn a_character_cut_by_a_read_stays_whole() {
        let euro = "€".as_bytes();
        check(
            100,
            &[Some((Out, &euro[..1])), Some((Out, &euro[1..]))],
            &[(Stdout, "€")],
            0,
        );
        check(
            100,
            &[Some((Out, b"x\xe2")), Some((Err, b"!")), None, Some((Out, b"\x82\xac"))],
            &[(Stdout, "x"), (Stderr, "!"), (Stdout, "€")],
            0,
        );
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        check(100, &[Some((Out, b"a\xff\xfeb"))], &[(Stdout, "a\u{fffd}\u{fffd}b")], 0);
        check(100, &[Some((Out, b"\xe2\x82"))], &[(Stdout, "\u{fffd}")], 0);
        check(100, &[Some((Out, b"a\0b\0"))], &[(Stdout, "a\u{fffd}b\u{fffd}")], 0);
        check(
            100,
            &[Some((Out, b"\xe2")), Some((Out, b"("))],
            &[(Stdout, "\u{fffd}(")],
            0,
        );
    }

    #[test]
    fn beyond_the_limit_one_marker_stands_for_the_rest_which_is_counted() {
        let marker = "output beyond 4 bytes is not kept\n";
        check(4, &[Some((Out, b"abcd"))], &[(Stdout, "abcd")], 0);
        check(4, &[Some((Out, b"abcdef"))], &[(Stdout, "abcd"), (Agent, marker)], 2);
        check(
            4,
            &[Some((Out, b"abcdef")), Some((Err, b"gh")), None, Some((Out, b"i"))],
            &[(Stdout, "abcd"), (Agent, marker)],
            5,
        );
        check(
            4,
            &[Some((Err, b"ab")), Some((Out, b"cdef"))],
            &[(Stderr, "ab"), (Stdout, "cd"), (Agent, marker)],
            2,
        );
    }

    #[test]
    fn the_limit_never_cuts_a_character() {
        let marker = "output beyond 2 bytes is not kept\n";
        check(
            4,
            &[Some((Out, "ab€c".as_bytes()))],
            &[(Stdout, "ab"), (Agent, marker)],
            4,
        );
        check(4, &[Some((Out, b"ab\xffcd"))], &[(Stdout, "ab"), (Agent, marker)], 3);
        check(4, &[Some((Out, b"ab\0cd"))], &[(Stdout, "ab"), (Agent, marker)], 3);
        check(
            2,
            &[Some((Out, b"ab\xe2")), Some((Out, b"\x82\xac"))],
            &[(Stdout, "ab"), (Agent, marker)],
            3,
        );
        check(
            0,
            &[Some((Out, b"x"))],
            &[(Agent, "output beyond 0 bytes is not kept\n")],
            1,
        );
    }

    #[test]
    fn no_chunk_is_larger_than_the_protocol_allows() {
        let text = "x€".repeat(20_000);
        let mut output = Output::new(0, 1 << 20);
        for piece in text.as_bytes().chunks(1_003) {
            output.push(Out, piece, Instant::now());
        }
        output.end(Out);
        let mut joined = String::new();
        let mut chunks = 0;
        while let Some(chunk) = output.pop() {
            assert!(chunk.text.len() <= MAX_CHUNK);
            joined.push_str(&chunk.text);
            chunks += 1;
        }
        assert!(joined == text);
        assert_eq!(chunks, text.len() / (MAX_CHUNK - 3) + 1);
    }

    #[test]
    fn the_number_of_chunks_is_bounded() {
        let mut output = Output::new(0, u64::MAX);
        let now = Instant::now();
        let mut sent = 0;
        while output.truncated() == 0 {
            output.push(Out, &[b'x'; 5_000], now);
            output.flush();
            sent += 5_000;
            while let Some(chunk) = output.pop() {
                assert!(chunk.sequence < 65_536);
            }
        }
        assert!(output.kept + output.truncated() == sent);
        assert!(output.next_sequence() <= MAX_CHUNKS + 2, "{}", output.next_sequence());
    }

    #[test]
    fn a_long_run_waits_longer_before_it_makes_a_chunk() {
        // 1 line a second for three days.
        let mut output = Output::new(0, u64::MAX);
        let mut now = Instant::now();
        for _ in 0..3 * 86_400 {
            now += Duration::from_secs(1);
            if output.flush_at().is_some_and(|at| at <= now) {
                output.flush();
            }
            output.push(Out, b"tick\n", now);
            output.pop();
        }
        assert_eq!(output.truncated(), 0);
        assert!(output.next_sequence() < 50_000, "{}", output.next_sequence());
    }
}
