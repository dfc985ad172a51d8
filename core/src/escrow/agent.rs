//! What devices do: deposit, conclude, read back. Each touches its own secrets only; those of others are not found.

use super::{
    Conclusion, ESCROW_ABANDON, ESCROW_CONFIRM, ESCROW_CONTRADICTED, ESCROW_DEPOSIT, ESCROW_FULL, ESCROW_NOT_FOUND,
    ESCROW_READ_BY_DEVICE, ESCROW_TOO_OFTEN, EscrowKind, EscrowService, EscrowState, EscrowedSecret, EscrowedSecretId,
    MAX_SUBJECTS,
    model::{owner, place},
    rules::{check_secret, check_subject, concluded, surplus},
    service::title,
};
use crate::{
    access::{Actor, Context, Origin},
    devices::DeviceId,
    kernel::{EntityId as _, Error, MAX_LIMIT, PageRequest, Result},
    protocol::{EscrowDeposit, HeldSecret},
    store::{Evidence, Query, Reader, Tx, Versioned},
};

/// A device that has proved itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depositor<'a> {
    pub(crate) id: DeviceId,
    pub(crate) name: &'a str,
    pub(crate) origin: &'a Origin,
}

impl Depositor<'_> {
    pub(super) fn context(&self) -> Context {
        let actor = Actor::Device {
            id: self.id.uuid(),
            name: self.name.to_owned(),
        };
        Context::new(actor, self.origin.clone(), Default::default())
    }
}

impl EscrowService<'_> {
    /// Keeps a secret of a device; how it stands then. A repeat of what was deposited before changes nothing.
    ///
    /// # Errors
    /// [`ESCROW_CONTRADICTED`] when the id names another secret; [`ESCROW_FULL`], [`ESCROW_TOO_OFTEN`].
    pub(crate) async fn deposit(&self, device: &Depositor<'_>, new: &EscrowDeposit) -> Result<EscrowState> {
        check_subject(&new.subject)?;
        check_secret(new.secret.reveal())?;
        self.take_allowance(device.id)?;
        let owner = owner(new.id, device.id, new.kind, &new.subject);
        let sealed = self
            .sealer()
            .seal(&owner, new.secret.reveal().as_bytes(), self.random());
        let sealed = &sealed.map_err(Error::internal)?;
        let context = device.context();
        self.store()
            .change(&context, Evidence::Audit(ESCROW_DEPOSIT), |mut tx| async move {
                if let Some(before) = tx.get::<EscrowedSecret>(new.id).await? {
                    return self.repeated(device.id, new, &before.value);
                }
                let of_subject = of_subject(tx.reader(), device.id, new.kind, &new.subject).await?;
                if of_subject.is_empty() {
                    check_room(tx.reader(), device.id).await?;
                }
                let secret = EscrowedSecret {
                    id: new.id,
                    device: device.id,
                    device_name: device.name.to_owned(),
                    kind: new.kind,
                    subject: new.subject.clone(),
                    number: of_subject.iter().map(|other| other.value.number).max().unwrap_or(0) + 1,
                    source: new.source,
                    reason: new.reason,
                    state: EscrowState::Offered,
                    sealed: sealed.clone(),
                    offered_at: tx.now(),
                    confirmed_at: None,
                    superseded_at: None,
                    abandoned_at: None,
                    device_gone_since: None,
                };
                tx.create(&secret)?;
                prune(&mut tx, of_subject, &secret);
                tx.subject::<EscrowedSecret>(secret.id, title(&secret));
                tx.detail("reason", serde_json::to_value(secret.reason).map_err(Error::internal)?);
                tx.detail("run", secret.source.to_string());
                tx.commit().await?;
                Ok(secret.state)
            })
            .await
    }

    /// What a deposit under an id that is taken leads to.
    fn repeated(&self, device: DeviceId, new: &EscrowDeposit, before: &EscrowedSecret) -> Result<EscrowState> {
        let is_same = before.device == device
            && (before.kind, &before.subject) == (new.kind, &new.subject)
            && self.open(before)? == new.secret;
        is_same
            .then_some(before.state)
            .ok_or_else(|| ESCROW_CONTRADICTED.error("another secret has this id; deposit yours under a new one"))
    }

    /// Hears what became of a secret of a device; how it stands then. When it is in use, the one that was current is superseded in the
    /// same commit.
    ///
    /// # Errors
    /// [`ESCROW_NOT_FOUND`], also for those of other devices; [`ESCROW_CONTRADICTED`].
    pub(crate) async fn conclude(
        &self,
        device: &Depositor<'_>,
        id: EscrowedSecretId,
        conclusion: Conclusion,
    ) -> Result<EscrowState> {
        let action = match conclusion {
            Conclusion::InUse => ESCROW_CONFIRM,
            Conclusion::Abandoned => ESCROW_ABANDON,
        };
        self.store()
            .change(&device.context(), Evidence::Audit(action), |mut tx| async move {
                let found = tx.get::<EscrowedSecret>(id).await?;
                let before = found
                    .filter(|secret| secret.device == device.id)
                    .ok_or_else(|| not_found(id))?;
                let secret = &before.value;
                let mut others = of_subject(tx.reader(), device.id, secret.kind, &secret.subject).await?;
                others.retain(|other| other.value.id != id);
                let current = others.iter().find(|other| other.value.state == EscrowState::Current);
                let is_newest = current.is_none_or(|current| current.value.number < secret.number);
                let state = concluded(secret.state, conclusion, is_newest).ok_or_else(|| {
                    let stands = secret.state.name();
                    ESCROW_CONTRADICTED.error(format!("the secret is {stands} already; it cannot be that as well"))
                })?;
                if state == secret.state {
                    return Ok(state);
                }
                let (now, mut after) = (tx.now(), secret.clone());
                after.state = state;
                match conclusion {
                    Conclusion::InUse => after.confirmed_at = Some(now),
                    Conclusion::Abandoned => after.abandoned_at = Some(now),
                }
                if state == EscrowState::Superseded {
                    after.superseded_at = Some(now);
                }
                tx.update(&before, &after)?;
                if state == EscrowState::Current
                    && let Some(former) = others
                        .iter_mut()
                        .find(|other| other.value.state == EscrowState::Current)
                {
                    let was = former.clone();
                    former.value.state = EscrowState::Superseded;
                    former.value.superseded_at = Some(now);
                    tx.update(&was, &former.value)?;
                    tx.detail("supersedes", former.value.id.to_string());
                }
                prune(&mut tx, others, &after);
                tx.subject::<EscrowedSecret>(id, title(&after));
                tx.detail("state", state.name());
                tx.commit().await?;
                Ok(state)
            })
            .await
    }

    /// The secrets of a subject of a device that are in use, or may be, the newest first.
    ///
    /// # Errors
    /// [`ESCROW_TOO_OFTEN`], and `escrowed_secret.unreadable`.
    pub(crate) async fn held(
        &self,
        device: &Depositor<'_>,
        kind: EscrowKind,
        subject: &str,
    ) -> Result<Vec<HeldSecret>> {
        check_subject(subject)?;
        self.take_allowance(device.id)?;
        let action = Evidence::Audit(ESCROW_READ_BY_DEVICE);
        self.store()
            .change(&device.context(), action, |mut tx| async move {
                let mut found = of_subject(tx.reader(), device.id, kind, subject).await?;
                found.retain(|secret| secret.value.state.may_be_in_use());
                found.sort_by_key(|secret| std::cmp::Reverse(secret.value.number));
                let held: Vec<_> = found
                    .iter()
                    .map(|found| {
                        Ok(HeldSecret {
                            id: found.value.id,
                            state: found.value.state,
                            offered_at: found.value.offered_at,
                            secret: self.open(&found.value)?,
                        })
                    })
                    .collect::<Result<_>>()?;
                // That there is none is no secret, and is asked at every start.
                if !held.is_empty() {
                    tx.detail("kind", kind.name());
                    tx.detail("subject", subject);
                    tx.detail(
                        "secrets",
                        held.iter().map(|held| held.id.to_string()).collect::<Vec<_>>(),
                    );
                    tx.record().await?;
                }
                Ok(held)
            })
            .await
    }

    pub(super) fn take_allowance(&self, device: DeviceId) -> Result<()> {
        let taken = self.fleet.escrow_allowance().take(device, self.fleet.clock().now());
        taken.map_err(|seconds| {
            ESCROW_TOO_OFTEN
                .error(format!(
                    "too many secrets in so short a time; come again in {seconds} seconds"
                ))
                .with_retry_after(seconds)
        })
    }
}

/// All secrets of one subject; they are few.
async fn of_subject(
    reader: &mut Reader,
    device: DeviceId,
    kind: EscrowKind,
    subject: &str,
) -> Result<Vec<Versioned<EscrowedSecret>>> {
    let query = Query::<EscrowedSecret>::all().filter(EscrowedSecret::PLACE.eq(place(device, kind, subject)));
    let page = PageRequest::new(Some(MAX_LIMIT), None)?;
    Ok(reader.list(&query, &page).await?.items)
}

/// Refuses one more subject where the device has as many as it may.
async fn check_room(reader: &mut Reader, device: DeviceId) -> Result<()> {
    let filter = EscrowedSecret::DEVICE.eq(device.uuid());
    let subjects = reader.tally::<EscrowedSecret>(&filter, EscrowedSecret::PLACE).await?;
    if subjects.len() < MAX_SUBJECTS {
        return Ok(());
    }
    Err(ESCROW_FULL.error(format!(
        "secrets of {MAX_SUBJECTS} users and disks of this device are kept, and no more are"
    )))
}

/// Removes what is kept no more of a subject, of which one has just become `newest`.
fn prune(tx: &mut Tx, others: Vec<Versioned<EscrowedSecret>>, newest: &EscrowedSecret) {
    let mut all: Vec<_> = others.iter().map(|other| other.value.clone()).collect();
    all.push(newest.clone());
    let surplus = surplus(&all);
    if surplus.is_empty() {
        return;
    }
    tx.detail("removed", surplus.iter().map(ToString::to_string).collect::<Vec<_>>());
    for other in others.iter().filter(|other| surplus.contains(&other.value.id)) {
        tx.delete(other);
    }
}

pub(super) fn not_found(id: EscrowedSecretId) -> Error {
    ESCROW_NOT_FOUND.error(format!("there is no escrowed secret {id}"))
}
