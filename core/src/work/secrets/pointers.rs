//! JSON pointers (RFC 6901) into parameters, and patterns of them; pure.

use serde_json::Value as Json;

/// Calls `see` with every value below the top and the pointer to it, the outer before the inner.
pub(super) fn walk(value: &Json, see: &mut dyn FnMut(&str, &Json)) {
    fn go(value: &Json, pointer: &mut String, see: &mut dyn FnMut(&str, &Json)) {
        let length = pointer.len();
        let mut inner = |token: &str, value: &Json, see: &mut dyn FnMut(&str, &Json)| {
            pointer.push('/');
            pointer.push_str(token);
            see(pointer, value);
            go(value, pointer, see);
            pointer.truncate(length);
        };
        match value {
            Json::Object(members) => members
                .iter()
                .for_each(|(name, value)| inner(&escaped(name), value, see)),
            Json::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, value)| inner(&at.to_string(), value, see)),
            _ => {}
        }
    }
    go(value, &mut String::new(), see);
}

/// Whether a pointer is one of those that a pattern stands for: `*` stands for any one member.
pub(super) fn fits(pattern: &str, pointer: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), pointer.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Whether a pointer fits one of these patterns.
pub(super) fn fits_any(patterns: &[&str], pointer: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, pointer))
}

/// The pointer to the value around another, and the token within it.
pub(super) fn split(pointer: &str) -> (&str, &str) {
    pointer.rsplit_once('/').unwrap_or_default()
}

/// A member's name as it stands in a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a token of a pointer stands for.
pub(super) fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}
