//! What is done to the store as a whole: preparing, moving, trimming, checking.

mod check;
mod checkpoints;
mod prepare;
mod relocate;

use fleet_core::store::{Name, Result, StoredRow, Tracking, verify_chain};
use futures::StreamExt as _;
use sqlx::sqlite::SqliteConnection;

pub(crate) use self::{
    check::check,
    checkpoints::Checkpoints,
    prepare::{pending, prepare},
    relocate::load_standing,
};
use crate::{
    read::stored_row,
    tables::LaneTable,
    writer::{Failure, Writer},
};

/// Removes a slice of the rows before a time; returns how many.
pub(crate) async fn trim(writer: &mut Writer, lane: Name, before: i64, slice: i64) -> Result<u64> {
    writer.shared().check_serving()?;
    if writer.shared().tracking().is_some() {
        return Err(Tracking::refuses_trim());
    }
    let tables = writer.shared().tables()?;
    let table = tables.lane(lane)?;
    writer.begin().await?;
    let statement = table.trim.query().bind(before).bind(slice);
    let result = statement.execute(writer.conn()).await;
    let result = result.map(|done| done.rows_affected()).map_err(Failure::from);
    writer.end(result).await
}

/// How a chain fares.
struct Chain {
    /// The last row whose link holds.
    head: Option<fleet_core::store::Link>,
    /// What is wrong after it.
    broken: Option<fleet_core::store::ChainBreak>,
}

/// Verifies the chain of a lane, row by row.
async fn walk_chain(conn: &mut SqliteConnection, table: &LaneTable) -> Result<Chain, sqlx::Error> {
    let mut chain = Chain {
        head: None,
        broken: None,
    };
    let mut rows = table.chain.query().fetch(conn);
    while let Some(row) = rows.next().await {
        let StoredRow { row, link } = stored_row(&row?, true)?;
        match verify_chain(chain.head, [(&row, link)]) {
            Ok(head) => chain.head = head,
            Err(broken) => {
                chain.broken = Some(broken);
                break;
            }
        }
    }
    Ok(chain)
}
