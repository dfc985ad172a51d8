//! Secrets that devices make.

use super::{LinkService, LinkedDevice};
use crate::{
    access::Origin,
    escrow::{Depositor, EscrowState, EscrowedSecretId},
    kernel::{Error, Result},
    protocol::{
        EscrowConclude, EscrowDeposit, EscrowQuestion, EscrowReceipt, EscrowReceiptBody, HeldSecrets, HeldSecretsBody,
        body_digest,
    },
};

/// The longest nonce of a request, in bytes.
const MAX_NONCE: usize = 64;

impl LinkService<'_> {
    /// Keeps a secret of a device, and says so, signed: durable when this returns. `request` is the request as it came.
    pub async fn deposit(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        deposit: &EscrowDeposit,
        request: &[u8],
    ) -> Result<EscrowReceipt> {
        check_nonce(&deposit.nonce)?;
        let state = self.fleet.escrow().deposit(&depositor(device, origin), deposit).await?;
        self.receipt(device, &deposit.nonce, deposit.id, state, request)
    }

    /// Hears what became of a secret of a device.
    pub async fn conclude(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        said: &EscrowConclude,
        request: &[u8],
    ) -> Result<EscrowReceipt> {
        check_nonce(&said.nonce)?;
        let depositor = depositor(device, origin);
        let escrow = self.fleet.escrow();
        let state = escrow.conclude(&depositor, said.id, said.conclusion).await?;
        self.receipt(device, &said.nonce, said.id, state, request)
    }

    /// The secrets of a subject of a device that are in use, or may be.
    pub async fn current_secrets(
        &self,
        device: &LinkedDevice,
        origin: &Origin,
        question: &EscrowQuestion,
        request: &[u8],
    ) -> Result<HeldSecrets> {
        check_nonce(&question.nonce)?;
        let (escrow, depositor) = (self.fleet.escrow(), depositor(device, origin));
        let body = HeldSecretsBody {
            nonce: question.nonce.clone(),
            request: body_digest(request),
            device: device.id,
            secrets: escrow.held(&depositor, question.kind, &question.subject).await?,
            time: self.fleet.clock().now(),
        };
        HeldSecrets::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }

    fn receipt(
        &self,
        device: &LinkedDevice,
        nonce: &str,
        id: EscrowedSecretId,
        state: EscrowState,
        request: &[u8],
    ) -> Result<EscrowReceipt> {
        let body = EscrowReceiptBody {
            nonce: nonce.to_owned(),
            request: body_digest(request),
            device: device.id,
            id,
            state,
            time: self.fleet.clock().now(),
        };
        EscrowReceipt::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }
}

pub(super) fn depositor<'a>(device: &'a LinkedDevice, origin: &'a Origin) -> Depositor<'a> {
    Depositor {
        id: device.id,
        name: &device.name,
        origin,
    }
}

pub(super) fn check_nonce(nonce: &str) -> Result<()> {
    match nonce.len() <= MAX_NONCE && !nonce.contains('\0') {
        true => Ok(()),
        false => Err(Error::invalid_field(
            "/nonce",
            format!("at most {MAX_NONCE} characters of base64url"),
        )),
    }
}
