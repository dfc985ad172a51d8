//! The enrolment itself: those of many machines, in one commit.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{
    DEVICE_ENROLLED, DEVICE_REKEYED, EnrolRequest, Enrolled, EnrolmentToken, Machine, RefusalGate, TOKEN_UNKNOWN,
    decision::{Decision, Rules, decide},
};
use crate::{
    access::{Context, Origin, TokenKey},
    devices::{
        APPROVAL_REQUIRED, Device, DeviceId, KNOWN_MACHINE,
        device::{DeviceSummary, write},
        groups::{DynamicGroups, Membership},
    },
    gathering::{Gathering, together},
    kernel::{Class, PublicKey, Result},
    settings::Settings,
    store::{Evidence, Query, Store, TAKEN, Tx, Versioned},
};

/// How often enrolments are decided anew because another server took a machine id or a key at the same moment.
const ATTEMPTS: usize = 4;
/// Enrolments of one commit.
const TOGETHER: usize = 64;

/// Enrolment and its tokens.
#[derive(Debug)]
pub struct EnrolmentService<'a> {
    pub(crate) store: &'a Store,
    pub(crate) settings: &'a Settings,
    pub(crate) refusals: &'a RefusalGate,
    pub(crate) token_key: &'a TokenKey,
    pub(crate) gathering: &'a Enrolments,
    pub(crate) dynamic: &'a DynamicGroups,
}

/// Machines that ask to be enrolled at the same moment. Each counts a use in its token's document, so that of several with one token
/// only one could commit on its own, and the others would have to decide anew.
#[derive(Debug)]
pub struct Enrolments(Gathering<Applicant, Enrolled>);

impl Default for Enrolments {
    fn default() -> Self {
        Self(Gathering::new(TOGETHER))
    }
}

/// A machine that asks to be enrolled.
#[derive(Clone, Debug)]
struct Applicant {
    request: EnrolRequest,
    /// What it says of itself, made fit.
    machine: Machine,
    context: Context,
}

/// A token while a commit is decided: as it was read, and with the uses that were counted since.
struct Counting {
    before: Versioned<EnrolmentToken>,
    token: EnrolmentToken,
}

impl EnrolmentService<'_> {
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
        let outcome = match request.check() {
            Ok(machine) => {
                let applicant = Applicant {
                    request: request.clone(),
                    machine,
                    context: context.clone(),
                };
                let enrol = |applicants| self.enrol_all(applicants);
                self.gathering.0.ask(applicant, enrol).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            self.account(&context, request, error).await;
        }
        outcome
    }

    /// Works off what machines ask, until it is dropped.
    pub(crate) async fn drive(&self) {
        self.gathering.0.drive(|applicants| self.enrol_all(applicants)).await;
    }

    async fn enrol_all(&self, applicants: Vec<Applicant>) -> Vec<Result<Enrolled>> {
        together(applicants, async |applicants| self.enrol_in_turn(&applicants).await).await
    }

    /// Enrols machines, as many in one commit as have nothing to do with each other. Whoever is enrolled already when it is done
    /// again gets the same answer.
    async fn enrol_in_turn(&self, applicants: &[Applicant]) -> Result<Vec<Result<Enrolled>>> {
        let mut outcomes: Vec<_> = applicants.iter().map(|_| None).collect();
        let mut places: Vec<usize> = (0..applicants.len()).collect();
        while !places.is_empty() {
            let (strangers, later) = unrelated(applicants, places);
            let now: Vec<_> = strangers.iter().map(|place| &applicants[*place]).collect();
            for (place, outcome) in strangers.into_iter().zip(self.enrol_in_one_commit(&now).await?) {
                outcomes[place] = Some(outcome);
            }
            places = later;
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    async fn enrol_in_one_commit(&self, applicants: &[&Applicant]) -> Result<Vec<Result<Enrolled>>> {
        let rules = Rules {
            approval_required: self.settings.get(&APPROVAL_REQUIRED),
            known_machine: self.settings.get(&KNOWN_MACHINE),
        };
        let context = Context::system("enrolment");
        let mut attempt = 1;
        loop {
            let outcome = self
                .store
                .change(&context, Evidence::Observed, |mut tx| async move {
                    let groups = self.dynamic.begin(&mut tx).await?;
                    let mut tokens = HashMap::new();
                    let mut outcomes = Vec::with_capacity(applicants.len());
                    for applicant in applicants {
                        let fresh = DeviceId::new(tx.now(), self.store.random());
                        match enrol(&mut tx, &mut tokens, &groups, applicant, rules, fresh).await {
                            // What is wrong is not with this one.
                            Err(error) if matches!(error.class(), Class::Internal | Class::Unavailable) => {
                                return Err(error);
                            }
                            outcome => outcomes.push(outcome),
                        }
                    }
                    for Counting { before, token } in tokens.values() {
                        if before.value != *token {
                            tx.update(before, token)?;
                        }
                    }
                    tx.commit().await?;
                    Ok(outcomes)
                })
                .await;
            match outcome {
                Err(error) if error.code() == TAKEN && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}

/// Those whose enrolments cannot touch each other, and those who have to wait for one of them: the same key, machine or former device.
fn unrelated(applicants: &[Applicant], places: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let (mut keys, mut machines, mut devices) = (HashSet::<PublicKey>::new(), HashSet::new(), HashSet::new());
    places.into_iter().partition(|place| {
        let Applicant { request, machine, .. } = &applicants[*place];
        let key = keys.insert(request.public_key);
        let id = machine.machine_id.as_deref().is_none_or(|id| machines.insert(id));
        let previous = request.previous.as_ref();
        let device = previous.is_none_or(|previous| devices.insert(previous.device));
        key && id && device
    })
}

/// Decides about one machine. Whatever is refused has written nothing.
async fn enrol(
    tx: &mut Tx,
    tokens: &mut HashMap<[u8; 32], Counting>,
    groups: &Membership,
    applicant: &Applicant,
    rules: Rules,
    fresh: DeviceId,
) -> Result<Enrolled> {
    let Counting { token, .. } = counting(tx, tokens, &applicant.request).await?;
    let origin = applicant.context.origin();
    let decision = decide(tx, &applicant.request, &applicant.machine, origin, token, rules, fresh).await?;
    let mut action = DEVICE_ENROLLED;
    let (device, known) = match decision {
        Decision::Repeat(device) => return Ok(enrolled(device, true)),
        Decision::Known(before, after) => {
            let summary = tx.get::<DeviceSummary>(after.id).await?;
            write(tx, groups, &before, &after, summary).await?;
            if before.value.public_key != after.public_key {
                action = DEVICE_REKEYED;
                tx.changed("public_key");
                tx.detail("former_public_key", before.value.public_key.to_string());
            }
            (after, true)
        }
        Decision::New(device) => {
            let mut summary = DeviceSummary::new(&device);
            groups.place(tx.reader(), &mut summary).await?;
            tx.create(&device)?;
            tx.create(&summary)?;
            (device, false)
        }
    };
    token.count_use(tx.now());
    tx.subject::<Device>(device.id, device.name.clone());
    tx.detail("enrolment_token", token.id.to_string());
    tx.detail("public_key", device.public_key.to_string());
    if device.pending.is_some() {
        tx.detail("pending", true);
    }
    if let Some(other) = device.duplicate_of {
        tx.detail("duplicate_of", other.to_string());
    }
    tx.account(&applicant.context, action)?;
    Ok(enrolled(device, known))
}

/// The token of a request, with the uses that were counted already.
async fn counting<'t>(
    tx: &mut Tx,
    tokens: &'t mut HashMap<[u8; 32], Counting>,
    request: &EnrolRequest,
) -> Result<&'t mut Counting> {
    let hash = request.secret.hash();
    match tokens.entry(hash) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => {
            let query = Query::<EnrolmentToken>::all().filter(EnrolmentToken::SECRET_HASH.eq(hex::encode(hash)));
            let before = tx
                .reader()
                .first(&query)
                .await?
                .ok_or_else(|| TOKEN_UNKNOWN.error("this is no enrolment token of this server"))?;
            let token = before.value.clone();
            Ok(place.insert(Counting { before, token }))
        }
    }
}

fn enrolled(device: Device, known: bool) -> Enrolled {
    Enrolled {
        device_id: device.id,
        pending: device.pending.is_some(),
        name: device.name,
        known,
    }
}
