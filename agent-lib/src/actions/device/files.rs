//! Files and folders.
//!
//! A path is resolved first, and both it and what it leads to are checked. Then the folder is opened step by step without following
//! any link, and all that is done is done in the folder that was opened: who can write in a folder above cannot turn it elsewhere in
//! between.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::atomic::Ordering,
};

use fleet_core::work::operations::actions::paths;
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, fstat, fsync, mkdirat, open,
        openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use sha2::{Digest as _, Sha256};

use super::{Device, downloads::hexadecimal, effects::Effects, links};
use crate::actions::{FILES_FAILED, PATH_PROTECTED, action::Problem};

/// What kind of thing is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actions) enum FoundKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Something else: a socket, a device.
    Other,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actions) struct Found {
    pub(in crate::actions) kind: FoundKind,
    /// Permissions, with the bits for set-id and sticky.
    pub(in crate::actions) mode: u32,
    pub(in crate::actions) uid: u32,
    pub(in crate::actions) gid: u32,
    pub(in crate::actions) bytes: u64,
}

/// A place in a folder that is there. What it names is never followed, if it is a link.
#[derive(Debug)]
pub(in crate::actions) struct Place {
    folder: OwnedFd,
    name: String,
    /// Where it is, for people, and for rules: all links of the folder followed.
    pub(in crate::actions) path: String,
    effects: Effects,
}

impl Device {
    /// The place that a path names, the links of its folder followed; nothing when that folder is not there. `check` decides about
    /// both, the path and what it leads to.
    pub(in crate::actions) fn place(
        &self,
        path: &str,
        check: impl Fn(&str, &[String]) -> Result<(), String>,
    ) -> Result<Option<Place>, Problem> {
        let protected = |problem: String| Problem::new(PATH_PROTECTED, problem);
        check(path, self.own()).map_err(protected)?;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let failed = |error: io::Error| failed(path, "looked up", &error);
        let resolved = links::resolve(&self.root, folder).map_err(failed)?;
        let leads_to = format!("{}/{name}", resolved.trim_end_matches('/'));
        if leads_to != path {
            check(&leads_to, self.own())
                .map_err(|problem| protected(format!("{path} leads to {leads_to}: {problem}")))?;
        }
        match self.open_folder(&resolved) {
            Ok(folder) => Ok(Some(Place {
                folder,
                name: name.to_owned(),
                path: leads_to,
                effects: self.effects.clone(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes the folders that a path goes through where they are missing, of the agent's user, with 0755.
    pub(in crate::actions) fn make_parents(&self, path: &str) -> Result<(), Problem> {
        let ends: Vec<_> = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        for end in ends {
            let parent = &path[..end];
            let place = self.place(parent, paths::check_folder)?;
            let place = place.ok_or_else(|| failed(parent, "made", &io::ErrorKind::NotFound.into()))?;
            if place.found()?.is_none() {
                place.make_folder()?;
                self.made_parents.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The text of a small file that this project did not necessarily write, such as `/etc/passwd`; empty when it is not there.
    pub(in crate::actions) fn read_text(&self, path: &str, limit: u64) -> Result<String, Problem> {
        let read = || {
            let resolved = links::resolve(&self.root, path)?;
            let file = File::open(links::below(&self.root, Path::new(&resolved)))?;
            read_all(file, limit)
        };
        match read() {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(failed(path, "read", &error)),
        }
    }

    /// The last whole records of so many bytes of a file that others write, as many as there are in `limit` bytes; nothing when it is not
    /// there. What lies before is not read, however large the file is.
    pub(in crate::actions) fn read_end(&self, path: &str, limit: u64, record: u64) -> Result<Option<Vec<u8>>, Problem> {
        let read = || {
            let resolved = links::resolve(&self.root, path)?;
            let mut file = File::open(links::below(&self.root, Path::new(&resolved)))?;
            let records = file.metadata()?.len() / record;
            let wanted = records.min(limit / record);
            file.seek(SeekFrom::Start((records - wanted) * record))?;
            let mut bytes = Vec::new();
            file.take(wanted * record).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, "read", &error)),
        }
    }

    /// Where a path leads, all links followed.
    pub(in crate::actions) fn leads_to(&self, path: &str) -> Result<String, Problem> {
        links::resolve(&self.root, path).map_err(|error| failed(path, "looked up", &error))
    }

    /// The names of the files and folders in a folder, at most `most`; none when it is not there.
    pub(in crate::actions) fn names_in(&self, path: &str, most: usize) -> Result<Vec<String>, Problem> {
        let folder = links::below(&self.root, Path::new(&self.leads_to(path)?));
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(path, "read", &error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.take(most).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether something is at a path, links followed.
    pub(in crate::actions) fn exists(&self, path: &str) -> bool {
        links::resolve(&self.root, path).is_ok_and(|path| links::below(&self.root, Path::new(&path)).exists())
    }

    fn open_folder(&self, resolved: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let mut folder = open(&self.root, flags, Mode::empty())?;
        for part in resolved.split('/').filter(|part| !part.is_empty()) {
            folder = openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(folder)
    }
}

impl Place {
    /// What is there.
    pub(in crate::actions) fn found(&self) -> Result<Option<Found>, Problem> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found {
                kind: match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => FoundKind::File,
                    FileType::Directory => FoundKind::Folder,
                    FileType::Symlink => FoundKind::Link,
                    _ => FoundKind::Other,
                },
                mode: Mode::from_raw_mode(stat.st_mode).bits(),
                uid: stat.st_uid,
                gid: stat.st_gid,
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("looked at", error)),
        }
    }

    /// The bytes of a regular file of at most `limit` bytes.
    pub(in crate::actions) fn read(&self, limit: u64) -> Result<Vec<u8>, Problem> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            openat(&self.folder, &self.name, flags, Mode::empty()).map_err(|error| self.failed("read", error))?;
        read_all(File::from(file), limit).map_err(|error| failed(&self.path, "read", &error))
    }

    /// Puts a whole new file there, or leaves what was there: it is complete and on the disk before it gets its name.
    pub(in crate::actions) fn write(&self, bytes: &[u8], mode: u32, uid: u32, gid: u32) -> Result<(), Problem> {
        let mut incoming = self.begin()?;
        incoming.add(bytes)?;
        incoming.keep(mode, uid, gid)
    }

    /// Begins a new file that nobody can read yet. It gets its place when it is kept; until then what was there stays.
    pub(in crate::actions) fn begin(&self) -> Result<Incoming<'_>, Problem> {
        let temporary = format!(".{:.200}.fleet-new", self.name);
        let begin = || -> io::Result<File> {
            // What a crash left behind.
            match unlinkat(&self.folder, &temporary, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(openat(
                &self.folder,
                &temporary,
                flags,
                Mode::RUSR | Mode::WUSR,
            )?))
        };
        let file = self.effects.done("begin", &self.path, begin);
        let file = file.map_err(|error| failed(&self.path, "written", &error))?;
        Ok(Incoming {
            place: self,
            temporary,
            file,
            is_kept: false,
        })
    }

    /// The SHA-256 of a regular file of at most `limit` bytes, however long reading it takes; nothing where it is larger.
    pub(in crate::actions) async fn sha256(&self, limit: u64) -> Result<Option<String>, Problem> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            openat(&self.folder, &self.name, flags, Mode::empty()).map_err(|error| self.failed("read", error))?;
        let digest = tokio::task::spawn_blocking(move || digest(File::from(file), limit));
        let digest = digest.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        digest.map_err(|error| failed(&self.path, "read", &error))
    }

    /// Changes whose the file or folder is, and its permissions.
    pub(in crate::actions) fn adjust(&self, mode: u32, uid: u32, gid: u32) -> Result<(), Problem> {
        let adjust = || -> io::Result<()> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&self.folder, &self.name, flags, Mode::empty())?;
            // In this order: a new owner takes the bits for set-id away.
            own(&file, Some(uid), Some(gid))?;
            fchmod(&file, Mode::from_bits_truncate(mode))?;
            fsync(&file)?;
            Ok(())
        };
        let adjusted = self.effects.done("adjust", &self.path, adjust);
        adjusted.map_err(|error| failed(&self.path, "adjusted", &error))
    }

    /// Makes a folder, with 0755.
    pub(in crate::actions) fn make_folder(&self) -> Result<(), Problem> {
        let make = || -> io::Result<()> {
            mkdirat(&self.folder, &self.name, Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Whatever the agent's umask is.
            fchmod(
                openat(&self.folder, &self.name, flags, Mode::empty())?,
                Mode::from_bits_truncate(0o755),
            )?;
            self.sync_folder()
        };
        let made = self.effects.done("make", &self.path, make);
        made.map_err(|error| failed(&self.path, "made", &error))
    }

    /// Makes a folder that is somebody's, or leaves nothing there: it is theirs before it gets its name.
    pub(in crate::actions) fn make_folder_of(&self, mode: u32, uid: u32, gid: u32) -> Result<(), Problem> {
        // Not the name that a file would get on its way here.
        let temporary = format!(".{:.200}.fleet-folder", self.name);
        let make = || -> io::Result<()> {
            // What a crash left behind.
            match unlinkat(&self.folder, &temporary, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            mkdirat(&self.folder, &temporary, Mode::RWXU)?;
            let made = self.own_new_folder(&temporary, mode, uid, gid);
            let made = made.and_then(|()| rename_to_free(&self.folder, &temporary, &self.folder, &self.name));
            if made.is_err() {
                // The first problem is the one to tell.
                unlinkat(&self.folder, &temporary, AtFlags::REMOVEDIR).ok();
            }
            made?;
            self.sync_folder()
        };
        let made = self.effects.done("make", &self.path, make);
        made.map_err(|error| failed(&self.path, "made", &error))
    }

    /// Gives a folder to somebody that was made just now. Who may write in the folder above may have put another in its place: only an
    /// empty one of the agent's own is given away.
    fn own_new_folder(&self, name: &str, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.folder, name, flags, Mode::empty())?;
        let is_own = fstat(&made)?.st_uid == geteuid().as_raw();
        let mut inside = Dir::read_from(&made)?.filter(|entry| {
            let name = entry.as_ref().map(|entry| entry.file_name().to_bytes().to_owned());
            !name.is_ok_and(|name| name == b"." || name == b"..")
        });
        if !is_own || inside.next().is_some() {
            return Err(io::Error::other("another folder was put in its place"));
        }
        own(&made, Some(uid), Some(gid))?;
        fchmod(&made, Mode::from_bits_truncate(mode))?;
        Ok(())
    }

    /// Gives what is here another place that is free.
    pub(in crate::actions) fn give_place(&self, place: &Self) -> Result<(), Problem> {
        let give = || -> io::Result<()> {
            rename_to_free(&self.folder, &self.name, &place.folder, &place.name)?;
            place.sync_folder()
        };
        let given = self.effects.done("give its place to", &place.path, give);
        given.map_err(|error| failed(&place.path, "made", &error))
    }

    /// Removes a file, or a link and not what it names; fine when it is gone already.
    pub(in crate::actions) fn remove(&self) -> Result<(), Problem> {
        let remove = || match unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) => self.sync_folder(),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let removed = self.effects.done("remove", &self.path, remove);
        removed.map_err(|error| failed(&self.path, "removed", &error))
    }

    /// Removes a folder and all that is in it, following no link.
    pub(in crate::actions) async fn remove_tree(self) -> Result<(), Problem> {
        let (path, effects) = (self.path.clone(), self.effects.clone());
        let what = || format!("remove all of {path}");
        let refused = |error: io::Error| failed(&path, "removed", &error);
        effects.before(what).map_err(refused)?;
        // By way of the open folder: its own path could lead elsewhere meanwhile.
        let anchored = format!("/proc/self/fd/{}/{}", self.folder.as_raw_fd(), self.name);
        let removed = tokio::task::spawn_blocking(move || {
            let removed = std::fs::remove_dir_all(anchored);
            drop(self);
            removed
        });
        let removed = removed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        removed.map_err(refused)?;
        effects.after(what);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fsync(openat(&self.folder, ".", flags, Mode::empty())?)?;
        Ok(())
    }

    fn failed(&self, what: &str, error: Errno) -> Problem {
        failed(&self.path, what, &error.into())
    }
}

/// A file that is being written, beside the place that it gets; removed with this value unless it was kept.
#[derive(Debug)]
pub(in crate::actions) struct Incoming<'p> {
    place: &'p Place,
    temporary: String,
    file: File,
    is_kept: bool,
}

impl Incoming<'_> {
    /// Adds to it.
    pub(in crate::actions) fn add(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.file
            .write_all(bytes)
            .map_err(|error| failed(&self.place.path, "written", &error))
    }

    /// Gives it its place, once it is on the disk.
    pub(in crate::actions) fn keep(mut self, mode: u32, uid: u32, gid: u32) -> Result<(), Problem> {
        let Place {
            folder,
            name,
            path,
            effects,
        } = self.place;
        let keep = || -> io::Result<()> {
            own(&self.file, Some(uid), Some(gid))?;
            fchmod(&self.file, Mode::from_bits_truncate(mode))?;
            self.file.sync_all()?;
            renameat(folder, &self.temporary, folder, name)?;
            Ok(())
        };
        let kept = effects.done("write", path, keep);
        kept.map_err(|error| failed(path, "written", &error))?;
        self.is_kept = true;
        self.place
            .sync_folder()
            .map_err(|error| failed(path, "written", &error))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = unlinkat(&self.place.folder, &self.temporary, AtFlags::empty());
        }
    }
}

/// Gives something another name that nothing has. File systems and kernels that cannot do this in one step are looked at before.
fn rename_to_free(from: &OwnedFd, name: &str, to: &OwnedFd, free: &str) -> io::Result<()> {
    match renameat_with(from, name, to, free, RenameFlags::NOREPLACE) {
        Err(error) if lacks_noreplace(error) => rename_where_free(from, name, to, free),
        renamed => Ok(renamed?),
    }
}

/// As the kernel says of a file system that does not know `RENAME_NOREPLACE`, or does not know it itself (renameat2(2)).
fn lacks_noreplace(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

fn rename_where_free(from: &OwnedFd, name: &str, to: &OwnedFd, free: &str) -> io::Result<()> {
    match statat(to, free, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(renameat(from, name, to, free)?),
        Ok(_) => Err(Errno::EXIST.into()),
        Err(error) => Err(error.into()),
    }
}

fn own(file: impl std::os::fd::AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw))?;
    Ok(())
}

fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        )),
        false => Ok(bytes),
    }
}

fn digest(mut file: File, limit: u64) -> io::Result<Option<String>> {
    let (mut digest, mut length, mut part) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut part)?;
        let Some(bytes) = part.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(Some(hexadecimal(&digest.finalize())));
        };
        length += read as u64;
        if length > limit {
            return Ok(None);
        }
        digest.update(bytes);
    }
}

pub(super) fn failed(path: &str, what: &str, error: &io::Error) -> Problem {
    let message = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => format!("{path} cannot be {what}: its file system is read-only"),
        io::ErrorKind::StorageFull => format!("{path} cannot be {what}: the disk is full"),
        _ => format!("{path} cannot be {what}: {error}"),
    };
    Problem::new(FILES_FAILED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_something_has_is_not_taken_even_where_the_file_system_cannot_tell() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort_unstable();
            names
        };
        let opened = open(folder.path(), OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
        for rename in [rename_to_free, rename_where_free] {
            std::fs::create_dir(folder.path().join("new")).unwrap();
            std::os::unix::fs::symlink("nowhere", folder.path().join("taken")).unwrap();
            let error = rename(&opened, "new", &opened, "taken").unwrap_err();
            assert_eq!(
                (error.kind(), names()),
                (io::ErrorKind::AlreadyExists, vec!["new".into(), "taken".into()])
            );
            rename(&opened, "new", &opened, "free").unwrap();
            assert_eq!(names(), ["free", "taken"]);
            std::fs::remove_dir(folder.path().join("free")).unwrap();
            std::fs::remove_file(folder.path().join("taken")).unwrap();
        }
        for (error, expected) in [
            (Errno::INVAL, true),
            (Errno::NOSYS, true),
            (Errno::OPNOTSUPP, true),
            (Errno::EXIST, false),
        ] {
            assert_eq!(lacks_noreplace(error), expected, "{error}");
        }
    }
}
