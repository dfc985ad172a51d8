//! Values as people read them.

use std::time::Duration;

use fleet_core::kernel::Timestamp;
use serde_json::Value;

/// What stands where nothing is known.
pub const NOTHING: &str = "-";

/// Text that cannot steer a terminal: what devices and people sent may hold anything. Control characters become their pictures.
pub fn plain(text: &str) -> String {
    text.chars().map(picture).collect()
}

fn picture(character: char) -> char {
    match character {
        // U+2400 to U+241F are pictures of U+0000 to U+001F.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('�'),
        '\u{7f}' => '\u{2421}',
        // C1 controls, and characters that turn the direction of text.
        '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '�',
        other => other,
    }
}

/// A value as it is, on one line.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.into(),
        Value::String(text) if text.is_empty() => NOTHING.into(),
        Value::String(text) => plain(text),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) if items.is_empty() => NOTHING.into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) if members.is_empty() => NOTHING.into(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{}={}", plain(name), text(value)))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The last digits of an id, which are enough to name it.
pub fn id(value: &Value) -> String {
    match value.as_str() {
        Some(id) if id.len() == 36 && id.is_ascii() => id[28..].into(),
        _ => text(value),
    }
}

/// How long ago a time is, or how long until it comes.
pub fn ago(value: &Value, now: Timestamp) -> String {
    let Some(at) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return text(value);
    };
    if at > now {
        format!("in {}", span(at.since(now)))
    } else {
        format!("{} ago", span(now.since(at)))
    }
}

/// A length of time in its largest unit.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Who did something.
pub fn actor(value: &Value) -> String {
    let kind = value["type"].as_str().unwrap_or_default();
    match (kind, value["name"].as_str().or_else(|| value["part"].as_str())) {
        ("user", Some(name)) => plain(name),
        (kind, Some(name)) => format!("{}:{}", plain(kind), plain(name)),
        ("", None) => text(value),
        (kind, None) => plain(kind),
    }
}

/// A byte count in binary units.
pub fn size(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else {
        return text(value);
    };
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_from_elsewhere_cannot_steer_a_terminal() {
        assert_eq!(plain("a\u{1b}[2J\r\nb\u{9b}\u{202e}ü"), "a␛[2J␍␊b��ü");
    }

    #[test]
    fn values_are_read_on_one_line() {
        for (value, expected) in [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!(true), "yes"),
            (json!(["a", "b"]), "a, b"),
            (json!({"env": "prod", "n": 1}), "env=prod n=1"),
            (json!([]), "-"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        for (at, expected) in [
            ("2026-01-02T00:00:00.000000Z", "0s ago"),
            ("2026-01-01T23:58:30Z", "90s ago"),
            ("2026-01-01T23:30:00Z", "30m ago"),
            ("2026-01-01T12:00:00Z", "12h ago"),
            ("2025-12-02T00:00:00Z", "31d ago"),
            ("2026-01-02T00:00:20Z", "in 20s"),
            ("soon", "soon"),
        ] {
            assert_eq!(ago(&json!(at), now), expected);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(&json!(bytes)), expected);
        }
    }

    #[test]
    fn actors_are_told_by_their_kind() {
        assert_eq!(actor(&json!({"type": "user", "name": "admin"})), "admin");
        assert_eq!(actor(&json!({"type": "system", "part": "sweep"})), "system:sweep");
        assert_eq!(actor(&json!({"type": "anonymous"})), "anonymous");
    }
}
