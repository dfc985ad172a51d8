//! What is wrong with a file that should be a backup.

use crate::store;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin as a backup does.
    #[error("this is no backup of fleet")]
    Foreign,
    /// A later version wrote it.
    #[error(
        "the backup has format {found}, and this version reads up to {}; use the version that wrote it",
        super::FORMAT
    )]
    Newer {
        /// Its format.
        found: u16,
    },
    /// It ends before its end.
    #[error("the backup ends at byte {at}, before its end")]
    Truncated {
        /// How many bytes there are.
        at: u64,
    },
    /// Bytes are not those that were written.
    #[error("the backup is damaged at byte {at}: {problem}")]
    At {
        /// Where the damaged part begins.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl From<Damage> for store::Error {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Newer { .. } | Damage::Foreign => Self::Refused(damage.to_string()),
            Damage::Io(error) => Self::Unavailable(Box::new(error)),
            Damage::Truncated { .. } | Damage::At { .. } => Self::Corrupt(damage.to_string()),
        }
    }
}
