//! Texts from devices.

/// The longest text that an inventory holds where nothing else is said, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;

/// A text that can be stored and shown: control characters (among them U+0000, which an engine cannot hold) become U+FFFD,
/// white space at the ends goes, and what is longer than `max_bytes` is cut at a character's edge and ends in `…`.
pub fn clean_text(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: char = '…';
    let text = text.trim();
    let mut clean = String::with_capacity(text.len().min(max_bytes));
    for char in text.chars() {
        let char = if char.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            char
        };
        if clean.len() + char.len_utf8() > max_bytes {
            while clean.len() + ELLIPSIS.len_utf8() > max_bytes && clean.pop().is_some() {}
            if clean.len() + ELLIPSIS.len_utf8() <= max_bytes {
                clean.push(ELLIPSIS);
            }
            break;
        }
        clean.push(char);
    }
    clean
}

/// The same of a text that is given away, and that is clean as a rule.
pub fn cleaned(text: String, max_bytes: usize) -> String {
    if text.len() <= max_bytes && text.trim().len() == text.len() && !text.chars().any(char::is_control) {
        text
    } else {
        clean_text(&text, max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, max_bytes: usize, expected: &str) {
        let got = clean_text(input, max_bytes);
        assert_eq!(got, expected, "{input:?}");
        assert!(got.len() <= max_bytes);
        assert_eq!(cleaned(input.to_owned(), max_bytes), expected, "{input:?}");
    }

    #[test]
    fn ordinary_text_stays() {
        check("nginx 1.22 – très bien", 512, "nginx 1.22 – très bien");
        check("  padded\n", 512, "padded");
    }

    #[test]
    fn control_characters_are_made_visible() {
        check("a\0b\x1b[31m", 512, "a\u{fffd}b\u{fffd}[31m");
    }

    #[test]
    fn long_text_is_cut_at_a_characters_edge() {
        check("abcdefgh", 6, "abc…");
        check("ééééé", 8, "éé…");
        check("abc", 2, "");
        check(&"x".repeat(100_000), 3, "…");
    }
}
