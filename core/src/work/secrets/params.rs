//! Parameters as they are given, and as they are stored.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::{OperationSecretId, pointers};
use crate::blobs::BlobDigest;

/// What stands in the place of a secret wherever parameters are shown. In a change it stands for the secret that is kept.
pub const MASK: &str = "********";
/// The only member of a reference.
pub(super) const REFERENCE: &str = "$secret";

/// A secret in clear. It is not printed, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl schemars::JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "writeOnly": true})
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Parameters as a kind understands them: in a request, and on their way to a device. They may hold secrets, and are not printed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GivenParams(Json);

impl GivenParams {
    /// The parameters themselves.
    pub fn into_value(self) -> Json {
        self.0
    }

    /// Whether none were given.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl From<Json> for GivenParams {
    fn from(params: Json) -> Self {
        Self(params)
    }
}

impl Deref for GivenParams {
    type Target = Json;

    fn deref(&self) -> &Json {
        &self.0
    }
}

impl DerefMut for GivenParams {
    fn deref_mut(&mut self) -> &mut Json {
        &mut self.0
    }
}

impl PartialEq<Json> for GivenParams {
    fn eq(&self, other: &Json) -> bool {
        self.0 == *other
    }
}

impl fmt::Debug for GivenParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenParams(…)")
    }
}

/// Parameters as they are stored and compiled into manifests: in the place of each secret stands a reference to its document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredParams(Json);

/// Parameters whose references were replaced by values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedParams {
    /// The parameters.
    pub params: GivenParams,
    /// Where in them secrets stand, as JSON pointers, in order.
    pub secrets: Vec<String>,
}

impl StoredParams {
    /// Parameters in which no secret stands, and nothing that could be taken for a reference.
    pub fn without_secrets(params: Json) -> Self {
        Self(params)
    }

    /// Parameters with references in the places of secrets.
    pub(super) fn with_references(mut params: Json, references: &BTreeMap<String, OperationSecretId>) -> Self {
        for (pointer, id) in references {
            if let Some(place) = params.pointer_mut(pointer) {
                *place = reference(*id);
            }
        }
        Self(params)
    }

    /// The blob that they name in the place of a content.
    pub fn content_blob(&self) -> Option<BlobDigest> {
        let digest = self.0.get("content_blob")?.as_str()?;
        BlobDigest::parse(digest)
    }

    /// As they are shown: with [`MASK`] in the place of each secret.
    pub fn shown(&self) -> Json {
        let mut shown = self.0.clone();
        for pointer in self.references().into_keys() {
            if let Some(place) = shown.pointer_mut(&pointer) {
                *place = MASK.into();
            }
        }
        shown
    }

    /// The same, where what is shown has the shape of what is stored.
    #[must_use]
    pub fn masked(&self) -> Self {
        Self(self.shown())
    }

    /// The secrets that they refer to, each with the JSON pointer to its place.
    pub fn references(&self) -> BTreeMap<String, OperationSecretId> {
        let mut found = BTreeMap::new();
        pointers::walk(&self.0, &mut |pointer, value| {
            if let Some(id) = referred_to(value) {
                found.insert(pointer.to_owned(), id);
            }
        });
        found
    }

    /// The ids of the secrets that they refer to.
    pub fn secret_ids(&self) -> Vec<OperationSecretId> {
        self.references().into_values().collect()
    }

    /// The parameters with values in the places of references; nothing where one of them is not among `values`.
    pub fn resolve(&self, values: &BTreeMap<OperationSecretId, SecretText>) -> Option<ResolvedParams> {
        let references = self.references();
        let mut params = self.0.clone();
        for (pointer, id) in &references {
            *params.pointer_mut(pointer)? = values.get(id)?.reveal().into();
        }
        Some(ResolvedParams {
            params: params.into(),
            secrets: references.into_keys().collect(),
        })
    }

    /// A member at the top.
    pub(crate) fn member(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// The same parameters with another member at the top.
    pub(crate) fn with_member(mut self, name: &str, value: Json) -> Self {
        if let Json::Object(members) = &mut self.0 {
            members.insert(name.to_owned(), value);
        }
        self
    }

    /// The same parameters without a member at the top.
    pub(crate) fn without_member(mut self, name: &str) -> Self {
        if let Json::Object(members) = &mut self.0 {
            members.remove(name);
        }
        self
    }

    /// Reads them as a kind's own type, with [`MASK`] in the place of each secret.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.shown()).ok()
    }
}

fn reference(id: OperationSecretId) -> Json {
    Json::Object(Map::from_iter([(REFERENCE.to_owned(), Json::String(id.to_string()))]))
}

/// The secret that a value refers to, if it is a reference.
pub(super) fn referred_to(value: &Json) -> Option<OperationSecretId> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get(REFERENCE)?.as_str()?.parse().ok()
}
