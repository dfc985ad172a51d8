//! What applies to a device, in which order, and why. Pure: plain data in, plain data out, and no other place decides it.
//!
//! In four steps:
//!
//! 1. **In each layer** (what is assigned to the device and its groups; what is assigned to its owners): of all ways that lead to an
//!    action the most direct ones count (itself, before by a set, before by a definition). Among those *excluded* wins over *uninstall*,
//!    that over *required*, and *available* applies where it was chosen.
//! 2. **Over the layers**: what the device's layer excludes, applies or takes away is so; of anything else its owners' layer decides.
//! 3. **Into groups**: definitions and sets that are in effect on the device become a group each, with their own rhythm; what a
//!    definition names stands only there, and what is in a set only in the set. Actions that apply and stand in no group are groups of
//!    one. A member that does not apply is left out of its group, one that is taken away is in it as absent.
//! 4. **Against each other**: of actions that are about the same and would do something else, the first in this order applies (of kinds
//!    that say so, the one with the highest rank), and the others are *overruled* by it: left out of their groups. What is overruled overrules
//!    nothing.
//!
//! A definition or set is in effect when it is required, taken away, or available and chosen, and not excluded. One that is not in
//! effect takes nothing in: what it holds and what applies for another reason stands there.

mod claims;
mod model;
mod rules;
#[cfg(test)]
mod tests;

use claims::overruled;
pub use claims::{Claimant, Claims};
pub use model::{
    ActionFacts, Assigned, Decision, DeviceFacts, GroupKey, Layer, Member, Outcome, Overruling, Placed, Reason,
    Resolution, ResolvedGroup, Standing, Step, World,
};
pub use rules::resolve;
