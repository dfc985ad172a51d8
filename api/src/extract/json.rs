//! Bodies in JSON.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

use super::serde_text::{named_member, plain};
use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// The deepest nesting of a body; what canonical JSON (`kernel::canonical`) can hold.
pub const MAX_DEPTH: usize = 64;

/// A body in JSON, as an argument and as an answer.
///
/// As an argument it wants `application/json` (or another type that ends in `+json`), reads at most as many bytes as the
/// route allows, and refuses what is not JSON, a list, nested too deep, holds U+0000, or does not fit `T`; the refusal points at
/// the member.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(codes::CONTENT_TYPE, "send the body as application/json"));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|refused| match refused.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(codes::BODY_TOO_LARGE, "the body is larger than this route allows")
                }
                _ => ApiError::new(codes::BODY_UNREADABLE, "the body broke off before its end"),
            })?;
        let value = parse_json(&bytes)?;
        // serde would take a list for a struct, member by member; no body of ours is one.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(ApiError::invalid("", "is a list, expected an object"));
        }
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase())
        .is_some_and(|essence| {
            essence
                .strip_prefix("application/")
                .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
        })
}

/// Reads foreign JSON under the rules of [`Json`].
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    scan(bytes)?;
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    // Once more, to say where it is wrong.
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().clone();
        refuse(&path, &error.into_inner())
    })?;
    reader.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

/// Finds what must be refused before anything is built from it: nesting is counted, not recursed into.
fn scan(bytes: &[u8]) -> ApiResult<()> {
    let (mut depth, mut in_text) = (0_usize, false);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                if after.starts_with(b"u0000") {
                    return Err(ApiError::new(
                        codes::NUL_CHARACTER,
                        format!("byte {}: texts must not hold U+0000", bytes.len() - after.len()),
                    ));
                }
                // Whatever is escaped, a quote above all, ends nothing.
                rest = after.get(1..).unwrap_or_default();
            }
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ApiError::new(
                        codes::TOO_DEEP,
                        format!("the body is nested deeper than {MAX_DEPTH} levels"),
                    ));
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn refuse(path: &Path, error: &serde_json::Error) -> ApiError {
    if !error.is_data() {
        return syntax(error);
    }
    let message = error.to_string();
    let mut pointer = pointer(path);
    if let Some(member) = named_member(&message) {
        let member = format!("/{}", escaped(member));
        if !pointer.ends_with(&member) {
            pointer.push_str(&member);
        }
    }
    ApiError::invalid(pointer, plain(&message))
}

fn syntax(error: &serde_json::Error) -> ApiError {
    ApiError::new(codes::JSON_SYNTAX, format!("the body is not JSON: {error}"))
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } => out.push_str(&format!("/{}", escaped(key))),
            // A variant's name is no member of the document; below an unknown part nothing is known.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

fn escaped(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading is tested")]
    struct Order {
        name: String,
        #[serde(default)]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the reading is tested")]
    struct Line {
        #[serde(rename = "a/b")]
        count: u32,
    }

    #[track_caller]
    fn check(body: &str, code: &str, pointer: Option<&str>) {
        let error = parse_json::<Order>(body.as_bytes()).unwrap_err();
        let pointers: Vec<_> = error.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            (error.code(), pointers.first().copied()),
            (code, pointer),
            "{body}: {error}"
        );
        assert!(
            !error.to_string().contains("Order") && !error.to_string().contains("Line"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_member_is_pointed_at() {
        check(r#"{"name":1}"#, "request.invalid", Some("/name"));
        check(
            r#"{"name":"x","lines":[{"a/b":1},{"a/b":-1}]}"#,
            "request.invalid",
            Some("/lines/1/a~1b"),
        );
        check(r#"{"name":"x","lines":[{}]}"#, "request.invalid", Some("/lines/0/a~1b"));
        check(r#"{"lines":[]}"#, "request.invalid", Some("/name"));
        check(r#"{"name":"x","nmae":"y"}"#, "request.invalid", Some("/nmae"));
        check("[]", "request.invalid", Some(""));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_position() {
        for body in [
            "",
            "{",
            "{\"name\":\"x\"} x",
            "{\"name\":\"\u{1}\"}",
            "nul",
            "{\"name\":\"\\ud800\"}",
        ] {
            check(body, "request.json_syntax", None);
        }
        let error = parse_json::<Order>(b"{\n  \"name\" 1}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the body is not JSON: expected `:` at line 2 column 10"
        );
    }

    #[test]
    fn depth_is_counted_outside_texts_only() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_json::<serde_json::Value>(nested(MAX_DEPTH).as_bytes()).is_ok());
        check(&nested(MAX_DEPTH + 1), "request.too_deep", None);
        check(&"[".repeat(1_000_000), "request.too_deep", None);
        assert!(parse_json::<Order>(format!(r#"{{"name":"\"{}"}}"#, "[".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn the_nul_character_is_refused_however_it_is_written() {
        check(r#"{"name":"a\u0000b"}"#, "request.nul_character", None);
        check(r#"{"a\u0000":1}"#, "request.nul_character", None);
        check("{\"name\":\"a\0b\"}", "request.json_syntax", None);
        assert!(parse_json::<Order>(br#"{"name":"a\\u0000b"}"#).is_ok());
    }
}
