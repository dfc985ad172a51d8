//! Use cases of certificates.

use std::sync::{Arc, PoisonError, RwLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Authority, AuthorityId, AuthorityState, CERTIFICATES_MANAGE, CERTIFICATES_READ, CertificateAuthority, Issued, Peer,
    actions::{AUTHORITY_CREATE, AUTHORITY_DELETE, AUTHORITY_PROMOTE},
    rules::{AUTHORITY_LIFE, Signer, Step, next_step},
};
use crate::{
    access::{Context, server_keys},
    devices::DeviceId,
    kernel::{
        Class, Code, EntityId as _, Error, PageRequest, PublicKey, Result, Sealer, SigningKey, Timestamp, named_uuid,
        random_bytes,
    },
    store::{Evidence, Query, Store, Tx, Versioned},
};

/// There is no such authority.
pub const AUTHORITY_NOT_FOUND: Code = Code::new("certificate_authority.not_found", Class::NotFound);
/// The authority cannot take this step now.
pub const AUTHORITY_IN_USE: Code = Code::new("certificate_authority.in_use", Class::Conflict);

/// More authorities than a fleet ever has at a time.
const MOST: usize = 8;

/// The fleet's certificates. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct CertificateService {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    sealer: Sealer,
    known: RwLock<Known>,
}

/// The authorities as of the last look.
#[derive(Default)]
struct Known {
    issuing: Option<Arc<(AuthorityId, Signer)>>,
    /// The certificates of all of them, DER, the issuing one first.
    bundle: Arc<[Vec<u8>]>,
    /// Their ids.
    trusted: Vec<AuthorityId>,
}

impl std::fmt::Debug for CertificateService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateService").finish_non_exhaustive()
    }
}

impl CertificateService {
    /// Loads the authorities, and makes the first one at first start.
    pub(crate) async fn load_or_create(store: Store, sealer: Sealer) -> Result<Self> {
        let service = Self {
            inner: Arc::new(Inner {
                store,
                sealer,
                known: RwLock::default(),
            }),
        };
        if service.all().await?.is_empty() {
            let context = Context::system("setup");
            let secret = Zeroizing::new(random_bytes(service.inner.store.random()));
            service.create(&context, &secret, AuthorityState::Issuing, true).await?;
        }
        service.refresh().await?;
        Ok(service)
    }

    /// Looks again: another server may have changed something.
    pub async fn refresh(&self) -> Result<()> {
        let mut all = self.all().await?;
        all.sort_by_key(|authority| (authority.state != AuthorityState::Issuing, authority.id));
        let mut known = Known::default();
        let mut bundle = Vec::with_capacity(all.len());
        for authority in &all {
            if authority.state == AuthorityState::Issuing && known.issuing.is_none() {
                known.issuing = Some(Arc::new((authority.id, self.open(authority)?)));
            }
            bundle.push(certificate(authority)?);
        }
        known.bundle = bundle.into();
        known.trusted = all.iter().map(|authority| authority.id).collect();
        *self.inner.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The certificates that are trusted, DER, the issuing one first.
    pub fn bundle(&self) -> Arc<[Vec<u8>]> {
        let known = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        known.bundle.clone()
    }

    /// Whether an authority is trusted.
    pub fn trusts(&self, id: AuthorityId) -> bool {
        let known = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        known.trusted.contains(&id)
    }

    /// BLAKE3 of the certificate of the authority that issues, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let issuing = self.bundle().first().map(|der| blake3::hash(der));
        issuing.map(|hash| hash.to_hex().to_string()).unwrap_or_default()
    }

    /// A certificate for the key that a device enrolled with, and who issued it. Whether the device may have one is the
    /// caller's to know.
    pub(super) fn issue_for(&self, device: DeviceId, key: &PublicKey) -> Result<(Issued, AuthorityId)> {
        let store = &self.inner.store;
        let issuing = self.issuing()?;
        let (id, signer) = &*issuing;
        let issued = signer.issue(Peer::Device(device), key, &[], store.clock().now(), store.random())?;
        Ok((issued, *id))
    }

    /// A certificate for a server of these names and addresses.
    pub fn issue_server(&self, server: Uuid, key: &PublicKey, names: &[String]) -> Result<Issued> {
        let store = &self.inner.store;
        self.issuing()?
            .1
            .issue(Peer::Server(server), key, names, store.clock().now(), store.random())
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    fn issuing(&self) -> Result<Arc<(AuthorityId, Signer)>> {
        let known = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .issuing
            .clone()
            .ok_or_else(|| Error::internal("no certificate authority issues"))
    }

    /// All authorities, the issuing one first.
    pub async fn list(&self, context: &Context) -> Result<Vec<Authority>> {
        context.require(CERTIFICATES_READ)?.require_all(CERTIFICATES_READ)?;
        let mut all = self.all().await?;
        all.sort_by_key(|authority| (authority.state != AuthorityState::Issuing, authority.id));
        all.iter().map(|authority| view(authority)).collect()
    }

    /// Announces a new authority: of a new key, or of one that is brought along (32 secret bytes, Ed25519). It issues when it
    /// is promoted, by a job after two days, or at once by [`CertificateService::promote`].
    pub async fn announce(&self, context: &Context, key: Option<&SigningKey>) -> Result<Authority> {
        context.require(CERTIFICATES_MANAGE)?.require_all(CERTIFICATES_MANAGE)?;
        let secret = match key {
            Some(key) => key.to_bytes(),
            None => Zeroizing::new(random_bytes(self.inner.store.random())),
        };
        let made = self.create(context, &secret, AuthorityState::Announced, false).await?;
        self.refresh().await?;
        view(&made)
    }

    /// Makes an announced authority the issuing one; the former retires. Devices that have not heard of it yet renew by an
    /// assertion with their key.
    pub async fn promote(&self, context: &Context, id: AuthorityId) -> Result<Authority> {
        context.require(CERTIFICATES_MANAGE)?.require_all(CERTIFICATES_MANAGE)?;
        let promoted = self.promote_as(context, id).await?;
        self.refresh().await?;
        view(&promoted)
    }

    /// Removes an authority that does not issue: what it issued is worth nothing from then on.
    pub async fn delete(&self, context: &Context, id: AuthorityId) -> Result<()> {
        context.require(CERTIFICATES_MANAGE)?.require_all(CERTIFICATES_MANAGE)?;
        self.delete_as(context, id).await?;
        self.refresh().await
    }

    /// Lets authorities follow one another: a new one is announced when the issuing one has lived most of its life, promoted
    /// when devices had time to learn of it, and the former removed when all that it issued has lapsed.
    pub(crate) async fn turn_over(&self) -> Result<()> {
        let context = Context::system("certificates");
        let all = self.all().await?;
        let now = self.inner.store.clock().now();
        match next_step(all.iter().map(|authority| &authority.value), now) {
            None => {}
            Some(Step::Announce) => {
                let secret = Zeroizing::new(random_bytes(self.inner.store.random()));
                self.create(&context, &secret, AuthorityState::Announced, false).await?;
            }
            Some(Step::Promote(id)) => drop(self.promote_as(&context, id).await?),
            Some(Step::Delete(id)) => self.delete_as(&context, id).await?,
        }
        self.refresh().await
    }

    async fn all(&self) -> Result<Vec<Versioned<CertificateAuthority>>> {
        let page = PageRequest::new(Some(MOST), None)?;
        let mut reader = self.inner.store.reader().await?;
        Ok(reader.list(&Query::<CertificateAuthority>::all(), &page).await?.items)
    }

    async fn create(
        &self,
        context: &Context,
        secret: &Zeroizing<[u8; 32]>,
        state: AuthorityState,
        only: bool,
    ) -> Result<CertificateAuthority> {
        let Inner { store, sealer, .. } = &*self.inner;
        store
            .change(context, Evidence::Audit(AUTHORITY_CREATE), |mut tx| async move {
                let there = all_of(&mut tx).await?;
                if let (true, Some(first)) = (only, there.first()) {
                    // Another server that starts at the same time was faster.
                    tx.require(first);
                    let first = first.value.clone();
                    tx.commit().await?;
                    return Ok(first);
                }
                if there.len() >= MOST || there.iter().any(|other| other.state == AuthorityState::Announced) {
                    return Err(AUTHORITY_IN_USE.error("an authority is announced already; promote or delete it first"));
                }
                let now = tx.now();
                let key = SigningKey::from_bytes(secret);
                // A beginning in whole seconds, as certificates have it.
                let not_before = Timestamp::from_seconds(now.as_seconds() - 3_600);
                let certificate = Signer::new(key, not_before)?.certificate()?;
                // The first has one id wherever it is made: of two servers that start at once one makes it.
                let id = match only {
                    true => AuthorityId::from_uuid(named_uuid(AuthorityId::ENTITY, "first")),
                    false => AuthorityId::new(now, store.random()),
                };
                let made = CertificateAuthority {
                    id,
                    state,
                    since: now,
                    certificate: STANDARD.encode(certificate),
                    sealed: sealer
                        .seal(&CertificateAuthority::owner(id), &secret[..], store.random())
                        .map_err(Error::internal)?,
                    not_before,
                    not_after: not_before.plus(AUTHORITY_LIFE),
                };
                tx.create(&made)?;
                tx.subject::<CertificateAuthority>(id, id.to_string());
                tx.detail("state", state.name());
                tx.commit().await?;
                Ok(made)
            })
            .await
    }

    async fn promote_as(&self, context: &Context, id: AuthorityId) -> Result<CertificateAuthority> {
        let store = &self.inner.store;
        store
            .change(context, Evidence::Audit(AUTHORITY_PROMOTE), |mut tx| async move {
                let all = all_of(&mut tx).await?;
                let now = tx.now();
                let mut promoted = None;
                for authority in &all {
                    let state = match (authority.id == id, authority.state) {
                        (true, AuthorityState::Announced) => AuthorityState::Issuing,
                        (true, _) => return Err(AUTHORITY_IN_USE.error("only an announced authority can be promoted")),
                        (false, AuthorityState::Issuing) => AuthorityState::Retiring,
                        (false, _) => continue,
                    };
                    let mut after = authority.value.clone();
                    (after.state, after.since) = (state, now);
                    tx.update(authority, &after)?;
                    if authority.id == id {
                        promoted = Some(after);
                    }
                }
                let promoted = promoted.ok_or_else(|| not_found(id))?;
                tx.commit().await?;
                Ok(promoted)
            })
            .await
    }

    async fn delete_as(&self, context: &Context, id: AuthorityId) -> Result<()> {
        let store = &self.inner.store;
        store
            .change(context, Evidence::Audit(AUTHORITY_DELETE), |mut tx| async move {
                let authority = tx.get::<CertificateAuthority>(id).await?.ok_or_else(|| not_found(id))?;
                if authority.state == AuthorityState::Issuing {
                    return Err(AUTHORITY_IN_USE.error("the authority issues; announce and promote another one first"));
                }
                tx.delete(&authority);
                tx.commit().await?;
                Ok(())
            })
            .await
    }

    fn open(&self, authority: &CertificateAuthority) -> Result<Signer> {
        let owner = CertificateAuthority::owner(authority.id);
        let secret = self.inner.sealer.open(&owner, &authority.sealed).map_err(|error| {
            server_keys::SEALED_DAMAGED
                .error("the key of a certificate authority does not open; restore the store from a backup")
                .caused_by(error)
        })?;
        let secret: [u8; 32] = secret
            .as_slice()
            .try_into()
            .map_err(|_| Error::internal("the key of a certificate authority has another length"))?;
        Signer::new(SigningKey::from_bytes(&Zeroizing::new(secret)), authority.not_before)
    }
}

async fn all_of(tx: &mut Tx) -> Result<Vec<Versioned<CertificateAuthority>>> {
    let page = PageRequest::new(Some(MOST), None)?;
    Ok(tx.list(&Query::<CertificateAuthority>::all(), &page).await?.items)
}

fn certificate(authority: &CertificateAuthority) -> Result<Vec<u8>> {
    STANDARD.decode(&authority.certificate).map_err(Error::internal)
}

fn view(authority: &CertificateAuthority) -> Result<Authority> {
    let certificate = certificate(authority)?;
    Ok(Authority {
        id: authority.id,
        state: authority.state,
        since: authority.since,
        fingerprint: blake3::hash(&certificate).to_hex().to_string(),
        certificate_pem: super::rules::pem(&certificate),
        not_before: authority.not_before,
        not_after: authority.not_after,
    })
}

fn not_found(id: AuthorityId) -> Error {
    AUTHORITY_NOT_FOUND.error(format!("there is no certificate authority {id}"))
}
