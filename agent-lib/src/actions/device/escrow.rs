//! Secrets that an action makes: the server has them before anything is changed.

use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowReason, EscrowedSecretId},
    kernel::{EntityId as _, Randomness, Timestamp},
    protocol::HeldSecret,
    work::{RunId, operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};

use super::Device;
use crate::{
    actions::{ESCROW_NOT_KEPT, ESCROW_UNREACHABLE, action::Problem},
    escrow::{Deposit, EscrowError},
};

impl Device {
    /// Has the server keep a new secret, which from here on nothing that this run prints shows. Before this has returned its id, nothing
    /// may be changed that only the secret opens.
    ///
    /// # Errors
    /// [`ESCROW_UNREACHABLE`], [`ESCROW_NOT_KEPT`]: nothing was changed, and nothing is to be.
    pub(in crate::actions) async fn deposit(
        &self,
        kind: EscrowKind,
        subject: &str,
        reason: EscrowReason,
        secret: &SecretText,
    ) -> Result<EscrowedSecretId, Problem> {
        self.check_time()?;
        self.output().hide(secret);
        let deposit = Deposit {
            id: EscrowedSecretId::new(self.now(), self.random()),
            kind,
            subject: subject.to_owned(),
            source: RunId::from_uuid(self.run),
            reason,
            secret: secret.clone(),
        };
        match self.escrow.deposit(&deposit).await {
            Ok(_) => Ok(deposit.id),
            Err(error) => Err(held(&error)),
        }
    }

    /// Says what became of a secret; to be said again at the next pass where that fails, unless it is final.
    ///
    /// # Errors
    /// As [`EscrowError`] says.
    pub(in crate::actions) async fn conclude(
        &self,
        id: EscrowedSecretId,
        conclusion: Conclusion,
    ) -> Result<(), EscrowError> {
        self.escrow.conclude(id, conclusion).await.map(drop)
    }

    /// The secrets of a subject that are in use, or may be, the newest first; empty when the server keeps none. Nothing that this run
    /// prints shows them.
    ///
    /// # Errors
    /// [`ESCROW_UNREACHABLE`], [`ESCROW_NOT_KEPT`] when the server does not say.
    pub(in crate::actions) async fn current_secrets(
        &self,
        kind: EscrowKind,
        subject: &str,
    ) -> Result<Vec<HeldSecret>, Problem> {
        self.check_time()?;
        let found = self.escrow.current(kind, subject).await.map_err(|error| held(&error))?;
        found.iter().for_each(|held| self.output().hide(&held.secret));
        Ok(found)
    }

    /// Whether a passphrase of a disk may be chosen by a token; it stays as it is.
    ///
    /// # Errors
    /// As [`EscrowError`] says.
    pub(in crate::actions) async fn check_passphrase_token(&self, token: &SecretText) -> Result<(), EscrowError> {
        self.escrow.check_passphrase_token(token).await
    }

    /// Says that a passphrase of a disk was chosen by a token, which is used with that.
    ///
    /// # Errors
    /// As [`EscrowError`] says.
    pub(in crate::actions) async fn use_passphrase_token(
        &self,
        token: &SecretText,
        disk: &str,
    ) -> Result<(), EscrowError> {
        self.escrow.use_passphrase_token(token, disk).await
    }

    /// Says which key of the device's own a disk has.
    ///
    /// # Errors
    /// [`ESCROW_UNREACHABLE`], [`ESCROW_NOT_KEPT`]: the disk has it all the same.
    pub(in crate::actions) async fn tell_disk_key(&self, disk: &str, key: DeviceKey) -> Result<(), Problem> {
        self.check_time()?;
        self.escrow.tell_disk_key(disk, key).await.map_err(|error| {
            let code = match error {
                EscrowError::Unreachable(_) => ESCROW_UNREACHABLE,
                EscrowError::Refused { .. } | EscrowError::Untrusted(_) => ESCROW_NOT_KEPT,
            };
            let why = "the server could not be told which key the disk has; it is told at the next pass";
            Problem::new(code, format!("{why} ({error})"))
        })
    }

    /// The time, by the server's clock as far as it is known.
    pub(in crate::actions) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where secrets come from.
    pub(in crate::actions) fn random(&self) -> &dyn Randomness {
        &*self.random
    }
}

/// The problem that a secret is not kept, and so nothing is changed.
fn held(error: &EscrowError) -> Problem {
    match error {
        EscrowError::Unreachable(why) => Problem::new(
            ESCROW_UNREACHABLE,
            format!(
                "held: server not reachable, so that nothing was changed; it is tried again at the next pass ({why})"
            ),
        ),
        error => Problem::new(
            ESCROW_NOT_KEPT,
            format!("held: the server does not keep the secret, so that nothing was changed: {error}"),
        ),
    }
}
