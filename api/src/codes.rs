//! The error codes that this crate owns. Those of the domain are declared beside the domain.

use fleet_core::kernel::{Class, Code};

/// The body is not JSON at all.
pub const JSON_SYNTAX: Code = Code::new("request.json_syntax", Class::Invalid);
/// The body is nested deeper than [`crate::extract::MAX_DEPTH`] levels.
pub const TOO_DEEP: Code = Code::new("request.too_deep", Class::Invalid);
/// A text in the request holds U+0000, which no storage engine of ours is asked to hold.
pub const NUL_CHARACTER: Code = Code::new("request.nul_character", Class::Invalid);
/// The body broke off before its end.
pub const BODY_UNREADABLE: Code = Code::new("request.body_unreadable", Class::Invalid);
/// The body is larger than the route allows.
pub const BODY_TOO_LARGE: Code = Code::new("request.body_too_large", Class::TooLarge);
/// The body is of a type that the route does not read. Answered with 415.
pub const CONTENT_TYPE: Code = Code::new("request.content_type_unsupported", Class::Invalid);
/// The route has no such query parameter.
pub const PARAMETER_UNKNOWN: Code = Code::new("request.parameter_unknown", Class::Invalid);
/// Too many requests from one address; wait and try again.
pub const RATE_LIMITED: Code = Code::new("request.rate_limited", Class::RateLimited);
/// `Idempotency-Key` is empty, too long or not printable.
pub const IDEMPOTENCY_KEY_INVALID: Code = Code::new("idempotency.key_invalid", Class::Invalid);
/// The route changes something and wants to know which revision the caller saw. Answered with 428 (RFC 6585 §3).
pub const PRECONDITION_REQUIRED: Code = Code::new("request.precondition_required", Class::Precondition);
/// `If-Match` is not one entity tag.
pub const PRECONDITION_INVALID: Code = Code::new("request.precondition_invalid", Class::Invalid);
/// There is no such route.
pub const ROUTE_NOT_FOUND: Code = Code::new("route.not_found", Class::NotFound);
/// The route does not answer to this method. Answered with 405 and `Allow`.
pub const METHOD_NOT_ALLOWED: Code = Code::new("route.method_not_allowed", Class::Invalid);
/// The server gave up on its own answer; the request may have had its effect.
pub const TIMED_OUT: Code = Code::new("server.timed_out", Class::Unavailable);
/// As many requests as the server handles at once are under way.
pub const OVERLOADED: Code = Code::new("server.overloaded", Class::Unavailable);
/// A part that the server needs does not answer.
pub const NOT_READY: Code = Code::new("server.not_ready", Class::Unavailable);
/// The session has as many streams as it may have.
pub const TOO_MANY_STREAMS: Code = Code::new("live.too_many_streams", Class::RateLimited);
/// A parameter or header has a value that is not allowed.
pub const PARAMETER_INVALID: Code = Code::new("request.parameter_invalid", Class::Invalid);
// No token was sent, or not as `Authorization: Bearer …`: the same to a caller as one that proves nothing.
pub use fleet_core::access::sessions::REQUIRED as AUTHORIZATION_MISSING;
