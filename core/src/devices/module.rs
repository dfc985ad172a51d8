//! What this part brings along.

use std::sync::Arc;

use super::{
    Device, DeviceEvent, DeviceGroup, DeviceLink, DeviceState, DeviceSummary, EnrolmentToken,
    device::{
        DEVICE_APPROVE, DEVICE_DELETE, DEVICE_LABEL_REMOVE, DEVICE_LABEL_SET, DEVICE_REJECT, DEVICE_REVOKE,
        DEVICE_UPDATE,
    },
    enrolment::{
        DEVICE_ENROLLED, DEVICE_REKEYED, ENROLMENT_REFUSED, EnrolmentPin, PIN_REDEEM, TOKEN_CREATE, TOKEN_REVOKE,
    },
    groups::{
        GROUP_CREATE, GROUP_DELETE, GROUP_EVALUATE, GROUP_MEMBERS_ADD, GROUP_MEMBERS_REMOVE, GROUP_UPDATE,
        GroupEdition, GroupPass, LOOK_EVERY,
    },
    inventory::{CLEAN_EVERY, InventorySection, StoredMember, StoredSet},
    permissions,
    presence::SWEEP_EVERY,
    settings::{APPROVAL_REQUIRED, GROUP_EVALUATION, KNOWN_MACHINE},
};
use crate::{
    modules::{Job, Module},
    retention::{LaneRetention, days_setting},
    store::{LaneRow as _, kind_schema, lane_schema, latest_schema},
};

/// What `devices` brings along.
pub fn module() -> Module {
    Module {
        name: "devices",
        kinds: vec![
            kind_schema::<Device>(),
            kind_schema::<DeviceSummary>(),
            kind_schema::<DeviceGroup>(),
            kind_schema::<GroupEdition>(),
            kind_schema::<EnrolmentToken>(),
            kind_schema::<EnrolmentPin>(),
            kind_schema::<DeviceLink>(),
            kind_schema::<InventorySection>(),
            kind_schema::<StoredMember>(),
            kind_schema::<StoredSet>(),
        ],
        lanes: vec![lane_schema::<DeviceEvent>()],
        latest: vec![latest_schema::<DeviceState>(), latest_schema::<GroupPass>()],
        permissions: permissions::table(),
        actions: vec![
            DEVICE_UPDATE,
            DEVICE_LABEL_SET,
            DEVICE_LABEL_REMOVE,
            DEVICE_DELETE,
            DEVICE_REVOKE,
            DEVICE_APPROVE,
            DEVICE_REJECT,
            DEVICE_ENROLLED,
            DEVICE_REKEYED,
            ENROLMENT_REFUSED,
            PIN_REDEEM,
            TOKEN_CREATE,
            TOKEN_REVOKE,
            GROUP_CREATE,
            GROUP_UPDATE,
            GROUP_DELETE,
            GROUP_EVALUATE,
            GROUP_MEMBERS_ADD,
            GROUP_MEMBERS_REMOVE,
        ],
        settings: vec![
            APPROVAL_REQUIRED.definition(),
            KNOWN_MACHINE.definition(),
            GROUP_EVALUATION.definition(),
        ],
        retention: vec![LaneRetention {
            lane: DeviceEvent::LANE,
            days: days_setting(
                "retention.device_event_days",
                "How many days the timelines of devices are kept; 0 keeps them for ever.",
                || 180,
            ),
        }],
        jobs: vec![
            Job {
                name: "devices.presence",
                every: SWEEP_EVERY,
                tick: Arc::new(|fleet| Box::pin(async move { fleet.presence().sweep().await.map(drop) })),
            },
            Job {
                name: "devices.dynamic_groups",
                every: LOOK_EVERY,
                tick: Arc::new(|fleet| Box::pin(async move { fleet.device_groups().evaluate().await.map(drop) })),
            },
            Job {
                name: "devices.inventory_cleaning",
                every: CLEAN_EVERY,
                tick: Arc::new(|fleet| Box::pin(async move { fleet.inventory().clean().await.map(drop) })),
            },
        ],
        ..Module::default()
    }
}
