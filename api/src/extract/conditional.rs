//! Revisions as entity tags: what the caller saw, so that nobody overwrites what they have not read (RFC 9110 §8.8, §13).

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponseParts, ResponseParts},
};
use fleet_core::{kernel::PRECONDITION_FAILED, store::Rev};

use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// The revision of the resource in the answer, as `ETag: "7"`. Add it to the tuple that a handler returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag(pub Rev);

impl IntoResponseParts for ETag {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", self.0)) {
            response.headers_mut().insert(header::ETAG, value);
        }
        Ok(response)
    }
}

/// The condition of a change, from `If-Match`. As an argument it is required (428 without); as `Option<IfMatch>` it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: whatever the revision is.
    Any,
    /// This revision only.
    Revision(Rev),
}

impl IfMatch {
    /// The revision that the resource must have, if one was named.
    pub fn revision(self) -> Option<Rev> {
        match self {
            Self::Any => None,
            Self::Revision(rev) => Some(rev),
        }
    }

    fn from_headers(headers: &HeaderMap) -> ApiResult<Option<Self>> {
        let invalid = || {
            ApiError::at(
                codes::PRECONDITION_INVALID,
                "If-Match",
                "send one entity tag as the answer's ETag gave it, such as \"7\", or *",
            )
        };
        let mut values = headers.get_all(header::IF_MATCH).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let text = value.to_str().map_err(|_| invalid())?.trim();
        if values.next().is_some() {
            return Err(invalid());
        }
        if text == "*" {
            return Ok(Some(Self::Any));
        }
        let (weak, tag) = text.strip_prefix("W/").map_or((false, text), |tag| (true, tag));
        let tag = tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .filter(|tag| !tag.contains('"') && tag.len() <= 64)
            .ok_or_else(invalid)?;
        // A weak tag never matches here (RFC 9110 §13.1.1), nor does one that we did not make.
        match tag.parse::<Rev>() {
            Ok(rev) if !weak && rev.to_string() == tag => Ok(Some(Self::Revision(rev))),
            _ => Err(ApiError::new(
                PRECONDITION_FAILED,
                "the resource has no such revision; read it again",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Self::from_headers(&parts.headers)?.ok_or_else(|| {
            ApiError::at(
                codes::PRECONDITION_REQUIRED,
                "If-Match",
                "read the resource and send its ETag as If-Match, or * to change it whatever it is",
            )
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Self::from_headers(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Result<Option<IfMatch>, &str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        let got = IfMatch::from_headers(&headers);
        assert_eq!(got.as_ref().map_err(ApiError::code).copied(), expected, "{values:?}");
    }

    #[test]
    fn a_tag_of_ours_names_a_revision() {
        check(&[], Ok(None));
        check(&["*"], Ok(Some(IfMatch::Any)));
        check(&["\"7\""], Ok(Some(IfMatch::Revision(7))));
    }

    #[test]
    fn a_tag_that_cannot_match_is_a_failed_condition() {
        for tag in [
            "W/\"7\"",
            "\"07\"",
            "\"+7\"",
            "\"abc\"",
            "\"\"",
            "\"99999999999999999999999\"",
        ] {
            check(&[tag], Err("request.precondition_failed"));
        }
    }

    #[test]
    fn what_is_no_single_tag_is_refused() {
        for text in ["7", "\"7", "\"7\", \"8\"", "", "W/7"] {
            check(&[text], Err("request.precondition_invalid"));
        }
        check(&["\"7\"", "\"7\""], Err("request.precondition_invalid"));
    }
}
