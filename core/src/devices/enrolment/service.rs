//! The enrolment itself.

use std::collections::BTreeSet;

use super::{
    DEVICE_ENROLLED, DEVICE_REKEYED, EnrolRequest, Enrolled, EnrolmentToken, EnrolmentTurns, KEY_IN_USE, Machine,
    PROOF_INVALID, RefusalGate, TOKEN_REVOKED, TOKEN_UNKNOWN, TokenState,
};
use crate::{
    access::{Context, Origin, TokenKey},
    devices::{
        APPROVAL_REQUIRED, DeviceGroupId, DeviceId, KNOWN_MACHINE, KnownMachine,
        device::{DEVICE_REVOKED, Device, DeviceSummary, Pending, check_disabled},
        groups::DeviceGroup,
    },
    kernel::Result,
    settings::Settings,
    store::{Evidence, Query, Store, TAKEN, Tx, Versioned},
};

/// How often an enrolment is decided anew because another took the machine id or the key at the same moment.
const ATTEMPTS: usize = 4;

/// Enrolment and its tokens.
#[derive(Debug)]
pub struct EnrolmentService<'a> {
    pub(super) store: &'a Store,
    pub(super) settings: &'a Settings,
    pub(super) refusals: &'a RefusalGate,
    pub(super) token_key: &'a TokenKey,
    pub(super) turns: &'a EnrolmentTurns,
}

/// What an enrolment does to the devices.
enum Decision {
    /// The answer was lost: say it again.
    Repeat(Device),
    /// A device that is known comes with another token, or with a new key.
    Known(Box<Versioned<Device>>, Device),
    /// A new device.
    New(Device),
}

/// What the settings say.
#[derive(Clone, Copy)]
struct Rules {
    approval_required: bool,
    known_machine: KnownMachine,
}

impl<'a> EnrolmentService<'a> {
    pub(crate) fn new(
        store: &'a Store,
        settings: &'a Settings,
        refusals: &'a RefusalGate,
        token_key: &'a TokenKey,
        turns: &'a EnrolmentTurns,
    ) -> Self {
        Self {
            store,
            settings,
            refusals,
            token_key,
            turns,
        }
    }

    /// Makes a machine a device. The token's use is counted in the commit that makes the device, so that of two agents that
    /// race for the last use exactly one wins.
    ///
    /// The same key with the same token is a repeat and gets the same answer, also when the token is used up or expired by
    /// then. A machine that still has the key of the device that it was stays that device, with its new key. One that only names
    /// the machine id of a known device is, as the setting `devices.known_machine` says, held until an operator decides, or that
    /// device, or another; a device whose key was revoked comes back by its machine id.
    ///
    /// A refusal leaves an entry in the audit.
    pub async fn enrol(&self, request: &EnrolRequest, origin: Origin) -> Result<Enrolled> {
        let context = Context::anonymous(origin);
        let outcome = self.decide_anew(request, &context).await;
        if let Err(error) = &outcome {
            self.account(&context, request, error).await;
        }
        outcome
    }

    async fn decide_anew(&self, request: &EnrolRequest, context: &Context) -> Result<Enrolled> {
        let machine = &request.check()?;
        let rules = Rules {
            approval_required: self.settings.get(&APPROVAL_REQUIRED),
            known_machine: self.settings.get(&KNOWN_MACHINE),
        };
        let _turn = self.turns.take(&request.secret.hash()).await;
        let mut attempt = 1;
        loop {
            let fresh = DeviceId::new(self.store.clock().now(), self.store.random());
            let outcome = self
                .store
                .change(context, Evidence::Audit(DEVICE_ENROLLED), |tx| {
                    enrol(tx, request, machine, rules, fresh)
                })
                .await;
            match outcome {
                Err(error) if error.code() == TAKEN && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}

async fn enrol(
    mut tx: Tx,
    request: &EnrolRequest,
    machine: &Machine,
    rules: Rules,
    fresh: DeviceId,
) -> Result<Enrolled> {
    let hash = hex::encode(request.secret.hash());
    let token = Query::<EnrolmentToken>::all().filter(EnrolmentToken::SECRET_HASH.eq(hash));
    let token = tx
        .reader()
        .first(&token)
        .await?
        .ok_or_else(|| TOKEN_UNKNOWN.error("this is no enrolment token of this server"))?;
    let (device, known) = match decide(&mut tx, request, machine, &token, rules, fresh).await? {
        Decision::Repeat(device) => return Ok(enrolled(device, true)),
        Decision::Known(before, after) => {
            let summary = tx.get::<DeviceSummary>(after.id).await?;
            crate::devices::device::write(&mut tx, &before, &after, summary)?;
            if before.value.public_key != after.public_key {
                tx.turned_out(DEVICE_REKEYED);
                tx.changed("public_key");
                tx.detail("former_public_key", before.value.public_key.to_string());
            }
            (after, true)
        }
        Decision::New(device) => {
            tx.create(&device)?;
            tx.create(&DeviceSummary::new(&device))?;
            (device, false)
        }
    };
    let mut used = token.value.clone();
    used.count_use(tx.now());
    tx.update(&token, &used)?;
    tx.subject::<Device>(device.id, device.name.clone());
    tx.detail("enrolment_token", token.id.to_string());
    tx.detail("public_key", device.public_key.to_string());
    if device.pending.is_some() {
        tx.detail("pending", true);
    }
    if let Some(other) = device.duplicate_of {
        tx.detail("duplicate_of", other.to_string());
    }
    tx.commit().await?;
    Ok(enrolled(device, known))
}

fn enrolled(device: Device, known: bool) -> Enrolled {
    Enrolled {
        device_id: device.id,
        pending: device.pending.is_some(),
        name: device.name,
        known,
    }
}

async fn decide(
    tx: &mut Tx,
    request: &EnrolRequest,
    machine: &Machine,
    token: &Versioned<EnrolmentToken>,
    rules: Rules,
    fresh: DeviceId,
) -> Result<Decision> {
    let (now, origin) = (tx.now(), tx.context().origin().clone());
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
        token.check_use(now, &origin)?;
        let mut after = before.value.clone();
        note(&mut after, token, machine, &origin);
        return Ok(Decision::Known(Box::new(before), after));
    }
    token.check_use(now, &origin)?;
    let rekeyed = |before: Versioned<Device>| {
        let mut after = before.value.clone();
        after.public_key = request.public_key;
        (after.certificate, after.revoked_at) = (None, None);
        note(&mut after, token, machine, &origin);
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

/// A group that was deleted since the token was made is passed over; one that is deleted now fails this try.
async fn existing_groups(tx: &mut Tx, token: &EnrolmentToken) -> Result<BTreeSet<DeviceGroupId>> {
    let groups: Vec<_> = token.groups.iter().copied().collect();
    let found = tx.reader().get_many::<DeviceGroup>(&groups).await?;
    let mut existing = BTreeSet::new();
    for group in found.into_iter().flatten() {
        tx.require(&group);
        existing.insert(group.id);
    }
    Ok(existing)
}
