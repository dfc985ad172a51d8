//! Group commit as one pure function: facts and waiting work in, answers and net effects out.
//!
//! ```text
//!   Work (batches and ingests, in order) ──▶ Needs::of ──▶ the backend loads Facts, a few statements
//!   Facts + Work ──▶ decide ──▶ Answer for each + Effects, which the backend stores in one transaction
//! ```
//!
//! Every rule about preconditions, unique values, repeats, revisions, places in commit order, feed entries and links is
//! here, once, so that backends cannot disagree about it. Each piece of work stands alone: one that fails leaves no trace,
//! and later ones see what earlier ones did.

mod decide;
mod effects;
mod facts;
#[cfg(test)]
mod tests;

pub use decide::{Answer, Outcome, decide};
pub use effects::{Effects, PutDoc};
pub use facts::{Facts, Needs, Place, Remembered, UniqueValue, Work};
