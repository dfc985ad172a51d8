//! Enrolments with one token, one after the other.
//!
//! Each counts a use in the token's document, so of several at once one can commit; the others would decide anew, again and
//! again. In turn each decides once. What is right does not hang on it: another server knows nothing of these turns.

use tokio::sync::{Mutex, MutexGuard};

/// Tokens that may share a turn by chance cost a wait, no more.
const PLACES: usize = 64;

/// Whose turn it is.
#[derive(Debug)]
pub struct EnrolmentTurns([Mutex<()>; PLACES]);

impl Default for EnrolmentTurns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl EnrolmentTurns {
    /// Waits for the turn of an enrolment with the secret of this hash; it ends with the guard. First come, first served.
    pub(super) async fn take(&self, secret_hash: &[u8; 32]) -> MutexGuard<'_, ()> {
        self.0[usize::from(secret_hash[0]) % PLACES].lock().await
    }
}
