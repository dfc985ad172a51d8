//! Passphrases that people choose, and what they have to be. Pure.

use serde::{Deserialize, Serialize};

/// The fewest characters when nobody says; as few as anybody may say.
const MIN_LENGTH: u8 = 16;
/// The most characters that may be asked for.
const MAX_MIN_LENGTH: u8 = 128;
/// The longest passphrase that cryptsetup(8) reads from its standard input, in bytes.
const MAX_BYTES: usize = 512;

/// What a passphrase has to be that somebody chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PassphraseRules {
    /// How many characters it has at least, 16 to 128; 16 when nobody says.
    #[serde(default = "min_length")]
    pub min_length: u8,
    /// Of what it has to be made; anything when nobody says.
    #[serde(default)]
    pub complexity: PassphraseComplexity,
}

/// Of what a passphrase has to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PassphraseComplexity {
    /// Of anything: its length is what counts.
    #[default]
    Any,
    /// A letter of each case and a digit at least.
    Alphanumeric,
    /// The same, and a character that is neither letter nor digit.
    Complex,
}

fn min_length() -> u8 {
    MIN_LENGTH
}

impl Default for PassphraseRules {
    fn default() -> Self {
        Self {
            min_length: MIN_LENGTH,
            complexity: PassphraseComplexity::default(),
        }
    }
}

impl PassphraseRules {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check_bounds(&self) -> Result<(), String> {
        match (MIN_LENGTH..=MAX_MIN_LENGTH).contains(&self.min_length) {
            true => Ok(()),
            false => Err(format!("passphrase.min_length: {MIN_LENGTH} to {MAX_MIN_LENGTH}")),
        }
    }

    /// Whether a passphrase is as it has to be.
    ///
    /// # Errors
    /// What is wrong with it, said without it.
    pub fn check(&self, passphrase: &str) -> Result<(), String> {
        let has = |what: fn(char) -> bool| passphrase.chars().any(what);
        let is_mixed = has(char::is_lowercase) && has(char::is_uppercase) && has(char::is_numeric);
        let is_special = has(|letter| !letter.is_alphanumeric());
        if passphrase.len() > MAX_BYTES {
            return Err(format!("it has at most {MAX_BYTES} bytes"));
        }
        if has(char::is_control) {
            return Err("it is one line of what can be typed, without control characters".into());
        }
        if passphrase.chars().count() < usize::from(self.min_length) {
            return Err(format!("it has {} characters at least", self.min_length));
        }
        // Length that is no length: "aaaaaaaaaaaaaaaa".
        if passphrase.chars().collect::<std::collections::BTreeSet<_>>().len() < MIN_DISTINCT {
            return Err(format!("it is made of {MIN_DISTINCT} different characters at least"));
        }
        match self.complexity {
            PassphraseComplexity::Any => Ok(()),
            PassphraseComplexity::Alphanumeric if is_mixed => Ok(()),
            PassphraseComplexity::Complex if is_mixed && is_special => Ok(()),
            PassphraseComplexity::Alphanumeric => Err("it has a letter of each case and a digit at least".into()),
            PassphraseComplexity::Complex => {
                Err("it has a letter of each case, a digit, and a character that is neither, at least".into())
            }
        }
    }
}

/// The fewest different characters.
const MIN_DISTINCT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(min_length: u8, complexity: PassphraseComplexity, passphrase: &str, wrong: Option<&str>) {
        let rules = PassphraseRules { min_length, complexity };
        match (rules.check(passphrase), wrong) {
            (Ok(()), None) => {}
            (Err(why), Some(part)) => {
                assert!(why.contains(part), "{why}");
                assert!(!why.contains(passphrase), "{why}");
            }
            (found, _) => panic!("{passphrase}: {found:?}"),
        }
    }

    #[test]
    fn a_passphrase_is_as_long_and_as_mixed_as_is_asked_for() {
        use PassphraseComplexity::{Alphanumeric, Any, Complex};
        check(16, Any, "correct horse ba", None);
        check(16, Any, "correct horse b", Some("16 characters"));
        check(17, Any, "correct horse ba", Some("17 characters"));
        // Characters, not bytes.
        check(16, Any, "äöüßäöüßabcdefg", Some("16 characters"));
        check(16, Any, "abababababababababab", Some("6 different"));
        check(16, Alphanumeric, "correct horse battery", Some("letter of each case"));
        check(16, Alphanumeric, "Correct horse battery 4", None);
        check(16, Alphanumeric, "CORRECT HORSE BATTERY 4", Some("letter of each case"));
        check(16, Complex, "Correcthorsebattery4", Some("neither"));
        check(16, Complex, "Correct horse battery 4", None);
        check(16, Any, &"abcdef".repeat(86), Some("512 bytes"));
        check(16, Any, "correct\thorse battery", Some("control"));
        check(16, Any, "correct horse\nbattery", Some("control"));
    }
}
