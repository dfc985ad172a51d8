//! The chain of a lane: each row's link covers the row and the link before it.

use serde::{Deserialize, Serialize};

use super::Row;

/// A row's place in its lane's chain. Made under the commit-order lock, carried by migration, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The place: 1 for the first row of the lane, rising by one.
    pub number: u64,
    /// BLAKE3 over the previous hash (32 zero bytes before the first row) and the row.
    pub hash: [u8; 32],
}

impl Link {
    /// The link of `row`, which follows `previous`.
    pub fn after(previous: Option<Self>, row: &Row) -> Self {
        let (number, hash) = previous.map_or((0, [0; 32]), |link| (link.number, link.hash));
        let parts: [&[u8]; 6] = [
            &hash,
            &(number + 1).to_le_bytes(),
            row.stream.as_bytes(),
            &row.at.to_le_bytes(),
            &row.n.to_le_bytes(),
            &(row.body.len() as u64).to_le_bytes(),
        ];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&parts.concat());
        hasher.update(&row.body);
        Self {
            number: number + 1,
            hash: *hasher.finalize().as_bytes(),
        }
    }
}

/// Where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain breaks at row {number}: {problem}")]
pub struct ChainBreak {
    /// The place at which the next intact row was expected.
    pub number: u64,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Verifies a chain from `start` (none: from the first row). The rows must come in the order of their numbers; returns the
/// last link.
pub fn verify_chain<'a>(
    start: Option<Link>,
    rows: impl IntoIterator<Item = (&'a Row, Option<Link>)>,
) -> Result<Option<Link>, ChainBreak> {
    let mut last = start;
    for (row, link) in rows {
        let expected = Link::after(last, row);
        let number = expected.number;
        match link {
            None => {
                return Err(ChainBreak {
                    number,
                    problem: "a row has no link",
                });
            }
            Some(link) if link.number != number => {
                return Err(ChainBreak {
                    number,
                    problem: "a row is missing or out of order",
                });
            }
            Some(link) if link.hash != expected.hash => {
                return Err(ChainBreak {
                    number,
                    problem: "a row was altered",
                });
            }
            Some(link) => last = Some(link),
        }
    }
    Ok(last)
}
