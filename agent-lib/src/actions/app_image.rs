//! `app-image`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::work::operations::actions::{app_image::AppImageParams, paths};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Device, Found, MAX_FILE, Place, shown},
    file::{Owned, check_kind},
};

/// Everybody may start it, and nobody but its owner alter it.
const MODE: &str = "0755";

/// Keeps an AppImage.
pub(super) struct AppImage;

/// What is done with it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// The folders that it lies in are made.
    Parents(String),
    /// It is fetched, and gets its place when it is whole.
    Fetch { path: String, url: String, owned: Owned },
    /// Only who may start it changes.
    Adjust { path: String, owned: Owned },
    /// It is removed.
    Remove(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parents(path) => write!(f, "make the folders of {path}"),
            Self::Fetch { path, url, owned } => write!(f, "fetch {} as {path}, {owned}", shown(url)),
            Self::Adjust { path, owned } => write!(f, "make {path} {owned}"),
            Self::Remove(path) => write!(f, "remove {path}"),
        }
    }
}

#[async_trait]
impl Action for AppImage {
    type Params = AppImageParams;
    type Step = Step;

    fn writes(params: &AppImageParams) -> Vec<String> {
        vec![params.path()]
    }

    async fn look(params: &AppImageParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let path = params.path();
        let place = device.place(&path, paths::check_file)?;
        let found = place.as_ref().map(Place::found).transpose()?.flatten();
        if let Some(found) = &found {
            check_kind(&path, found, params.state.is_absent())?;
        }
        if params.state.is_absent() {
            return Ok(found.map(|_| Step::Remove(path)).into_iter().collect());
        }
        let owned = Owned::wanted(device, found.as_ref(), (None, None, Some(MODE)), 0)?;
        let (Some(place), Some(found)) = (&place, &found) else {
            let parents = place.is_none().then(|| Step::Parents(path.clone()));
            let url = params.url.clone();
            return Ok(parents.into_iter().chain([Step::Fetch { path, url, owned }]).collect());
        };
        if !is_wanted(params, place, found).await? {
            let url = params.url.clone();
            return Ok(vec![Step::Fetch { path, url, owned }]);
        }
        Ok(match owned.is(found) {
            true => Vec::new(),
            false => vec![Step::Adjust { path, owned }],
        })
    }

    async fn act(params: &AppImageParams, device: &Device, step: &Step) -> Result<(), Problem> {
        if let Step::Parents(path) = step {
            return device.make_parents(path);
        }
        let path = params.path();
        let gone = || Problem::new(FILES_FAILED, format!("the folder of {path} is not there"));
        let place = device.place(&path, paths::check_file)?.ok_or_else(gone)?;
        match step {
            Step::Parents(_) => Ok(()),
            Step::Fetch { url, owned, .. } => {
                let mut incoming = place.begin()?;
                let mut sink = |part: &[u8]| incoming.add(part);
                device
                    .download(url, params.sha256.as_deref(), MAX_FILE, &mut sink)
                    .await?;
                incoming.keep(owned.mode, owned.uid, owned.gid)
            }
            Step::Adjust { owned, .. } => place.adjust(owned.mode, owned.uid, owned.gid),
            Step::Remove(_) => place.remove(),
        }
    }
}

/// Whether what is there is what is wanted: by its digest, where one is given; else whatever it is.
async fn is_wanted(params: &AppImageParams, place: &Place, found: &Found) -> Result<bool, Problem> {
    let Some(wanted) = &params.sha256 else {
        return Ok(true);
    };
    if found.bytes > MAX_FILE {
        return Ok(false);
    }
    Ok(place.sha256(MAX_FILE).await?.as_ref() == Some(wanted))
}
