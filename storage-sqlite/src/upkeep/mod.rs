//! What is done to the store as a whole: preparing, moving, trimming, checking.

mod check;
mod checkpoints;
mod prepare;
mod relocate;

use fleet_core::store::{ChainWalk, Name, Result, StoredRow, Tracking};
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

/// Walks the chain of a lane, row by row.
async fn walk_chain(conn: &mut SqliteConnection, table: &LaneTable) -> Result<ChainWalk, sqlx::Error> {
    let mut walk = ChainWalk::default();
    let mut rows = table.chain.query().fetch(conn);
    while let Some(row) = rows.next().await {
        let StoredRow { row, link } = stored_row(&row?, true)?;
        walk.row(&row, link);
        if walk.is_broken() {
            break;
        }
    }
    Ok(walk)
}
