//! Secrets among parameters: they reach the device that executes the work, and nobody else, stand nowhere in clear but on their way to it, and
//! stay as long as something needs them.

use std::time::Duration;

use fleet_core::{
    devices::DeviceId,
    kernel::{Clock as _, EntityId as _, PageRequest, Result},
    protocol::OfferBody,
    store::{Backend as _, Batch as Commit, Entity, Filter, Key, Name, Query, Value, Write},
    work::{
        Batch, BatchRequest, Plan, Run,
        desired::{DesiredAction, Manifest, ManifestContent},
        operations::shell,
        secrets::{MASK, OperationSecret, UNREFERENCED_LIFE},
    },
};
use futures::FutureExt as _;
use serde_json::{Value as Json, json};

use crate::{
    dice::Dice,
    judge::{Invariant, Judge},
    store::SimStore,
    world::World,
};

/// How the scripts begin that have a secret; its number follows.
const WITH_SECRET: &str = "something with secret ";
/// How all secrets begin: nothing else does.
const HIDDEN: &str = "hidden-";
/// What may still need a secret, by the column `secrets` of each.
const HOLDERS: [Name; 6] = [
    Plan::KIND,
    Batch::KIND,
    Run::KIND,
    DesiredAction::KIND,
    Manifest::KIND,
    ManifestContent::KIND,
];
/// Jobs of the server look within this, whatever its clock says now.
const LOOKED: Duration = Duration::from_secs(180);
const DAY: Duration = Duration::from_secs(86_400);

/// The secrets that people give.
#[derive(Debug)]
pub struct Secrets {
    dice: Dice,
    knows: bool,
    number: u64,
}

impl Secrets {
    /// The secrets of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, "secrets");
        Self {
            knows: dice.chance(500),
            dice,
            number: 0,
        }
    }

    fn next(&mut self) -> Json {
        self.number += 1;
        let script = format!("{WITH_SECRET}{}", self.number);
        let secret = secret_of(&script);
        json!({"script": script, "secret_env": {"TOKEN": secret}})
    }
}

/// The secret of a script that has one.
fn secret_of(script: &str) -> Option<String> {
    let number = script.strip_prefix(WITH_SECRET)?;
    let hash = blake3::hash(number.as_bytes()).to_hex();
    Some(format!("{HIDDEN}{number}-{}", &hash[..16]))
}

/// Whether the parameters of an offer are those of a run, but for the secrets.
pub fn is_work_of(run: &Run, offer: &OfferBody) -> bool {
    let mut params = offer.params.clone().into_value();
    for pointer in run.params.references().into_keys() {
        if let Some(place) = params.pointer_mut(&pointer) {
            *place = MASK.into();
        }
    }
    params == run.params.shown()
}

/// What is wrong with the secret that comes with an offer, if anything is.
pub fn wrong_secret(offer: &OfferBody) -> Option<String> {
    let secret = secret_of(offer.params["script"].as_str()?)?;
    let given = &offer.params["secret_env"]["TOKEN"];
    (*given != secret).then(|| format!("{} begins without its secret", offer.run))
}

/// Whether somebody else than the device that is to do the work is told a secret by this text, a frame or an answer with frames.
fn is_told(device: Option<DeviceId>, text: &str) -> bool {
    if !text.contains(HIDDEN) {
        return false;
    }
    let Ok(said) = serde_json::from_str::<Json>(text) else {
        return true;
    };
    let frames = match said["frames"].as_array() {
        Some(frames) if !without_frames(&said).to_string().contains(HIDDEN) => frames.clone(),
        Some(_) => return true,
        None => vec![said],
    };
    frames.iter().any(|frame| {
        let device = device.map(|device| device.to_string());
        let is_its_offer = frame["type"] == "offer" && frame["body"]["device"].as_str() == device.as_deref();
        !is_its_offer && frame.to_string().contains(HIDDEN)
    })
}

fn without_frames(said: &Json) -> Json {
    let mut rest = said.clone();
    rest.as_object_mut().and_then(|rest| rest.remove("frames"));
    rest
}

impl Judge {
    /// The server says something to a device, or to people.
    pub fn check_told(&self, device: Option<DeviceId>, text: &str) {
        if self.knows_secrets() && is_told(device, text) {
            let why = format_args!("a secret is told to {device:?}");
            self.violate(Invariant::SecretsKept, why);
        }
    }

    /// Something is about to be stored.
    pub fn check_written(&self, what: Name, body: &[u8]) {
        if self.knows_secrets() && std::str::from_utf8(body).is_ok_and(|text| text.contains(HIDDEN)) {
            let why = format_args!("a secret stands in a {what} in clear");
            self.violate(Invariant::SecretsKept, why);
        }
    }
}

/// The secrets that a commit takes away too early.
pub fn look(store: &SimStore, judge: &Judge, commit: &Commit) -> Vec<String> {
    let removed = commit.writes.iter().filter_map(|write| match write {
        Write::Delete { key, .. } if key.kind == OperationSecret::KIND => Some(*key),
        _ => None,
    });
    removed.filter_map(|key| too_early(store, judge, key)).collect()
}

fn too_early(store: &SimStore, judge: &Judge, key: Key) -> Option<String> {
    let secret = store.stored::<OperationSecret>(key)?;
    if let Some(holder) = HOLDERS.into_iter().find(|kind| is_held_by(store, kind, &secret)) {
        return Some(format!("{} goes, and a {holder} needs it", secret.id));
    }
    let now = judge.clock.now();
    let is_old = secret
        .unreferenced_since
        .is_some_and(|since| now.since(since) >= UNREFERENCED_LIFE);
    (!is_old && !judge.clock_set_within(LOOKED)).then(|| {
        format!(
            "{} goes, and nothing refers to it since {:?}",
            secret.id, secret.unreferenced_since
        )
    })
}

fn is_held_by(store: &SimStore, kind: Name, secret: &OperationSecret) -> bool {
    let filter = Filter::Eq("secrets", Value::Id(secret.id.uuid()));
    let count = async { store.view().await?.count(kind, &filter).await };
    count
        .now_or_never()
        .is_some_and(|count| count.is_ok_and(|count| count > 0))
}

impl World {
    /// Gives a script a secret, for some of those that people ask for.
    pub(crate) fn with_secret(&mut self, params: Json) -> Json {
        let is_given = params["script"] == "something" && self.secrets.knows && self.secrets.dice.chance(800);
        match is_given {
            true => {
                self.judge.has_secrets();
                self.secrets.next()
            }
            false => params,
        }
    }

    /// Weeks later what is needed is still there, and what is not is gone.
    pub(crate) async fn secrets_last(&mut self) {
        if self.secrets.number == 0 || !self.plan.seed.is_multiple_of(3) {
            return;
        }
        let params = self.secrets.next();
        let request = BatchRequest {
            start_at: Some(self.judge.clock.now().plus(DAY * 14)),
            ignore_windows: Some(true),
            ..self.work(&[0], shell::NAME, params, 600, 600)
        };
        let runs = self.ask_for(&[0], request).await;
        self.days_pass(1).await;
        self.days_pass(8).await;
        if let Err(error) = self.only_what_is_needed_is_kept().await {
            self.violate(Invariant::EverybodyComesBack, error.log());
        }
        self.days_pass(5).await;
        let state = self.wait(&runs, Duration::from_secs(900)).await;
        if runs.iter().any(|run| self.judge.executions(*run).is_empty()) {
            let why = format!("{runs:?} were to begin with a secret of weeks ago: {state:?}");
            self.violate(Invariant::SecretsKept, why);
        }
    }

    /// The server's clock is set, and its jobs look what is to be done.
    async fn days_pass(&self, days: i64) {
        self.judge.trace.say(format_args!("{days} days pass"));
        self.judge
            .clock
            .jump(days * i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX));
        self.judge.clock_was_set();
        tokio::time::sleep(LOOKED).await;
    }

    async fn only_what_is_needed_is_kept(&self) -> Result<()> {
        let Some(fleet) = self.door.fleet() else { return Ok(()) };
        let page = PageRequest::new(Some(500), None)?;
        let mut reader = fleet.store().reader().await?;
        for secret in reader.list(&Query::<OperationSecret>::all(), &page).await?.items {
            if !HOLDERS
                .into_iter()
                .any(|kind| is_held_by(&self.door.store, kind, &secret))
            {
                let why = format!("nothing needs {} since {:?}", secret.id, secret.unreferenced_since);
                self.violate(Invariant::SecretsKept, why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that is said to device 1, or to people.
    #[track_caller]
    fn check(to_device: bool, said: Json, expected: bool) {
        let device = to_device.then(|| DeviceId::from_uuid(uuid::Uuid::from_u128(1)));
        assert_eq!(is_told(device, &said.to_string()), expected, "{said}");
    }

    fn offer(device: u128) -> Json {
        let device = DeviceId::from_uuid(uuid::Uuid::from_u128(device));
        let secret = secret_of("something with secret 7");
        json!({"type": "offer", "body": {"device": device, "params": {"secret_env": {"TOKEN": secret}}}})
    }

    #[test]
    fn a_secret_is_in_the_offer_to_its_device_and_nowhere_else() {
        check(true, offer(1), false);
        check(true, offer(2), true);
        check(false, offer(1), true);
        check(true, json!({"type": "bye", "reason": "hidden-7"}), true);
        check(true, json!({"type": "bye", "reason": "hidden"}), false);
    }

    #[test]
    fn in_answers_each_frame_counts_and_what_stands_beside_them() {
        check(true, json!({"frames": [{"type": "beat"}, offer(1)]}), false);
        check(true, json!({"frames": [offer(1), offer(2)]}), true);
        check(true, json!({"frames": [offer(1)], "note": "hidden-7"}), true);
        check(true, json!({"type": "manifest", "secrets": {"1": "hidden-7"}}), true);
    }

    #[test]
    fn each_script_has_a_secret_of_its_own() {
        let secrets = ["something with secret 1", "something with secret 2", "something"].map(secret_of);
        assert!(secrets[0].is_some() && secrets[0] != secrets[1] && secrets[2].is_none());
    }
}
