//! Moves that are over, as the store remembers them: the newest few, also after a restart.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{MOVE_NOT_FOUND, MOVE_UNAVAILABLE, MoveState, StorageMove};
use crate::{
    Entity,
    kernel::{EntityId as _, Error, MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Direction, Query, Reader, Tx, Versioned},
};

/// Moves that are remembered.
pub(super) const MOVES: usize = 16;

crate::define_id!(
    /// Names a move of the store.
    MoveId,
    "storage_move"
);

/// A move that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "storage_move", version = 1)]
pub struct EndedMove {
    /// Its id.
    #[entity(id)]
    pub id: MoveId,
    /// Where from, without secrets.
    pub from: String,
    /// Where to, without secrets.
    pub to: String,
    /// How it ended.
    pub state: MoveState,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it was over.
    #[entity(int)]
    pub ended_at: Timestamp,
    /// Records that it was through with.
    pub records: u64,
    /// How long writers waited, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
    /// Why it was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl From<EndedMove> for StorageMove {
    fn from(ended: EndedMove) -> Self {
        Self {
            id: ended.id.uuid(),
            to: ended.to,
            state: ended.state,
            began_at: ended.began_at,
            ended_at: Some(ended.ended_at),
            doing: "done".to_owned(),
            records: ended.records,
            total: None,
            rate: 0.0,
            pause_ms: ended.pause_ms,
            problem: ended.problem,
        }
    }
}

/// Those that are over, newest first.
pub(super) async fn newest_first(reader: &mut Reader) -> Result<Vec<Versioned<EndedMove>>> {
    let query = Query::<EndedMove>::all().order(EndedMove::ENDED_AT, Direction::Descending);
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    Ok(reader.list(&query, &page).await?.items)
}

/// Remembers one, and lets the oldest go.
pub(super) async fn remember(tx: &mut Tx, ended: &EndedMove) -> Result<()> {
    let there = newest_first(tx.reader()).await?;
    for old in there.iter().skip(MOVES - 1) {
        tx.delete(old);
    }
    tx.create(ended)
}

/// One that is over.
pub(super) async fn find(reader: &mut Reader, id: Uuid) -> Result<EndedMove> {
    let found = reader.get::<EndedMove>(MoveId::from_uuid(id)).await?;
    Ok(found.ok_or_else(not_found)?.value)
}

/// Why a move that an earlier process made is not taken back by its id.
pub(super) fn no_way_back(ended: &EndedMove) -> Error {
    MOVE_UNAVAILABLE.error(match ended.state {
        MoveState::Done => format!(
            "the server was started again since this move; name the store that it came from, {}, to move there",
            ended.from
        ),
        _ => "this move was not made: there is no way back from it".to_owned(),
    })
}

pub(super) fn not_found() -> Error {
    MOVE_NOT_FOUND.error("no such move is remembered; the audit may know it")
}
