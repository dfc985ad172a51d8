//! Repeats of one creation: a client that heard no answer sends the same key again.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, request::Parts},
};

use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// Bytes of the longest key.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;

const HEADER: &str = "idempotency-key";

/// The key of `Idempotency-Key`: 1 to 128 printable ASCII characters. Handlers take `Option<IdempotencyKey>`.
///
/// The quoted form that the IETF draft asks for and the bare form that most clients send name one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_headers(headers: &HeaderMap) -> ApiResult<Option<Self>> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.to_str().ok().map(str::trim).map(|text| {
            text.strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'))
                .unwrap_or(text)
        });
        let printable = |key: &&str| {
            (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
        };
        match key.filter(printable) {
            Some(key) if values.next().is_none() => Ok(Some(Self(key.to_owned()))),
            _ => Err(ApiError::at(
                codes::IDEMPOTENCY_KEY_INVALID,
                "Idempotency-Key",
                format!("send one key of 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters, such as a UUID"),
            )),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Self::from_headers(&parts.headers)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Self::from_headers(&parts.headers)?.ok_or_else(|| {
            ApiError::at(
                codes::IDEMPOTENCY_KEY_INVALID,
                "Idempotency-Key",
                "this route wants an Idempotency-Key",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Result<Option<&str>, &str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let got = IdempotencyKey::from_headers(&headers);
        let got = got.as_ref().map(|key| key.as_ref().map(IdempotencyKey::as_str));
        assert_eq!(got.map_err(ApiError::code), expected, "{values:?}");
    }

    #[test]
    fn a_key_is_read_bare_or_quoted() {
        check(&[], Ok(None));
        check(&["8e03978e-40d5"], Ok(Some("8e03978e-40d5")));
        check(&["\"8e03978e-40d5\""], Ok(Some("8e03978e-40d5")));
        check(&[&"k".repeat(128)], Ok(Some(&"k".repeat(128))));
    }

    #[test]
    fn anything_else_is_refused() {
        for values in [&[""][..], &["\"\""], &["a b"], &["a", "a"], &["é"], &[&"k".repeat(129)]] {
            check(values, Err("idempotency.key_invalid"));
        }
    }
}
