//! Use cases of presence.

use uuid::Uuid;

use super::{
    DeviceBeat, DeviceLink, DeviceState, LINK_SUPERSEDED, PresenceBoard,
    board::Entry,
    connections::{Connecting, number},
    edges::{BATCH, Edge, commit},
};
use crate::{
    devices::{
        DeviceId, DeviceSummary, Presence, device::of_agent, groups::DynamicGroups, inventory::cleaned,
        permissions::not_found,
    },
    gathering::together,
    kernel::{Result, Timestamp},
    store::{Ingest, Store},
};

/// The longest version of an agent, in bytes.
const MAX_AGENT_VERSION: usize = 64;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Devices that went offline.
    pub offline: u64,
    /// Devices that came online and whose own beat could not say so.
    pub online: u64,
}

/// Heartbeats, connections, and who is online.
#[derive(Debug)]
pub struct PresenceService<'a> {
    store: &'a Store,
    board: &'a PresenceBoard,
    dynamic: &'a DynamicGroups,
}

impl<'a> PresenceService<'a> {
    pub(crate) fn new(store: &'a Store, board: &'a PresenceBoard, dynamic: &'a DynamicGroups) -> Self {
        Self { store, board, dynamic }
    }

    /// Takes a heartbeat of a device that proved itself; returns the server's time, which is when the device was seen. It is
    /// durable on return, and a commit only where it brings the device online. A beat of a connection that is not the newest
    /// is refused.
    pub async fn beat(&self, device: DeviceId, beat: DeviceBeat) -> Result<Timestamp> {
        let newest = match self.board.epoch(device) {
            Some(epoch) => epoch,
            // What is seldom is on the heap, so that a beat's future stays small.
            None => Box::pin(self.meet(device)).await?,
        };
        if beat.epoch < newest {
            return Err(superseded());
        }
        let seen_at = self.store.clock().now();
        let state = DeviceState {
            seen_at,
            epoch: beat.epoch,
            agent_version: cleaned(beat.agent_version, MAX_AGENT_VERSION),
            gauges: beat.gauges,
        };
        let mut ingest = Ingest::default();
        ingest.set(device, &state)?;
        self.store.ingest(ingest).await?;
        if self.board.heard(device, seen_at, state.epoch, &state.agent_version)
            && let Err(error) = Box::pin(self.arrive(device)).await
        {
            // The beat is stored; the next sweep makes up for the edge.
            tracing::warn!(%device, error = error.log(), "the device could not be shown as online yet");
        }
        Ok(seen_at)
    }

    /// The number of a new connection of a device with a server: greater than all before. From then on older connections
    /// are refused, wherever they are.
    pub async fn next_epoch(&self, device: DeviceId, server: Uuid) -> Result<u64> {
        let number = |connecting| number(self.store, self.board, connecting);
        let connecting = Connecting { device, server };
        self.board.connections.ask(connecting, number).await
    }

    /// Which connection of a device counts; none before its first.
    pub async fn link(&self, device: DeviceId) -> Result<Option<DeviceLink>> {
        Ok(self.store.get::<DeviceLink>(device).await?.map(|link| link.value))
    }

    /// Refuses a connection that is not the newest of its device.
    pub async fn check_epoch(&self, device: DeviceId, epoch: u64) -> Result<()> {
        match self.link(device).await? {
            Some(link) if link.epoch == epoch => Ok(()),
            _ => Err(superseded()),
        }
    }

    /// Whether a device is online, as far as this server knows.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.board.is_online(device)
    }

    /// Commits who went offline, who came online without being able to say so, and when the others were seen. Safe to repeat,
    /// and right whatever was missed: what other servers heard is read from the store.
    pub async fn sweep(&self) -> Result<Swept> {
        let online = DeviceSummary::PRESENCE.eq(Presence::Online.name());
        if self.store.reader().await?.count::<DeviceSummary>(&online).await? != self.board.online() {
            self.board.reread(self.store).await?;
        }
        let due = self.board.due(self.store.clock().now());
        let offline = self.still_silent(&due.offline).await?;
        Ok(Swept {
            offline: self.commit(&self.edges(&offline, Presence::Offline)).await?,
            online: self.commit(&self.edges(&due.online, Presence::Online)).await?
                + self.commit(&self.edges(&due.note, Presence::Online)).await?,
        })
    }

    /// A device that the board does not know, new or unknown altogether: the number of its newest connection.
    async fn meet(&self, device: DeviceId) -> Result<u64> {
        let Some(summary) = self.store.get::<DeviceSummary>(device).await? else {
            // Says whether it was deleted.
            of_agent(self.store, device).await?;
            return Err(not_found(device));
        };
        let mut entry = Entry::of(&summary);
        entry.epoch = self.link(device).await?.map_or(0, |link| link.epoch);
        let epoch = entry.epoch;
        self.board.add(device, entry);
        Ok(epoch)
    }

    /// Works off what devices ask, until it is dropped: a fleet that comes at once costs few commits.
    pub(crate) async fn drive(&self) {
        let arrivals = self.board.arrivals.drive(|devices| self.bring_online(devices));
        let number = |connecting| number(self.store, self.board, connecting);
        tokio::join!(arrivals, self.board.connections.drive(number));
    }

    async fn arrive(&self, device: DeviceId) -> Result<()> {
        let arrivals = &self.board.arrivals;
        arrivals.ask(device, |devices| self.bring_online(devices)).await
    }

    async fn bring_online(&self, devices: Vec<DeviceId>) -> Vec<Result<()>> {
        together(devices, async |mut devices| {
            let answers = devices.iter().map(|_| Ok(())).collect();
            devices.sort_unstable();
            devices.dedup();
            self.commit(&self.edges(&devices, Presence::Online)).await?;
            Ok(answers)
        })
        .await
    }

    /// Those of these devices that no server heard of.
    async fn still_silent(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>> {
        let mut silent = Vec::new();
        for devices in devices.chunks(BATCH) {
            let states = self.store.reader().await?.latest::<DeviceState>(devices).await?;
            for (device, state) in devices.iter().zip(states) {
                let known = self.board.entry(*device).map(|entry| entry.state_at);
                match state {
                    Some(state) if Some(state.seen_at) != known => {
                        self.board
                            .heard(*device, state.seen_at, state.epoch, &state.agent_version);
                    }
                    _ => silent.push(*device),
                }
            }
        }
        Ok(silent)
    }

    async fn commit(&self, edges: &[Edge]) -> Result<u64> {
        commit(self.store, self.board, self.dynamic, edges).await
    }

    fn edges(&self, devices: &[DeviceId], presence: Presence) -> Vec<Edge> {
        let edge = |device: &DeviceId| {
            Some(Edge {
                device: *device,
                presence,
                entry: self.board.entry(*device)?,
            })
        };
        devices.iter().filter_map(edge).collect()
    }
}

fn superseded() -> crate::kernel::Error {
    LINK_SUPERSEDED.error("a newer connection of this device took the place of this one")
}
