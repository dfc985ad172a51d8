//! What people do: see what is kept, and read a secret.

use super::{
    ESCROW_READ, ESCROW_REVEAL, ESCROW_REVEALED, ESCROW_UNREADABLE, EscrowFilter, EscrowedSecret, EscrowedSecretId,
    EscrowedSecretView, RevealedSecret, agent::not_found,
};
use crate::{
    Fleet,
    access::Context,
    devices::{Device, DeviceId, require_in_scope},
    kernel::{EntityId as _, Page, PageRequest, Randomness, Result, Sealer},
    store::{Direction, Evidence, Query, Store},
    work::secrets::SecretText,
};

/// Keeps the secrets that devices make.
#[derive(Debug)]
pub struct EscrowService<'a> {
    pub(super) fleet: &'a Fleet,
}

impl<'a> EscrowService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    /// A page of the secrets of a device, without their values, the newest first. Those of a device that is gone are shown for as long
    /// as they are kept.
    ///
    /// # Errors
    /// `device.not_found` when there is no such device, and never was one with secrets that are still kept.
    pub async fn list(
        &self,
        context: &Context,
        device: DeviceId,
        filter: &EscrowFilter,
        page: &PageRequest,
    ) -> Result<Page<EscrowedSecretView>> {
        require_in_scope(&context.require(ESCROW_READ)?, device)?;
        let of_device = EscrowedSecret::DEVICE.eq(device.uuid());
        let mut query = Query::<EscrowedSecret>::all()
            .filter(of_device.clone())
            .order(EscrowedSecret::OFFERED_AT, Direction::Descending);
        if let Some(kind) = filter.kind {
            query = query.filter(EscrowedSecret::SECRET_KIND.eq(kind.name()));
        }
        if let Some(subject) = &filter.subject {
            query = query.filter(EscrowedSecret::SUBJECT.eq(subject.as_str()));
        }
        let mut reader = self.store().reader().await?;
        let found = reader.list(&query, page).await?;
        if found.items.is_empty()
            && reader.get::<Device>(device).await?.is_none()
            && reader.count::<EscrowedSecret>(&of_device).await? == 0
        {
            return Err(crate::devices::not_found(device));
        }
        Ok(found.map(|secret| secret.value.into()))
    }

    /// Reads a secret. That it was read, by whom, and whose it is, stands in the audit before it is answered.
    ///
    /// # Errors
    /// `escrowed_secret.not_found`, and [`ESCROW_UNREADABLE`] when it does not open.
    pub async fn reveal(&self, context: &Context, id: EscrowedSecretId) -> Result<RevealedSecret> {
        let scope = context.require(ESCROW_REVEAL)?;
        self.store()
            .change(context, Evidence::Audit(ESCROW_REVEALED), |mut tx| {
                let scope = &scope;
                async move {
                    let found = tx.get::<EscrowedSecret>(id).await?;
                    let found = found
                        .filter(|secret| require_in_scope(scope, secret.device).is_ok())
                        .ok_or_else(|| not_found(id))?;
                    let secret = self.open(&found.value)?;
                    tx.subject::<EscrowedSecret>(id, title(&found.value));
                    tx.detail("device", found.device.to_string());
                    tx.detail("kind", found.kind.name());
                    tx.detail("subject", found.subject.clone());
                    tx.detail("state", found.state.name());
                    tx.record().await?;
                    Ok(RevealedSecret {
                        about: found.value.into(),
                        secret,
                    })
                }
            })
            .await
    }

    /// The value of a secret.
    pub(super) fn open(&self, secret: &EscrowedSecret) -> Result<SecretText> {
        let unreadable =
            || ESCROW_UNREADABLE.error("the secret does not open: it was altered, or its master key is missing");
        let opened = self.sealer().open(&secret.owner(), &secret.sealed);
        let opened = opened.map_err(|error| unreadable().caused_by(error))?;
        let text = std::str::from_utf8(&opened).map_err(|_| unreadable())?;
        Ok(text.to_owned().into())
    }

    pub(super) fn store(&self) -> &'a Store {
        self.fleet.store()
    }

    pub(super) fn sealer(&self) -> &'a Sealer {
        self.fleet.sealer()
    }

    pub(super) fn random(&self) -> &'a dyn Randomness {
        self.fleet.random()
    }
}

/// How the audit names a secret.
pub(super) fn title(secret: &EscrowedSecret) -> String {
    format!("{} of {} on {}", secret.kind.name(), secret.subject, secret.device_name)
}
