//! What is stored of manifests, and how they are shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Entity,
    devices::DeviceId,
    kernel::{EntityId as _, PageToken, Result, Timestamp, canonical, named_uuid},
    protocol::Applied,
    store::{Column, ColumnType, LaneRow, LatestValue, Name, Tx, Value},
    work::{
        desired::{
            ActionId, ActionSetId, DesiredChangeId, DesiredState, OnFailure, Rhythm, Target,
            resolve::{Layer, Outcome, Reason, Step},
        },
        promotions::is_dry_run,
        secrets::{OperationSecretId, StoredParams},
        windows::HeldWindow,
    },
};

crate::define_id!(
    /// Names a content of manifests; it follows from its digest.
    ManifestContentId,
    "content of manifests"
);

impl ManifestContentId {
    /// The name of the content with this digest.
    pub fn of(digest: &str) -> Self {
        Self::from_uuid(named_uuid("manifest_content", digest))
    }
}

/// One action in its place, with all that it takes to apply it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Occurrence {
    /// Its id: the same from version to version while it stands in the same group.
    pub id: Uuid,
    /// The action.
    pub action: ActionId,
    /// Its name when the manifest was compiled, for people: whether something is applied again does not depend on it.
    pub name: String,
    /// Which generation of it.
    pub generation: u64,
    /// The kind of operation.
    pub operation: String,
    /// The parameters, the state among them where the kind takes one.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: StoredParams,
    /// What of the device it is about, such as `user:ann`: nothing is taken back that another occurrence is about as well. Empty where
    /// nothing of its kind is taken back.
    pub subjects: BTreeSet<String>,
    /// The state that it is applied with.
    pub state: DesiredState,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
    /// The set that it stands in, within a definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_set: Option<ActionSetId>,
}

impl Occurrence {
    /// Whether it only says what it would do.
    pub fn is_dry_run(&self) -> bool {
        is_dry_run(&self.params)
    }
}

/// Actions that are applied one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestGroup {
    /// What it was made from: `definition:`, `action_set:` or `action:`, and an id.
    pub label: String,
    /// The name of that, for people.
    pub name: String,
    /// How often it is looked at.
    pub rhythm: Rhythm,
    /// What happens to the rest when one fails.
    pub on_failure: OnFailure,
    /// Its actions, in order.
    pub occurrences: Vec<Occurrence>,
}

/// What devices shall be, under the name of its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "manifest_content", version = 1)]
#[entity(computed(secrets, reference, many, with = ManifestContent::secret_ids))]
pub struct ManifestContent {
    /// Its id.
    #[entity(id)]
    pub id: ManifestContentId,
    /// The groups, in order.
    #[entity(opaque)]
    pub groups: Vec<ManifestGroup>,
    /// The windows that hold them, by name.
    #[entity(opaque)]
    pub windows: Vec<HeldWindow>,
    /// When a device came to have it, to a day, or when it was last seen that one has.
    #[entity(int)]
    pub used_at: Timestamp,
}

/// Why a device could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestProblem {
    /// The stable code.
    pub code: String,
    /// What to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// What a device shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "manifest", version = 1)]
#[entity(computed(failed, int, with = Manifest::has_failed))]
#[entity(computed(secrets, reference, many, with = Manifest::secret_ids))]
pub struct Manifest {
    /// The device.
    #[entity(id)]
    pub id: DeviceId,
    /// Rises with each other content; 0 while nothing could be compiled.
    pub version: u64,
    /// BLAKE3 of the canonical bytes of `{"groups", "reverts", "windows"}`, in hexadecimal digits; empty while nothing could be compiled.
    pub digest: String,
    /// Its groups; none while nothing could be compiled.
    #[entity(reference)]
    pub content: Option<ManifestContentId>,
    /// What is to be taken back: applied as absent once, until the device says that it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[entity(opaque)]
    pub reverts: Vec<Occurrence>,
    /// Why it could not be compiled anew; none when it is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ManifestProblem>,
    /// When this version was compiled.
    pub compiled_at: Timestamp,
}

impl ManifestContent {
    fn secret_ids(&self) -> Vec<OperationSecretId> {
        let occurrences = self.groups.iter().flat_map(|group| &group.occurrences);
        occurrences.flat_map(|one| one.params.secret_ids()).collect()
    }
}

impl ManifestGroup {
    /// As it is shown: without references to secrets.
    pub(super) fn masked(mut self) -> Self {
        for occurrence in &mut self.occurrences {
            occurrence.params = occurrence.params.masked();
        }
        self
    }
}

impl Occurrence {
    /// As it is shown: without references to secrets.
    pub(super) fn masked(mut self) -> Self {
        self.params = self.params.masked();
        self
    }
}

impl Manifest {
    fn secret_ids(&self) -> Vec<OperationSecretId> {
        self.reverts.iter().flat_map(|one| one.params.secret_ids()).collect()
    }

    fn has_failed(&self) -> bool {
        self.problem.is_some()
    }
}

/// What happened to a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ManifestEventKind {
    /// It has another version.
    Compiled,
    /// It could not be compiled, and stays as it is.
    Failed,
    /// It can be compiled again, and is as it was.
    Recovered,
    /// The device has taken something back.
    RevertsConfirmed,
    /// Changes reached all devices that they concern. Of no device.
    ChangesDone,
    /// Contents that no device has any more were removed. Of no device.
    ContentsRemoved,
}

/// Something that happened to a manifest, in lane `manifest_event`. Its stream is the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestEvent {
    /// The device; none for all of them.
    pub device: Option<DeviceId>,
    /// What happened.
    pub event: ManifestEventKind,
    /// When.
    pub at: Timestamp,
    /// The version from then on.
    pub version: u64,
    /// Its digest.
    pub digest: String,
    /// Its groups, which are kept for thirty days after the last device had them.
    pub content: Option<ManifestContentId>,
    /// How many actions it applies; of no device, how many changes or contents it was about.
    pub count: u64,
    /// How many are to be taken back.
    pub reverts: u64,
    /// Why it failed.
    pub problem: Option<ManifestProblem>,
}

impl ManifestEvent {
    /// What happened to the manifest of a device.
    pub(super) fn of(event: ManifestEventKind, manifest: &Manifest, count: usize, at: Timestamp) -> Self {
        Self {
            device: Some(manifest.id),
            event,
            at,
            version: manifest.version,
            digest: manifest.digest.clone(),
            content: manifest.content,
            count: count as u64,
            reverts: manifest.reverts.len() as u64,
            problem: manifest.problem.clone(),
        }
    }

    /// What happened to no device.
    pub(super) fn fleet(event: ManifestEventKind, count: usize, at: Timestamp) -> Self {
        Self {
            device: None,
            event,
            at,
            version: 0,
            digest: String::new(),
            content: None,
            count: count as u64,
            reverts: 0,
            problem: None,
        }
    }

    /// Appends it to a change; `salt` tells it from others of the same moment that say the same.
    pub(super) fn append_to(&self, tx: &mut Tx, salt: Uuid) -> Result<()> {
        let stream = self.device.map_or(Uuid::nil(), DeviceId::uuid);
        let bytes = canonical::to_vec(&(self, salt)).map_err(crate::kernel::Error::internal)?;
        let [a, b, c, d, ..] = *blake3::hash(&bytes).as_bytes();
        tx.append(stream, self.at, u32::from_be_bytes([a & 0x7f, b, c, d]), self)
    }
}

impl LaneRow for ManifestEvent {
    const LANE: Name = "manifest_event";
    const VERSION: u32 = 1;

    fn columns() -> Vec<Column> {
        vec![Column::one("device", ColumnType::Id)]
    }

    fn index(&self) -> Vec<Value> {
        vec![self.device.map(DeviceId::uuid).into()]
    }
}

crate::define_id!(
    /// Names how far compiling is; there is one.
    ManifestProgressId,
    "progress of manifests"
);

impl ManifestProgressId {
    /// The only one.
    pub fn only() -> Self {
        Self::from_uuid(named_uuid("manifest_progress", "only"))
    }
}

/// How far compiling is: a latest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestProgress {
    /// The changes that are being worked off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    /// Where the pass over all devices goes on; none when none is under way or it is at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_after: Option<PageToken>,
    /// Whether a pass is under way.
    #[serde(default)]
    pub is_passing: bool,
    /// When the last pass ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_at: Option<Timestamp>,
}

/// Changes that are worked off together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// The changes.
    pub changes: Vec<DesiredChangeId>,
    /// Whose devices are next; those before are done.
    pub target: Target,
    /// Where its devices go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PageToken>,
}

impl LatestValue for ManifestProgress {
    type Id = ManifestProgressId;
    const SET: Name = "manifest_progress";
    const VERSION: u32 = 1;
}

/// What a device told of its manifest last: a latest value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestState {
    /// What it told.
    #[serde(flatten)]
    pub applied: Applied,
    /// When.
    pub at: Timestamp,
}

impl LatestValue for ManifestState {
    type Id = DeviceId;
    const SET: Name = "manifest_state";
    const VERSION: u32 = 1;
}

/// The manifest of a device as people, programs and its agent see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestView {
    /// The device.
    pub device: DeviceId,
    /// Rises with each other content; 0 while nothing could be compiled.
    pub version: u64,
    /// BLAKE3 of the canonical bytes of `{"groups", "reverts", "windows"}`, in hexadecimal digits.
    pub digest: String,
    /// The groups, in order.
    pub groups: Vec<ManifestGroup>,
    /// The windows that concern the device: it holds what it does by itself to them, connected or not.
    pub windows: Vec<HeldWindow>,
    /// What is to be taken back: applied as absent once, until the device says that it was.
    pub reverts: Vec<Occurrence>,
    /// Why it could not be compiled anew, so that it may be older than what it follows from; null when it could.
    pub problem: Option<ManifestProblem>,
    /// When this version was compiled.
    pub compiled_at: Timestamp,
    /// What the device told of it last; null while it has told nothing. It may be about an older version.
    pub state: Option<ManifestState>,
}

/// What applies on a device in the place of an action: both are about the same, with other parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OverruledBy {
    /// The action that applies.
    pub action: ActionId,
    /// Its name.
    pub name: String,
    /// What both are about, such as `path:/etc/motd` or `user:ann`; `#` and a digest follow a path where it is one block of the file.
    pub subject: String,
}

/// What comes of an action on a device, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyView {
    /// The action.
    pub action: ActionId,
    /// Its name.
    pub name: String,
    /// What comes of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The layer that decided.
    pub layer: Layer,
    /// The same in words.
    pub in_words: String,
    /// What applies in its place, when it is overruled; null otherwise.
    pub overruled_by: Option<OverruledBy>,
    /// The groups of the manifest in which it stands.
    pub groups: Vec<String>,
    /// All ways that lead to it, the one that decides among them.
    pub steps: Vec<Step>,
}
