//! The text of a token: what somebody carries to a machine. Pure; used by server and agent.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::EnrolmentSecret;
use crate::kernel::{PublicKey, canonical};

/// What the text of a token of this version begins with.
pub const TOKEN_PREFIX: &str = "fle1_";
/// The longest text of a token, in bytes: people paste it into a shell.
const MAX_TEXT: usize = 1024;
/// The longest address in a token, in bytes.
const MAX_ADDRESS: usize = 512;

/// What the text of an enrolment token holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenText {
    /// The address of the server, such as `https://fleet.example.org`.
    pub address: String,
    /// The server's identity key: the agent believes no answer that is not signed by it.
    pub identity: PublicKey,
    /// The fingerprint of the authority that the server's certificate comes from, where it is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The secret.
    pub secret: EnrolmentSecret,
}

/// Why a text is not an enrolment token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenTextError {
    /// It begins with something else.
    #[error("not an enrolment token: it would begin with {TOKEN_PREFIX}")]
    Prefix,
    /// It is of a version that this program does not know.
    #[error("an enrolment token of another version; update the agent")]
    Version,
    /// It is longer than any token.
    #[error("too long for an enrolment token")]
    TooLong,
    /// It was damaged on the way, or cut off.
    #[error("a damaged enrolment token; copy it again as a whole")]
    Damaged,
    /// Its address is not one of a server.
    #[error("the enrolment token holds no usable address of a server")]
    Address,
}

impl TokenText {
    /// Checks the address: `https://` or `http://` and a host, at most 512 bytes of visible ASCII.
    pub fn check_address(address: &str) -> Result<(), TokenTextError> {
        let rest = address
            .strip_prefix("https://")
            .or_else(|| address.strip_prefix("http://"))
            .ok_or(TokenTextError::Address)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fits = !host.is_empty()
            && !host.contains('@')
            && address.len() <= MAX_ADDRESS
            && address.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(()) } else { Err(TokenTextError::Address) }
    }

    /// The text. It holds the secret: show it once.
    pub fn encode(&self) -> Result<Zeroizing<String>, TokenTextError> {
        Self::check_address(&self.address)?;
        let json = Zeroizing::new(canonical::to_vec(self).map_err(|_| TokenTextError::Damaged)?);
        let text = Zeroizing::new(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(&*json)));
        if text.len() > MAX_TEXT {
            return Err(TokenTextError::TooLong);
        }
        Ok(text)
    }

    /// Reads a text that came from anywhere.
    pub fn decode(text: &str) -> Result<Self, TokenTextError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(TokenTextError::TooLong);
        }
        let Some(encoded) = text.strip_prefix(TOKEN_PREFIX) else {
            let other = text.strip_prefix("fle").and_then(|rest| rest.split_once('_'));
            return Err(match other {
                Some((version, _)) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => {
                    TokenTextError::Version
                }
                _ => TokenTextError::Prefix,
            });
        };
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenTextError::Damaged)?);
        let token: Self = serde_json::from_slice(&json).map_err(|_| TokenTextError::Damaged)?;
        Self::check_address(&token.address)?;
        // One token has one text; anything else was tampered with.
        let canonical = Zeroizing::new(canonical::to_vec(&token).map_err(|_| TokenTextError::Damaged)?);
        if *canonical == *json {
            Ok(token)
        } else {
            Err(TokenTextError::Damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SeededRandom, SigningKey};

    fn token(address: &str) -> TokenText {
        let random = SeededRandom::new(1);
        TokenText {
            address: address.to_owned(),
            identity: SigningKey::generate(&random).public(),
            ca: None,
            secret: EnrolmentSecret::generate(&random),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: TokenTextError) {
        assert_eq!(TokenText::decode(text), Err(expected), "{text}");
    }

    fn encoded(json: &str) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn a_token_survives_the_journey() {
        for token in [
            token("https://fleet.example.org"),
            TokenText {
                ca: Some("sha256:00".into()),
                ..token("http://[::1]:8080/fleet")
            },
        ] {
            let text = token.encode().unwrap();
            assert_eq!(TokenText::decode(&format!(" {}\n", *text)), Ok(token));
        }
    }

    #[test]
    fn the_text_of_version_1_never_changes() {
        insta::assert_snapshot!(*token("https://fleet.example.org").encode().unwrap());
    }

    #[test]
    fn damage_at_any_place_is_noticed() {
        let text = token("https://fleet.example.org").encode().unwrap();
        for end in TOKEN_PREFIX.len()..text.len() {
            check(&text[..end], TokenTextError::Damaged);
        }
        check(&format!("{}A", *text), TokenTextError::Damaged);
    }

    #[test]
    fn hostile_texts_are_refused_with_the_reason() {
        check("", TokenTextError::Prefix);
        check("fle_x", TokenTextError::Prefix);
        check("fle2_abc", TokenTextError::Version);
        check(&"A".repeat(1_000_000), TokenTextError::TooLong);
        check(&encoded("[]"), TokenTextError::Damaged);
        check(&encoded(&"[".repeat(700)), TokenTextError::Damaged);
        let json = serde_json::to_string(&token("https://a.example")).unwrap();
        check(
            &encoded(&json.replace("https://a.example", "file:///etc/passwd")),
            TokenTextError::Address,
        );
        check(
            &encoded(&json.replace("https://a.example", "https://user@a.example")),
            TokenTextError::Address,
        );
        check(
            &encoded(&json.replace("https://a.example", "https:///x")),
            TokenTextError::Address,
        );
        check(&encoded(&json.replace('{', "{ ")), TokenTextError::Damaged);
        check(&encoded(&json.replace('{', "{\"a\":1,")), TokenTextError::Damaged);
    }

    #[test]
    fn an_address_that_makes_the_text_too_long_is_refused_when_it_is_made() {
        let long = token(&format!("https://{}", "a".repeat(600)));
        assert_eq!(long.encode(), Err(TokenTextError::Address));
    }
}
