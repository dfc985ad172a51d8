//! Bearer tokens: secrets that are shown once and stored as a keyed hash.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    kernel::{Randomness, random_bytes},
    store::{ToColumn, Value},
};

/// 256 bits of secret in every token.
const SECRET: usize = 32;
/// Characters of the secret that a list may show: enough to recognise a token, far too few to guess it.
const SHOWN: usize = 6;

/// What a token is for; its first characters say so, so that secret scanners and people recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Creates the first administrator.
    Bootstrap,
    /// A session.
    Session,
    /// An API key.
    Key,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Bootstrap, Self::Session, Self::Key];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Bootstrap => "fla1_",
            Self::Session => "fls1_",
            Self::Key => "flk1_",
        }
    }

    /// What a text claims to be; none unless it has the exact form of a token of ours.
    pub(crate) fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            text.strip_prefix(kind.prefix()).is_some_and(|secret| {
                secret.len() == (SECRET * 8).div_ceil(6)
                    && URL_SAFE_NO_PAD
                        .decode(secret)
                        .is_ok_and(|bytes| Zeroizing::new(bytes).len() == SECRET)
            })
        })
    }
}

/// A bearer token. It exists in this form only where it is made; the store has its hash.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    pub(crate) fn generate(kind: TokenKind, random: &dyn Randomness) -> Self {
        let secret = Zeroizing::new(random_bytes::<SECRET>(random));
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(kind.prefix());
        URL_SAFE_NO_PAD.encode_string(*secret, &mut text);
        Self(text)
    }

    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its first characters, for lists.
    pub(crate) fn shown(&self) -> String {
        self.0.chars().take("flx1_".len() + SHOWN).collect()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BearerToken({}…)", &self.0[.."flx1_".len()])
    }
}

/// The hash under which a token is stored, in hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// Compares without telling by its duration where the two differ.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl ToColumn for TokenHash {
    fn to_values(&self) -> Vec<Value> {
        vec![self.0.clone().into()]
    }
}

impl From<TokenHash> for Value {
    fn from(hash: TokenHash) -> Self {
        hash.0.into()
    }
}

/// The key of all token hashes. It is sealed in the store, so that whoever can write to a copy of the store, but has no
/// master key, cannot plant a token.
#[derive(Clone)]
pub struct TokenKey(Zeroizing<[u8; 32]>);

impl TokenKey {
    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The stored form of a token.
    pub(crate) fn hash(&self, text: &str) -> TokenHash {
        TokenHash(blake3::keyed_hash(&self.0, text.as_bytes()).to_hex().to_string())
    }

    /// A number from 0 to 65,535 that stands for a text and tells nothing about it.
    pub(crate) fn bucket(&self, text: &str) -> u16 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"bucket\0").update(text.as_bytes());
        let hash = hasher.finalize();
        u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SeededRandom;

    #[test]
    fn a_token_says_what_it_is_and_hides_the_rest() {
        let random = SeededRandom::new(1);
        for kind in TokenKind::ALL {
            let token = BearerToken::generate(kind, &random);
            assert_eq!(TokenKind::of(token.expose()), Some(kind));
            assert!(token.expose().starts_with(&token.shown()) && token.shown().len() == 11);
            assert!(!format!("{token:?}").contains(&token.expose()[5..8]));
        }
    }

    #[test]
    fn what_is_not_exactly_a_token_is_none() {
        let good = BearerToken::generate(TokenKind::Session, &SeededRandom::new(2));
        let good = good.expose();
        for end in 0..good.len() {
            assert_eq!(TokenKind::of(&good[..end]), None, "{end}");
        }
        for text in [
            format!("{good}A"),
            format!(" {good}"),
            good.replace("fls1_", "fls2_"),
            // The last character carries four bits: another spelling of the same bytes is not the same token.
            format!("{}_", &good[..good.len() - 1]),
            "fls1_".to_owned() + &"ä".repeat(22),
            "fls1_".to_owned() + &"A".repeat(100_000),
        ] {
            assert_eq!(TokenKind::of(&text), None, "{text}");
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        let key = |byte| TokenKey::from_bytes(Zeroizing::new([byte; 32]));
        assert!(key(1).hash("a").equals(&key(1).hash("a")));
        assert!(!key(1).hash("a").equals(&key(2).hash("a")));
        assert!(!key(1).hash("a").equals(&key(1).hash("b")));
    }
}
