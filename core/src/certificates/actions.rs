//! Permissions and audit actions of certificates.

use crate::access::{Action, Permission};

/// See the fleet's certificate authorities.
pub const CERTIFICATES_READ: Permission = Permission::new("certificates:read");
/// Announce, promote and remove certificate authorities.
pub const CERTIFICATES_MANAGE: Permission = Permission::new("certificates:manage");

/// An authority was made or imported.
pub const AUTHORITY_CREATE: Action = Action::new("certificate_authority.create");
/// An announced authority issues from now on; the former retires.
pub const AUTHORITY_PROMOTE: Action = Action::new("certificate_authority.promote");
/// An authority is trusted no more.
pub const AUTHORITY_DELETE: Action = Action::new("certificate_authority.delete");
