//! What follows from what was compiled for the manifest that a device has; pure.

use std::collections::BTreeSet;

use serde::Serialize;
use uuid::Uuid;

use super::{Compiled, Manifest, ManifestGroup, ManifestProblem, Occurrence};
use crate::{
    devices::DeviceId,
    kernel::{Error, Result, Timestamp, canonical, named_uuid},
    work::{
        desired::{DesiredState, MANIFEST_TOO_LARGE},
        promotions::DRY_RUN,
        windows::HeldWindow,
    },
};

/// The most actions that apply to one device, each as often as it stands in a group.
pub const MAX_OCCURRENCES: usize = 2_000;
/// The most bytes of what applies to one device, as JSON.
pub const MAX_CONTENT_BYTES: usize = 1024 * 1024;
/// The most that is to be taken back on one device.
pub const MAX_REVERTS: usize = 500;

/// The most bytes of what is to be taken back on one device, as JSON.
pub const MAX_REVERT_BYTES: usize = 1024 * 1024;

/// The digest of what a device shall be: BLAKE3 of the canonical bytes of `{"groups", "reverts", "windows"}`, in hexadecimal digits.
pub fn manifest_digest(groups: &[ManifestGroup], windows: &[HeldWindow], reverts: &[Occurrence]) -> Result<String> {
    digest(groups, windows, reverts).map(|(digest, _)| digest)
}

/// The digest of what a device shall be, and of how many bytes.
pub(super) fn digest(
    groups: &[ManifestGroup],
    windows: &[HeldWindow],
    reverts: &[Occurrence],
) -> Result<(String, usize)> {
    #[derive(Serialize)]
    struct Body<'a> {
        groups: &'a [ManifestGroup],
        reverts: &'a [Occurrence],
        windows: &'a [HeldWindow],
    }
    let bytes = canonical::to_vec(&Body {
        groups,
        reverts,
        windows,
    })
    .map_err(Error::internal)?;
    Ok((blake3::hash(&bytes).to_hex().to_string(), bytes.len()))
}

/// The manifest that a device has from now on; none when it stays as it is. `old` are the groups that it has, `is_reverted` says which
/// kinds of operation are taken back.
pub(super) fn next(
    device: DeviceId,
    before: Option<&Manifest>,
    old: &[ManifestGroup],
    compiled: &Compiled,
    is_reverted: &dyn Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Option<Manifest>> {
    let content = match &compiled.content {
        Ok(content) => content,
        Err((code, message)) => return Ok(failed(device, before, code, message, now)),
    };
    let Some(before) = before else {
        if content.groups.is_empty() {
            return Ok(None);
        }
        return Ok(Some(Manifest {
            id: device,
            version: 1,
            digest: content.digest.clone(),
            content: Some(content.id),
            reverts: Vec::new(),
            problem: None,
            compiled_at: now,
        }));
    };
    let reverts = reverts(before, old, &content.subjects, is_reverted);
    if reverts.len() > MAX_REVERTS || digest(&[], &[], &reverts)?.1 > MAX_REVERT_BYTES {
        let why = format!(
            "more is to be taken back on the device than a manifest holds ({MAX_REVERTS} actions, {MAX_REVERT_BYTES} bytes); take \
             fewer away at once"
        );
        return Ok(failed(device, Some(before), MANIFEST_TOO_LARGE.name(), &why, now));
    }
    let digest = match reverts.is_empty() {
        true => content.digest.clone(),
        false => digest(&content.groups, &content.windows, &reverts)?.0,
    };
    if digest == before.digest {
        let mut after = before.clone();
        after.problem = None;
        return Ok((after != *before).then_some(after));
    }
    Ok(Some(Manifest {
        id: device,
        version: before.version + 1,
        digest,
        content: Some(content.id),
        reverts,
        problem: None,
        compiled_at: now,
    }))
}

/// A manifest that could not be compiled keeps what it has.
fn failed(device: DeviceId, before: Option<&Manifest>, code: &str, message: &str, now: Timestamp) -> Option<Manifest> {
    let known = before.and_then(|before| before.problem.as_ref());
    if known.is_some_and(|known| known.code == code && known.message == message) {
        return None;
    }
    let problem = ManifestProblem {
        code: code.to_owned(),
        message: message.to_owned(),
        since: now,
    };
    Some(match before {
        Some(before) => Manifest {
            problem: Some(problem),
            ..before.clone()
        },
        None => Manifest {
            id: device,
            version: 0,
            digest: String::new(),
            content: None,
            reverts: Vec::new(),
            problem: Some(problem),
            compiled_at: now,
        },
    })
}

/// What is to be taken back: what nothing is about any more in any state, and what is of a kind that is taken back; and what is still open
/// from before. What was applied last goes first, since it may need what was applied before it. What was to be absent counts as well: it
/// may have taken the place of what made something, and may not have been applied. The device takes back only what it has made.
fn reverts(
    before: &Manifest,
    old: &[ManifestGroup],
    current: &BTreeSet<String>,
    is_reverted: &dyn Fn(&str) -> bool,
) -> Vec<Occurrence> {
    let vanished = old.iter().flat_map(|group| &group.occurrences).rev();
    let vanished = vanished.filter(|one| is_reverted(&one.operation));
    let mut seen = BTreeSet::new();
    let open = before.reverts.iter().cloned();
    open.chain(vanished.map(taken_back))
        .filter(|one| !one.subjects.iter().any(|subject| is_about(subject, current)))
        .filter(|one| seen.insert(one.subjects.clone()))
        .collect()
}

/// Whether something else is about the same. What has no name is what a device has one of, whatever it is called elsewhere.
fn is_about(subject: &str, current: &BTreeSet<String>) -> bool {
    let Some((of, name)) = subject.split_once(':') else {
        return current.contains(subject);
    };
    let nameless = &subject[..=of.len()];
    match name {
        "" => current.iter().any(|other| other.starts_with(nameless)),
        _ => current.contains(subject) || current.contains(nameless),
    }
}

/// The id of what takes back an occurrence.
pub(super) fn revert_id(occurrence: &Occurrence) -> Uuid {
    let subjects: Vec<_> = occurrence.subjects.iter().map(String::as_str).collect();
    named_uuid(
        "manifest_revert",
        &format!("{}/{}/{}", occurrence.action, occurrence.generation, subjects.join("/")),
    )
}

/// An occurrence, applied as absent, and not only as a dry run: what it is about may have been made by another, or before it became one.
pub(super) fn taken_back(occurrence: &Occurrence) -> Occurrence {
    let params = occurrence.params.clone();
    let params = params
        .with_member("state", DesiredState::Absent.name().into())
        .without_member(DRY_RUN);
    Occurrence {
        id: revert_id(occurrence),
        params,
        state: DesiredState::Absent,
        action_set: None,
        ..occurrence.clone()
    }
}
