//! What becomes of a machine that asks to be enrolled.

use std::collections::BTreeSet;

use super::{EnrolRequest, EnrolmentToken, KEY_IN_USE, Machine, PROOF_INVALID, TOKEN_REVOKED, TokenState};
use crate::{
    access::Origin,
    devices::{
        DeviceGroupId, DeviceId, KnownMachine,
        device::{DEVICE_REVOKED, Device, Pending, check_disabled},
        groups::DeviceGroup,
    },
    kernel::Result,
    store::{Query, Tx, Versioned},
};

/// What an enrolment does to the devices.
pub(super) enum Decision {
    /// The answer was lost: say it again.
    Repeat(Device),
    /// A device that is known comes with another token, or with a new key.
    Known(Box<Versioned<Device>>, Device),
    /// A new device.
    New(Device),
}

/// What the settings say.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub approval_required: bool,
    pub known_machine: KnownMachine,
}

/// What becomes of a machine that presents this token. What it writes into the change only guards what it read.
pub(super) async fn decide(
    tx: &mut Tx,
    request: &EnrolRequest,
    machine: &Machine,
    origin: &Origin,
    token: &EnrolmentToken,
    rules: Rules,
    fresh: DeviceId,
) -> Result<Decision> {
    let now = tx.now();
    let by_key = Query::<Device>::all().filter(Device::PUBLIC_KEY.eq(request.public_key.to_string()));
    if let Some(before) = tx.reader().first(&by_key).await? {
        check_disabled(&before)?;
        if before.revoked_at.is_some() {
            return Err(DEVICE_REVOKED.error("the key of this device was revoked; enrol it with a new key"));
        }
        // A machine id that comes or goes is no contradiction; two different ones are two machines.
        let (ours, theirs) = (&before.value.machine_id, &machine.machine_id);
        if ours.is_some() && theirs.is_some() && ours != theirs {
            return Err(KEY_IN_USE.error(
                "this key belongs to a device with another machine id, as after copying a disk; let the agent make a new key",
            ));
        }
        if token.state(now) == TokenState::Revoked {
            return Err(TOKEN_REVOKED.error("this enrolment token was revoked"));
        }
        if before.value.enrolled_by == token.id {
            return Ok(Decision::Repeat(before.value));
        }
        token.check_use(now, origin)?;
        let mut after = before.value.clone();
        note(&mut after, token, machine, origin);
        return Ok(Decision::Known(Box::new(before), after));
    }
    token.check_use(now, origin)?;
    let rekeyed = |before: Versioned<Device>| {
        let mut after = before.value.clone();
        after.public_key = request.public_key;
        (after.certificate, after.revoked_at) = (None, None);
        note(&mut after, token, machine, origin);
        Decision::Known(Box::new(before), after)
    };
    let by_machine = match &machine.machine_id {
        Some(machine_id) => {
            let query = Query::<Device>::all().filter(Device::MACHINE_ID.eq(machine_id.as_str()));
            tx.reader().first(&query).await?
        }
        None => None,
    };
    if let Some(before) = previous(tx, request, machine).await? {
        return Ok(rekeyed(before));
    }
    let mut device = Device {
        id: fresh,
        name: machine.hostname.clone(),
        machine_id: machine.machine_id.clone(),
        public_key: request.public_key,
        enrolled_at: now,
        enrolled_by: token.id,
        labels: token.labels.clone(),
        groups: BTreeSet::new(),
        disabled: false,
        agent_version: machine.agent_version.clone(),
        agent_updates_enabled: true,
        certificate: None,
        revoked_at: None,
        pending: token
            .approval
            .unwrap_or(rules.approval_required)
            .then_some(Pending::New),
        duplicate_of: None,
        claimed_machine_id: None,
        enrolled_from: origin.address.clone(),
    };
    if let Some(before) = by_machine {
        check_disabled(&before)?;
        // A revoked key is nobody's, so nobody stands beside the one who comes.
        if before.revoked_at.is_some() || rules.known_machine == KnownMachine::Replace {
            return Ok(rekeyed(before));
        }
        // It may be a copy, or somebody who has read a file that is open to all: the machine id proves nothing.
        device.claimed_machine_id = device.machine_id.take();
        device.duplicate_of = Some(before.id);
        if rules.known_machine == KnownMachine::Hold {
            device.pending = Some(Pending::Duplicate);
        }
        tx.require(&before);
    }
    device.groups = existing_groups(tx, token).await?;
    Ok(Decision::New(device))
}

/// What an enrolment says of a device that is known.
fn note(device: &mut Device, token: &EnrolmentToken, machine: &Machine, origin: &Origin) {
    device.enrolled_by = token.id;
    device.agent_version.clone_from(&machine.agent_version);
    device.enrolled_from.clone_from(&origin.address);
}

/// The device that the machine was, by the key that it still has. A key that was revoked shows nothing; neither does one that came
/// along with a copied disk.
async fn previous(tx: &mut Tx, request: &EnrolRequest, machine: &Machine) -> Result<Option<Versioned<Device>>> {
    let Some(previous) = &request.previous else {
        return Ok(None);
    };
    let Some(before) = tx.get::<Device>(previous.device).await? else {
        return Ok(None);
    };
    if !request.proves_previous(&before.public_key) {
        // It was rekeyed meanwhile, by whoever has its place now.
        return match before.revoked_at {
            Some(_) => Ok(None),
            None => Err(PROOF_INVALID.error("the signature does not show that this machine was that device")),
        };
    }
    let (ours, theirs) = (&before.machine_id, &machine.machine_id);
    if before.revoked_at.is_some() || (ours.is_some() && theirs.is_some() && ours != theirs) {
        return Ok(None);
    }
    check_disabled(&before)?;
    Ok(Some(before))
}

/// A group that was deleted since the token was made is passed over, and one that became dynamic, where nobody puts devices in; one
/// that is deleted or changed now fails this try.
async fn existing_groups(tx: &mut Tx, token: &EnrolmentToken) -> Result<BTreeSet<DeviceGroupId>> {
    let groups: Vec<_> = token.groups.iter().copied().collect();
    let found = tx.reader().get_many::<DeviceGroup>(&groups).await?;
    let mut existing = BTreeSet::new();
    for group in found.into_iter().flatten() {
        tx.require(&group);
        if group.query.is_none() {
            existing.insert(group.id);
        }
    }
    Ok(existing)
}
