//! `file`.

use std::fmt;

use async_trait::async_trait;
use fleet_core::{
    blobs::BlobDigest,
    kernel::{Class, Code},
    work::operations::actions::{file::FileParams, paths},
};

use super::{
    action::{Action, Problem},
    device::{Device, Found, FoundKind, Place},
};

/// Something that is no regular file is where the file is to be.
pub(super) const NOT_A_FILE: Code = Code::new("file.not_a_file", Class::Conflict);

/// The largest file in which a text is kept, in bytes.
const MAX_BYTES: u64 = 10 << 20;

/// Keeps a file.
pub(super) struct File;

/// What is done to it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The folders that it lies in are made.
    Parents(String),
    /// It is written, whole.
    Write {
        path: String,
        bytes: Vec<u8>,
        owned: Owned,
        is_new: bool,
    },
    /// Only whose it is changes.
    Adjust { path: String, owned: Owned },
    /// It is removed.
    Remove(String),
}

/// Whose a file is, and who may do what with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Owned {
    /// What is wanted, where somebody says; else what is there; else the agent's own user and `mode`.
    pub(super) fn wanted(
        device: &Device,
        found: Option<&Found>,
        (owner, group, mode): (Option<&str>, Option<&str>, Option<&str>),
        new_mode: u32,
    ) -> Result<Self, Problem> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Ok(Self {
            uid: match owner {
                Some(owner) => device.uid(owner)?,
                None => found.map_or(uid, |found| found.uid),
            },
            gid: match group {
                Some(group) => device.gid(group)?,
                None => found.map_or(gid, |found| found.gid),
            },
            mode: mode.unwrap_or_else(|| found.map_or(new_mode, |found| found.mode)),
        })
    }

    /// Whether it is so.
    pub(super) fn is(&self, found: &Found) -> bool {
        (self.uid, self.gid, self.mode) == (found.uid, found.gid, found.mode)
    }
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}:{} with mode {:04o}", self.uid, self.gid, self.mode)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parents(path) => write!(f, "make the folders of {path}"),
            Self::Write {
                path,
                bytes,
                owned,
                is_new,
            } => {
                let verb = if *is_new { "write" } else { "rewrite" };
                write!(f, "{verb} {path}, {} bytes, {owned}", bytes.len())
            }
            Self::Adjust { path, owned } => write!(f, "make {path} {owned}"),
            Self::Remove(path) => write!(f, "remove {path}"),
        }
    }
}

#[async_trait]
impl Action for File {
    type Params = FileParams;
    type Step = Step;

    fn writes(params: &FileParams) -> Vec<String> {
        vec![params.path.clone()]
    }

    async fn look(params: &FileParams, device: &Device) -> Result<Vec<Step>, Problem> {
        let place = device.place(&params.path, paths::check_file)?;
        let found = place.as_ref().map(Place::found).transpose()?.flatten();
        let path = params.path.clone();
        if let Some(found) = &found {
            check_kind(&path, found, params.state.is_absent())?;
        }
        let content = params.content.as_deref().unwrap_or_default();
        let present = match (&place, &found) {
            (Some(place), Some(found)) if found.kind == FoundKind::File => Some((place, found)),
            _ => None,
        };
        let bytes = match (params.managed_block, params.state.is_absent()) {
            (false, true) => return Ok(found.map(|_| Step::Remove(path)).into_iter().collect()),
            (false, false) => match params.content_blob.as_deref().and_then(BlobDigest::parse) {
                Some(digest) => content_of(device, digest, present).await?,
                None => content.as_bytes().to_vec(),
            },
            (true, is_absent) => {
                let Some((place, _)) = present else {
                    if is_absent {
                        return Ok(Vec::new());
                    }
                    return Self::write(params, device, &place, None, with_block("", content).into_bytes());
                };
                let text = String::from_utf8(place.read(MAX_BYTES)?).map_err(|_| {
                    Problem::new(NOT_A_FILE, format!("{path} is no text in UTF-8; no text is kept in it"))
                })?;
                match is_absent {
                    true => without_block(&text, content).into_bytes(),
                    false => with_block(&text, content).into_bytes(),
                }
            }
        };
        match present {
            // Read only where it can be the same.
            Some((place, found)) if found.bytes == bytes.len() as u64 && place.read(MAX_BYTES)? == bytes => {
                let owned = wanted(params, device, Some(found))?;
                match owned.is(found) || params.state.is_absent() {
                    true => Ok(Vec::new()),
                    false => Ok(vec![Step::Adjust { path, owned }]),
                }
            }
            Some((_, found)) => Self::write(params, device, &place, Some(found), bytes),
            None => Self::write(params, device, &place, None, bytes),
        }
    }

    async fn act(params: &FileParams, device: &Device, step: &Step) -> Result<(), Problem> {
        if let Step::Parents(path) = step {
            return device.make_parents(path);
        }
        let place = place(device, &params.path)?;
        match step {
            Step::Parents(_) => Ok(()),
            Step::Write { bytes, owned, .. } => place.write(bytes, owned.mode, owned.uid, owned.gid),
            Step::Adjust { owned, .. } => place.adjust(owned.mode, owned.uid, owned.gid),
            Step::Remove(_) => place.remove(),
        }
    }
}

/// What is in a blob: what is there already, or else what the server has.
async fn content_of(
    device: &Device,
    digest: BlobDigest,
    present: Option<(&Place, &Found)>,
) -> Result<Vec<u8>, Problem> {
    if let Some((place, found)) = present
        && found.bytes <= MAX_BYTES
    {
        let bytes = place.read(MAX_BYTES)?;
        if blake3::hash(&bytes).as_bytes() == digest.as_bytes() {
            device.keep_found(digest, &bytes);
            return Ok(bytes);
        }
    }
    device.content(digest).await
}

impl File {
    fn write(
        params: &FileParams,
        device: &Device,
        place: &Option<Place>,
        found: Option<&Found>,
        bytes: Vec<u8>,
    ) -> Result<Vec<Step>, Problem> {
        let path = params.path.clone();
        let parents = place.is_none().then(|| Step::Parents(path.clone()));
        let owned = match params.state.is_absent() {
            // A text is taken out; whose the rest is stays.
            true => Owned::wanted(device, found, (None, None, None), 0o644)?,
            false => wanted(params, device, found)?,
        };
        let write = Step::Write {
            path,
            bytes,
            owned,
            is_new: found.is_none(),
        };
        Ok(parents.into_iter().chain([write]).collect())
    }
}

fn wanted(params: &FileParams, device: &Device, found: Option<&Found>) -> Result<Owned, Problem> {
    let said = (params.owner.as_deref(), params.group.as_deref(), params.mode.as_deref());
    Owned::wanted(device, found, said, 0o644)
}

fn place(device: &Device, path: &str) -> Result<Place, Problem> {
    let place = device.place(path, paths::check_file)?;
    place.ok_or_else(|| Problem::new(super::FILES_FAILED, format!("the folder of {path} is not there")))
}

/// A link may be removed, and is never written through: what it names could be anywhere.
pub(super) fn check_kind(path: &str, found: &Found, is_absent: bool) -> Result<(), Problem> {
    let what = match found.kind {
        FoundKind::File => return Ok(()),
        FoundKind::Link if is_absent => return Ok(()),
        FoundKind::Link => "a symbolic link; name the file that it leads to, or remove it first",
        FoundKind::Folder => "a folder",
        FoundKind::Other => "no regular file",
    };
    Err(Problem::new(NOT_A_FILE, format!("{path} is {what}")))
}

/// Where a block of whole lines stands in a text.
fn find_block(text: &str, block: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find(block) {
        let (start, end) = (from + at, from + at + block.len());
        let begins = start == 0 || text.as_bytes().get(start - 1) == Some(&b'\n');
        let ends = matches!(text.as_bytes().get(end), None | Some(b'\n'));
        if begins && ends {
            return Some(start);
        }
        from = start + block.chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// The text with the block in it: as it is when it stands there, else with it at the end.
fn with_block(text: &str, block: &str) -> String {
    let block = block.trim_matches('\n');
    if find_block(text, block).is_some() {
        return text.to_owned();
    }
    let separator = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{text}{separator}{block}\n")
}

/// The text without the first such block. Where it stood no two blank lines follow each other.
fn without_block(text: &str, block: &str) -> String {
    let block = block.trim_matches('\n');
    let Some(start) = find_block(text, block) else {
        return text.to_owned();
    };
    let (before, after) = (&text[..start], &text[start + block.len()..]);
    let after = after.strip_prefix('\n').unwrap_or(after);
    let is_blank_before = before.is_empty() || before.ends_with("\n\n");
    let after = if is_blank_before {
        after.trim_start_matches('\n')
    } else {
        after
    };
    let before = match after.is_empty() && is_blank_before && !before.is_empty() {
        true => before.trim_end_matches('\n').to_owned() + "\n",
        false => before.to_owned(),
    };
    before + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, block: &str, with: &str, without: &str) {
        assert_eq!(with_block(text, block), with, "with");
        assert_eq!(without_block(&with_block(text, block), block), without, "without");
    }

    #[test]
    fn a_block_is_added_once_and_taken_out_again() {
        check("", "a\n", "a\n", "");
        check("x\n", "a\n", "x\na\n", "x\n");
        check("x", "a", "x\na\n", "x\n");
        check("x\na\ny\n", "a\n", "x\na\ny\n", "x\ny\n");
        check("x\n\na\nb\n\ny\n", "a\nb", "x\n\na\nb\n\ny\n", "x\n\ny\n");
        check("x\n\n", "a", "x\n\na\n", "x\n");
    }

    #[test]
    fn a_block_is_whole_lines() {
        check("xa\na b\n", "a", "xa\na b\na\n", "xa\na b\n");
        check("äa\n", "ä", "äa\nä\n", "äa\n");
    }
}
