//! Errors as values with stable codes.
//!
//! An [`Error`] has two texts that never mix: `message` is for the caller and may go over the wire; the cause is for the
//! log and is reachable only through [`Error::log`]. `Display` shows the first, so that no `format!("{error}")` can
//! leak the second.

use std::fmt;

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure a code is. A face maps it to an HTTP status, an exit code or a colour; the code says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The request cannot be understood or breaks a rule; the same request will fail again.
    Invalid,
    /// Nobody is signed in, or what was presented proves nothing.
    Unauthenticated,
    /// The actor is known and may not do this.
    Denied,
    /// There is no such thing, or the actor may not know of it.
    NotFound,
    /// The request contradicts the present state.
    Conflict,
    /// The condition that the caller attached (`If-Match`) does not hold.
    Precondition,
    /// Something sent is larger than the limit.
    TooLarge,
    /// Too many requests; wait and try again.
    RateLimited,
    /// It cannot be served now; the same request may succeed later.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A stable error code, declared as a constant in the module that owns it, such as `device.not_found`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    name: &'static str,
    class: Class,
}

impl Code {
    /// Declares a code; `name` is `subject.problem` in snake case and never changes once released.
    pub const fn new(name: &'static str, class: Class) -> Self {
        Self { name, class }
    }

    /// The text that clients compare.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// What kind of failure it is.
    pub const fn class(self) -> Class {
        self.class
    }

    /// An error of this code with a message for the caller.
    #[must_use]
    pub fn error(self, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code: self,
            message: message.into(),
            fields: Vec::new(),
            retry_after_seconds: None,
            cause: None,
        }))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What is wrong with one member of a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901) into the body, or the name of a parameter.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// A failure of a use case: a code, a message for the caller, and a cause for the log.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    message: String,
    fields: Vec<FieldError>,
    retry_after_seconds: Option<u64>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A fault of ours; the log has the cause.
pub const INTERNAL: Code = Code::new("internal", Class::Internal);
/// A value in the request is not allowed.
pub const INVALID: Code = Code::new("request.invalid", Class::Invalid);
/// The resource is not at the revision that the caller's condition names.
pub const PRECONDITION_FAILED: Code = Code::new("request.precondition_failed", Class::Precondition);

impl Error {
    /// A fault of ours: the caller learns only that it happened, the log gets the cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        INTERNAL
            .error("something went wrong on our side; the server's log says what")
            .caused_by(cause)
    }

    /// A member of the request is not allowed.
    pub fn invalid_field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = INVALID.error(message.clone());
        error.0.fields.push(FieldError {
            pointer: pointer.into(),
            message,
        });
        error
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds what is wrong with one member of the request.
    #[must_use]
    pub fn with_field(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.fields.push(FieldError {
            pointer: pointer.into(),
            message: message.into(),
        });
        self
    }

    /// Says after how many seconds the same request may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// The same for another caller: the cause stays with the one whose error is logged.
    #[must_use]
    pub(crate) fn without_cause(&self) -> Self {
        let Inner {
            code,
            message,
            fields,
            retry_after_seconds,
            cause: _,
        } = &*self.0;
        Self(Box::new(Inner {
            code: *code,
            message: message.clone(),
            fields: fields.clone(),
            retry_after_seconds: *retry_after_seconds,
            cause: None,
        }))
    }

    /// After how many seconds the same request may succeed, where that is known.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after_seconds
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        self.0.code.class
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What is wrong, member by member.
    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// The text for the log: the message and the whole chain of causes. Never for a caller.
    pub fn log(&self) -> String {
        let mut text = format!("{}: {}", self.0.code.name, self.0.message);
        let mut cause: Option<&dyn std::error::Error> = self.0.cause.as_ref().map(|cause| &**cause as _);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.log())
    }
}

// `source` is deliberately left at its default: walking it must not reach what is only for the log.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_text_never_holds_the_cause() {
        let error = Error::internal("password=hunter2 in /var/lib/fleet");
        assert!(!error.to_string().contains("hunter2"));
        assert!(std::error::Error::source(&error).is_none());
        assert!(error.log().contains("hunter2"));
    }
}
