//! The file systems of the device, as proc_pid_mountinfo(5) tells.

use std::path::Path;

use super::{Call, Device};
use crate::actions::{FILE_SYSTEM_READ_ONLY, PATH_PROTECTED, action::Problem};

const TABLE: &str = "/proc/self/mountinfo";
/// The most of it that is read, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// A file system where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    point: String,
    is_read_only: bool,
    /// Whether it lies on a block device, and not in memory or elsewhere.
    is_on_device: bool,
}

impl Device {
    /// Fails when a file system is mounted at a path, which no link leads to, or below it: what is on it is not the folder's.
    pub(in crate::actions) fn check_no_mounts(&self, path: &str) -> Result<(), Problem> {
        let below = format!("{path}/");
        let found = self.mounts()?;
        match found
            .iter()
            .find(|mount| mount.point == path || mount.point.starts_with(&below))
        {
            Some(Mount { point, .. }) => {
                let why = format!("path: {path} is not removed: a file system is mounted at {point}");
                Err(Problem::new(PATH_PROTECTED, why))
            }
            None => Ok(()),
        }
    }

    /// Where the file systems of block devices are mounted that hold these paths and are read-only.
    pub(in crate::actions) fn read_only_mounts(&self, paths: &[String]) -> Result<Vec<String>, Problem> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let mounts = self.mounts()?;
        let mut points = Vec::new();
        for path in paths {
            let path = self.leads_to(path)?;
            let found = holding(&mounts, &path).filter(|mount| mount.is_read_only && mount.is_on_device);
            points.extend(found.map(|mount| mount.point.clone()));
        }
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    /// Mounts a file system anew, so that it can be written.
    ///
    /// # Errors
    /// [`FILE_SYSTEM_READ_ONLY`] when it is read-only all the same.
    pub(in crate::actions) async fn remount(&self, point: &str) -> Result<(), Problem> {
        let read_only = |why: String| {
            let message = format!("filesystem is read-only and could not be remounted: {point}: {why}");
            Problem::new(FILE_SYSTEM_READ_ONLY, message)
        };
        if !self.has_program("mount") {
            return Err(read_only("this device has no mount".to_owned()));
        }
        let call = Call::new("mount", ["-o", "remount,rw", "--", point]);
        let answer = self.run(&call).await?;
        if !answer.succeeded() {
            return Err(read_only(answer.last_words()));
        }
        match self.mounts()?.iter().rev().find(|mount| mount.point == point) {
            Some(mount) if mount.is_read_only => Err(read_only("mount says that it did".to_owned())),
            _ => Ok(()),
        }
    }

    fn mounts(&self) -> Result<Vec<Mount>, Problem> {
        let table = self.read_text(TABLE, MAX_BYTES)?;
        Ok(table.lines().filter_map(parse).collect())
    }
}

/// The file system that a path lies on. Of several at one point the last covers the others.
fn holding<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let holds = |mount: &&Mount| Path::new(path).starts_with(&mount.point);
    mounts.iter().filter(holds).max_by_key(|mount| mount.point.len())
}

/// A line of the table: the point and its options stand before a lone hyphen, the source and that of the file system behind it.
fn parse(line: &str) -> Option<Mount> {
    let (place, system) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(4);
    let (point, options) = (place.next()?, place.next()?);
    let mut system = system.split(' ').skip(1);
    let (source, more) = (system.next()?, system.next().unwrap_or_default());
    Some(Mount {
        point: unescaped(point),
        is_read_only: [options, more]
            .iter()
            .any(|options| options.split(',').any(|option| option == "ro")),
        is_on_device: source.starts_with("/dev/"),
    })
}

/// A field of a table of mounts, in which some characters stand as a backslash and three octal digits.
fn unescaped(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
24 22 8:3 / /usr ro,relatime shared:2 - ext4 /dev/sda3 rw
25 22 0:40 / /mnt/a\\040b rw - btrfs /dev/sdb1 ro,space_cache
26 22 0:41 / /run/keys ro - tmpfs tmpfs ro
27 22 8:4 / /srv ro - ext4 /dev/sda4 ro
28 27 8:5 / /srv rw - ext4 /dev/sda5 rw,errors=remount-ro
broken
";

    #[track_caller]
    fn check(path: &str, expected: (&str, bool, bool)) {
        let mounts: Vec<_> = TABLE.lines().filter_map(parse).collect();
        let found = holding(&mounts, path).unwrap();
        let got = (found.point.as_str(), found.is_read_only, found.is_on_device);
        assert_eq!(got, expected, "{path}");
    }

    #[test]
    fn a_path_lies_on_the_file_system_that_is_mounted_nearest_above_it() {
        check("/etc/motd", ("/", false, true));
        check("/usr", ("/usr", true, true));
        check("/usr/bin/x", ("/usr", true, true));
        check("/usrx", ("/", false, true));
        check("/mnt/a b/c", ("/mnt/a b", true, true));
        check("/run/keys/x", ("/run/keys", true, false));
        // The one above covers the other, and an option of that name is none.
        check("/srv/x", ("/srv", false, true));
        assert_eq!(holding(&[], "/"), None);
    }
}
