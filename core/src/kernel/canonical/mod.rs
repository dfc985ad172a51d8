//! Canonical JSON: one sequence of bytes for one value, so that a digest means the same in every backend.
//!
//! Members are sorted by the bytes of their names; there is no white space; whole numbers are written without a point;
//! other numbers in the shortest form that reads back to the same value; U+0000 is refused, because one of the engines
//! cannot hold it. (In spirit RFC 8785, but with integers up to 64 bits.)

mod order;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use self::order::Ordered;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// It cannot be written as JSON at all.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A text holds U+0000.
    #[error("a text holds the character U+0000, which cannot be stored")]
    Nul,
    /// Nested deeper than 64 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Members were to be added to what is no object.
    #[error("not an object")]
    NotAnObject,
}

const MAX_DEPTH: usize = 64;

/// The canonical bytes of a value.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, CanonicalError> {
    let mut ordered = Ordered::default();
    ordered.write(value)?;
    ordered.finish()
}

/// The canonical bytes of an object with further members and its version as member `v`. What it has itself stays as it is.
pub fn object_with<'m>(
    object: &(impl Serialize + ?Sized),
    members: impl IntoIterator<Item = (&'m str, &'m Value)>,
    version: u32,
) -> Result<Vec<u8>, CanonicalError> {
    let mut ordered = Ordered::default();
    ordered.write(object)?;
    for (name, member) in members {
        ordered.add(name, member)?;
    }
    ordered.add("v", &version)?;
    ordered.finish()
}
