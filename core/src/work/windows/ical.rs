//! A calendar as other programs subscribe to it: iCalendar (RFC 5545).

use super::{WindowKind, calendar::Occurrence};
use crate::kernel::Timestamp;

/// The most octets of a line without its end (RFC 5545 §3.1).
const MAX_LINE: usize = 75;

/// Writes occurrences as one calendar. It holds no time of its own: the same windows give the same text.
pub(super) fn calendar(occurrences: &[Occurrence<'_>], is_all: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| fold(&mut text, &format!("{name}:{value}"));
    line("BEGIN", "VCALENDAR");
    line("VERSION", "2.0");
    line("PRODID", "-//fleet//windows//EN");
    line("CALSCALE", "GREGORIAN");
    // RFC 7986 §5.1 and §5.7; the X- name is what older programs read.
    line("NAME", "Windows");
    line("X-WR-CALNAME", "Windows");
    line("REFRESH-INTERVAL;VALUE=DURATION", "PT1H");
    if !is_all {
        let words = format!("The first {} occurrences; there are more.", occurrences.len());
        line("DESCRIPTION", &words);
    }
    for occurrence in occurrences {
        let window = occurrence.window;
        let (summary, category) = match window.kind {
            WindowKind::Maintenance => (format!("Maintenance: {}", window.name), "MAINTENANCE"),
            WindowKind::Blackout => (format!("Blackout: {}", window.name), "BLACKOUT"),
        };
        line("BEGIN", "VEVENT");
        // The same occurrence keeps its name, whatever becomes of the window's.
        line(
            "UID",
            &format!("{}-{}@fleet", window.id, occurrence.starts_at.as_seconds()),
        );
        line("SEQUENCE", &occurrence.revision.to_string());
        line("DTSTAMP", &utc(window.updated_at));
        line("DTSTART", &utc(occurrence.starts_at));
        line("DTEND", &utc(occurrence.ends_at));
        line("SUMMARY", &escape(&summary));
        if !window.description.is_empty() {
            line("DESCRIPTION", &escape(&window.description));
        }
        line("CATEGORIES", category);
        line("TRANSP", "TRANSPARENT");
        line("END", "VEVENT");
    }
    line("END", "VCALENDAR");
    text
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
