//! Secrets that this device makes, and its server keeps: deposited before anything is changed, so that there is never a lock whose only
//! key is gone.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowReason, EscrowState, EscrowedSecretId},
    protocol::HeldSecret,
    work::{RunId, operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};

/// Where secrets are kept.
#[async_trait]
pub trait Escrow: fmt::Debug + Send + Sync + 'static {
    /// Has a secret kept; when this returns it is, durably. The same deposit again is no second one.
    ///
    /// # Errors
    /// When it is not certain that it is kept: nothing may be changed then.
    async fn deposit(&self, deposit: &Deposit) -> Result<EscrowState, EscrowError>;

    /// Says what became of a secret that was deposited. May be repeated.
    ///
    /// # Errors
    /// When it is not certain that it was heard; [`EscrowError::is_final`] says whether it is worth repeating.
    async fn conclude(&self, id: EscrowedSecretId, conclusion: Conclusion) -> Result<EscrowState, EscrowError>;

    /// The secrets of a subject that are in use, or may be, the newest first; empty when none is kept, which is another thing than not
    /// to know.
    ///
    /// # Errors
    /// When the server does not say.
    async fn current(&self, kind: EscrowKind, subject: &str) -> Result<Vec<HeldSecret>, EscrowError>;

    /// Whether a passphrase of a disk of this device may be chosen by a token; it stays as it is.
    ///
    /// # Errors
    /// When it may not, or the server does not say.
    async fn check_passphrase_token(&self, token: &SecretText) -> Result<(), EscrowError>;

    /// Says that a passphrase was chosen by a token, which is used with that. The same again is no second use.
    ///
    /// # Errors
    /// When the token cannot be used, or it is not certain that it was heard.
    async fn use_passphrase_token(&self, token: &SecretText, disk: &str) -> Result<(), EscrowError>;

    /// Says which key of the device's own a disk has. May be repeated.
    ///
    /// # Errors
    /// When it is not certain that it was heard.
    async fn tell_disk_key(&self, disk: &str, key: DeviceKey) -> Result<(), EscrowError>;
}

/// A secret to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// Its id, which the device makes.
    pub id: EscrowedSecretId,
    /// What it opens.
    pub kind: EscrowKind,
    /// Which of these.
    pub subject: String,
    /// The run that it was made in.
    pub source: RunId,
    /// Why it was made.
    pub reason: EscrowReason,
    /// The secret.
    pub secret: SecretText,
}

/// Why a secret is not kept, or not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// The server cannot be reached, or cannot take it now. Later it may.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server refused.
    #[error("the server refused: {message} ({code})")]
    Refused {
        /// The stable code.
        code: String,
        /// What people read.
        message: String,
    },
    /// What came back is not signed by the pinned server for this request.
    #[error("the server's answer cannot be trusted: {0}")]
    Untrusted(String),
}

impl EscrowError {
    /// Whether the same again would be refused for ever.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { code, .. }
            if matches!(code.as_str(), "escrowed_secret.not_found" | "escrowed_secret.contradicted"))
    }
}
