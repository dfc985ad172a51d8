//! The parser of server-sent events (WHATWG HTML, "Interpreting an event stream").

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind; `message` where the server gives none.
    pub kind: String,
    /// Its text.
    pub data: String,
    /// The last id that the server gave, from where the stream can be continued.
    pub id: Option<String>,
}

/// The longest event, in bytes.
const MAX_EVENT: usize = 1 << 20;

/// The stream has an event that is longer than any of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Takes bytes as they come and gives whole events. What a broken connection leaves unfinished is dropped, as the standard says.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_return: bool,
    begun: bool,
}

impl Parser {
    /// Takes some bytes and adds the events that they complete.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        for &byte in bytes {
            // A line ends with LF, CR or both.
            let is_second_half = byte == b'\n' && std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.line(&line, events);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                }
            }
            if self.line.len() + self.event.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let text = String::from_utf8_lossy(line);
        let mut text = &*text;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            let id = self.event.id.clone();
            let mut event = std::mem::replace(&mut self.event, Event { id, ..Event::default() });
            if std::mem::take(&mut self.has_data) {
                if event.kind.is_empty() {
                    event.kind = "message".into();
                }
                events.push(event);
            }
            return;
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.kind = value.into(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.into()),
            // A comment (an empty field), a `retry`, or something newer than we are.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&str]) -> Vec<(String, String, Option<String>)> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece.as_bytes(), &mut events).unwrap();
        }
        events
            .into_iter()
            .map(|event| (event.kind, event.data, event.id))
            .collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, Option<&str>)]) {
        let owned: Vec<_> = expected
            .iter()
            .map(|(kind, data, id)| (kind.to_string(), data.to_string(), id.map(str::to_owned)))
            .collect();
        assert_eq!(parse(&[text]), owned, "{text:?}");
        // However the bytes are cut, the events are the same.
        for cut in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(parse(&[&text[..cut], &text[cut..]]), owned, "{text:?} cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_kind_text_and_id() {
        check(
            "event: chunk\nid: 7\ndata: {\"a\":1}\n\n",
            &[("chunk", "{\"a\":1}", Some("7"))],
        );
        check("data\n\n", &[("message", "", None)]);
        check("data: a\ndata:b\ndata:  c\n\n", &[("message", "a\nb\n c", None)]);
        check(
            "id: 1\ndata: a\n\ndata: b\n\n",
            &[("message", "a", Some("1")), ("message", "b", Some("1"))],
        );
    }

    #[test]
    fn lines_end_in_three_ways() {
        check(
            "data: a\r\n\r\ndata: b\r\rdata: c\n\n",
            &[("message", "a", None), ("message", "b", None), ("message", "c", None)],
        );
    }

    #[test]
    fn comments_unknown_fields_and_events_without_text_are_passed_over() {
        check(
            ": keep-alive\n\nretry: 3\nnew: x\n\nevent: empty\n\ndata: a\n\n",
            &[("message", "a", None)],
        );
        check("\u{feff}data: ü\n\n", &[("message", "ü", None)]);
    }

    #[test]
    fn what_a_broken_connection_leaves_unfinished_is_dropped() {
        check("data: whole\n\ndata: hal", &[("message", "whole", None)]);
        check("data: whole\n\ndata: half\n", &[("message", "whole", None)]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        let line = vec![b'a'; MAX_EVENT + 1];
        assert_eq!(parser.push(&line, &mut events), Err(TooLong));
        let mut parser = Parser::default();
        let lines = "data: aaaaaaaaaaaaaaa\n".repeat(MAX_EVENT / 10);
        assert_eq!(parser.push(lines.as_bytes(), &mut events), Err(TooLong));
    }
}
