//! What people and programs see.
//!
//! Lists are tables with declared columns, or JSON, or YAML; the latter two hold everything that the server said.

mod cell;
mod lines;
mod table;
mod yaml;

use std::io::{self, IsTerminal as _, Write};

use fleet_core::kernel::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

pub use cell::plain;
pub use lines::Prefixer;
pub use table::{Column, Show};

use crate::client::{Failure, Result};
use table::Table;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    // Plain comments: the help names them on one line.
    // For people.
    Table,
    // For programs.
    Json,
    // For both.
    Yaml,
}

/// Where results go.
pub struct Output {
    format: Format,
    /// Characters in a line; none where it is no terminal.
    width: Option<u16>,
    color: bool,
    now: Timestamp,
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({:?}, {:?})", self.format, self.width)
    }
}

impl Output {
    /// Standard output.
    pub fn standard(format: Format) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let width = rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| size.ws_col)
            .filter(|width| *width > 0);
        Self {
            format,
            width: is_terminal.then(|| width.unwrap_or(80)),
            // https://no-color.org: present and not empty.
            color: is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            now: SystemClock.now(),
            out: Box::new(io::stdout()),
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether somebody looks at a terminal.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Begins a list.
    pub fn list(&mut self, columns: &'static [Column]) -> List<'_> {
        let table = Table::new(columns, self.width, self.color, self.now);
        List {
            output: self,
            table,
            written: 0,
        }
    }

    /// Writes one thing with all that is known of it.
    pub fn thing(&mut self, value: &Value) -> Result<()> {
        let text = match self.format {
            Format::Table => table::details(value),
            Format::Json => pretty(value)? + "\n",
            Format::Yaml => yaml::document(value),
        };
        self.text(&text)
    }

    /// Says that something was done: to people in words, to programs as `value`.
    pub fn done(&mut self, words: &str, value: &Value) -> Result<()> {
        match self.format {
            Format::Table => self.text(&format!("{words}\n")),
            _ => self.thing(value),
        }
    }

    /// The same, about a thing with an id.
    pub fn done_to(&mut self, words: &str, id: &str) -> Result<()> {
        self.done(words, &json!({"id": id, "done": words}))
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }
}

/// A list that is written page by page.
#[derive(Debug)]
pub struct List<'a> {
    output: &'a mut Output,
    table: Table,
    written: usize,
}

impl List<'_> {
    /// Writes a page.
    pub fn page(&mut self, items: &[Value]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let text = match self.output.format {
            Format::Table => self.table.page(items),
            Format::Json => {
                let mut text = String::new();
                for (at, item) in items.iter().enumerate() {
                    text.push_str(if self.written + at == 0 { "[\n" } else { ",\n" });
                    text.push_str(&indented(&pretty(item)?));
                }
                text
            }
            Format::Yaml => items.iter().map(yaml::item).collect(),
        };
        self.written += items.len();
        self.output.text(&text)
    }

    /// Ends the list; `nothing` is what people read when it is empty.
    pub fn end(self, nothing: &str) -> Result<()> {
        match (self.output.format, self.written) {
            (Format::Table, 0) => {
                note(nothing);
                Ok(())
            }
            (Format::Table, _) => Ok(()),
            (Format::Json, 0) | (Format::Yaml, 0) => self.output.text("[]\n"),
            (Format::Json, _) => self.output.text("\n]\n"),
            (Format::Yaml, _) => Ok(()),
        }
    }
}

/// Says something beside the results.
pub fn note(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Tells of a failure: to people in words, to programs as a problem document on one line.
pub fn failure(failure: &Failure, format: Format) {
    if failure.is_silent() {
        return;
    }
    let text = match format {
        Format::Json => failure.to_json().to_string(),
        _ => format!("fleet: {failure}"),
    };
    note(&text);
}

fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::unexpected(error.to_string()))
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const COLUMNS: &[Column] = &[
        Column::new("ID", "/id", Show::Id),
        Column::new("NAME", "/name", Show::Text),
        Column::new("SEEN", "/seen_at", Show::Ago),
        Column::new("LABELS", "/labels", Show::Labels).wide(),
    ];

    #[track_caller]
    fn check(format: Format, width: Option<u16>, pages: &[Value], expected: &str) {
        let buffer = Buffer::default();
        let mut output = Output {
            format,
            width,
            color: false,
            now: "2026-01-01T00:10:00Z".parse().unwrap(),
            out: Box::new(buffer.clone()),
        };
        let mut list = output.list(COLUMNS);
        for page in pages {
            list.page(page.as_array().unwrap()).unwrap();
        }
        list.end("nothing").unwrap();
        assert_eq!(String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap(), expected);
    }

    fn pages() -> Vec<Value> {
        vec![
            json!([
                {"id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "name": "web-1", "seen_at": "2026-01-01T00:09:30Z", "labels": {"env": "prod", "role": "web"}},
                {"id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42", "name": "a-long-name", "seen_at": null, "labels": {}},
            ]),
            json!([{"id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a43", "name": "\u{1b}[31mdb", "seen_at": "2025-12-30T00:00:00Z"}]),
        ]
    }

    #[test]
    fn a_table_goes_on_over_pages_in_the_same_columns() {
        check(
            Format::Table,
            None,
            &pages(),
            "ID        NAME         SEEN     LABELS\n\
             6b7e9a41  web-1        30s ago  env=prod role=web\n\
             6b7e9a42  a-long-name  -        -\n\
             6b7e9a43  ␛[31mdb      2d ago   -\n",
        );
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most() {
        check(
            Format::Table,
            Some(60),
            &pages()[..1],
            "ID        NAME         SEEN\n\
             6b7e9a41  web-1        30s ago\n\
             6b7e9a42  a-long-name  -\n",
        );
    }

    #[test]
    fn json_is_one_array_over_all_pages() {
        check(
            Format::Json,
            Some(60),
            &[json!([{"a": 1}]), json!([]), json!([{"a": 2}])],
            "[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]\n",
        );
        check(Format::Json, None, &[], "[]\n");
    }

    #[test]
    fn yaml_is_one_sequence_over_all_pages() {
        check(
            Format::Yaml,
            None,
            &[json!([{"a": 1, "b": [true]}]), json!([{"a": "no"}])],
            "- a: 1\n  b:\n    - true\n- a: \"no\"\n",
        );
        check(Format::Yaml, None, &[], "[]\n");
    }
}
