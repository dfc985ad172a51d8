//! Whether a body is a JSON value, in one look at each of its bytes: every body that is written is asked.

/// Deeper values are not looked into; they are as rare as they are suspicious.
const DEPTH: u32 = 64;

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of the list that has just begun.
    First,
    /// A name, or the end of the object that has just begun.
    FirstName,
    Name,
    /// What follows a value.
    Behind,
}

/// Whether the bytes are one JSON value without a line break, and without white space around it. Not for one that is nested deeper
/// than [`DEPTH`].
pub(crate) fn is_value_in_a_line(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && bytes.first().is_some_and(|first| !is_space(*first)) && walk(bytes).is_some()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// None for what is no value in a line.
fn walk(bytes: &[u8]) -> Option<()> {
    let mut next = Next::Value;
    // The kinds of what is open, the innermost in the lowest bit; 1 is an object.
    let (mut open, mut depth) = (0_u64, 0_u32);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (byte, next) {
            (b'\n', _) => return None,
            (b' ' | b'\t' | b'\r', _) => {
                // The last value has come to its end, so this is behind it all.
                if depth == 0 {
                    return None;
                }
            }
            (b'{' | b'[', Next::Value | Next::First) => {
                let is_object = *byte == b'{';
                if depth == DEPTH {
                    return None;
                }
                (open, depth) = (open << 1 | u64::from(is_object), depth + 1);
                next = if is_object { Next::FirstName } else { Next::First };
            }
            (b'}', Next::FirstName | Next::Behind) | (b']', Next::First | Next::Behind) => {
                if depth == 0 || (open & 1 == 1) != (*byte == b'}') {
                    return None;
                }
                (open, depth) = (open >> 1, depth - 1);
                next = Next::Behind;
            }
            (b',', Next::Behind) if depth > 0 => next = if open & 1 == 1 { Next::Name } else { Next::Value },
            (b'"', Next::FirstName | Next::Name) => {
                at = text(bytes, at)?;
                while bytes.get(at).is_some_and(|byte| is_space(*byte) && *byte != b'\n') {
                    at += 1;
                }
                if bytes.get(at) != Some(&b':') {
                    return None;
                }
                at += 1;
                next = Next::Value;
            }
            (b'"', Next::Value | Next::First) => {
                at = text(bytes, at)?;
                next = Next::Behind;
            }
            (b'-' | b'0'..=b'9', Next::Value | Next::First) => {
                at = number(bytes, at - 1)?;
                next = Next::Behind;
            }
            (b't', Next::Value | Next::First) => (at, next) = (word(bytes, at, b"rue")?, Next::Behind),
            (b'f', Next::Value | Next::First) => (at, next) = (word(bytes, at, b"alse")?, Next::Behind),
            (b'n', Next::Value | Next::First) => (at, next) = (word(bytes, at, b"ull")?, Next::Behind),
            _ => return None,
        }
    }
    (next == Next::Behind && depth == 0).then_some(())
}

/// Where the text ends whose opening mark stands before `at`.
fn text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += plain_length(bytes.get(at..)?)? + 1;
        match bytes.get(at - 1)? {
            b'"' => return Some(at),
            b'\\' => match bytes.get(at)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 1,
                b'u' => {
                    let digits = bytes.get(at + 1..at + 5)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    at += 5;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// How many bytes of a text come before its end, an escape or a control character.
fn plain_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Eight at a time: most texts are names and words.
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special(u64::from_le_bytes(*eight));
        if special != 0 {
            return Some(at + special.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(at + length)
}

/// The highest bit of each byte that is a quotation mark, a backslash or a control character. Of the bytes above the first of them nothing is
/// said: the subtractions borrow from there.
fn special(eight: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zeros = |eight: u64| eight.wrapping_sub(ONES) & !eight;
    let quotes = zeros(eight ^ (ONES * b'"' as u64));
    let escapes = zeros(eight ^ (ONES * b'\\' as u64));
    let controls = eight.wrapping_sub(ONES * 0x20) & !eight;
    (quotes | escapes | controls) & HIGH
}

/// Where the number ends that begins at `at`.
fn number(bytes: &[u8], mut at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = match bytes.get(at)? {
        b'0' => at + 1,
        _ => digits(at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(at)?;
    }
    Some(at)
}

fn word(bytes: &[u8], at: usize, rest: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(rest).then_some(at + rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// Judges as a whole parser does.
    #[track_caller]
    fn check(bytes: &[u8]) {
        let raw = serde_json::from_slice::<&RawValue>(bytes);
        let expected = raw.is_ok_and(|raw| raw.get().len() == bytes.len()) && !bytes.contains(&b'\n');
        assert_eq!(
            is_value_in_a_line(bytes),
            expected,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }

    const VALUES: [&str; 26] = [
        r#"{"v":1,"name":"web-1","tags":["a","b"],"open":null,"deep":{"a":[{},[],[[1]]],"b":{"c":false}}}"#,
        r#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00", "é😀", true]"#,
        "[1,-0,0.5,-1.25e3,1E+9,0e-1,1234567890123456789012345]",
        "{ \"a\" :\t[ 1 , 2 ] }",
        "null",
        "true",
        "\"\"",
        "-1",
        "{}",
        "[]",
        "",
        " 1",
        "1 ",
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{1:2}",
        "[1}",
        "\"\\x\"",
        "\"\\u12g4\"",
        "{\"a\":\n1}",
    ];

    #[test]
    fn what_it_says_is_what_a_parser_says() {
        for value in VALUES {
            check(value.as_bytes());
        }
        check(b"\"\xff\"");
        check(b"\"\x1f\"");
    }

    #[test]
    fn each_cut_and_each_change_of_a_byte_is_judged_as_a_parser_judges_it() {
        let bytes: Vec<u8> = (0..=255).collect();
        for value in VALUES {
            for at in 0..value.len() {
                check(&value.as_bytes()[..at]);
                check(&value.as_bytes()[at..]);
                for byte in &bytes {
                    let mut changed = value.as_bytes().to_vec();
                    changed[at] = *byte;
                    check(&changed);
                    changed.insert(at, *byte);
                    check(&changed);
                }
            }
        }
    }

    #[test]
    fn what_is_too_deep_is_not_looked_into() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_value_in_a_line(nested(DEPTH as usize).as_bytes()));
        assert!(!is_value_in_a_line(nested(DEPTH as usize + 1).as_bytes()));
    }
}
