//! The programs that come with a server become releases.

use bytes::Bytes;
use futures::Stream;

use super::{
    AgentRelease, AgentReleaseId, AgentReleaseService, RELEASE_CREATE, ReleaseSource,
    service::{handed_out, title},
};
use crate::{
    access::Context,
    blobs::BlobService,
    kernel::Result,
    protocol::{AgentVersion, Sha256Digest},
    store::{Evidence, Query},
};

/// What became of a program that came with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is a release now.
    Added,
    /// It was one before, or is handed out by another server's word.
    Known,
    /// Somebody uploaded another program of the same version and platform: that one stays.
    Kept,
}

impl AgentReleaseService<'_> {
    /// Whether a program was ever a release, also one that was withdrawn. To be asked before it is imported. One that is handed
    /// out and not to be found where this server keeps blobs is not known: it is to be taken in once more.
    pub async fn knows(&self, platform: &str, sha256: Sha256Digest) -> Result<bool> {
        let query = Query::<AgentRelease>::all()
            .filter(AgentRelease::DIGEST.eq(sha256.to_string()))
            .filter(AgentRelease::PLATFORM.eq(platform));
        Ok(match self.fleet.store().reader().await?.first(&query).await? {
            None => false,
            Some(release) if release.withdrawn_at.is_some() => true,
            Some(release) => self.fleet.blobs().open(&release.blob).await.is_ok(),
        })
    }

    /// Takes in a program that came with the server, as this version of the agent. It follows the one that came with the server
    /// before under the same version, as when a package is built anew. Safe to repeat, also by several servers at once.
    pub async fn import(
        &self,
        platform: &str,
        version: &AgentVersion,
        body: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<Imported> {
        let program = &self.take(Some(platform), body).await?;
        let context = Context::system("agents");
        self.fleet
            .store()
            .change(&context, Evidence::Audit(RELEASE_CREATE), |mut tx| async move {
                let id = AgentReleaseId::of(program.platform, version, program.sha256);
                if tx.get::<AgentRelease>(id).await?.is_some() {
                    return Ok(Imported::Known);
                }
                if let Some(former) = handed_out(tx.reader(), program.platform, version).await? {
                    if former.source == ReleaseSource::Uploaded {
                        return Ok(Imported::Kept);
                    }
                    let mut after = former.value.clone();
                    after.withdrawn_at = Some(tx.now());
                    tx.update(&former, &after)?;
                    tx.detail("follows", former.sha256.to_string());
                }
                let release = AgentRelease {
                    id,
                    version: version.clone(),
                    platform: program.platform.to_owned(),
                    blob: program.blob.clone(),
                    sha256: program.sha256,
                    source: ReleaseSource::Imported,
                    created_by: tx.context().actor().clone(),
                    created_at: tx.now(),
                    withdrawn_at: None,
                };
                tx.create(&release)?;
                BlobService::refer(&mut tx, &release.blob).await?;
                tx.subject::<AgentRelease>(id, title(&release));
                tx.detail("sha256", release.sha256.to_string());
                tx.commit().await?;
                Ok(Imported::Added)
            })
            .await
    }
}
