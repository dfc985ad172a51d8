//! Evaluating one group because somebody asks for it, beside what happens by itself.

use serde::{Deserialize, Serialize};

use super::{
    DeviceGroup, DeviceGroupId, DeviceGroupService, GROUP_EVALUATE, GROUP_STATIC,
    evaluation::{MAX_PAGES, PAGE, misplaced},
    group_not_found,
};
use crate::{
    access::Context,
    devices::{DeviceSummary, GROUPS_WRITE},
    kernel::{PageRequest, Result},
    store::{Evidence, Query, Versioned},
};

/// What evaluating a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupEvaluation {
    /// How many devices came into the group.
    pub added: u64,
    /// How many left it.
    pub removed: u64,
    /// How many devices were evaluated.
    pub devices: u64,
    /// Whether those were all; of more than 100,000 devices the others are left to the evaluation in the background.
    pub complete: bool,
}

impl DeviceGroupService<'_> {
    /// Evaluates all devices now, and says who came into this dynamic group and who left it. Safe to repeat: where everybody is
    /// where they belong nothing changes.
    pub async fn evaluate_group(&self, context: &Context, id: DeviceGroupId) -> Result<GroupEvaluation> {
        context.require(GROUPS_WRITE)?.require_all(GROUPS_WRITE)?;
        let group: Option<Versioned<DeviceGroup>> = self.store.get(id).await?;
        let group = group.ok_or_else(|| group_not_found(id))?;
        if group.query.is_none() {
            return Err(GROUP_STATIC.error(format!(
                "devices are put into the group {} by hand; there is no query to evaluate",
                group.name
            )));
        }
        let mut done = GroupEvaluation {
            added: 0,
            removed: 0,
            devices: 0,
            complete: false,
        };
        let (query, mut token) = (Query::<DeviceSummary>::all(), None);
        for _ in 0..MAX_PAGES {
            // A view for each page: reading all of them takes a while.
            let mut reader = self.store.reader().await?;
            let groups = self.dynamic.read(&mut reader).await?;
            let page = reader.list(&query, &PageRequest::new(Some(PAGE), token)?).await?;
            let misplaced = misplaced(&mut reader, &groups, &page.items).await?;
            drop(reader);
            let moved = self.place_again(&misplaced, Some(id)).await?;
            done.added += moved.added;
            done.removed += moved.removed;
            done.devices += page.items.len() as u64;
            token = page.next;
            if token.is_none() {
                done.complete = true;
                break;
            }
        }
        self.store
            .change(context, Evidence::Audit(GROUP_EVALUATE), |mut tx| {
                tx.subject::<DeviceGroup>(id, group.name.clone());
                tx.detail("added", done.added);
                tx.detail("removed", done.removed);
                tx.detail("devices", done.devices);
                tx.record()
            })
            .await?;
        Ok(done)
    }
}
