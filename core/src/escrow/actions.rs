//! Permissions, audit actions and error codes of escrow.

use crate::{
    access::{Action, Permission},
    kernel::{Class, Code},
};

/// See which secrets of devices are kept, never the secrets.
pub const ESCROW_READ: Permission = Permission::new("escrow:read");
/// Read secrets of devices that are kept.
pub const ESCROW_REVEAL: Permission = Permission::new("escrow:reveal");

/// A device deposited a secret.
pub const ESCROW_DEPOSIT: Action = Action::new("escrowed_secret.deposit");
/// A device said that a secret is in use.
pub const ESCROW_CONFIRM: Action = Action::new("escrowed_secret.confirm");
/// A device said that a secret did not come into use.
pub const ESCROW_ABANDON: Action = Action::new("escrowed_secret.abandon");
/// A device read its own secrets.
pub const ESCROW_READ_BY_DEVICE: Action = Action::new("escrowed_secret.read_by_device");
/// Somebody read a secret.
pub const ESCROW_REVEALED: Action = Action::new("escrowed_secret.reveal");
/// Secrets of devices that are gone were noted, or removed.
pub const ESCROW_CLEAN: Action = Action::new("escrowed_secret.clean");

/// There is no such secret, or the actor may not know of it.
pub const ESCROW_NOT_FOUND: Code = Code::new("escrowed_secret.not_found", Class::NotFound);
/// What the device says contradicts what it said before.
pub const ESCROW_CONTRADICTED: Code = Code::new("escrowed_secret.contradicted", Class::Conflict);
/// The secret does not open: it was altered, or sealed under a master key that is not here.
pub const ESCROW_UNREADABLE: Code = Code::new("escrowed_secret.unreadable", Class::Conflict);
/// The device has secrets for as many subjects as it may.
pub const ESCROW_FULL: Code = Code::new("escrowed_secret.too_many_subjects", Class::Conflict);
/// The device deposits or asks too often; the error says when to come again.
pub const ESCROW_TOO_OFTEN: Code = Code::new("escrowed_secret.too_often", Class::RateLimited);
