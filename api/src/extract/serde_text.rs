//! What serde says about a value, in words for callers: no names of Rust types, no position twice, and nothing of the
//! value itself, as it may be a secret.

use std::borrow::Cow;

/// Longer texts are cut; a list of allowed names can be long, a message should not be.
const MAX_MESSAGE: usize = 400;

/// A message of serde for a caller.
pub(super) fn plain(message: &str) -> String {
    let message = without_position(message);
    if message.starts_with("missing field ") {
        return "is required".to_owned();
    }
    if message.starts_with("data did not match any variant") {
        return "matches none of the allowed forms".to_owned();
    }
    if message == "unsupported value" {
        return "was given more than once".to_owned();
    }
    let text = match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            format!("{}, expected {}", without_value(found), without_types(expected))
        }
        _ => message.to_owned(),
    };
    cut(text)
}

/// The name of the member that is missing or unknown, which serde puts into the text and not into the path.
pub(super) fn named_member(message: &str) -> Option<&str> {
    ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('`').next())
}

fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

/// `invalid type: string "secret"` without the secret.
fn without_value(found: &str) -> &str {
    found
        .find(['"', '`'])
        .map_or(found, |at| &found[..at])
        .trim_end_matches([' ', ':'])
}

fn without_types(expected: &str) -> String {
    let mut words = expected.split(' ').peekable();
    let mut out: Vec<Cow<'_, str>> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => out.push("a whole number, 0 or more".into()),
            "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => out.push("a whole number".into()),
            "f32" | "f64" => out.push("a number".into()),
            "internally" | "adjacently" | "externally" | "untagged" | "tagged" | "tuple" | "unit" | "newtype"
                if words.peek().is_some() => {}
            "struct" | "enum" | "variant" => {
                // The words that follow are names of ours: `struct CreateToken`, `struct variant Job::Shell`.
                let _ = words.next_if_eq(&"variant");
                let _ = words.next();
                out.push("an object of the documented form".into());
            }
            other => out.push(other.into()),
        }
    }
    out.join(" ")
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let end = text.floor_char_boundary(MAX_MESSAGE);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        assert_eq!(plain(message), expected, "{message}");
    }

    #[test]
    fn names_of_types_do_not_reach_the_caller() {
        check(
            "invalid type: integer `5`, expected struct CreateToken at line 1 column 1",
            "invalid type: integer, expected an object of the documented form",
        );
        check(
            "invalid type: null, expected internally tagged enum Target",
            "invalid type: null, expected an object of the documented form",
        );
        check(
            "invalid type: map, expected struct variant Job::Shell with 2 elements",
            "invalid type: map, expected an object of the documented form with 2 elements",
        );
        check(
            "data did not match any variant of untagged enum Thing",
            "matches none of the allowed forms",
        );
        check(
            "invalid value: integer `-1`, expected u32",
            "invalid value: integer, expected a whole number, 0 or more",
        );
    }

    #[test]
    fn the_value_itself_is_not_repeated() {
        check(
            "invalid type: string \"hunter2, expected struct X\", expected a boolean",
            "invalid type: string, expected a boolean",
        );
        check(
            "invalid type: string \"hunter2\", expected u64",
            "invalid type: string, expected a whole number, 0 or more",
        );
    }

    #[test]
    fn what_is_allowed_is_said() {
        check(
            "unknown variant `x`, expected one of `a`, `b` at line 3 column 9",
            "unknown variant `x`, expected one of `a`, `b`",
        );
        check("missing field `name`", "is required");
        check("unsupported value", "was given more than once");
        assert_eq!(plain(&"é".repeat(5_000)).chars().count(), MAX_MESSAGE / 2 + 1);
    }

    #[test]
    fn the_member_is_found_in_the_text() {
        assert_eq!(named_member("missing field `name` at line 1"), Some("name"));
        assert_eq!(named_member("unknown field `x`, expected `y`"), Some("x"));
        assert_eq!(named_member("invalid type: map"), None);
    }
}
