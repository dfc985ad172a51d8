//! Cuts back what has grown old.

use super::{
    FeedMarks,
    model::FeedMarksId,
    rules::{advance, before},
};
use crate::{Fleet, kernel::Result, store::Ingest};

/// Removes the rows of all lanes that are kept no longer.
pub(super) async fn trim(fleet: Fleet) -> Result<()> {
    let now = fleet.clock().now();
    for retention in fleet.retention() {
        let Some(before) = before(fleet.settings().get(&retention.days), now) else {
            continue;
        };
        let backend = fleet.store().backend();
        let removed = backend.trim(retention.lane, before.as_micros()).await?;
        if removed > 0 {
            tracing::info!(lane = retention.lane, removed, "old rows were removed");
        }
    }
    Ok(())
}

/// Forgets feed entries and batch ids that are old enough.
pub(super) async fn forget(fleet: Fleet) -> Result<()> {
    let id = FeedMarksId::only();
    let mut reader = fleet.store().reader().await?;
    let seq = reader.seq();
    let marks = reader.latest::<FeedMarks>(&[id]).await?.pop().flatten();
    drop(reader);
    let mut marks = marks.unwrap_or_default();
    let upto = advance(&mut marks, fleet.clock().now(), seq);
    let mut ingest = Ingest::default();
    ingest.set(id, &marks)?;
    fleet.store().ingest(ingest).await?;
    if let Some(upto) = upto {
        let places = fleet.store().backend().compact(upto).await?;
        tracing::debug!(upto, places, "the feed was compacted");
    }
    Ok(())
}
