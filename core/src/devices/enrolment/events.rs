//! Audit actions and error codes of enrolment.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// An enrolment token was made.
pub const TOKEN_CREATE: Action = Action::new("enrolment_token.create");
/// An enrolment token was revoked.
pub const TOKEN_REVOKE: Action = Action::new("enrolment_token.revoke");
/// A machine became a device, or did so again with another token.
pub const DEVICE_ENROLLED: Action = Action::new("device.enrolled");
/// A machine that is known by its machine id came with a new key.
pub const DEVICE_REKEYED: Action = Action::new("device.rekeyed");

/// An enrolment was refused. A flood of refusals leaves few of these, which count the others.
pub const ENROLMENT_REFUSED: Action = Action::new("enrolment.refused");
/// A PIN was exchanged for its token.
pub const PIN_REDEEM: Action = Action::new("enrolment_pin.redeem");

/// The PIN is wrong, was used, or its time is over.
pub const PIN_WRONG: Code = Code::new("enrolment.pin_wrong", Class::Unauthenticated);
/// As many PINs can be used at this moment as may be; the error says when the next can be made.
pub const PINS_ALL_TAKEN: Code = Code::new("enrolment.pins_all_taken", Class::Conflict);
/// There is no such enrolment token.
pub const TOKEN_NOT_FOUND: Code = Code::new("enrolment_token.not_found", Class::NotFound);
/// What was presented is the secret of no token.
pub const TOKEN_UNKNOWN: Code = Code::new("enrolment.token_unknown", Class::Unauthenticated);
/// The token's time is over.
pub const TOKEN_EXPIRED: Code = Code::new("enrolment.token_expired", Class::Denied);
/// The token was used as often as it may be.
pub const TOKEN_USED: Code = Code::new("enrolment.token_used", Class::Denied);
/// The token was revoked.
pub const TOKEN_REVOKED: Code = Code::new("enrolment.token_revoked", Class::Denied);
/// The token cannot be used from this address.
pub const ADDRESS_REFUSED: Code = Code::new("enrolment.address_refused", Class::Denied);
/// As many machines enrolled with the token today as may on one day; the error says when to come back.
pub const QUOTA_REACHED: Code = Code::new("enrolment.quota_reached", Class::RateLimited);
/// The signature does not show that the agent has the key.
pub const PROOF_INVALID: Code = Code::new("enrolment.proof_invalid", Class::Unauthenticated);
/// The key belongs to a device with another machine id: a copied disk, most likely.
pub const KEY_IN_USE: Code = Code::new("enrolment.key_in_use", Class::Conflict);
