//! How secrets are taken out of parameters; pure but for the randomness that is passed in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::{
    GivenParams, MASK, OperationSecret, OperationSecretId, SECRET_MISSING, SECRET_REFERENCE, SecretText, StoredParams,
    params::{REFERENCE, referred_to},
    pointers::{fits_any, split, unescaped, walk},
};
use crate::{
    kernel::{Error, Randomness, Result, Sealer, Timestamp},
    work::{OperationKind, operations::INVALID_PARAMS},
};

/// Shorter secrets are not looked for in messages: they would be found in every other word.
const SHORTEST: usize = 4;

/// Takes parameters in: each secret is sealed into a document, to be stored in the commit that stores the parameters.
#[derive(Debug)]
pub struct Intake<'a> {
    sealer: &'a Sealer,
    random: &'a dyn Randomness,
    now: Timestamp,
    known: BTreeMap<OperationSecretId, SecretText>,
    made: Vec<OperationSecret>,
    fingerprints: BTreeMap<OperationSecretId, String>,
}

impl<'a> Intake<'a> {
    /// Nothing was taken in yet. `known` are the values that the document to be changed refers to: what is given again keeps its
    /// reference.
    pub(super) fn new(
        sealer: &'a Sealer,
        random: &'a dyn Randomness,
        now: Timestamp,
        known: BTreeMap<OperationSecretId, SecretText>,
    ) -> Self {
        Self {
            sealer,
            random,
            now,
            known,
            made: Vec::new(),
            fingerprints: BTreeMap::new(),
        }
    }

    /// The parameters of a kind, in the form in which they are stored. `before` are those that they replace: a secret that is left out,
    /// or has [`MASK`] in its place, is kept; null takes it away. `check` checks them and gives back their normal form.
    pub(crate) fn take(
        &mut self,
        kind: &OperationKind,
        given: &GivenParams,
        before: Option<&StoredParams>,
        check: impl FnOnce(Json) -> Result<Json>,
    ) -> Result<StoredParams> {
        let had = before.map(StoredParams::references).unwrap_or_default();
        let params = mask_kept((**given).clone(), kind.secrets, &had)?;
        let kept = kept(&params, kind.secrets, &had)?;
        let secrets = texts(&params, kind.secrets);
        let normal = check(params).map_err(|error| without_secrets(error, kind, &secrets))?;
        let (mut found, mut references) = (Vec::new(), BTreeMap::new());
        walk(&normal, &mut |pointer, value| {
            if fits_any(kind.secrets, pointer) {
                found.push((pointer.to_owned(), value.clone()));
            }
        });
        for (pointer, value) in found {
            let id = match value {
                Json::Null => continue,
                Json::String(_) if kept.contains(&pointer) => had[&pointer],
                Json::String(text) => self.id_of(text.into(), had.get(&pointer).copied())?,
                _ => return Err(Error::internal(format!("{}: {pointer} is no text", kind.name))),
            };
            references.insert(pointer, id);
        }
        Ok(StoredParams::with_references(normal, &references))
    }

    /// The document of a secret: the one that it had, or a new one.
    fn id_of(&mut self, text: SecretText, had: Option<OperationSecretId>) -> Result<OperationSecretId> {
        if let Some(id) = had.filter(|id| self.known.get(id) == Some(&text)) {
            return Ok(id);
        }
        let id = OperationSecretId::new(self.now, self.random);
        let bytes = text.reveal().as_bytes();
        let sealed = self.sealer.seal(&OperationSecret::owner(id), bytes, self.random);
        self.fingerprints.insert(id, self.sealer.fingerprint(bytes));
        self.made.push(OperationSecret {
            id,
            sealed: sealed.map_err(Error::internal)?,
            created_at: self.now,
            unreferenced_since: None,
        });
        Ok(id)
    }

    /// What tells these parameters from others: whoever has no master key learns nothing about their secrets from it.
    pub(crate) fn identity(&self, params: &StoredParams) -> Json {
        let mut identity = params.shown();
        for (pointer, id) in params.references() {
            let fingerprint = self.fingerprints.get(&id).cloned().unwrap_or_else(|| id.to_string());
            if let Some(place) = identity.pointer_mut(&pointer) {
                *place = Json::Object(Map::from_iter([(REFERENCE.to_owned(), fingerprint.into())]));
            }
        }
        identity
    }

    /// The documents of what was taken in.
    pub(crate) fn into_made(self) -> Vec<OperationSecret> {
        self.made
    }
}

/// Checks parameters that are stored once more, with [`MASK`] in the place of each secret: every kind takes that for one.
pub(crate) fn check_again(params: &StoredParams, check: impl FnOnce(Json) -> Result<Json>) -> Result<StoredParams> {
    let normal = check(params.shown())?;
    let mut references = params.references();
    references.retain(|pointer, _| normal.pointer(pointer).is_some_and(|value| value == MASK));
    Ok(StoredParams::with_references(normal, &references))
}

/// The parameters with [`MASK`] wherever a secret is kept: left out, or named by its own reference. Any other reference is refused.
fn mask_kept(given: Json, patterns: &[&str], had: &BTreeMap<String, OperationSecretId>) -> Result<Json> {
    let mut params = given.clone();
    let (mut own, mut foreign) = (Vec::new(), None);
    walk(&given, &mut |pointer, value| {
        if value.get(REFERENCE).is_none() {
            return;
        }
        match (referred_to(value), had.get(pointer)) {
            (Some(id), Some(had)) if id == *had => own.push(pointer.to_owned()),
            _ => foreign = Some(pointer.to_owned()),
        }
    });
    if foreign.is_some() || given.get(REFERENCE).is_some() {
        let why = format!("{REFERENCE} stands for a secret that the server keeps; give the secret itself");
        let at = foreign.unwrap_or_default();
        return Err(SECRET_REFERENCE
            .error(why.clone())
            .with_field(format!("/params{at}"), why));
    }
    for pointer in own {
        if let Some(place) = params.pointer_mut(&pointer) {
            *place = MASK.into();
        }
    }
    for pointer in had.keys().filter(|pointer| fits_any(patterns, pointer)) {
        let (map, name) = split(pointer);
        let is_of_map = patterns
            .iter()
            .any(|pattern| pattern.ends_with("/*") && fits_any(&[pattern], pointer));
        let (around, map_name) = split(map);
        let is_left_out = match is_of_map {
            true => given.pointer(map).is_none() && given.pointer(around).is_some_and(Json::is_object),
            false => given.pointer(map).is_some_and(Json::is_object) && given.pointer(pointer).is_none(),
        };
        if !is_left_out {
            continue;
        }
        if is_of_map && let Some(Json::Object(around)) = params.pointer_mut(around) {
            around.entry(unescaped(map_name)).or_insert_with(|| Map::new().into());
        }
        if let Some(Json::Object(map)) = params.pointer_mut(map) {
            map.insert(unescaped(name), MASK.into());
        }
    }
    Ok(params)
}

/// Where secrets are kept; refuses [`MASK`] where there is none to keep.
fn kept(params: &Json, patterns: &[&str], had: &BTreeMap<String, OperationSecretId>) -> Result<BTreeSet<String>> {
    let (mut kept, mut missing) = (BTreeSet::new(), None);
    walk(params, &mut |pointer, value| {
        if value == MASK && fits_any(patterns, pointer) {
            match had.contains_key(pointer) {
                true => drop(kept.insert(pointer.to_owned())),
                false => missing = Some(pointer.to_owned()),
            }
        }
    });
    match missing {
        None => Ok(kept),
        Some(pointer) => {
            let why = format!("{MASK} stands for the secret that is kept, and none is; give the secret itself");
            Err(SECRET_MISSING
                .error(why.clone())
                .with_field(format!("/params{pointer}"), why))
        }
    }
}

/// The texts that stand in the places of secrets.
fn texts(params: &Json, patterns: &[&str]) -> Vec<SecretText> {
    let mut found = Vec::new();
    walk(params, &mut |pointer, value| {
        if fits_any(patterns, pointer) && value != MASK {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            found.push(text.into());
        }
    });
    found
}

/// A refusal whose message quotes no secret.
fn without_secrets(error: Error, kind: &OperationKind, secrets: &[SecretText]) -> Error {
    let mut told = error.fields().iter().map(|field| field.message.as_str());
    let quotes = |text: &str| {
        let mut secrets = secrets.iter().map(SecretText::reveal);
        secrets.any(|secret| secret.len() >= SHORTEST && text.contains(secret))
    };
    if !quotes(error.message()) && !told.any(quotes) {
        return error;
    }
    let why = "a secret does not fit; what is wrong with it is not said, since that would quote it";
    INVALID_PARAMS
        .error(format!("{}: {why}", kind.name))
        .with_field("/params", why)
}
