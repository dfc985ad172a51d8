//! Use cases of agent releases.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    AgentRelease, AgentReleaseId, AgentReleaseView, NewAgentRelease, RELEASE_BELOW_FLOOR, RELEASE_CREATE,
    RELEASE_EXISTS, RELEASE_NONE, RELEASE_NOT_FOUND, RELEASE_WITHDRAW, RELEASE_WITHDRAWN, RELEASES_MANAGE,
    RELEASES_READ, ROLLBACK_FLOOR, ReleaseFilter, ReleaseSource,
    model::handed_out_as,
    rules::{HEADER, lowest, newest, platform_of},
};
use crate::{
    Fleet,
    access::Context,
    blobs::{BlobRef, BlobService, BlobStream},
    kernel::{Error, MAX_LIMIT, Page, PageRequest, Result},
    protocol::{AgentManifest, AgentVersion, MAX_AGENT, Sha256Digest, SignedManifest},
    store::{Direction, Evidence, Filter, Query, Reader},
};

/// How long a manifest is to be believed: a download over a slow line ends in it, and what is withdrawn is not shown for long.
pub const MANIFEST_LIFE: Duration = Duration::from_secs(3_600);

const MEDIA_TYPE: &str = "application/octet-stream";

/// Takes releases in and hands them out.
#[derive(Debug)]
pub struct AgentReleaseService<'a> {
    pub(super) fleet: &'a Fleet,
}

/// A program that was taken in.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) platform: &'static str,
    pub(super) blob: BlobRef,
    pub(super) sha256: Sha256Digest,
}

impl<'a> AgentReleaseService<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet }
    }

    /// A page of releases, the newest first, with those that were withdrawn.
    pub async fn list(
        &self,
        context: &Context,
        filter: &ReleaseFilter,
        page: &PageRequest,
    ) -> Result<Page<AgentReleaseView>> {
        context.require(RELEASES_READ)?;
        let mut query = Query::<AgentRelease>::all().order(AgentRelease::CREATED_AT, Direction::Descending);
        if let Some(platform) = &filter.platform {
            query = query.filter(AgentRelease::PLATFORM.eq(platform.as_str()));
        }
        let found = self.fleet.store().reader().await?.list(&query, page).await?;
        Ok(found.map(|release| release.value.into()))
    }

    /// One release.
    pub async fn show(&self, context: &Context, id: AgentReleaseId) -> Result<AgentReleaseView> {
        context.require(RELEASES_READ)?;
        let release = self.fleet.store().get::<AgentRelease>(id).await?;
        Ok(release.ok_or_else(|| not_found(id))?.value.into())
    }

    /// Whether somebody may upload: to be asked before a body is read.
    pub fn check_may_manage(&self, context: &Context) -> Result<()> {
        context.require(RELEASES_MANAGE).map(drop)
    }

    /// Takes in a program as a release, which is handed out from then on; the same one again changes nothing. Says whether it is
    /// new.
    ///
    /// # Errors
    /// [`super::RELEASE_PLATFORM`], [`RELEASE_EXISTS`], and what taking in a blob fails with.
    pub async fn create(
        &self,
        context: &Context,
        new: &NewAgentRelease,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<(AgentReleaseView, bool)> {
        self.check_may_manage(context)?;
        let program = &self.take(new.platform.as_deref(), body).await?;
        let version = &new.version;
        self.fleet
            .store()
            .change(context, Evidence::Audit(RELEASE_CREATE), |mut tx| async move {
                let id = AgentReleaseId::of(program.platform, version, program.sha256);
                let before = tx.get::<AgentRelease>(id).await?;
                if let Some(before) = &before
                    && before.withdrawn_at.is_none()
                {
                    return Ok((before.value.clone().into(), false));
                }
                if handed_out(tx.reader(), program.platform, version).await?.is_some() {
                    return Err(RELEASE_EXISTS.error(format!(
                        "there is a release {version} for {} of another content; withdraw it first",
                        program.platform
                    )));
                }
                let release = AgentRelease {
                    id,
                    version: version.clone(),
                    platform: program.platform.to_owned(),
                    blob: program.blob.clone(),
                    sha256: program.sha256,
                    source: ReleaseSource::Uploaded,
                    created_by: tx.context().actor().clone(),
                    created_at: tx.now(),
                    withdrawn_at: None,
                };
                match before {
                    Some(before) => drop(tx.update(&before, &release)?),
                    None => tx.create(&release)?,
                }
                BlobService::refer(&mut tx, &release.blob).await?;
                tx.subject::<AgentRelease>(id, title(&release));
                tx.detail("sha256", release.sha256.to_string());
                tx.commit().await?;
                Ok((release.into(), true))
            })
            .await
    }

    /// Hands a release out no more. Doing it again changes nothing.
    pub async fn withdraw(&self, context: &Context, id: AgentReleaseId) -> Result<AgentReleaseView> {
        context.require(RELEASES_MANAGE)?;
        self.fleet
            .store()
            .change(context, Evidence::Audit(RELEASE_WITHDRAW), |mut tx| async move {
                let before = tx.get::<AgentRelease>(id).await?.ok_or_else(|| not_found(id))?;
                let mut after = before.value.clone();
                after.withdrawn_at.get_or_insert(tx.now());
                tx.update(&before, &after)?;
                tx.subject::<AgentRelease>(id, title(&after));
                tx.commit().await?;
                Ok(after.into())
            })
            .await
    }

    /// The newest release for each platform that agents may become, for the installer: anybody may know.
    pub async fn newest(&self) -> Result<Vec<AgentReleaseView>> {
        let floor = self.floor();
        let mut by_platform: BTreeMap<String, Vec<AgentRelease>> = BTreeMap::new();
        for release in all(&mut self.fleet.store().reader().await?, Filter::All).await? {
            by_platform.entry(release.platform.clone()).or_default().push(release);
        }
        let newest = by_platform.into_values().filter_map(newest);
        Ok(newest
            .filter(|release| release.version >= floor)
            .map(Into::into)
            .collect())
    }

    /// The program of a release that is handed out: anybody may have it.
    pub async fn binary(&self, platform: &str, sha256: Sha256Digest) -> Result<BlobStream> {
        let filter = AgentRelease::DIGEST.eq(sha256.to_string());
        let found = all(&mut self.fleet.store().reader().await?, filter).await?;
        let release = found
            .into_iter()
            .find(|release| release.platform == platform && release.withdrawn_at.is_none());
        let release = release.ok_or_else(|| RELEASE_NOT_FOUND.error("no such agent is handed out here"))?;
        self.fleet.blobs().open(&release.blob).await
    }

    /// What an agent may become, signed by the dispatch key: this version, or the newest.
    ///
    /// # Errors
    /// [`RELEASE_NONE`], [`RELEASE_NOT_FOUND`], [`RELEASE_WITHDRAWN`], [`RELEASE_BELOW_FLOOR`].
    pub async fn manifest(&self, platform: &str, version: Option<&AgentVersion>) -> Result<SignedManifest> {
        let filter = AgentRelease::PLATFORM.eq(platform.chars().take(64).collect::<String>());
        let releases = all(&mut self.fleet.store().reader().await?, filter).await?;
        let release = match version {
            None => newest(releases)
                .ok_or_else(|| RELEASE_NONE.error("there is no release of the agent for this platform"))?,
            Some(version) => {
                let mut of_version: Vec<_> = releases
                    .into_iter()
                    .filter(|release| release.version == *version)
                    .collect();
                let was_there = !of_version.is_empty();
                of_version.retain(|release| release.withdrawn_at.is_none());
                of_version.pop().ok_or_else(|| match was_there {
                    true => RELEASE_WITHDRAWN.error(format!("the release {version} was withdrawn")),
                    false => RELEASE_NOT_FOUND.error(format!("there is no release {version} for this platform")),
                })?
            }
        };
        let rollback_floor = self.floor();
        if release.version < rollback_floor {
            return Err(RELEASE_BELOW_FLOOR.error(format!(
                "agents may not become {}: the oldest that is allowed is {rollback_floor}",
                release.version
            )));
        }
        let manifest = AgentManifest {
            version: release.version,
            platform: release.platform,
            length: release.blob.size_bytes,
            sha256: release.sha256,
            expires_at: self.fleet.clock().now().plus(MANIFEST_LIFE),
            rollback_floor,
        };
        SignedManifest::sign(manifest, &self.fleet.keys().dispatch().key).map_err(Error::internal)
    }

    /// The oldest version that agents may become.
    fn floor(&self) -> AgentVersion {
        // A text that is no version never passes the setting's rule.
        self.fleet
            .settings()
            .get(&ROLLBACK_FLOOR)
            .parse()
            .unwrap_or_else(|_| lowest())
    }

    /// Takes a program in: its platform is checked by its first bytes before the rest is read.
    pub(super) async fn take(
        &self,
        platform: Option<&str>,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<Program> {
        // Asked again after its end: a program may be shorter than its header.
        let mut body = std::pin::pin!(body.fuse());
        let mut read = Vec::new();
        let mut head = Vec::new();
        while head.len() < HEADER
            && let Some(part) = body.next().await
        {
            let part = part?;
            head.extend_from_slice(&part[..part.len().min(HEADER - head.len())]);
            read.push(part);
        }
        let platform = platform_of(platform, &head)?;
        if head.is_empty() {
            return Err(Error::invalid_field("", "the body is the program; it is empty"));
        }
        let hasher = Arc::new(Mutex::new(Sha256::new()));
        let hashed = stream::iter(read.into_iter().map(Ok)).chain(body).inspect(|part| {
            if let Ok(part) = part {
                hasher.lock().unwrap_or_else(PoisonError::into_inner).update(part);
            }
        });
        let blob = self.fleet.blobs().take(MEDIA_TYPE, MAX_AGENT, hashed).await?;
        let hasher = hasher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Program {
            platform,
            blob,
            sha256: Sha256Digest::from_bytes(hasher.finalize().into()),
        })
    }
}

/// The newest version of each platform that is handed out: what devices are to have that were told no version.
pub(crate) async fn newest_versions(reader: &mut Reader) -> Result<BTreeSet<AgentVersion>> {
    let mut by_platform: BTreeMap<String, Vec<AgentRelease>> = BTreeMap::new();
    for release in all(reader, Filter::All).await? {
        by_platform.entry(release.platform.clone()).or_default().push(release);
    }
    let newest = by_platform.into_values().filter_map(newest);
    Ok(newest.map(|release| release.version).collect())
}

/// The release that is handed out for a version and platform.
pub(super) async fn handed_out(
    reader: &mut Reader,
    platform: &str,
    version: &AgentVersion,
) -> Result<Option<crate::store::Versioned<AgentRelease>>> {
    let query = Query::<AgentRelease>::all().filter(AgentRelease::HANDED_OUT_AS.eq(handed_out_as(platform, version)));
    reader.first(&query).await
}

/// All releases that a filter shows. They are few: some a month, for some platforms.
async fn all(reader: &mut Reader, filter: Filter) -> Result<Vec<AgentRelease>> {
    let query = Query::<AgentRelease>::all().filter(filter);
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let page = reader.list(&query, &PageRequest::new(Some(MAX_LIMIT), next)?).await?;
        found.extend(page.items.into_iter().map(|release| release.value));
        next = page.next;
        if next.is_none() {
            return Ok(found);
        }
    }
}

pub(super) fn title(release: &AgentRelease) -> String {
    format!("{} for {}", release.version, release.platform)
}

fn not_found(id: AgentReleaseId) -> Error {
    RELEASE_NOT_FOUND.error(format!("there is no agent release {id}"))
}
