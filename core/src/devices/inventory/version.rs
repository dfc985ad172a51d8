//! Versions as keys: texts whose byte order is the package manager's order.
//!
//! A store compares bytes, a package manager compares versions by its own rules. Here the rules are worked into the key once,
//! so that "below version y" is a range of an index.

use std::fmt::Write as _;

/// Debian's package manager, and the name of its rules.
pub const DPKG: &str = "dpkg";

/// The longest key in bytes. Beyond it the key is cut: order is kept, but versions that differ only behind the cut have the
/// same key. (No real version comes near; the longest in Debian 12 has a key of under 100.)
pub const MAX_VERSION_KEY_BYTES: usize = 1024;

/// A printable ASCII text, at most [`MAX_VERSION_KEY_BYTES`] long, such that `a < b` by the rules of `manager` implies
/// `key(a) <= key(b)` by bytes, and equal versions have equal keys. Any text has a key, also one that is no version.
///
/// - `dpkg`: Debian policy §5.6.12. A text whose epoch is not a number counts as having none.
/// - any other manager: the bytes of the version in their order, until its rules are written here.
pub fn version_key(manager: &str, version: &str) -> String {
    let mut key = match manager {
        DPKG => dpkg_key(version),
        _ => bytes_key(version),
    };
    // Cutting keeps order: of two texts the prefixes compare like the texts, or are equal.
    key.truncate(MAX_VERSION_KEY_BYTES);
    key
}

// dpkg compares in turn a run of non-digits and a run of digits. In a run of non-digits `~` comes before the end, the end
// before letters, letters before all else; a run of digits is a number, and an absent one is zero. The key writes each pair as
// the codes of the non-digits and then the number. The number's first byte stands where the run of non-digits ended, so the
// byte ranges below give exactly that order:
//
//   `~` = '!'   <   END '/'   <   number '0'..='@'   <   letters   <   '{' others '|' '.' '}'
//
// END stands at the end of upstream version and revision, where another version may go on with non-digits only, so END
// never meets a number but in the first pair, which is always written.
const TILDE: char = '!';
const END: char = '/';

fn dpkg_key(version: &str) -> String {
    let version = version.trim();
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
        _ => ("", version),
    };
    // An absent revision equals an empty one and `0`.
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let mut key = String::with_capacity(2 * version.len().min(MAX_VERSION_KEY_BYTES) + 8);
    push_number(&mut key, epoch);
    push_part(&mut key, upstream);
    push_part(&mut key, revision);
    key
}

fn push_part(key: &mut String, mut part: &str) {
    let mut first = true;
    while first || !part.is_empty() {
        first = false;
        let text = part.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let (text, rest) = part.split_at(text);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = rest.split_at(digits);
        for byte in text.bytes() {
            push_byte(key, byte);
        }
        push_number(key, digits);
        part = rest;
        if key.len() > MAX_VERSION_KEY_BYTES {
            return;
        }
    }
    key.push(END);
}

fn push_byte(key: &mut String, byte: u8) {
    // Writing to a `String` cannot fail.
    match byte {
        b'~' => key.push(TILDE),
        b'A'..=b'Z' | b'a'..=b'z' => key.push(char::from(byte)),
        b'.' => key.push('|'),
        ..b'.' => _ = write!(key, "{{{byte:02x}"),
        _ => _ = write!(key, "}}{byte:02x}"),
    }
}

/// The number of digits, then the digits: longer is larger. Up to 15 digits the count is one byte, '0' to '?'.
fn push_number(key: &mut String, digits: &str) {
    let digits = digits.trim_start_matches('0');
    match u8::try_from(digits.len()) {
        Ok(count @ 0..=15) => key.push(char::from(b'0' + count)),
        _ => _ = write!(key, "@{:020}", digits.len()),
    }
    // What is beyond the longest key is cut anyway.
    key.push_str(&digits[..digits.len().min(MAX_VERSION_KEY_BYTES)]);
}

/// Byte order, in printable ASCII.
fn bytes_key(version: &str) -> String {
    let mut key = String::with_capacity(version.len().min(MAX_VERSION_KEY_BYTES));
    for byte in version.bytes().take(MAX_VERSION_KEY_BYTES) {
        match byte {
            b'!'..=b'}' => key.push(char::from(byte)),
            ..=b' ' => _ = write!(key, " {byte:02x}"),
            _ => _ = write!(key, "~{byte:02x}"),
        }
    }
    key
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;
