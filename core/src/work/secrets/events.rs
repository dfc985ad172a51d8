//! Audit actions and error codes of secrets.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// Secrets that nothing refers to were noted, or removed.
pub const SECRETS_CLEAN: Action = Action::new("operation_secret.clean");

/// A request holds a reference to a secret, which only the server writes.
pub const SECRET_REFERENCE: Code = Code::new("operation.secret_reference", Class::Invalid);
/// The mark of a kept secret stands where none is kept.
pub const SECRET_MISSING: Code = Code::new("operation.secret_missing", Class::Invalid);
/// A secret that the work needs is not kept any more, or does not open.
pub const SECRET_GONE: Code = Code::new("operation.secret_gone", Class::Conflict);
