//! `directory`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    kernel::{Class, Code},
    work::operations::actions::{directory::DirectoryParams, paths},
};

use super::{
    FILES_FAILED,
    action::{Action, Problem},
    device::{Device, FoundKind, Place},
    file::Owned,
};

/// Something that is no folder is where the folder is to be.
pub(super) const NOT_A_FOLDER: Code = Code::new("directory.not_a_folder", Class::Conflict);

/// Keeps a folder.
pub(super) struct Directory;

/// What is done to it.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    /// The folders that it lies in are made.
    Parents(String),
    /// It is made.
    Make(String),
    /// Whose it is changes.
    Adjust { path: String, owned: Owned },
    /// It is removed with all that is in it.
    Remove(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parents(path) => write!(f, "make the folders above {path}"),
            Self::Make(path) => write!(f, "make the folder {path}"),
            Self::Adjust { path, owned } => write!(f, "make {path} {owned}"),
            Self::Remove(path) => write!(f, "remove {path} and all that is in it"),
        }
    }
}

#[async_trait]
impl Action for Directory {
    type Params = DirectoryParams;
    type Step = Step;

    fn writes(params: &DirectoryParams) -> Vec<String> {
        vec![params.path.clone()]
    }

    async fn look(params: &DirectoryParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let path = params.path.clone();
        let place = place(params, device)?;
        let found = place.as_ref().map(Place::found).transpose()?.flatten();
        if let Some(found) = &found
            && found.kind != FoundKind::Folder
        {
            let what = match found.kind {
                FoundKind::Link => "a symbolic link; name the folder that it leads to",
                _ => "no folder",
            };
            return Err(Problem::new(NOT_A_FOLDER, format!("{path} is {what}")));
        }
        if params.state.is_absent() {
            if let Some(place) = place.filter(|_| found.is_some()) {
                device.check_no_mounts(&place.path)?;
            }
            return Ok(found.map(|_| Step::Remove(path)).into_iter().collect());
        }
        let said = (params.owner.as_deref(), params.group.as_deref(), params.mode.as_deref());
        let owned = Owned::wanted(device, found.as_ref(), said, 0o755)?;
        match found {
            Some(found) if owned.is(&found) => Ok(Vec::new()),
            Some(_) => Ok(vec![Step::Adjust { path, owned }]),
            None => {
                if place.is_none() && !params.recursive {
                    let why = format!("the folder above {path} is not there; say recursive to have it made, too");
                    return Err(Problem::new(FILES_FAILED, why));
                }
                let parents = place.is_none().then(|| Step::Parents(path.clone()));
                Ok(parents
                    .into_iter()
                    .chain([Step::Make(path.clone()), Step::Adjust { path, owned }])
                    .collect())
            }
        }
    }

    async fn act(params: &DirectoryParams, device: &Device, step: &Step) -> Result<(), Problem> {
        if let Step::Parents(path) = step {
            return device.make_parents(path);
        }
        let gone = || Problem::new(FILES_FAILED, format!("the folder above {} is not there", params.path));
        let place = place(params, device)?.ok_or_else(gone)?;
        match step {
            Step::Parents(_) => Ok(()),
            Step::Make(_) => place.make_folder(),
            Step::Adjust { owned, .. } => place.adjust(owned.mode, owned.uid, owned.gid),
            Step::Remove(_) => place.remove_tree().await,
        }
    }
}

fn place(params: &DirectoryParams, device: &Device) -> Result<Option<Place>, Problem> {
    match params.state.is_absent() {
        true => device.place(&params.path, paths::check_removal),
        false => device.place(&params.path, paths::check_folder),
    }
}
