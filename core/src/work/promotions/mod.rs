//! Work that looks first: a dry run, and the same for real once somebody agreed to what it would change.
//!
//! ```text
//! model    what is stored with the batch of the dry run   rules   what a dry run said, and which parameters follow; pure
//! settle   counts a dry run that has ended, and asks      promote makes the work for real
//! ```
//!
//! Everything that has to be known stands in the batch of the dry run ([`Promotion`]): what it is to become, how far that is, and what came
//! of it. The devices that would be changed are frozen when somebody is asked, under the id of the batch that they are to become, which
//! follows from that of the dry run: so there is one, whoever agrees and however often.
//!
//! ```text
//! looking ──▶ awaiting_approval ──▶ promoted
//!    │               ├────────────▶ rejected
//!    │               ├────────────▶ expired
//!    │               └────────────▶ stopped
//!    ├─────────────────────────────▶ stopped
//!    └─────────────────────────────▶ nothing_to_promote
//! ```

mod events;
mod model;
mod promote;
mod rules;
mod settle;

pub use events::*;
pub use model::{DryRunOutcome, Promotion, PromotionStanding, PromotionTerms, PromotionView};
pub(super) use rules::{DRY_RUN, check, first_look, is_dry_run};
pub(crate) use settle::settle_due;
pub(super) use settle::{close, looking};
