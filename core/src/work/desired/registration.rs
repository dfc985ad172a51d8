//! What desired state adds to the module `work`.

use std::{sync::Arc, time::Duration};

use super::{
    ACTION_CREATE, ACTION_DELETE, ACTION_UPDATE, ACTIONS_READ, ACTIONS_WRITE, ASSIGNMENT_CREATE, ASSIGNMENT_DELETE,
    ASSIGNMENT_UPDATE, ASSIGNMENTS_READ, ASSIGNMENTS_WRITE, ActionSet, Assignment, DEFINITION_CREATE,
    DEFINITION_DELETE, DEFINITION_UPDATE, Definition, DesiredAction, DesiredChange, DesiredEdition, DeviceOwners,
    DeviceSelections, Manifest, ManifestContent, OWNERS_SET, SELECTION_SET, SELECTIONS_WRITE, SET_CREATE, SET_DELETE,
    SET_UPDATE, compile_pending,
    manifest::{ManifestEvent, ManifestProgress, ManifestState},
    remove_idle_contents,
};
use crate::{
    access::{PermissionEntry, Role},
    blobs::BlobHolder,
    modules::{Job, Module},
    retention::{LaneRetention, days_setting},
    store::{LaneRow as _, kind_schema, lane_schema, latest_schema},
};

/// Adds desired state to the module.
pub(in crate::work) fn add_to(module: &mut Module) {
    module.blob_holders.push(BlobHolder::of(DesiredAction::HELD_BLOB));
    module.kinds.extend([
        kind_schema::<DesiredAction>(),
        kind_schema::<ActionSet>(),
        kind_schema::<Definition>(),
        kind_schema::<Assignment>(),
        kind_schema::<DeviceOwners>(),
        kind_schema::<DeviceSelections>(),
        kind_schema::<DesiredEdition>(),
        kind_schema::<DesiredChange>(),
        kind_schema::<Manifest>(),
        kind_schema::<ManifestContent>(),
    ]);
    module.lanes.push(lane_schema::<ManifestEvent>());
    module.latest.push(latest_schema::<ManifestProgress>());
    module.latest.push(latest_schema::<ManifestState>());
    let entry = |permission, allows, least| PermissionEntry {
        permission,
        allows,
        least,
    };
    module.permissions.extend([
        entry(ACTIONS_READ, "see actions, action sets and definitions", Role::Viewer),
        entry(
            ACTIONS_WRITE,
            "make and alter actions, sets and definitions, an action with the right to its operation",
            Role::Operator,
        ),
        entry(
            ASSIGNMENTS_READ,
            "see assignments and manifests, and why something applies",
            Role::Viewer,
        ),
        entry(
            ASSIGNMENTS_WRITE,
            "assign actions, sets and definitions to devices",
            Role::Operator,
        ),
        entry(
            SELECTIONS_WRITE,
            "choose what is available on one's own devices",
            Role::Viewer,
        ),
    ]);
    module.actions.extend([
        ACTION_CREATE,
        ACTION_UPDATE,
        ACTION_DELETE,
        SET_CREATE,
        SET_UPDATE,
        SET_DELETE,
        DEFINITION_CREATE,
        DEFINITION_UPDATE,
        DEFINITION_DELETE,
        ASSIGNMENT_CREATE,
        ASSIGNMENT_UPDATE,
        ASSIGNMENT_DELETE,
        OWNERS_SET,
        SELECTION_SET,
    ]);
    module.retention.push(LaneRetention {
        lane: ManifestEvent::LANE,
        days: days_setting(
            "retention.manifest_event_days",
            "How many days the history of manifests is kept; 0 keeps it for ever.",
            || 90,
        ),
    });
    module.jobs.extend([
        Job {
            name: "work.manifests",
            every: Duration::from_secs(5),
            tick: Arc::new(|fleet| Box::pin(compile_pending(fleet))),
        },
        Job {
            name: "work.manifest_contents",
            every: Duration::from_secs(3_600),
            tick: Arc::new(|fleet| Box::pin(remove_idle_contents(fleet))),
        },
    ]);
}
