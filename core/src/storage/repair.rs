//! What remains of a repair, which a backend does by itself while no server has the store.

use super::REPAIR;
use crate::{
    access::Context,
    kernel::Result,
    store::{Evidence, Store},
};

/// Leaves the audit entry of a repair in the store that goes on: how much is lost, and where the damaged lines are.
pub async fn record_repair(store: &Store, lost: u64, aside: Option<&str>) -> Result<()> {
    let context = Context::system("repair");
    let change = store.change(&context, Evidence::Audit(REPAIR), |mut tx| async move {
        tx.detail("lost", lost.to_string());
        if let Some(aside) = aside {
            tx.detail("aside", aside);
        }
        tx.record().await
    });
    change.await.map(drop)
}
