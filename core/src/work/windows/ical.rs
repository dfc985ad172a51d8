//! A calendar as other programs subscribe to it: iCalendar (RFC 5545).

use super::{WindowKind, calendar::Occurrence};
use crate::{kernel::Timestamp, work::plans::PlannedTime};

/// The most octets of a line without its end (RFC 5545 §3.1).
const MAX_LINE: usize = 75;

/// What stands in a calendar.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'a> {
    Window(Occurrence<'a>),
    Plan(PlannedTime<'a>),
}

impl Entry<'_> {
    /// When it begins.
    pub(super) fn starts_at(&self) -> Timestamp {
        match self {
            Self::Window(occurrence) => occurrence.starts_at,
            Self::Plan(planned) => planned.at,
        }
    }
}

/// Writes entries as one calendar. It holds no time of its own: the same windows and plans give the same text.
pub(super) fn calendar(entries: &[Entry<'_>], is_all: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| fold(&mut text, &format!("{name}:{value}"));
    line("BEGIN", "VCALENDAR");
    line("VERSION", "2.0");
    line("PRODID", "-//fleet//windows//EN");
    line("CALSCALE", "GREGORIAN");
    // RFC 7986 §5.1 and §5.7; the X- name is what older programs read.
    line("NAME", "Windows and plans");
    line("X-WR-CALNAME", "Windows and plans");
    line("REFRESH-INTERVAL;VALUE=DURATION", "PT1H");
    if !is_all {
        let words = format!("The first {} occurrences; there are more.", entries.len());
        line("DESCRIPTION", &words);
    }
    for entry in entries {
        let event = Event::of(entry);
        line("BEGIN", "VEVENT");
        line("UID", &event.uid);
        line("SEQUENCE", &event.revision.to_string());
        line("DTSTAMP", &utc(event.updated_at));
        line("DTSTART", &utc(entry.starts_at()));
        // Without an end it is a moment (§3.6.1).
        if let Some(ends_at) = event.ends_at {
            line("DTEND", &utc(ends_at));
        }
        line("SUMMARY", &escape(&event.summary));
        if !event.description.is_empty() {
            line("DESCRIPTION", &escape(event.description));
        }
        line("CATEGORIES", event.category);
        line("TRANSP", "TRANSPARENT");
        line("END", "VEVENT");
    }
    line("END", "VCALENDAR");
    text
}

/// An entry as it is written.
struct Event<'a> {
    /// The same occurrence keeps it, whatever becomes of the name of what occurs.
    uid: String,
    revision: u64,
    updated_at: Timestamp,
    ends_at: Option<Timestamp>,
    summary: String,
    description: &'a str,
    category: &'static str,
}

impl<'a> Event<'a> {
    fn of(entry: &Entry<'a>) -> Self {
        match entry {
            Entry::Window(occurrence) => {
                let window = occurrence.window;
                let (word, category) = match window.kind {
                    WindowKind::Maintenance => ("Maintenance", "MAINTENANCE"),
                    WindowKind::Blackout => ("Blackout", "BLACKOUT"),
                };
                Self {
                    uid: format!("{}-{}@fleet", window.id, occurrence.starts_at.as_seconds()),
                    revision: occurrence.revision,
                    updated_at: window.updated_at,
                    ends_at: Some(occurrence.ends_at),
                    summary: format!("{word}: {}", window.name),
                    description: &window.description,
                    category,
                }
            }
            Entry::Plan(PlannedTime { plan, at }) => Self {
                uid: format!("{}-{}@fleet", plan.id, at.as_seconds()),
                revision: plan.rev,
                updated_at: plan.updated_at,
                ends_at: None,
                summary: format!("Plan: {}", plan.name),
                description: &plan.description,
                category: "PLAN",
            },
        }
    }
}

/// A time in UTC as `20261122T030000Z` (§3.3.5, form 2).
fn utc(at: Timestamp) -> String {
    // Without its fraction, which the format does not have.
    let text = Timestamp::from_seconds(at.as_seconds()).to_string();
    let kept: String = text.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    kept + "Z"
}

/// A text value (§3.3.11). Control characters, which it cannot hold, are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.replace("\r\n", "\n").chars() {
        match character {
            '\\' | ';' | ',' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push('\t'),
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// Adds a line, folded so that none is longer than it may be; never within a character.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for character in line.chars() {
        if length + character.len_utf8() > MAX_LINE {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(character);
        length += character.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a;b,c\\d", "a\\;b\\,c\\\\d"),
            ("one\r\ntwo\nthree", "one\\ntwo\\nthree"),
            ("a\r\u{7}b\u{85}", "ab"),
            ("BEGIN:VEVENT", "BEGIN:VEVENT"),
        ] {
            assert_eq!(escape(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_are_folded_at_75_octets_and_never_within_a_character() {
        for text in [
            "x".repeat(75),
            "x".repeat(76),
            "ä".repeat(200),
            "x".to_owned() + &"€𝄞".repeat(100),
            String::new(),
        ] {
            let mut folded = String::new();
            fold(&mut folded, &text);
            assert!(folded.ends_with("\r\n"));
            assert!(folded.split("\r\n").all(|line| line.len() <= MAX_LINE), "{folded}");
            assert_eq!(folded.replace("\r\n ", "").trim_end_matches("\r\n"), text);
        }
    }

    #[test]
    fn times_are_in_utc_to_the_second() {
        assert_eq!(
            utc("2026-11-22T04:05:06.999999+01:00".parse().unwrap()),
            "20261122T030506Z"
        );
    }
}
