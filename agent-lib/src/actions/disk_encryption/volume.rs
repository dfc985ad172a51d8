//! Which volume is meant, as lsblk(8) tells.

use serde::Deserialize;

use super::{VOLUME_UNCLEAR, luks::Volume};
use crate::actions::{
    action::Problem,
    device::{Call, Device},
};

/// What lsblk calls a volume of LUKS.
const LUKS: &str = "crypto_LUKS";

#[derive(Debug, Deserialize)]
struct Listing {
    blockdevices: Vec<Block>,
}

/// A block device, and those that lie on it.
#[derive(Debug, Deserialize)]
struct Block {
    path: String,
    #[serde(default)]
    fstype: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    /// As tools before util-linux 2.37 say it.
    #[serde(default)]
    mountpoint: Option<String>,
    #[serde(default)]
    children: Vec<Block>,
}

impl Block {
    fn is_luks(&self) -> bool {
        self.fstype.as_deref() == Some(LUKS)
    }

    /// Whether the root file system lies on it.
    fn holds_root(&self) -> bool {
        let mut mounted = self.mountpoints.iter().flatten().chain(&self.mountpoint);
        mounted.any(|place| place == "/") || self.children.iter().any(Self::holds_root)
    }

    fn all(&self) -> Vec<&Self> {
        let below = self.children.iter().flat_map(Self::all);
        std::iter::once(self).chain(below).collect()
    }
}

/// The volume that an action is about: the one that it names; the one that holds the root file system; the only one. Nothing where the
/// device has none.
pub(super) async fn find(device: &Device, named: Option<&str>) -> Result<Option<Volume>, Problem> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => match choose(&list(device).await?)? {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    device.luks_volume(&path).await.map(Some)
}

async fn list(device: &Device) -> Result<String, Problem> {
    let call = |mounts: &str| Call::new("lsblk", ["--json", "--output", &format!("PATH,FSTYPE,{mounts}")]);
    device.require_program("lsblk")?;
    let answer = device.ask(&call("MOUNTPOINTS")).await?;
    if answer.succeeded() {
        return Ok(answer.stdout);
    }
    let call = call("MOUNTPOINT");
    let answer = device.ask(&call).await?;
    match answer.succeeded() {
        true => Ok(answer.stdout),
        false => Err(call.failed(&answer)),
    }
}

fn choose(listing: &str) -> Result<Option<String>, Problem> {
    let listing: Listing = serde_json::from_str(listing)
        .map_err(|error| Problem::new(VOLUME_UNCLEAR, format!("lsblk answered what cannot be read: {error}")))?;
    let volumes = listing.blockdevices.iter().flat_map(Block::all);
    // What lies on several disks stands below each of them.
    let mut volumes: Vec<_> = volumes.filter(|block| block.is_luks()).collect();
    volumes.sort_by(|a, b| a.path.cmp(&b.path));
    volumes.dedup_by(|a, b| a.path == b.path);
    let with_root = volumes.iter().find(|volume| volume.holds_root());
    match (with_root, volumes.as_slice()) {
        (Some(volume), _) => Ok(Some(volume.path.clone())),
        (None, []) => Ok(None),
        (None, [volume]) => Ok(Some(volume.path.clone())),
        (None, volumes) => {
            let paths: Vec<_> = volumes.iter().map(|volume| volume.path.as_str()).take(10).collect();
            let paths = paths.join(", ");
            let why = format!(
                "this device has several encrypted volumes, and its root file system is on none: {paths}; name one as volume"
            );
            Err(Problem::new(VOLUME_UNCLEAR, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn luks(path: &str, mounted: &[&str]) -> Value {
        let children = json!([{"path": "/dev/mapper/x", "fstype": "LVM2_member", "mountpoints": [null], "children": [
            {"path": "/dev/mapper/vg-root", "fstype": "ext4", "mountpoints": mounted}]}]);
        json!({"path": path, "fstype": "crypto_LUKS", "mountpoints": [null], "children": children})
    }

    fn disk(partitions: &[Value]) -> Value {
        let boot = json!({"path": "/dev/sda1", "fstype": "vfat", "mountpoints": ["/boot/efi"]});
        let children: Vec<_> = std::iter::once(&boot).chain(partitions).collect();
        json!({"path": "/dev/sda", "fstype": null, "mountpoints": [null], "children": children})
    }

    #[track_caller]
    fn check(disks: &[Value], expected: Result<Option<&str>, &str>) {
        let listing = json!({"blockdevices": disks}).to_string();
        match (choose(&listing), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected, "{listing}"),
            (Err(Problem::Failed { message, .. }), Err(part)) => assert!(message.contains(part), "{message}"),
            (found, _) => panic!("{found:?}: {listing}"),
        }
    }

    #[test]
    fn the_volume_below_the_root_file_system_is_meant_or_the_only_one() {
        check(&[disk(&[])], Ok(None));
        check(&[disk(&[luks("/dev/sda2", &["/srv"])])], Ok(Some("/dev/sda2")));
        let (data, root) = (luks("/dev/sda2", &["/srv"]), luks("/dev/sda3", &["/home", "/"]));
        check(&[disk(&[data.clone(), root])], Ok(Some("/dev/sda3")));
        check(
            &[disk(&[data.clone(), luks("/dev/sda4", &[])])],
            Err("/dev/sda2, /dev/sda4"),
        );
        // A mirror: the same volume below two disks.
        let mirror = disk(&[json!({"path": "/dev/sda2", "children": [luks("/dev/md0", &["/"])]})]);
        check(&[mirror.clone(), mirror], Ok(Some("/dev/md0")));
    }

    #[test]
    fn older_tools_name_one_place() {
        let root = json!({"path": "/dev/mapper/x", "fstype": "ext4", "mountpoint": "/"});
        let volume = |path: &str, children: Value| json!({"path": path, "fstype": "crypto_LUKS", "mountpoint": null, "children": children});
        check(
            &[volume("/dev/sdb", json!([])), volume("/dev/sdc", json!([root]))],
            Ok(Some("/dev/sdc")),
        );
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        assert!(choose("lsblk: unknown column").is_err());
    }
}
