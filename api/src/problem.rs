//! How a failure is told: one document for every error of every route (RFC 9457), and nothing of the log in it.
//!
//! Handlers return [`ApiError`]. It becomes a response that carries itself along; the outermost part of the stack
//! ([`crate::router()`]) adds the request id, writes the log half to the log and only then the body. A response that is an
//! error without being a [`Problem`] is turned into one there, so that no framework text reaches a caller.

use std::{any::Any, fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fleet_core::kernel::{Class, Code, Error, FieldError, INVALID};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::codes;

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

/// Why a request was not served (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, as a URI made from `code`.
    #[serde(rename = "type")]
    #[schema(example = "urn:fleet:problem:device.not_found")]
    pub kind: String,
    /// The class of the problem, in words; the same for every problem of one kind.
    #[schema(example = "Not found")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What went wrong this time, for people.
    pub detail: String,
    /// The stable code to compare. The set is open: new codes may come.
    #[schema(example = "device.not_found")]
    pub code: String,
    /// The request, as the server's log names it.
    pub request_id: String,
    /// What is wrong with single members of the request; empty where nothing more can be said.
    pub errors: Vec<FieldError>,
}

/// The HTTP status of a code: by its class, but for the few codes that HTTP has a status of its own for.
/// This is the one table.
pub fn status_of(code: Code) -> StatusCode {
    match code {
        codes::METHOD_NOT_ALLOWED => StatusCode::METHOD_NOT_ALLOWED,
        codes::CONTENT_TYPE => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        codes::PRECONDITION_REQUIRED => StatusCode::PRECONDITION_REQUIRED,
        // The domain's word for one key with two bodies; the status is the IETF draft's.
        _ if code.name() == "idempotency.key_reused" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => match code.class() {
            Class::Invalid => StatusCode::BAD_REQUEST,
            Class::Unauthenticated => StatusCode::UNAUTHORIZED,
            Class::Denied => StatusCode::FORBIDDEN,
            Class::NotFound => StatusCode::NOT_FOUND,
            Class::Conflict => StatusCode::CONFLICT,
            Class::Precondition => StatusCode::PRECONDITION_FAILED,
            Class::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Class::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// How long to wait where the error itself does not say.
fn default_wait(class: Class) -> Option<Duration> {
    match class {
        Class::RateLimited => Some(Duration::from_secs(30)),
        Class::Unavailable => Some(Duration::from_secs(5)),
        _ => None,
    }
}

fn title_of(class: Class) -> &'static str {
    match class {
        Class::Invalid => "Invalid request",
        Class::Unauthenticated => "Not signed in",
        Class::Denied => "Not allowed",
        Class::NotFound => "Not found",
        Class::Conflict => "Conflict",
        Class::Precondition => "Precondition not met",
        Class::TooLarge => "Too large",
        Class::RateLimited => "Too many requests",
        Class::Unavailable => "Not available now",
        _ => "Internal error",
    }
}

/// A failure on its way to the caller: the [`Problem`], and beside it what only the log may see.
#[derive(Clone)]
pub struct ApiError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    class: Class,
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    wait: Option<Duration>,
    log: String,
}

impl ApiError {
    /// A failure with a code and a message for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        code.error(detail).into()
    }

    /// A member of the body, or a parameter, is not allowed.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Error::invalid_field(pointer, message).into()
    }

    /// A failure with a code that names the member or parameter that it is about.
    pub fn at(code: Code, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        code.error(message.clone()).with_field(pointer, message).into()
    }

    /// A fault of ours; the cause goes to the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::internal(cause).into()
    }

    /// Says when to try again; whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.wait = Some(wait);
        self
    }

    /// Calls members by the names that they have in this route's body, where the domain has others.
    #[must_use]
    pub(crate) fn renaming(mut self, names: &[(&str, &str)]) -> Self {
        for error in &mut self.0.errors {
            if let Some((_, name)) = names.iter().find(|(from, _)| *from == error.pointer) {
                error.pointer = (*name).to_owned();
            }
        }
        self
    }

    /// The code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What is wrong with single members of the request.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The document for the caller.
    pub fn problem(&self, request_id: &str) -> Problem {
        let inner = &self.0;
        Problem {
            kind: format!("urn:fleet:problem:{}", inner.code),
            title: title_of(inner.class).to_owned(),
            status: inner.status.as_u16(),
            detail: inner.detail.clone(),
            code: inner.code.to_owned(),
            request_id: request_id.to_owned(),
            errors: inner.errors.clone(),
        }
    }

    /// The failure behind a bare status, as frameworks answer it. Statuses that are no errors count as our fault.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let mut error: Self = match status {
            StatusCode::NOT_FOUND => Self::new(codes::ROUTE_NOT_FOUND, "there is no such route"),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                codes::METHOD_NOT_ALLOWED,
                "this route does not answer to this method; Allow names those that it does",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::new(codes::CONTENT_TYPE, "this route does not read bodies of this type")
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(codes::BODY_TOO_LARGE, "the body is larger than this route allows")
            }
            StatusCode::REQUEST_TIMEOUT => Self::new(codes::BODY_UNREADABLE, "the request took too long to arrive"),
            StatusCode::SERVICE_UNAVAILABLE => {
                Self::new(codes::OVERLOADED, "the server cannot serve this now; try again")
            }
            status if status.is_client_error() => Self::new(INVALID, "the request cannot be served"),
            status => Self::internal(format!("a bare answer with status {status}")),
        };
        error.0.status = status;
        error
    }

    /// The failure behind a panic. What it said goes to the log only.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let said = panic
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("something that is no text");
        Self::internal(format!("a handler panicked: {said}"))
    }

    /// Writes the log half. What the caller did wrong is the caller's to know: only the code is logged, as the message may
    /// quote the request.
    pub(crate) fn write_log(&self, request_id: &str) {
        let inner = &self.0;
        match inner.class {
            Class::Internal => tracing::error!(request_id, code = inner.code, cause = inner.log, "request failed"),
            Class::Unavailable => {
                tracing::warn!(request_id, code = inner.code, cause = inner.log, "request not served")
            }
            _ => tracing::debug!(request_id, code = inner.code, "request refused"),
        }
    }

    /// Writes the document into `response`, in place of whatever body it has.
    pub(crate) fn write(&self, request_id: &str, response: &mut Response) {
        let body = serde_json::to_vec(&self.problem(request_id)).unwrap_or_default();
        *response.status_mut() = self.0.status;
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        for about_the_body in [
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
            header::ETAG,
            header::LAST_MODIFIED,
        ] {
            headers.remove(about_the_body);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"fleet\""),
            );
        }
        if let Some(wait) = self.0.wait {
            // Rounded up: who comes back a moment too early is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(Box::new(Inner {
            class: error.class(),
            status: status_of(error.code()),
            code: error.code().name(),
            detail: error.message().to_owned(),
            errors: error.fields().to_vec(),
            wait: error
                .retry_after_seconds()
                .map(Duration::from_secs)
                .or_else(|| default_wait(error.class())),
            log: error.log(),
        }))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.log)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        self.write("", &mut response);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: Code, status: u16, header: Option<(&str, &str)>) {
        let response = ApiError::new(code, "why").into_response();
        assert_eq!(response.status().as_u16(), status, "{code:?}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        if let Some((name, value)) = header {
            assert_eq!(response.headers().get(name).unwrap(), value, "{code:?}");
        }
        for name in ["www-authenticate", "retry-after"] {
            assert_eq!(
                response.headers().contains_key(name),
                header.is_some_and(|(expected, _)| expected == name)
            );
        }
    }

    #[test]
    fn every_class_has_its_status_and_headers() {
        let of = |class| Code::new("some.code", class);
        check(of(Class::Invalid), 400, None);
        check(
            of(Class::Unauthenticated),
            401,
            Some(("www-authenticate", "Bearer realm=\"fleet\"")),
        );
        check(of(Class::Denied), 403, None);
        check(of(Class::NotFound), 404, None);
        check(of(Class::Conflict), 409, None);
        check(of(Class::Precondition), 412, None);
        check(of(Class::TooLarge), 413, None);
        check(of(Class::RateLimited), 429, Some(("retry-after", "30")));
        check(of(Class::Unavailable), 503, Some(("retry-after", "5")));
        check(of(Class::Internal), 500, None);
    }

    #[test]
    fn four_codes_have_a_status_of_their_own() {
        check(codes::METHOD_NOT_ALLOWED, 405, None);
        check(codes::CONTENT_TYPE, 415, None);
        check(Code::new("idempotency.key_reused", Class::Conflict), 422, None);
        check(codes::PRECONDITION_REQUIRED, 428, None);
    }

    #[test]
    fn the_document_has_all_members_and_no_cause() {
        let error: ApiError = Error::invalid_field("/name", "1 to 64 characters")
            .caused_by("password=hunter2")
            .into();
        assert_eq!(
            serde_json::to_value(error.problem("r-1")).unwrap(),
            serde_json::json!({
                "type": "urn:fleet:problem:request.invalid",
                "title": "Invalid request",
                "status": 400,
                "detail": "1 to 64 characters",
                "code": "request.invalid",
                "request_id": "r-1",
                "errors": [{"pointer": "/name", "message": "1 to 64 characters"}],
            })
        );
        assert!(!error.to_string().contains("hunter2"));
        assert!(format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let response = ApiError::new(codes::RATE_LIMITED, "wait")
            .retry_after(Duration::from_millis(1_001))
            .into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn the_domain_may_say_how_long_to_wait() {
        let locked = codes::RATE_LIMITED.error("locked").with_retry_after(900);
        let response = ApiError::from(locked).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "900");
    }
}
