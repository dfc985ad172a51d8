//! Devices: enrolment, presence, labels and groups, inventory.
//!
//! ```text
//!   device/       the device, its summary (what lists read), labels, deletion, counts
//!   groups/       groups: those that devices are put into, and those that describe their members
//!   enrolment/    tokens, and how a machine becomes a device
//!   presence/     heartbeats, online and offline, which connection counts
//!   inventory/    sections and package sets: their shapes, and how they are kept and asked
//!   event.rs      the timeline of devices
//!   permissions.rs
//! ```
//!
//! ```
//! # use std::sync::Arc;
//! # use fleet_core::{Fleet, access::{Context, Origin}, kernel::*, store::memory::MemoryStore};
//! use fleet_core::devices::{
//!     device::{DeviceFilter, DeviceOrder},
//!     enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! # let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! # let fleet = Fleet::builder(backend, MasterKey::generate(&SystemRandom)).open().await?;
//! # let admin = Context::system("example");
//! // Somebody makes a token and carries it to a machine …
//! let (_, secret) = fleet.enrolment().create_token(&admin, &NewEnrolmentToken::default()).await?;
//! // … whose agent makes a key of its own and proves that it has it.
//! let key = SigningKey::generate(&SystemRandom);
//! let machine = Machine { hostname: "web-01".into(), ..Machine::default() };
//! let request = EnrolRequest::prove(secret, &key, random_bytes(&SystemRandom), machine);
//! fleet.enrolment().enrol(&request, Origin::default()).await?;
//!
//! let wanted = DeviceFilter { search: Some("web".into()), ..DeviceFilter::default() };
//! let found = fleet.devices().list(&admin, &wanted, DeviceOrder::default(), &PageRequest::default()).await?;
//! assert_eq!(found.items[0].name, "web-01");
//! # Ok(())
//! # }
//! ```

pub mod device;
pub mod enrolment;
mod event;
pub mod groups;
pub mod inventory;
mod module;
pub(crate) mod permissions;
pub mod presence;
mod settings;
#[cfg(test)]
pub(crate) mod testing;

pub use device::{Device, DeviceService, DeviceSummary, DeviceSummaryView, DeviceView, Presence};
pub use enrolment::{EnrolmentService, EnrolmentToken, EnrolmentTokenId, EnrolmentTokenView};
pub use event::*;
pub use groups::{DeviceGroup, DeviceGroupId, DeviceGroupService, DeviceGroupView};
pub use inventory::InventoryService;
pub use module::module;
pub use permissions::{
    DEVICES_DELETE, DEVICES_READ, DEVICES_WRITE, GROUPS_READ, GROUPS_WRITE, TOKENS_READ, TOKENS_WRITE,
};
pub(crate) use permissions::{not_found, require_in_scope};
pub use presence::{DeviceBeat, DeviceLink, DeviceState, DeviceStateView, PresenceBoard, PresenceService};
pub use settings::{APPROVAL_REQUIRED, GROUP_EVALUATION, KNOWN_MACHINE, KnownMachine};

crate::define_id!(
    /// Names a device.
    DeviceId,
    "device"
);

impl crate::Fleet {
    /// Whether the device is heard of (the sweep of runs asks).
    pub(crate) fn is_online(&self, device: DeviceId) -> bool {
        self.presence().is_online(device)
    }
}
