//! Audit actions and error codes of promotions.

use crate::{
    access::Action,
    kernel::{Class, Code},
};

/// A dry run has ended, and it was decided whether somebody is asked; or nobody decided in time.
pub const BATCH_PROMOTION_SETTLE: Action = Action::new("batch.promotion_settle");

/// The kind of operation cannot say what it would do.
pub const NO_DRY_RUN: Code = Code::new("operation.no_dry_run", Class::Invalid);
/// No device is there any more that the dry run would have changed.
pub const NOTHING_TO_PROMOTE: Code = Code::new("batch.nothing_to_promote", Class::Conflict);
