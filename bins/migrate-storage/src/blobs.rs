//! The blobs of a move: copied before the store is, what came in meanwhile after it, and all of them read back.

use std::sync::Arc;

use fleet_bins_common::storage::{self, BlobPlaceError, BlobUri, Purpose};
use fleet_core::{
    blobs::{BlobTransfer, HeldBlob, copy_blobs, held_blobs, plan_blobs, prove_blobs},
    kernel::{Error, SystemClock},
    modules,
    store::Backend,
};
use object_store::ObjectStore;
use tokio::sync::watch;

use crate::{
    Places,
    exit::{Exit, Failure},
};

/// What is done with blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    #[default]
    Nothing,
    Copying,
    Proving,
}

/// How far it is.
pub(crate) type Progress = (Doing, BlobTransfer);

/// Two places of blobs.
pub(crate) struct Blobs {
    from: Arc<dyn ObjectStore>,
    /// None while it is not there and nothing is to be made.
    to: Option<Arc<dyn ObjectStore>>,
    place: String,
    progress: watch::Sender<Progress>,
}

impl Blobs {
    /// Opens the places, where blobs are to move. With `make`, a target that is not there is made.
    pub(crate) fn open(places: &Places, make: bool) -> Result<Option<Self>, Failure> {
        match (&places.blobs_from, &places.blobs_to) {
            (Some(from), Some(to)) => Self::between(from, to, make).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn between(from: &BlobUri, to: &BlobUri, make: bool) -> Result<Self, Failure> {
        if from == to {
            return Err(Failure::new(
                Exit::Refused,
                "migration.same_place",
                format!("the blobs are at {from} already"),
                "name two places, or leave them out",
            ));
        }
        let opened = match make || to.exists() {
            true => Some(to.open(make).map_err(unusable)?),
            false => None,
        };
        Ok(Self {
            from: from.open(false).map_err(unusable)?,
            to: opened,
            place: to.to_string(),
            progress: watch::Sender::default(),
        })
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What copying would do.
    pub(crate) async fn plan(&self, store: &Arc<dyn Backend>) -> Result<BlobTransfer, Failure> {
        let held = held(store).await?;
        plan_blobs(&held, &self.from, self.to.as_ref())
            .await
            .map_err(unreachable)
    }

    /// Copies what is not there yet.
    pub(crate) async fn copy(&self, store: &Arc<dyn Backend>) -> Result<BlobTransfer, Failure> {
        let (held, to) = (held(store).await?, self.to()?);
        let told = |now: &BlobTransfer| self.tell(Doing::Copying, now);
        let copied = copy_blobs(&held, &self.from, to, &told).await.map_err(unreachable)?;
        whole(copied)
    }

    /// Copies what came in since `before`, and reads everything back.
    pub(crate) async fn finish(
        &self,
        store: &Arc<dyn Backend>,
        before: &BlobTransfer,
    ) -> Result<BlobTransfer, Failure> {
        let late = self.copy(store).await?;
        let proved = self.prove(store).await?;
        Ok(BlobTransfer {
            copied: before.copied + late.copied,
            copied_bytes: before.copied_bytes + late.copied_bytes,
            present: before.present,
            ..whole(proved)?
        })
    }

    /// Reads everything in its new place; counts what is damaged.
    pub(crate) async fn prove(&self, store: &Arc<dyn Backend>) -> Result<BlobTransfer, Failure> {
        let (held, to) = (held(store).await?, self.to()?);
        let told = |now: &BlobTransfer| self.tell(Doing::Proving, now);
        let proved = prove_blobs(&held, to, &told).await;
        self.tell(Doing::Nothing, &BlobTransfer::default());
        proved.map_err(unreachable)
    }

    fn to(&self) -> Result<&Arc<dyn ObjectStore>, Failure> {
        let missing = || {
            Failure::new(
                Exit::Refused,
                "migration.place_missing",
                format!("there is no place for blobs at {}", self.place),
                "nothing was changed; check the URI",
            )
        };
        self.to.as_ref().ok_or_else(missing)
    }

    fn tell(&self, doing: Doing, now: &BlobTransfer) {
        self.progress.send_replace((doing, now.clone()));
    }
}

/// Opens a store that stays what it is, while its blobs move.
pub(crate) async fn store(uri: &storage::StoreUri) -> Result<Arc<dyn Backend>, Failure> {
    let store = storage::open(uri, Purpose::Existing, Arc::new(SystemClock))
        .await
        .map_err(|error| Failure::opening("store", &uri.to_string(), &error))?
        .backend;
    let schema = modules::schema(&modules::built_in())
        .map_err(|error| Failure::new(Exit::Failed, "internal", error.log(), ""))?;
    if let Err(error) = store.prepare(&schema).await {
        let _ = store.close().await;
        return Err(Failure::opening("store", &uri.to_string(), &error));
    }
    Ok(store)
}

async fn held(store: &Arc<dyn Backend>) -> Result<Vec<HeldBlob>, Failure> {
    held_blobs(store).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            error.code().name(),
            error.log(),
            "run `fleet-server check`",
        )
    })
}

/// A move never leaves anything behind without saying so.
fn whole(done: BlobTransfer) -> Result<BlobTransfer, Failure> {
    if done.damaged == 0 {
        return Ok(done);
    }
    Err(damaged(&done))
}

fn damaged(done: &BlobTransfer) -> Failure {
    Failure::new(
        Exit::Different,
        "migration.blob_damaged",
        format!(
            "{} of {} blobs are damaged or missing: {}",
            done.damaged,
            done.blobs,
            done.problems.join("; ")
        ),
        "the rest is copied; bring those back from a backup, upload the same content again, or remove what refers to them",
    )
}

fn unusable(error: BlobPlaceError) -> Failure {
    let exit = match error {
        BlobPlaceError::Unusable(..) => Exit::Unreachable,
        _ => Exit::Refused,
    };
    Failure::new(
        exit,
        "migration.place_not_opened",
        error.to_string(),
        "nothing was changed; check the URI",
    )
}

fn unreachable(error: Error) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "migration.blobs_unreachable",
        error.log(),
        "make room, or put the place right; what was copied whole is not copied again",
    )
}
