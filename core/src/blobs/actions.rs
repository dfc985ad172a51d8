//! Audit actions and error codes of blobs.

use crate::{
    access::{Action, Permission},
    kernel::{Class, Code},
};

/// Upload what is too large for parameters.
pub const BLOBS_UPLOAD: Permission = Permission::new("blobs:upload");

/// A blob was uploaded.
pub const BLOB_CREATE: Action = Action::new("blob.create");

/// There is no such blob.
pub const BLOB_NOT_FOUND: Code = Code::new("blob.not_found", Class::NotFound);
/// It is larger than what is taken here.
pub const BLOB_TOO_LARGE: Code = Code::new("blob.too_large", Class::TooLarge);
/// As many were uploaded that nothing names as there may be.
pub const BLOB_TOO_MANY: Code = Code::new("blob.too_many", Class::Conflict);
/// There is no place for blobs, or it cannot be reached.
pub const BLOB_UNAVAILABLE: Code = Code::new("blob.unavailable", Class::Unavailable);
/// The same content is being removed just now.
pub const BLOB_LEAVING: Code = Code::new("blob.leaving", Class::Unavailable);
/// What is stored is not what was stored.
pub const BLOB_DAMAGED: Code = Code::new("blob.damaged", Class::Internal);

/// It was noted which blobs nobody refers to, and those went that nobody had referred to for long.
pub const BLOBS_CLEAN: Action = Action::new("blobs.clean");
