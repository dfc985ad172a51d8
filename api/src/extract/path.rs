//! Ids and names in the path.

use axum::{
    extract::{FromRequestParts, RawPathParams, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::serde_text::plain;
use crate::{codes, problem::ApiError};

/// The parameters of the path. A text that is no id of the kind is refused with the parameter's name; an id of something
/// that is not there is the handler's to answer.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        // Also tells the name where the path has one parameter only, which the rejection does not.
        let mut only = None;
        if let Ok(raw) = RawPathParams::from_request_parts(parts, state).await {
            for (name, value) in &raw {
                if value.contains('\0') {
                    return Err(ApiError::at(codes::NUL_CHARACTER, name, "texts must not hold U+0000"));
                }
            }
            let mut names = raw.iter().map(|(name, _)| name.to_owned());
            only = names.next().filter(|_| names.next().is_none());
        }
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(failed)) => Err(refuse(failed.into_kind(), only)),
            Err(_) => Err(ApiError::internal(
                "a handler takes path parameters that its route does not have",
            )),
        }
    }
}

fn refuse(kind: ErrorKind, only: Option<String>) -> ApiError {
    let unreadable = || "cannot be read".to_owned();
    match kind {
        ErrorKind::ParseErrorAtKey { key, .. } => ApiError::invalid(key, unreadable()),
        ErrorKind::InvalidUtf8InPathParam { key } => ApiError::invalid(key, "is not UTF-8"),
        ErrorKind::DeserializeError { key, message, .. } => ApiError::invalid(key, plain(&message)),
        ErrorKind::ParseErrorAtIndex { .. } | ErrorKind::ParseError { .. } => {
            ApiError::invalid(only.unwrap_or_default(), unreadable())
        }
        ErrorKind::Message(message) => ApiError::invalid(only.unwrap_or_default(), plain(&message)),
        other => ApiError::internal(other.to_string()),
    }
}
