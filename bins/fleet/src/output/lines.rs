//! The output of several devices, line by line, each with its device's name before it.

use std::collections::BTreeMap;

/// The longest line that is held back until its end comes, in bytes.
const MAX_HELD: usize = 64 * 1024;

/// Makes whole lines out of pieces of output.
#[derive(Debug)]
pub struct Prefixer {
    prefix: String,
    terminal: bool,
    held: BTreeMap<String, String>,
}

impl Prefixer {
    /// For a device whose name, padded to `width`, stands before each line; without a name, text is passed on as it comes.
    pub fn new(name: Option<(&str, usize)>, terminal: bool) -> Self {
        Self {
            prefix: name
                .map(|(name, width)| format!("{:width$} | ", super::plain(name)))
                .unwrap_or_default(),
            terminal,
            held: BTreeMap::new(),
        }
    }

    /// Takes a piece of a stream and gives what can be written.
    pub fn push(&mut self, stream: &str, text: &str) -> String {
        let text = if self.terminal { tame(text) } else { text.to_owned() };
        if self.prefix.is_empty() {
            return text;
        }
        let held = self.held.entry(stream.to_owned()).or_default();
        held.push_str(&text);
        let mut written = String::new();
        while let Some(end) = held.find('\n') {
            let line: String = held.drain(..=end).collect();
            written.push_str(&self.prefix);
            written.push_str(&line);
        }
        if held.len() > MAX_HELD {
            written.push_str(&self.prefix);
            written.push_str(held);
            written.push('\n');
            held.clear();
        }
        written
    }

    /// What is left without an end of line.
    pub fn end(&mut self, stream: &str) -> String {
        match self.held.remove(stream) {
            Some(held) if !held.is_empty() => format!("{}{held}\n", self.prefix),
            _ => String::new(),
        }
    }
}

/// Output that cannot steer the terminal that it is shown on: colours stay, everything else that a device could send to move the
/// cursor, rename the window or answer in our name becomes visible.
fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control()) {
        tamed.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = color_sequence(rest) {
            tamed.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let mut characters = rest.chars();
        match characters.next() {
            Some(kept @ ('\n' | '\t')) => tamed.push(kept),
            // Progress bars: the last state is as good as the others.
            Some('\r') => {}
            Some(other) => tamed.push_str(&super::plain(&other.to_string())),
            None => {}
        }
        rest = characters.as_str();
    }
    tamed.push_str(rest);
    tamed
}

/// The length of a sequence that sets colours (ECMA-48 SGR), if the text begins with one.
fn color_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    (parameters.as_bytes()[end] == b'm').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[(&str, &str)], expected: &str) {
        let mut prefixer = Prefixer::new(Some(("db", 5)), false);
        let mut written = String::new();
        for (stream, text) in pieces {
            written.push_str(&prefixer.push(stream, text));
        }
        written.push_str(&prefixer.end("stdout"));
        written.push_str(&prefixer.end("stderr"));
        assert_eq!(written, expected);
    }

    #[test]
    fn every_line_has_the_name_of_its_device() {
        check(&[("stdout", "a\nb\n")], "db    | a\ndb    | b\n");
        check(&[("stdout", "a"), ("stdout", "b\nc")], "db    | ab\ndb    | c\n");
        check(
            &[("stdout", "out"), ("stderr", "err\n"), ("stdout", "put\n")],
            "db    | err\ndb    | output\n",
        );
        check(&[("stdout", "\n")], "db    | \n");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut prefixer = Prefixer::new(Some(("db", 2)), false);
        let written = prefixer.push("stdout", &"a".repeat(MAX_HELD + 1));
        assert_eq!(written.len(), MAX_HELD + 1 + "db | \n".len());
        assert_eq!(prefixer.end("stdout"), "");
    }

    #[test]
    fn one_device_is_passed_on_as_it_comes() {
        let mut prefixer = Prefixer::new(None, false);
        assert_eq!(prefixer.push("stdout", "a\u{1b}[2J"), "a\u{1b}[2J");
    }

    #[test]
    fn a_terminal_is_not_steered_by_devices() {
        for (text, expected) in [
            ("\u{1b}[1;31mred\u{1b}[0m\n", "\u{1b}[1;31mred\u{1b}[0m\n"),
            ("\u{1b}[2Jgone", "␛[2Jgone"),
            ("\u{1b}]0;title\u{7}", "␛]0;title␇"),
            ("50%\r100%\n", "50%100%\n"),
            ("tab\there", "tab\there"),
            ("\u{1b}[", "␛["),
            ("\u{9b}31m", "�31m"),
            ("übung", "übung"),
        ] {
            assert_eq!(tame(text), expected);
        }
    }
}
