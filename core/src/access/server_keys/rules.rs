//! Which keys there are, what they are called, and what is said when they do not open.

use super::{ServerKey, ServerKeyId};
use crate::kernel::{Class, Code, EntityId, Error, SealError, Sealer, named_uuid};

/// The store's secrets were sealed with a master key that is not here.
pub const MASTER_KEY_WRONG: Code = Code::new("secrets.master_key_wrong", Class::Unavailable);
/// A sealed document was altered.
pub const SEALED_DAMAGED: Code = Code::new("secrets.damaged", Class::Unavailable);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Ed25519; signs welcome and enrolment answers. Agents pin it.
    Identity,
    /// Ed25519; signs offered runs.
    Dispatch,
    /// Hashes bearer tokens.
    Session,
}

impl Purpose {
    pub(super) const ALL: [Self; 3] = [Self::Identity, Self::Dispatch, Self::Session];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Dispatch => "dispatch",
            Self::Session => "session",
        }
    }

    /// Whether it signs, and so has a public half.
    pub(super) const fn signs(self) -> bool {
        matches!(self, Self::Identity | Self::Dispatch)
    }

    /// The id of its document: two servers that start at once make the same one, and one of them loses.
    pub(super) fn id(self) -> ServerKeyId {
        ServerKeyId::from_uuid(named_uuid("server_key", self.name()))
    }

    /// The row that its secret belongs to.
    pub(super) fn owner(self) -> String {
        use crate::store::Entity as _;
        format!("{}/{}/{}", ServerKey::KIND, self.id(), self.name())
    }
}

/// Why a key does not open, and what to do.
pub(super) fn refusal(purpose: Purpose, error: SealError, sealer: &Sealer) -> Error {
    match &error {
        SealError::KeyMissing(id) => MASTER_KEY_WRONG.error(format!(
            "this store's secrets were sealed with master key {id}, and the key given is {}; start with the key file that \
             belongs to this store, or restore it from where it was backed up (a new key cannot open what another sealed)",
            sealer.key_id()
        )),
        _ => SEALED_DAMAGED.error(format!(
            "the {} key in the store does not open: its document was altered; restore the store from a backup",
            purpose.name()
        )),
    }
    .caused_by(error)
}
