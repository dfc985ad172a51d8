//! Sealing and opening.

use std::collections::BTreeMap;

use super::{Intake, OperationSecret, OperationSecretId, SECRET_GONE, SecretText, StoredParams};
use crate::{
    blobs::hold_content,
    kernel::{MAX_LIMIT, Result, Sealer},
    store::{Reader, Store, Tx, Versioned},
};

/// Keeps the secrets of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vault<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sealer: &'a Sealer,
}

impl<'a> Vault<'a> {
    /// Takes in parameters that replace none.
    pub fn intake(self) -> Intake<'a> {
        self.intake_with(BTreeMap::new())
    }

    /// Takes in parameters that replace these.
    pub async fn intake_after(self, reader: &mut Reader, before: &StoredParams) -> Result<Intake<'a>> {
        let found = read(reader, &before.secret_ids()).await?;
        // One that does not open is another than whatever is given.
        let known = found.iter().flatten().filter_map(|found| {
            let opened = self.open_one(found).ok()?;
            Some((found.id, opened))
        });
        Ok(self.intake_with(known.collect()))
    }

    fn intake_with(self, known: BTreeMap<OperationSecretId, SecretText>) -> Intake<'a> {
        Intake::new(self.sealer, self.store.random(), self.store.clock().now(), known)
    }

    /// The values of secrets.
    ///
    /// # Errors
    /// [`SECRET_GONE`] when one of them is not there any more, or does not open.
    pub async fn open(
        self,
        reader: &mut Reader,
        ids: &[OperationSecretId],
    ) -> Result<BTreeMap<OperationSecretId, SecretText>> {
        let found = read(reader, ids).await?;
        let mut values = BTreeMap::new();
        for (id, found) in ids.iter().zip(found) {
            let found = found.ok_or_else(|| gone("is not kept any more"))?;
            values.insert(*id, self.open_one(&found)?);
        }
        Ok(values)
    }

    fn open_one(self, secret: &OperationSecret) -> Result<SecretText> {
        let opened = self.sealer.open(&OperationSecret::owner(secret.id), &secret.sealed);
        let opened = opened.map_err(|error| gone("does not open").caused_by(error))?;
        let text = String::from_utf8(opened.to_vec()).map_err(|_| gone("does not open"))?;
        Ok(text.into())
    }

    /// Sees to it that what new work refers to, secrets and content, is there when it is made, and stays: whoever removes what nothing refers to is told.
    pub async fn hold(self, tx: &mut Tx, params: &StoredParams, made: &[OperationSecret]) -> Result<()> {
        if let Some(digest) = params.content_blob() {
            hold_content(tx, digest).await?;
        }
        for secret in made {
            tx.create(secret)?;
        }
        let mut ids = params.secret_ids();
        ids.retain(|id| made.iter().all(|secret| secret.id != *id));
        for found in read(tx.reader(), &ids).await? {
            let before = found.ok_or_else(|| gone("is not kept any more"))?;
            let mut held = before.value.clone();
            match held.unreferenced_since.take() {
                Some(_) => drop(tx.update(&before, &held)?),
                None => tx.require(&before),
            }
        }
        Ok(())
    }
}

async fn read(reader: &mut Reader, ids: &[OperationSecretId]) -> Result<Vec<Option<Versioned<OperationSecret>>>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_LIMIT) {
        found.extend(reader.get_many::<OperationSecret>(ids).await?);
    }
    Ok(found)
}

fn gone(why: &str) -> crate::kernel::Error {
    SECRET_GONE.error(format!(
        "a secret of this work {why}; ask for the work anew, with its secrets"
    ))
}
