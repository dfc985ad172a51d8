//! What is stored of an action, how it is asked for, and how it is shown.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    blobs::BlobDigest,
    devices::device::fold,
    kernel::Timestamp,
    work::{
        desired::{DesiredState, NewRhythm, Rhythm},
        secrets::{GivenParams, OperationSecretId, StoredParams},
    },
};

crate::define_id!(
    /// Names an action.
    ActionId,
    "action"
);

/// An operation with its parameters, to be kept up on devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "action", version = 1)]
#[entity(computed(name, text, unique, with = DesiredAction::folded))]
#[entity(computed(secrets, reference, many, with = DesiredAction::secret_ids))]
#[entity(computed(held_blob, text, with = DesiredAction::held_blob))]
pub struct DesiredAction {
    /// Its id.
    #[entity(id)]
    pub id: ActionId,
    /// Its name; no two actions have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// The parameters, without the state.
    #[entity(opaque)]
    pub params: StoredParams,
    /// Whether what it is about shall be there.
    pub state: DesiredState,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
    /// How often it is looked at where it stands in no set or definition; every eight hours when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhythm: Option<Rhythm>,
    /// Counts the changes of what is applied, 1 at first. Another name is none.
    pub generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl DesiredAction {
    /// What is too large for its parameters.
    fn held_blob(&self) -> Option<BlobDigest> {
        self.params.content_blob()
    }

    fn secret_ids(&self) -> Vec<OperationSecretId> {
        self.params.secret_ids()
    }

    fn folded(&self) -> String {
        fold(&self.name)
    }
}

/// An action to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"name": "Motd", "operation": "shell", "params": {"script": "echo welcome > /etc/motd"}})))]
#[serde(deny_unknown_fields)]
pub struct NewAction {
    /// Its name; no two actions have the same, without regard to case.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    #[serde(default)]
    pub description: String,
    /// The kind of operation, such as `shell`; an action keeps it for life.
    pub operation: String,
    /// The parameters, without `state`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: GivenParams,
    /// Whether what it is about shall be there; only kinds that know absence take `absent`.
    #[serde(default)]
    pub state: DesiredState,
    /// How long it may take, in seconds; what is usual for its kind when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub timeout_seconds: Option<u32>,
    /// How often it is looked at where it stands in no set or definition; every eight hours when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub rhythm: Option<NewRhythm>,
}

/// What may be set of an action; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"state": "absent"})))]
#[serde(default, deny_unknown_fields)]
pub struct ActionChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The parameters, as a whole.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub params: Option<GivenParams>,
    /// Whether what it is about shall be there.
    pub state: Option<DesiredState>,
    /// How long it may take, in seconds.
    pub timeout_seconds: Option<u32>,
    /// How often it is looked at.
    pub rhythm: Option<NewRhythm>,
}

impl From<&NewAction> for ActionChange {
    fn from(new: &NewAction) -> Self {
        let new = new.clone();
        Self {
            name: Some(new.name),
            description: Some(new.description),
            params: Some(new.params),
            state: Some(new.state),
            timeout_seconds: new.timeout_seconds,
            rhythm: new.rhythm,
        }
    }
}

/// An action as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionView {
    /// Its id.
    pub id: ActionId,
    /// How often it was changed since it was made, 1 at first; the ETag of the resource.
    pub revision: u64,
    /// Its name; no two actions have the same, without regard to case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The kind of operation.
    pub operation: String,
    /// The parameters, without the state.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Whether what it is about shall be there.
    pub state: DesiredState,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
    /// How often it is looked at where it stands in no set or definition; null for every eight hours.
    pub rhythm: Option<Rhythm>,
    /// Counts the changes of what is applied, 1 at first; manifests name it.
    pub generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}
