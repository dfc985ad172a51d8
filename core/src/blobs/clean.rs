//! What nobody refers to goes.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, path::Path};

use super::{BLOBS_CLEAN, Blob, BlobDigest, BlobHolder, BlobId, incoming::INCOMING, service::unavailable};
use crate::{
    Fleet,
    access::Context,
    kernel::{MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Disuse, Evidence, Filter, Query, Value, Versioned},
};

/// How long a blob stays that nobody refers to.
pub const UNREFERENCED_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How long a blob is leaving before its object goes: whoever took the same content in before has referred to it by then.
const LEAVING: Duration = Duration::from_secs(600);
/// An object without a document that is older than this is what an interrupted request left.
const INTERRUPTED: Duration = Duration::from_secs(86_400);
/// The most objects without a document that are looked after at once.
const MOST_STRANGERS: usize = 1_000;

/// Notes which blobs nobody refers to, and removes those that nobody has referred to for seven days.
pub(super) async fn clean(fleet: &Fleet) -> Result<()> {
    let mut after = None;
    loop {
        let page = PageRequest::new(Some(MAX_LIMIT), after.take())?;
        let page = fleet.store().reader().await?.list(&Query::<Blob>::all(), &page).await?;
        let mut steps = Vec::new();
        for blob in page.items {
            if let Some(step) = step(&blob, is_referred_to(fleet, blob.digest).await?, fleet.clock().now()) {
                if step == Step::Remove {
                    remove_blob(fleet.blobs().objects()?, blob.digest).await?;
                }
                steps.push((blob, step));
            }
        }
        note(fleet, &steps).await?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// What becomes of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is noted, or kept; or its time is over, and it leaves.
    Judged(Disuse),
    /// It goes.
    Remove,
}

fn step(blob: &Blob, is_referred_to: bool, now: Timestamp) -> Option<Step> {
    match blob.leaving_since {
        // Nobody can have referred to it since.
        Some(since) => (now.since(since) >= LEAVING).then_some(Step::Remove),
        None => Disuse::of(blob.unreferenced_since, is_referred_to, UNREFERENCED_LIFE, now).map(Step::Judged),
    }
}

async fn note(fleet: &Fleet, steps: &[(Versioned<Blob>, Step)]) -> Result<()> {
    let after = |blob: &Blob, step, now| {
        let mut after = blob.clone();
        match step {
            Step::Judged(Disuse::Begins) => after.unreferenced_since = Some(now),
            Step::Judged(Disuse::Ends) => after.unreferenced_since = None,
            Step::Judged(Disuse::Lapsed) => {
                after.leaving_since = Some(now);
                after.unnamed_since = None;
            }
            Step::Remove => return None,
        }
        Some(after)
    };
    let context = Context::system("blobs");
    let store = fleet.store();
    store
        .take_steps(&context, BLOBS_CLEAN, steps, after, |tx, taken| {
            let of = |step| taken.iter().filter(move |(_, taken)| *taken == step);
            let digests = |step| of(step).map(|(blob, _)| blob.digest.to_string()).collect::<Vec<_>>();
            tx.detail("unreferenced", of(Step::Judged(Disuse::Begins)).count());
            tx.detail("leaving", digests(Step::Judged(Disuse::Lapsed)));
            tx.detail("removed", digests(Step::Remove));
        })
        .await
}

async fn is_referred_to(fleet: &Fleet, digest: BlobDigest) -> Result<bool> {
    let mut view = fleet.store().backend().view().await?;
    for BlobHolder { kind, column } in fleet.blob_holders() {
        let filter = Filter::Eq(column, Value::Text(digest.to_string()));
        if view.count(kind, &filter).await? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes an object, if it is there. Before its document: what is left behind by a crash is found again.
pub(crate) async fn remove_blob(objects: &Arc<dyn ObjectStore>, digest: BlobDigest) -> Result<()> {
    match objects.delete(&digest.path()).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(unavailable(error)),
    }
}

/// Looks for what interrupted requests left: what did not come in whole goes at once, and an object without a document gets
/// one, by which it goes after seven days.
pub(super) async fn adopt(fleet: &Fleet) -> Result<()> {
    let blobs = fleet.blobs();
    let Ok(objects) = blobs.objects() else { return Ok(()) };
    let now = fleet.clock().now();
    let is_old = |found: &ObjectMeta| {
        let changed = Timestamp::from_micros(found.last_modified.timestamp_micros());
        now > changed && now.since(changed) >= INTERRUPTED
    };
    let mut listed = objects.list(None);
    let mut strangers = Vec::new();
    while let Some(found) = listed.try_next().await.map_err(unavailable)? {
        if !is_old(&found) || strangers.len() >= MOST_STRANGERS {
            continue;
        }
        if found.location.prefix_matches(&Path::from(INCOMING)) {
            objects.delete(&found.location).await.map_err(unavailable)?;
        } else if let Some(digest) = found.location.filename().and_then(BlobDigest::parse)
            && digest.path() == found.location
            && fleet.store().get::<Blob>(BlobId::of(digest)).await?.is_none()
        {
            strangers.push((digest, found.size));
        }
    }
    if strangers.is_empty() {
        return Ok(());
    }
    let (context, strangers) = (Context::system("blobs"), &strangers);
    let adopted = fleet
        .store()
        .change(&context, Evidence::Audit(BLOBS_CLEAN), |mut tx| async move {
            let now = tx.now();
            for (digest, size_bytes) in strangers {
                let id = BlobId::of(*digest);
                if tx.get::<Blob>(id).await?.is_none() {
                    tx.create(&Blob {
                        id,
                        digest: *digest,
                        size_bytes: *size_bytes,
                        stored_at: now,
                        unreferenced_since: Some(now),
                        unnamed_since: None,
                        leaving_since: None,
                    })?;
                }
            }
            tx.detail("adopted", strangers.len());
            tx.commit().await
        })
        .await;
    adopted.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// A blob that nobody has referred to for so many seconds, and that has been leaving for so many.
    #[track_caller]
    fn check(unreferenced: Option<u64>, leaving: Option<u64>, is_referred_to: bool, expected: Option<Step>) {
        let ago = |seconds: u64| NOW.minus(Duration::from_secs(seconds));
        let digest = BlobDigest::from_bytes([7; 32]);
        let blob = Blob {
            id: BlobId::of(digest),
            digest,
            size_bytes: 1,
            stored_at: ago(100 * 86_400),
            unreferenced_since: unreferenced.map(ago),
            unnamed_since: None,
            leaving_since: leaving.map(ago),
        };
        assert_eq!(step(&blob, is_referred_to, NOW), expected);
    }

    #[test]
    fn seven_days_without_a_reference_and_then_a_while_until_it_is_gone() {
        const WEEK: u64 = 7 * 86_400;
        check(None, None, true, None);
        check(None, None, false, Some(Step::Judged(Disuse::Begins)));
        check(Some(WEEK - 1), None, false, None);
        check(Some(WEEK - 1), None, true, Some(Step::Judged(Disuse::Ends)));
        check(Some(WEEK), None, true, Some(Step::Judged(Disuse::Ends)));
        check(Some(WEEK), None, false, Some(Step::Judged(Disuse::Lapsed)));
        check(Some(WEEK), Some(599), false, None);
        check(Some(WEEK), Some(600), false, Some(Step::Remove));
    }
}
