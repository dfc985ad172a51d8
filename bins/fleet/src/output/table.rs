//! Tables: one renderer, with columns that each noun declares.

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Width, presets};
use fleet_core::kernel::Timestamp;
use serde_json::Value;

use super::cell;

/// Below this many characters in a line, wide columns are left out.
const WIDE: u16 = 110;

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As it is.
    Text,
    /// Its last digits.
    Id,
    /// A time, from now.
    Ago,
    /// Names and values.
    Labels,
    /// Where something stands; in colour.
    State,
    /// Who did it.
    Actor,
    /// How many bytes.
    Size,
    /// Versions with counts.
    Versions,
}

/// A column: its title, where its value is (a JSON pointer, RFC 6901), and how it is shown.
#[derive(Debug)]
pub struct Column {
    title: &'static str,
    pointer: &'static str,
    show: Show,
    wide: bool,
}

impl Column {
    /// A column.
    pub const fn new(title: &'static str, pointer: &'static str, show: Show) -> Self {
        Self {
            title,
            pointer,
            show,
            wide: false,
        }
    }

    /// The same, but left out where there is little room.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    fn cell(&self, item: &Value, color: bool, now: Timestamp) -> Cell {
        let value = item.pointer(self.pointer).unwrap_or(&Value::Null);
        let text = match self.show {
            Show::Text | Show::Labels => cell::text(value),
            Show::Id => cell::id(value),
            Show::Ago => cell::ago(value, now),
            Show::State => cell::text(value),
            Show::Actor => cell::actor(value),
            Show::Size => cell::size(value),
            Show::Versions => versions(value),
        };
        let tint = (color && self.show == Show::State).then(|| tint(value)).flatten();
        let cell = Cell::new(text);
        match tint {
            Some(tint) => cell.fg(tint),
            None => cell,
        }
    }
}

fn tint(value: &Value) -> Option<Color> {
    match value.as_str()? {
        "online" | "succeeded" | "usable" | "done" => Some(Color::Green),
        "failed" | "timed_out" | "lost" | "indeterminate" | "refused" => Some(Color::Red),
        "offline" | "succeeded_with_issues" | "expired" | "cancelled" | "revoked" => Some(Color::Yellow),
        _ => None,
    }
}

fn versions(value: &Value) -> String {
    let Some(versions) = value.as_array() else {
        return cell::text(value);
    };
    let shown: Vec<_> = versions
        .iter()
        .map(|version| match version["version"].as_str() {
            Some(text) => format!("{} ({})", cell::plain(text), cell::text(&version["devices"])),
            None => cell::text(version),
        })
        .collect();
    shown.join(", ")
}

/// A table that is written page by page; later pages keep the widths of the first, so that columns stay where they are.
#[derive(Debug)]
pub struct Table {
    columns: Vec<&'static Column>,
    width: Option<u16>,
    color: bool,
    now: Timestamp,
    widths: Option<Vec<u16>>,
}

impl Table {
    pub fn new(columns: &'static [Column], width: Option<u16>, color: bool, now: Timestamp) -> Self {
        let has_room = width.is_none_or(|width| width >= WIDE);
        Self {
            columns: columns.iter().filter(|column| has_room || !column.wide).collect(),
            width,
            color,
            now,
            widths: None,
        }
    }

    /// The lines of a page; the first page has the titles.
    pub fn page(&mut self, items: &[Value]) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        // Width and colour are decided once, by `Output`.
        table.force_no_tty();
        if self.color {
            table.enforce_styling();
        }
        match self.width {
            Some(width) => table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if self.widths.is_none() {
            table.set_header(self.columns.iter().map(|column| column.title));
        }
        for item in items {
            table.add_row(
                self.columns
                    .iter()
                    .map(|column| column.cell(item, self.color, self.now)),
            );
        }
        let widths = self.widths.get_or_insert_with(|| table.column_max_content_widths());
        let total: u32 = widths.iter().map(|width| u32::from(*width) + 2).sum();
        let fits = self.width.is_none_or(|width| total <= u32::from(width));
        for (column, width) in table.column_iter_mut().zip(widths.iter()) {
            column.set_padding((0, 2));
            if fits {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width + 2)));
            }
        }
        table.trim_fmt() + "\n"
    }
}

/// One thing, a line for each member.
pub fn details(value: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines
        .into_iter()
        .map(|(name, text)| format!("{name:width$}  {text}\n"))
        .collect()
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let below = |member: &str| {
        let member = cell::plain(member);
        if name.is_empty() {
            member
        } else {
            format!("{name}.{member}")
        }
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (member, value) in members {
                flatten(&below(member), value, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&below(&at.to_string()), item, lines);
            }
        }
        other => lines.push((name.to_owned(), cell::text(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_thing_is_told_member_by_member() {
        let value = json!({"name": "web-1", "delivery": {"epoch": 3, "receipt_at": null}, "addresses": ["10.0.0.1", "::1"], "states": [{"state": "queued", "runs": 2}]});
        assert_eq!(
            details(&value),
            "addresses            10.0.0.1, ::1\n\
             delivery.epoch       3\n\
             delivery.receipt_at  -\n\
             name                 web-1\n\
             states.0.runs        2\n\
             states.0.state       queued\n"
        );
    }

    #[test]
    fn versions_are_told_with_their_devices() {
        let value = json!([{"version": "1.2", "devices": 3}, {"version": "1.3", "devices": 1}]);
        assert_eq!(versions(&value), "1.2 (3), 1.3 (1)");
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        const COLUMNS: &[Column] = &[Column::new("STATE", "/state", Show::State)];
        let items = [json!({"state": "failed"})];
        let page = |color| Table::new(COLUMNS, Some(80), color, Timestamp::EPOCH).page(&items);
        assert!(page(true).contains("\u{1b}["));
        assert_eq!(page(false), "STATE\nfailed\n");
    }
}
