//! Takes secrets out of what a run prints, before it is stored or sent. Pure: text in, text out, however it is cut.

use fleet_core::{protocol::OfferBody, work::secrets::MASK};
use zeroize::Zeroizing;

/// Shorter secrets are not looked for: they would be found in every other word.
const SHORTEST: usize = 4;
/// Lines of a secret of several lines are looked for as well, where they are as long as this.
const SHORTEST_LINE: usize = 12;
/// A private key that has no end is taken out up to here, in bytes.
const LONGEST_KEY: usize = 64 << 10;

/// Takes the secrets of a run, and private keys in PEM (RFC 7468), out of one stream of text.
#[derive(Clone, Debug)]
pub(super) struct Redactor {
    words: Words,
    keys: Keys,
}

impl Redactor {
    /// For a run of this offer.
    pub fn of(offer: &OfferBody) -> Self {
        let values = offer.secrets.iter();
        let values = values.filter_map(|pointer| offer.params.pointer(pointer)?.as_str());
        Self::new(values)
    }

    fn new<'v>(values: impl Iterator<Item = &'v str>) -> Self {
        let mut redactor = Self {
            words: Words::default(),
            keys: Keys::default(),
        };
        redactor.add(values);
        redactor
    }

    /// Takes these out, too, of what comes from here on and of what is held back.
    pub fn add<'v>(&mut self, values: impl Iterator<Item = &'v str>) {
        for value in values {
            let value = value.trim_matches(['\r', '\n']);
            let lines = value
                .lines()
                .filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----"));
            lines.chain([value]).for_each(|word| self.add_whole(word));
        }
    }

    /// Takes this out, too, where all of it stands.
    pub fn add_whole(&mut self, word: &str) {
        let words = &mut self.words.words;
        if word.len() >= SHORTEST && !words.iter().any(|known| known.as_str() == word) {
            words.push(Zeroizing::new(word.to_owned()));
        }
    }

    /// The text that may go, of what came so far. What might be the beginning of a secret is held back.
    pub fn push(&mut self, text: &str) -> String {
        let text = self.words.push(text, false);
        self.keys.push(&text, false)
    }

    /// The rest: nothing comes any more.
    pub fn finish(&mut self) -> String {
        let text = self.words.push("", true);
        self.keys.push(&text, true)
    }

    /// A text that comes whole.
    pub fn whole(&self, text: &str) -> String {
        let mut fresh = Self {
            words: Words {
                words: self.words.words.clone(),
                ..Words::default()
            },
            keys: Keys::default(),
        };
        fresh.push(text) + &fresh.finish()
    }
}

/// Takes words out.
#[derive(Clone, Debug, Default)]
struct Words {
    words: Vec<Zeroizing<String>>,
    held: String,
    /// So much of what is held belongs to words that [`MASK`] was said for already.
    covered: usize,
}

impl Words {
    fn push(&mut self, text: &str, is_last: bool) -> String {
        self.held.push_str(text);
        let mut safe = self.held.len();
        if !is_last {
            safe -= self
                .words
                .iter()
                .map(|word| overhang(&self.held, word))
                .max()
                .unwrap_or(0);
        }
        let (mut said, mut at) = (String::new(), 0);
        let mut found: Vec<_> = self.words.iter().flat_map(|word| places(&self.held, word)).collect();
        found.sort_unstable();
        let mut covered = self.covered;
        for (start, end) in found {
            if start >= safe {
                break;
            }
            if start >= covered {
                // A word of its own; those that overlap are one.
                said.push_str(&self.held[at.max(covered)..start]);
                said.push_str(MASK);
            }
            covered = covered.max(end);
            at = at.max(end);
        }
        let open = covered.max(at).min(self.held.len());
        if open < safe {
            said.push_str(&self.held[open..safe]);
        }
        self.held.drain(..safe);
        self.covered = covered.saturating_sub(safe);
        said
    }
}

/// Where a word stands in a text, overlapping or not: beginning and end.
fn places<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = (usize, usize)> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(word)?;
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        Some((start, start + word.len()))
    })
}

/// How many bytes at the end of a text are the beginning of a word, and not all of it.
fn overhang(text: &str, word: &str) -> usize {
    let mut lengths = (1..word.len().min(text.len() + 1)).rev();
    let is_there =
        |length: &usize| text.as_bytes().ends_with(&word.as_bytes()[..*length]) && word.is_char_boundary(*length);
    lengths.find(is_there).unwrap_or(0)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const OF_KEY: &str = "PRIVATE KEY-----";
/// The most bytes of the words between.
const LABEL: usize = 40;

/// Takes private keys out.
#[derive(Clone, Debug, Default)]
struct Keys {
    held: String,
    /// How much of a key was taken out, while its end has not come.
    inside: Option<usize>,
}

impl Keys {
    fn push(&mut self, text: &str, is_last: bool) -> String {
        self.held.push_str(text);
        let mut said = String::new();
        loop {
            let (marker, taken) = match self.inside {
                None => (BEGIN, 0),
                Some(taken) => (END, taken),
            };
            let (start, step) = look(&self.held, marker, is_last);
            let gone = self
                .inside
                .map(|_| LONGEST_KEY.saturating_sub(taken))
                .filter(|room| *room < start);
            if let Some(room) = gone {
                // It has no end: what follows is not kept back for ever.
                let room = self.held.floor_char_boundary(room);
                self.held.drain(..room);
                self.inside = None;
                continue;
            }
            if self.inside.is_none() {
                said.push_str(&self.held[..start]);
            }
            match step {
                Look::More => {
                    self.held.drain(..start);
                    self.inside = self.inside.map(|taken| taken + start);
                    return said;
                }
                Look::Found(end) => {
                    self.held.drain(..end);
                    self.inside = match self.inside {
                        None => {
                            said.push_str(MASK);
                            Some(0)
                        }
                        Some(_) => None,
                    };
                }
            }
        }
    }
}

enum Look {
    /// A marker ends here.
    Found(usize),
    /// None is there so far.
    More,
}

/// Looks for a marker of a private key: where it begins, or what might become one, and what was found.
fn look(text: &str, marker: &str, is_last: bool) -> (usize, Look) {
    let mut from = 0;
    while let Some(found) = text[from..].find(marker) {
        let start = from + found;
        let label = &text[start + marker.len()..];
        let end = label.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' '));
        let length = end.unwrap_or(label.len()).min(LABEL + OF_KEY.len());
        // The label ends with the first word of what ends the marker.
        let words = &label[..length];
        let rest = &label[length..];
        let dashes = rest.len() - rest.trim_start_matches('-').len();
        let is_key = words == "PRIVATE KEY" || words.ends_with(" PRIVATE KEY");
        if is_key && dashes >= 5 {
            return (start, Look::Found(start + marker.len() + length + 5));
        }
        let is_open =
            length < LABEL + OF_KEY.len() && (end.is_none() || (is_key && dashes < 5 && dashes == rest.len()));
        if is_open && !is_last {
            return (start, Look::More);
        }
        from = start + 1;
    }
    let held = if is_last { 0 } else { overhang(text, marker) };
    (text.len() - held, Look::More)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(secrets: &[&str], text: &str, expected: &str) {
        let redactor = Redactor::new(secrets.iter().copied());
        assert_eq!(redactor.whole(text), expected, "{text:?}");
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut cut = redactor.clone();
            let said = cut.push(&text[..at]) + &cut.push(&text[at..]) + &cut.finish();
            assert_eq!(said, expected, "{text:?} cut at {at}");
        }
    }

    #[test]
    fn a_secret_is_taken_out_wherever_it_stands() {
        check(&["hunter2"], "", "");
        check(&["hunter2"], "nothing of it", "nothing of it");
        check(&["hunter2"], "hunter2", "********");
        check(&["hunter2"], "is hunter2, hunter2!", "is ********, ********!");
        check(&["hunter2"], "hunter hunter", "hunter hunter");
        check(
            &["hunter2", "hunter2-long"],
            "hunter2-long hunter2-lo",
            "******** ********-lo",
        );
        check(&["schlüssel", "ssel"], "der schlüssel steckt", "der ******** steckt");
    }

    #[test]
    fn what_overlaps_is_one() {
        check(&["abab"], "xababab-abab", "x********-********");
        check(&["aaaa"], "aaaaaaaaaaaaaaaaaaaaaa.", "********.");
        check(&["abcd", "cdef"], "abcdef", "********");
    }

    #[test]
    fn short_ones_stay_and_lines_of_long_ones_go() {
        check(&["abc"], "abcabc", "abcabc");
        check(&["first line of it\nand the second\nx"], "and the second", "********");
        check(&["hunter2\n"], "hunter2", "********");
    }

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn private_keys_go_from_beginning_to_end() {
        check(&[], &format!("a {KEY} b"), "a ******** b");
        check(&[], "-----BEGIN PRIVATE KEY-----\nMIIE", "********");
        check(&[], &format!("{KEY}{KEY}"), "****************");
        for other in [
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN PRIVATE KEY---",
            "-----BEGIN RSA",
            "-----BEGIN a PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "-----",
        ] {
            check(&[], other, other);
        }
        check(
            &[],
            "-----BEGIN X -----BEGIN PRIVATE KEY-----x",
            "-----BEGIN X ********",
        );
    }

    #[test]
    fn a_key_without_an_end_does_not_take_the_rest_with_it() {
        let redactor = Redactor::new(std::iter::empty());
        let text = format!("-----BEGIN PRIVATE KEY-----{}the rest", "A".repeat(LONGEST_KEY));
        assert_eq!(redactor.whole(&text), "********the rest");
    }

    proptest! {
        #[test]
        fn no_cut_makes_a_difference_and_no_secret_is_left(
            secrets in prop::collection::vec("[ab]{4,7}", 0..4),
            pieces in prop::collection::vec("[abü\\n ]{0,9}|-----BEGIN |-----END |PRIVATE KEY-----|-----BEGIN PRIVATE KEY-----", 0..24),
        ) {
            let redactor = Redactor::new(secrets.iter().map(String::as_str));
            let text = pieces.concat();
            let mut cut = redactor.clone();
            let mut said: String = pieces.iter().map(|piece| cut.push(piece)).collect();
            said += &cut.finish();
            prop_assert_eq!(&said, &redactor.whole(&text));
            for secret in &secrets {
                prop_assert!(!said.contains(secret.as_str()), "{:?} in {:?}", secret, said);
            }
            if secrets.is_empty() && !text.contains("KEY") {
                prop_assert_eq!(said, text);
            }
        }
    }
}
