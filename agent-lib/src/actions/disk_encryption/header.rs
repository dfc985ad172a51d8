//! The header of a LUKS 2 volume, as `cryptsetup luksDump --dump-json-metadata` shows it (pure).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// What systemd calls what a TPM opens a volume by.
const TPM2: &str = "systemd-tpm2";

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    keyslots: BTreeMap<String, KeySlot>,
    tokens: BTreeMap<String, Token>,
}

#[derive(Debug, Deserialize)]
struct KeySlot {
    kdf: KeyDerivation,
}

#[derive(Debug, Deserialize)]
struct KeyDerivation {
    salt: String,
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
}

/// What names a key slot for as long as the same key is in it: its number is given to the next one.
pub(super) type Salt = String;

impl Header {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The key slots that a TPM opens.
    pub(super) fn tpm_slots(&self) -> BTreeSet<Salt> {
        let tokens = self.tokens.values().filter(|token| token.kind == TPM2);
        let slots = tokens.flat_map(|token| &token.keyslots);
        slots
            .filter_map(|number| self.keyslots.get(number))
            .map(|slot| slot.kdf.salt.clone())
            .collect()
    }

    /// The number of a key slot; nothing when its key is there no more.
    pub(super) fn number(&self, salt: &Salt) -> Option<&str> {
        let mut slots = self.keyslots.iter();
        slots
            .find(|(_, slot)| slot.kdf.salt == *salt)
            .map(|(number, _)| number.as_str())
    }

    /// Whether there is a key in the slot of this number.
    pub(super) fn has(&self, number: &str) -> bool {
        self.keyslots.contains_key(number)
    }

    /// What the key in the slot of this number is known by.
    pub(super) fn salt(&self, number: &str) -> Option<Salt> {
        self.keyslots.get(number).map(|slot| slot.kdf.salt.clone())
    }

    /// The numbers of the tokens by which a TPM opens this key slot and no other.
    pub(super) fn tpm_tokens_of(&self, number: &str) -> Vec<&str> {
        let tokens = self.tokens.iter();
        tokens
            .filter(|(_, token)| token.kind == TPM2 && token.keyslots == [number])
            .map(|(number, _)| number.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn header() -> Header {
        let slot = |salt: &str| json!({"type": "luks2", "key_size": 64, "kdf": {"type": "pbkdf2", "salt": salt}});
        let token = |kind: &str, slots: &[&str]| json!({"type": kind, "keyslots": slots, "tpm2-pcrs": [7]});
        let header = json!({
            "keyslots": {"0": slot("a"), "1": slot("b"), "4": slot("c"), "5": slot("d")},
            "tokens": {
                "0": token("systemd-tpm2", &["4"]),
                "1": token("systemd-fido2", &["1"]),
                "2": token("systemd-tpm2", &["5", "9"]),
                "3": token("systemd-tpm2", &[]),
            },
            "segments": {},
        });
        Header::parse(&header.to_string()).unwrap()
    }

    #[test]
    fn a_key_is_known_by_its_salt_wherever_it_is() {
        let header = header();
        let set = |salts: &[&str]| salts.iter().map(|salt| (*salt).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(header.tpm_slots(), set(&["c", "d"]));
        assert_eq!(header.number(&"c".into()), Some("4"));
        assert_eq!(header.number(&"e".into()), None);
        assert_eq!((header.salt("4"), header.salt("7")), (Some("c".into()), None));
        assert!(header.has("4") && !header.has("7"));
    }

    #[test]
    fn tokens_of_other_keys_are_not_meant() {
        let header = header();
        assert_eq!(header.tpm_tokens_of("4"), ["0"]);
        for number in ["0", "1", "5", "9"] {
            assert!(header.tpm_tokens_of(number).is_empty(), "{number}");
        }
        assert!(Header::parse("Dump operation is not supported").is_err());
    }
}
