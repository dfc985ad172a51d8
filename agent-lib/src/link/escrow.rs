//! Secrets that this device makes, given to its server: requests of their own, whichever way frames travel.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowState, EscrowedSecretId},
    protocol::{
        DiskKeyReceipt, DiskKeyTold, DiskPassphraseTokenCheck, DiskPassphraseTokenUse, EscrowAnswer, EscrowConclude,
        EscrowDeposit, EscrowQuestion, EscrowReceipt, HeldSecret, HeldSecrets,
    },
    work::{operations::actions::disk_encryption::DeviceKey, secrets::SecretText},
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Http, LinkError};
use crate::escrow::{Deposit, Escrow, EscrowError};

const DEPOSIT: &str = "/agent/v1/escrow/deposit";
const CONCLUDE: &str = "/agent/v1/escrow/conclude";
const CURRENT: &str = "/agent/v1/escrow/current";
const CHECK_TOKEN: &str = "/agent/v1/disk-passphrase-tokens/check";
const USE_TOKEN: &str = "/agent/v1/disk-passphrase-tokens/use";
const TELL_KEY: &str = "/agent/v1/disk-keys/tell";
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl Escrow for Http {
    async fn deposit(&self, deposit: &Deposit) -> Result<EscrowState, EscrowError> {
        let nonce = self.nonce();
        let request = EscrowDeposit {
            nonce: nonce.clone(),
            id: deposit.id,
            kind: deposit.kind,
            subject: deposit.subject.clone(),
            source: deposit.source,
            reason: deposit.reason,
            secret: deposit.secret.clone(),
        };
        let receipt: EscrowReceipt = ask(self, DEPOSIT, &nonce, &request).await?;
        about(&receipt, deposit.id)
    }

    async fn conclude(&self, id: EscrowedSecretId, conclusion: Conclusion) -> Result<EscrowState, EscrowError> {
        let nonce = self.nonce();
        let request = EscrowConclude {
            nonce: nonce.clone(),
            id,
            conclusion,
        };
        let receipt: EscrowReceipt = ask(self, CONCLUDE, &nonce, &request).await?;
        about(&receipt, id)
    }

    async fn current(&self, kind: EscrowKind, subject: &str) -> Result<Vec<HeldSecret>, EscrowError> {
        let nonce = self.nonce();
        let request = EscrowQuestion {
            nonce: nonce.clone(),
            kind,
            subject: subject.to_owned(),
        };
        let held: HeldSecrets = ask(self, CURRENT, &nonce, &request).await?;
        Ok(held.body.secrets)
    }

    async fn check_passphrase_token(&self, token: &SecretText) -> Result<(), EscrowError> {
        let nonce = self.nonce();
        let request = DiskPassphraseTokenCheck {
            nonce: nonce.clone(),
            token: token.clone(),
        };
        ask::<DiskKeyReceipt>(self, CHECK_TOKEN, &nonce, &request)
            .await
            .map(drop)
    }

    async fn use_passphrase_token(&self, token: &SecretText, disk: &str) -> Result<(), EscrowError> {
        let nonce = self.nonce();
        let request = DiskPassphraseTokenUse {
            nonce: nonce.clone(),
            token: token.clone(),
            disk: disk.to_owned(),
        };
        ask::<DiskKeyReceipt>(self, USE_TOKEN, &nonce, &request).await.map(drop)
    }

    async fn tell_disk_key(&self, disk: &str, key: DeviceKey) -> Result<(), EscrowError> {
        let nonce = self.nonce();
        let request = DiskKeyTold {
            nonce: nonce.clone(),
            disk: disk.to_owned(),
            key,
        };
        ask::<DiskKeyReceipt>(self, TELL_KEY, &nonce, &request).await.map(drop)
    }
}

/// Sends a request and believes the answer only when the pinned server signed it for this very request.
async fn ask<A: EscrowAnswer>(
    http: &Http,
    path: &str,
    nonce: &str,
    request: &(impl Serialize + Sync),
) -> Result<A, EscrowError> {
    let untrusted = |why: &str| EscrowError::Untrusted(why.to_owned());
    let body = serde_json::to_vec(request).map_err(|_| untrusted("a request that cannot be written"))?;
    let body = Bytes::from_owner(Zeroizing::new(body));
    let answer = http
        .post(path, "application/json", None, body.clone(), PATIENCE)
        .await?;
    // What a parser says may quote the answer, which may be a secret.
    let answer: A = serde_json::from_slice(&answer).map_err(|_| untrusted("it is no answer of a server of fleet"))?;
    let identity = http.identity();
    match answer.answers(&identity.server, identity.device, nonce, &body) {
        true => Ok(answer),
        false => Err(untrusted(
            "it is not signed by the server that this device was enrolled with, for this request",
        )),
    }
}

fn about(receipt: &EscrowReceipt, id: EscrowedSecretId) -> Result<EscrowState, EscrowError> {
    match receipt.body.id == id {
        true => Ok(receipt.body.state),
        false => Err(EscrowError::Untrusted("it is about another secret".into())),
    }
}

impl From<LinkError> for EscrowError {
    fn from(error: LinkError) -> Self {
        match error {
            // A proxy whose server is away, a server that is starting, one that is asked too much: all pass.
            LinkError::Refused { status, message, .. } if status >= 500 || status == 429 => Self::Unreachable(message),
            LinkError::Refused { code, message, .. } => Self::Refused { code, message },
            LinkError::Untrusted(why) => Self::Untrusted(why),
            error @ (LinkError::Unreachable(_) | LinkError::Handshake(_)) => Self::Unreachable(match error {
                LinkError::Unreachable(why) => why,
                error => error.to_string(),
            }),
        }
    }
}
