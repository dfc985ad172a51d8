//! Search: one tokeniser, so that every backend finds the same.
//!
//! A document's terms stand in a many-valued column; a word of a search finds the documents that have a term which begins
//! with it.
//!
//! ```
//! use fleet_core::search;
//!
//! let terms = search::terms(["Web-01.example.org"]);
//! assert_eq!(terms, ["01", "example", "org", "web", "web-01.example.org"]);
//!
//! // What a column of such terms is asked for: every word begins some term.
//! let filter = search::filter("terms", "exam WEB-01");
//! assert_eq!(format!("{filter:?}"), r#"And([Prefix("terms", "exam"), Prefix("terms", "web-01")])"#);
//! ```

use crate::store::{Filter, Name};

/// The most terms of one document.
const MAX_TERMS: usize = 256;
/// The longest term, in bytes; longer words are cut.
const MAX_TERM: usize = 64;
/// The most words of one search.
const MAX_WORDS: usize = 8;

/// The terms of some texts: lower-case runs of letters and digits, and the whole of each word that holds other marks
/// (`web-01.example.org` gives itself, `web`, `01`, `example` and `org`).
pub fn terms<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut terms: Vec<String> = Vec::new();
    for text in texts {
        for word in text.split_whitespace() {
            let word = word.to_lowercase();
            terms.extend(
                word.split(|c: char| !c.is_alphanumeric())
                    .filter(|part| !part.is_empty())
                    .map(cut),
            );
            terms.push(cut(word.trim_matches(|c: char| !c.is_alphanumeric())));
        }
    }
    terms.retain(|term| !term.is_empty());
    terms.sort_unstable();
    terms.dedup();
    terms.truncate(MAX_TERMS);
    terms
}

/// The filter of a search over a column of terms: every word is the beginning of some term.
pub fn filter(column: Name, search: &str) -> Filter {
    let words = search
        .split_whitespace()
        .map(|word| word.to_lowercase())
        .map(|word| cut(word.trim_matches(|c: char| !c.is_alphanumeric())))
        .filter(|word| !word.is_empty());
    Filter::And(words.take(MAX_WORDS).map(|word| Filter::Prefix(column, word)).collect())
}

fn cut(word: &str) -> String {
    let mut end = word.len().min(MAX_TERM);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    word[..end].replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(terms([text]), expected, "{text}");
    }

    #[test]
    fn words_are_found_whole_and_in_parts() {
        check(
            "Web-01.Example.org",
            &["01", "example", "org", "web", "web-01.example.org"],
        );
        check("Größe ÄRGER", &["größe", "ärger"]);
        check("  ... !! ", &[]);
        check("a\0b", &["a", "ab", "b"]);
    }

    #[test]
    fn terms_are_bounded() {
        assert_eq!(terms(["ä".repeat(500).as_str()])[0].len(), 64);
        let many: String = (0..2_000).map(|n| format!("w{n} ")).collect();
        assert_eq!(terms([many.as_str()]).len(), MAX_TERMS);
    }
}
