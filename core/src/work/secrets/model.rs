//! What is stored of a secret.

use serde::{Deserialize, Serialize};

use crate::{
    Entity,
    kernel::{Sealed, Timestamp},
    store::{Entity, Field, Name},
};

crate::define_id!(
    /// Names a secret among the parameters of work.
    OperationSecretId,
    "secret"
);

/// A secret among the parameters of work. Its value never changes: another value is another document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "operation_secret", version = 1)]
pub struct OperationSecret {
    /// Its id.
    #[entity(id)]
    pub id: OperationSecretId,
    /// The value, which opens for this document only.
    pub sealed: Sealed,
    /// When it was given.
    pub created_at: Timestamp,
    /// Since when nothing is known to refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreferenced_since: Option<Timestamp>,
}

/// A column that holds the ids of secrets which a document still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretHolder {
    /// The kind.
    pub kind: Name,
    /// The column.
    pub column: Name,
}

impl OperationSecret {
    /// What its value is sealed for.
    pub(super) fn owner(id: OperationSecretId) -> String {
        format!("{}/{id}", Self::KIND)
    }
}

impl SecretHolder {
    /// The holder that a column of an entity is.
    pub fn of<T: Entity>(column: Field<T>) -> Self {
        Self {
            kind: T::KIND,
            column: column.name(),
        }
    }
}
