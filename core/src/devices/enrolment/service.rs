//! The enrolment itself.

use super::{
    DEVICE_ENROLLED, DEVICE_REKEYED, EnrolRequest, Enrolled, EnrolmentToken, KEY_IN_USE, Machine, RefusalGate,
    TOKEN_UNKNOWN, TokenState,
};
use crate::{
    access::{Context, Origin},
    devices::{
        DeviceId,
        device::{DEVICE_DISABLED, Device, DeviceSummary, check_not_kept_out},
        groups::DeviceGroup,
    },
    kernel::{PublicKey, Result},
    store::{Evidence, Query, Store, TAKEN, Tx, Versioned},
};

/// How often an enrolment is decided anew because another took the machine id or the key at the same moment.
const ATTEMPTS: usize = 4;

/// Enrolment and its tokens.
#[derive(Debug)]
pub struct EnrolmentService<'a> {
    pub(super) store: &'a Store,
    pub(super) refusals: &'a RefusalGate,
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

impl<'a> EnrolmentService<'a> {
    pub(crate) fn new(store: &'a Store, refusals: &'a RefusalGate) -> Self {
        Self { store, refusals }
    }

    /// Makes a machine a device. The token's use is counted in the commit that makes the device, so that of two agents that
    /// race for the last use exactly one wins.
    ///
    /// The same key with the same token is a repeat and gets the same answer, also when the token is used up or expired by
    /// then. A machine whose machine id is known and that comes with a new key stays the device that it was, with the new key.
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
        let machine = request.check()?;
        let mut attempt = 1;
        loop {
            // Which of the two it is must be said before the change; a race in between is decided anew.
            let rekey = self.names_other_key(&machine, &request.public_key).await?;
            let action = if rekey { DEVICE_REKEYED } else { DEVICE_ENROLLED };
            let (request, machine) = (request, &machine);
            let fresh = DeviceId::new(self.store.clock().now(), self.store.random());
            let outcome = self
                .store
                .change(context, Evidence::Audit(action), |tx| {
                    enrol(tx, request, machine, rekey, fresh)
                })
                .await;
            match outcome {
                Ok(Some(enrolled)) => return Ok(enrolled),
                Ok(None) if attempt < ATTEMPTS => attempt += 1,
                Err(error) if error.code() == TAKEN && attempt < ATTEMPTS => attempt += 1,
                Ok(None) => return Err(TAKEN.error("another enrolment of this machine is under way; try again")),
                Err(error) => return Err(error),
            }
        }
    }

    async fn names_other_key(&self, machine: &Machine, key: &PublicKey) -> Result<bool> {
        let Some(machine_id) = &machine.machine_id else {
            return Ok(false);
        };
        let query = Query::<Device>::all().filter(Device::MACHINE_ID.eq(machine_id.as_str()));
        let device = self.store.reader().await?.first(&query).await?;
        Ok(device.is_some_and(|device| device.public_key != *key))
    }
}

/// One try. None when the machine is not what `rekey` says it is.
async fn enrol(
    mut tx: Tx,
    request: &EnrolRequest,
    machine: &Machine,
    rekey: bool,
    fresh: DeviceId,
) -> Result<Option<Enrolled>> {
    let hash = hex::encode(request.secret.hash());
    let token = Query::<EnrolmentToken>::all().filter(EnrolmentToken::SECRET_HASH.eq(hash));
    let token = tx
        .reader()
        .first(&token)
        .await?
        .ok_or_else(|| TOKEN_UNKNOWN.error("this is no enrolment token of this server"))?;
    let (device, known) = match decide(&mut tx, request, machine, &token, fresh).await? {
        Decision::Repeat(device) => {
            return Ok(Some(Enrolled {
                device_id: device.id,
                name: device.name,
                known: true,
            }));
        }
        Decision::Known(before, after) => {
            if rekey != (before.value.public_key != after.public_key) {
                return Ok(None);
            }
            let summary = tx.get::<DeviceSummary>(after.id).await?;
            crate::devices::device::write(&mut tx, &before, &after, summary)?;
            if rekey {
                tx.changed("public_key");
            }
            (after, true)
        }
        Decision::New(_) if rekey => return Ok(None),
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
    tx.commit().await?;
    Ok(Some(Enrolled {
        device_id: device.id,
        name: device.name,
        known,
    }))
}

async fn decide(
    tx: &mut Tx,
    request: &EnrolRequest,
    machine: &Machine,
    token: &Versioned<EnrolmentToken>,
    fresh: DeviceId,
) -> Result<Decision> {
    let now = tx.now();
    let by_key = Query::<Device>::all().filter(Device::PUBLIC_KEY.eq(request.public_key.to_string()));
    if let Some(before) = tx.reader().first(&by_key).await? {
        check_not_kept_out(&before)?;
        // A machine id that comes or goes is no contradiction; two different ones are two machines.
        let (ours, theirs) = (&before.value.machine_id, &machine.machine_id);
        if ours.is_some() && theirs.is_some() && ours != theirs {
            return Err(KEY_IN_USE.error(
                "this key belongs to a device with another machine id, as after copying a disk; let the agent make a new key",
            ));
        }
        if before.value.enrolled_by == token.id && token.state(now) != TokenState::Revoked {
            return Ok(Decision::Repeat(before.value));
        }
        token.check_use(now, tx.context().origin())?;
        let mut after = before.value.clone();
        after.enrolled_by = token.id;
        after.agent_version.clone_from(&machine.agent_version);
        return Ok(Decision::Known(Box::new(before), after));
    }
    token.check_use(now, tx.context().origin())?;
    if let Some(machine_id) = &machine.machine_id {
        let by_machine = Query::<Device>::all().filter(Device::MACHINE_ID.eq(machine_id.as_str()));
        if let Some(before) = tx.reader().first(&by_machine).await? {
            check_enabled(&before)?;
            let mut after = before.value.clone();
            after.public_key = request.public_key;
            (after.certificate, after.revoked_at) = (None, None);
            after.enrolled_by = token.id;
            after.agent_version.clone_from(&machine.agent_version);
            return Ok(Decision::Known(Box::new(before), after));
        }
    }
    // A group that was deleted since the token was made is passed over; one that is deleted now fails this try.
    let groups: Vec<_> = token.groups.iter().copied().collect();
    let found = tx.reader().get_many::<DeviceGroup>(&groups).await?;
    let mut existing = std::collections::BTreeSet::new();
    for group in found.into_iter().flatten() {
        tx.require(&group);
        existing.insert(group.id);
    }
    Ok(Decision::New(Device {
        id: fresh,
        name: machine.hostname.clone(),
        machine_id: machine.machine_id.clone(),
        public_key: request.public_key,
        enrolled_at: now,
        enrolled_by: token.id,
        labels: token.labels.clone(),
        groups: existing,
        disabled: false,
        agent_version: machine.agent_version.clone(),
        certificate: None,
        revoked_at: None,
    }))
}

fn check_enabled(device: &Device) -> Result<()> {
    if device.disabled {
        Err(DEVICE_DISABLED.error("this device is disabled on the server"))
    } else {
        Ok(())
    }
}
