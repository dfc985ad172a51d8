//! What a device's own agent asks and tells of its manifest; what it has taken back is in [`super::confirm`].

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    Manifest, ManifestContent, ManifestContentId, ManifestEvent, ManifestGroup, ManifestService, ManifestState,
    Occurrence, rules, service::body,
};
use crate::{
    devices::DeviceId,
    kernel::{EntityId as _, Error, MAX_LIMIT, PageRequest, Result, SigningKey},
    protocol::{
        Applied, GroupPart, MAX_FAILING, ManifestAnswer, ManifestAnswerBody, ManifestParts, ManifestRequest,
        OccurrencePart, Secrets, difference,
    },
    store::{Ingest, LaneQuery, Reader},
    work::desired::MANIFEST_TOO_LARGE,
};

/// The most bytes of secrets that one answer carries.
const MAX_SECRET_BYTES: usize = 1024 * 1024;

impl ManifestService<'_> {
    /// The manifest of a device, signed, as the difference to what its agent has. A device without one is told so: its agent keeps
    /// nothing any more, and takes nothing back.
    pub async fn of_agent(
        &self,
        device: DeviceId,
        request: &ManifestRequest,
        dispatch: &SigningKey,
    ) -> Result<ManifestAnswer> {
        if request.nonce.is_empty() || request.nonce.len() > 64 {
            return Err(Error::invalid_field("/nonce", "1 to 64 bytes"));
        }
        let mut reader = self.store.reader().await?;
        let found = reader.get::<Manifest>(device).await?;
        let ((mut now, mut windows), mut had) = <((Vec<_>, Vec<_>), Vec<_>)>::default();
        if let Some(found) = &found {
            (now, windows) = body(&mut reader, found).await?;
        }
        if let Some(have) = &request.have {
            // What is not kept any more is sent whole.
            let content = reader.get::<ManifestContent>(ManifestContentId::of(have)).await?;
            had = content.map(|content| content.value.groups).unwrap_or_default();
        }
        let found = found.map(|found| found.value);
        let (version, digest, reverts) =
            found.map_or_else(Default::default, |found| (found.version, found.digest, found.reverts));
        let groups = difference(&had, now);
        let secrets = self.secrets_of(&mut reader, &groups, &reverts).await?;
        drop(reader);
        let body = ManifestAnswerBody {
            nonce: request.nonce.clone(),
            device,
            version,
            digest,
            secrets_digest: None,
        };
        let parts = ManifestParts {
            groups,
            windows,
            reverts,
            secrets,
        };
        ManifestAnswer::sign(body, parts, dispatch).map_err(Error::internal)
    }

    /// The secrets of what is sent whole: those of the rest the agent has.
    async fn secrets_of(&self, reader: &mut Reader, groups: &[GroupPart], reverts: &[Occurrence]) -> Result<Secrets> {
        let parts = groups.iter().flat_map(|group| &group.occurrences);
        let whole = parts.filter_map(|part| match part {
            OccurrencePart::Whole(occurrence) => Some(&**occurrence),
            OccurrencePart::Same { .. } => None,
        });
        let ids: BTreeSet<_> = whole.chain(reverts).flat_map(|one| one.params.secret_ids()).collect();
        let secrets = self.vault.open(reader, &Vec::from_iter(ids)).await?;
        let bytes: usize = secrets.values().map(|secret| secret.reveal().len()).sum();
        match bytes <= MAX_SECRET_BYTES {
            true => Ok(secrets),
            false => Err(MANIFEST_TOO_LARGE.error(format!(
                "the secrets of what applies to the device have {bytes} bytes; at most {MAX_SECRET_BYTES} fit. Assign fewer sets to it"
            ))),
        }
    }

    /// The device tells what became of its manifest.
    pub async fn note_applied(&self, device: DeviceId, mut applied: Applied) -> Result<()> {
        let fits = |code: &String| code.len() <= 64 && !code.contains('\0');
        applied.failing.truncate(MAX_FAILING);
        for failing in &mut applied.failing {
            failing.code = failing.code.take().filter(fits);
        }
        if applied.digest.len() > 64 || applied.digest.contains('\0') {
            return Err(Error::invalid_field("/frames", "a digest is too long"));
        }
        let at = self.store.clock().now();
        let mut ingest = Ingest::default();
        ingest.set(device, &ManifestState { applied, at })?;
        self.store.ingest(ingest).await
    }
}

/// The occurrences that devices tell of, as far as they stand, or stood lately, in their manifests: what a device applies is what it
/// was given, whenever that was.
pub(crate) async fn find_occurrences(
    reader: &mut Reader,
    asks: &[(DeviceId, Uuid)],
) -> Result<Vec<Option<Occurrence>>> {
    if asks.is_empty() {
        return Ok(Vec::new());
    }
    let devices: Vec<_> = asks.iter().map(|(device, _)| *device).collect();
    let manifests = reader.get_many::<Manifest>(&devices).await?;
    let mut contents = Contents::default();
    contents
        .read(
            reader,
            manifests.iter().flatten().filter_map(|manifest| manifest.content),
        )
        .await?;
    let mut found = Vec::with_capacity(asks.len());
    for ((device, id), manifest) in asks.iter().zip(&manifests) {
        let current = manifest.as_ref().and_then(|manifest| {
            let reverts = manifest.reverts.iter().find(|revert| revert.id == *id);
            reverts.cloned().or_else(|| contents.find(manifest.content?, *id))
        });
        found.push(match current {
            Some(current) => Some(current),
            None => find_in_history(reader, &mut contents, *device, *id).await?,
        });
    }
    Ok(found)
}

/// Looks through the last versions of a device's manifest.
async fn find_in_history(
    reader: &mut Reader,
    contents: &mut Contents,
    device: DeviceId,
    id: Uuid,
) -> Result<Option<Occurrence>> {
    let query = LaneQuery::<ManifestEvent>::newest_first().stream(device.uuid());
    let events = reader.rows(&query, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
    for content in events.items.iter().filter_map(|event| event.content) {
        contents.read(reader, [content]).await?;
        if let Some(found) = contents.find(content, id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Contents that were read, each once.
#[derive(Default)]
struct Contents(BTreeMap<ManifestContentId, Vec<ManifestGroup>>);

impl Contents {
    async fn read(&mut self, reader: &mut Reader, ids: impl IntoIterator<Item = ManifestContentId>) -> Result<()> {
        let mut missing: Vec<_> = ids.into_iter().filter(|id| !self.0.contains_key(id)).collect();
        missing.sort_unstable();
        missing.dedup();
        for content in reader
            .get_many::<ManifestContent>(&missing)
            .await?
            .into_iter()
            .flatten()
        {
            self.0.insert(content.id, content.value.groups);
        }
        Ok(())
    }

    /// An occurrence of a content, or what takes one of it back.
    fn find(&self, content: ManifestContentId, id: Uuid) -> Option<Occurrence> {
        let mut occurrences = self.0.get(&content)?.iter().flat_map(|group| &group.occurrences);
        occurrences.find_map(|one| match one.id == id {
            true => Some(one.clone()),
            false => (rules::revert_id(one) == id).then(|| rules::taken_back(one)),
        })
    }
}
