//! Audit actions and error codes of approvals.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// Somebody agreed to work.
pub const APPROVAL_APPROVE: Action = Action::new("approval.approve");
/// Somebody refused work.
pub const APPROVAL_REJECT: Action = Action::new("approval.reject");

/// There is no such approval.
pub const APPROVAL_NOT_FOUND: Code = Code::new("approval.not_found", Class::NotFound);
/// It was decided, its time has passed, or its work was stopped.
pub const APPROVAL_CLOSED: Code = Code::new("approval.closed", Class::Conflict);
/// Whoever asked for work cannot agree to it.
pub const APPROVAL_OWN: Code = Code::new("approval.own", Class::Denied);
/// Somebody who agreed already agrees again.
pub const APPROVAL_REPEATED: Code = Code::new("approval.repeated", Class::Conflict);
/// Nobody answers for the caller: a person has to agree.
pub const APPROVAL_NOT_A_PERSON: Code = Code::new("approval.not_a_person", Class::Denied);
