//! Use cases over owners.

use super::{DeviceOwners, DeviceOwnersView, MAX_OWNERS, OwnersChange};
use crate::{
    access::{
        Context,
        users::{User, UserId},
    },
    devices::{DEVICES_READ, DEVICES_WRITE, Device, DeviceId, not_found, require_in_scope},
    kernel::{Error, PRECONDITION_FAILED, Result},
    store::{Evidence, Rev, Store, Versioned},
    work::desired::{
        Catalogues, OWNER_UNKNOWN, OWNERS_SET, Target,
        edition::{Concerned, remember},
    },
};

/// Reads and changes whom devices belong to.
#[derive(Debug)]
pub struct OwnerService<'a> {
    store: &'a Store,
    catalogues: &'a Catalogues,
}

impl<'a> OwnerService<'a> {
    pub(in crate::work::desired) fn new(store: &'a Store, catalogues: &'a Catalogues) -> Self {
        Self { store, catalogues }
    }

    /// The users of a device.
    pub async fn show(&self, context: &Context, device: DeviceId) -> Result<DeviceOwnersView> {
        require_in_scope(&context.require(DEVICES_READ)?, device)?;
        let mut reader = self.store.reader().await?;
        reader.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
        Ok(view(device, reader.get::<DeviceOwners>(device).await?))
    }

    /// Gives a device to these users and to nobody else. With `expected`, only if nobody changed them since that revision.
    pub async fn set(
        &self,
        context: &Context,
        device: DeviceId,
        expected: Option<Rev>,
        change: &OwnersChange,
    ) -> Result<DeviceOwnersView> {
        require_in_scope(&context.require(DEVICES_WRITE)?, device)?;
        if change.users.len() > MAX_OWNERS {
            return Err(Error::invalid_field("/users", format!("at most {MAX_OWNERS} users")));
        }
        self.store
            .change(context, Evidence::Audit(OWNERS_SET), |mut tx| async move {
                let found = tx.get::<Device>(device).await?.ok_or_else(|| not_found(device))?;
                let before = tx.get::<DeviceOwners>(device).await?;
                if expected.is_some_and(|expected| expected != before.as_ref().map_or(0, |before| before.rev)) {
                    let why = "the device was given to others since you read whom it belongs to; read it again";
                    return Err(PRECONDITION_FAILED.error(why));
                }
                let users = tx.reader().get_many::<User>(&change.users).await?;
                if let Some((at, (id, _))) = change
                    .users
                    .iter()
                    .zip(&users)
                    .enumerate()
                    .find(|(_, (_, user))| user.is_none())
                {
                    return Err(unknown(at, *id));
                }
                let after = DeviceOwners {
                    id: device,
                    users: change.users.iter().copied().collect(),
                };
                let is_other = match &before {
                    Some(before) => tx.update(before, &after)?,
                    None if after.users.is_empty() => false,
                    None => {
                        tx.create(&after)?;
                        true
                    }
                };
                tx.require(&found);
                tx.subject::<Device>(device, found.value.name.clone());
                if is_other {
                    tx.changed("owners");
                    tx.detail("users", after.users.iter().map(ToString::to_string).collect::<Vec<_>>());
                    let concerned = Concerned {
                        targets: [Target::Device(device)].into(),
                        ..Concerned::default()
                    };
                    remember(&mut tx, self.store, concerned)?;
                }
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        Ok(view(device, self.store.get::<DeviceOwners>(device).await?))
    }
}

fn view(device: DeviceId, found: Option<Versioned<DeviceOwners>>) -> DeviceOwnersView {
    DeviceOwnersView {
        device,
        revision: found.as_ref().map_or(0, |found| found.rev),
        users: found.map(|found| found.value.users).unwrap_or_default(),
    }
}

fn unknown(at: usize, id: UserId) -> Error {
    let why = format!("there is no user {id}");
    OWNER_UNKNOWN.error(why.clone()).with_field(format!("/users/{at}"), why)
}
