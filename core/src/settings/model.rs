//! A setting as it is stored, and as it is shown.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::{
    Entity,
    kernel::{EntityId, Timestamp, named_uuid},
    store::{Entity as _, Rev},
};

crate::define_id!(
    /// Names a stored setting.
    SettingId,
    "setting"
);

impl SettingId {
    /// That of a key.
    pub fn of(name: &str) -> Self {
        Self::from_uuid(named_uuid(StoredSetting::KIND, name))
    }
}

/// The stored value of a key. There is none while the default holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "setting", version = 1)]
pub struct StoredSetting {
    /// Its id, which follows from its name.
    #[entity(id)]
    pub id: SettingId,
    /// The key's name, as `section.key`.
    #[entity(text, unique)]
    pub name: String,
    /// The value.
    pub value: Json,
    /// When it was set last.
    pub changed_at: Timestamp,
}

/// Where a value comes from; the first that has one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The configuration file.
    File,
    /// The store: set over the API.
    Stored,
    /// The key's own default.
    Default,
}

/// A setting as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingView {
    /// The key's name, as `section.key`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The value that holds.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub value: Json,
    /// Where it comes from.
    pub source: SettingSource,
    /// The key's own default.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub default: Json,
    /// The stored value, which holds unless flag, environment or file say otherwise.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub stored: Option<Json>,
    /// When the stored value was set last.
    pub changed_at: Option<Timestamp>,
    /// Why the stored value is not used, if it breaks a rule by now.
    pub problem: Option<String>,
    /// The revision of the stored value, for conditional changes; 0 when nothing is stored. Travels as the ETag.
    #[serde(skip)]
    pub revision: Rev,
}
