//! YAML 1.2 out of JSON values: block style, and every text that could be anything but a text in quotes.
//!
//! Writing needs a page of code; the crates for it are unmaintained, or bring a parser that we have no use for.

use serde_json::Value;

/// A document.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// An element of a sequence at the top.
pub fn item(value: &Value) -> String {
    let mut text = String::new();
    element(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                indent(depth, text);
                member(name, value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                element(item, depth, text);
            }
        }
        scalar => {
            indent(depth, text);
            text.push_str(&flow(scalar));
            text.push('\n');
        }
    }
}

fn member(name: &str, value: &Value, depth: usize, text: &mut String) {
    text.push_str(&string(name));
    text.push(':');
    value_after(value, depth, text);
}

fn value_after(value: &Value, depth: usize, text: &mut String) {
    if is_block(value) {
        text.push('\n');
        write(value, depth + 1, text);
    } else {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    }
}

fn element(value: &Value, depth: usize, text: &mut String) {
    indent(depth, text);
    text.push('-');
    match value {
        // The first member stands on the line of the dash, the others below it.
        Value::Object(members) if !members.is_empty() => {
            for (at, (name, value)) in members.iter().enumerate() {
                if at == 0 {
                    text.push(' ');
                } else {
                    indent(depth + 1, text);
                }
                member(name, value, depth + 1, text);
            }
        }
        other => value_after(other, depth, text),
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// A value on the same line: a scalar, or something empty.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        // JSON's numbers, `true`, `false`, `null`, `[]` and `{}` are YAML's too.
        other => other.to_string(),
    }
}

/// Plain where no reader of YAML 1.1 or 1.2 can take it for anything but this text, else in JSON's quotes, which are YAML's.
fn string(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '@'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        return text.to_owned();
    }
    // DEL, the C1 controls and the two Unicode line ends are fine in JSON, but not in YAML.
    let quoted = Value::String(text.to_owned()).to_string();
    let mut safe = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => safe.push(other),
        }
    }
    safe
}

fn indent(depth: usize, text: &mut String) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        assert_eq!(document(&value), expected);
    }

    #[test]
    fn mappings_and_sequences_nest() {
        check(
            json!({"name": "web-1", "labels": {"env": "prod"}, "groups": [], "states": [{"runs": 1, "state": "queued"}, ["a", []], 3]}),
            "groups: []\n\
             labels:\n  env: prod\n\
             name: web-1\n\
             states:\n  - runs: 1\n    state: queued\n  -\n    - a\n    - []\n  - 3\n",
        );
    }

    #[test]
    fn texts_stay_texts() {
        for (text, expected) in [
            ("prod", "prod"),
            ("", "\"\""),
            ("no", "\"no\""),
            ("True", "\"True\""),
            ("12", "\"12\""),
            ("1e3", "\"1e3\""),
            (".inf", "\".inf\""),
            ("a: b", "\"a: b\""),
            ("# a", "\"# a\""),
            ("a b", "\"a b\""),
            ("- a", "\"- a\""),
            ("*a", "\"*a\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("a\nb\t\"\\", "\"a\\nb\\t\\\"\\\\\""),
            ("ü", "\"ü\""),
            ("\u{85}\u{2028}", "\"\\u0085\\u2028\""),
        ] {
            assert_eq!(string(text), expected);
        }
    }

    #[test]
    fn scalars_are_documents() {
        check(json!(null), "null\n");
        check(json!(1.5), "1.5\n");
        check(json!({}), "{}\n");
    }
}
