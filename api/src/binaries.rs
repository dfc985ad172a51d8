//! The agents that the server hands out: files in a folder, one for each platform, named `fleet-agent-<platform>`.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Body;
use bytes::Bytes;
use fleet_core::kernel::Timestamp;
use futures::stream;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// Platforms that agents are handed out for. A name that is not here names no file.
pub const PLATFORMS: [&str; 5] = [
    "linux-aarch64",
    "linux-armv7",
    "linux-i686",
    "linux-riscv64",
    "linux-x86_64",
];
/// The largest file that is handed out, in bytes.
const MAX_BYTES: u64 = 128 << 20;
/// What is read and sent at once, in bytes.
const PART: usize = 256 << 10;

/// An agent for a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AgentBinary {
    /// Operating system and processor, such as `linux-x86_64`.
    pub platform: String,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// When the file was changed last.
    pub modified_at: Timestamp,
}

/// A folder of agents. Digests are kept for as long as the file stays what it is.
#[derive(Clone, Debug, Default)]
pub struct AgentBinaries(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    folder: Option<PathBuf>,
    known: Mutex<BTreeMap<&'static str, (Stamp, AgentBinary)>>,
}

/// By what a changed file is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: file.ino(),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl AgentBinaries {
    /// Those of a folder; it need not exist.
    pub fn of(folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            folder: Some(folder),
            known: Mutex::default(),
        }))
    }

    /// What there is, by platform.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub async fn list(&self) -> io::Result<Vec<AgentBinary>> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let found = PLATFORMS.iter().map(|platform| inner.look(platform));
            found.filter_map(Result::transpose).collect()
        })
        .await
        .map_err(io::Error::other)?
    }

    /// The file for a platform as a body, and its size; none where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn body(&self, platform: &str) -> io::Result<Option<(u64, Body)>> {
        let Some(path) = self.0.path(platform) else {
            return Ok(None);
        };
        let opened = tokio::task::spawn_blocking(move || open(&path))
            .await
            .map_err(io::Error::other)?;
        let Some((file, found)) = opened? else { return Ok(None) };
        let parts = stream::try_unfold((file, found.size()), |(file, left)| async move {
            if left == 0 {
                return Ok::<_, io::Error>(None);
            }
            let read = tokio::task::spawn_blocking(move || part(file, left)).await;
            let (file, part) = read.map_err(io::Error::other)??;
            let left = left - part.len() as u64;
            Ok(Some((part, (file, left))))
        });
        Ok(Some((found.size(), Body::from_stream(parts))))
    }
}

impl Inner {
    fn path(&self, platform: &str) -> Option<PathBuf> {
        let platform = PLATFORMS.iter().find(|known| **known == platform)?;
        Some(self.folder.as_ref()?.join(format!("fleet-agent-{platform}")))
    }

    fn look(&self, platform: &'static str) -> io::Result<Option<AgentBinary>> {
        let Some(path) = self.path(platform) else {
            return Ok(None);
        };
        let Some((file, found)) = open(&path)? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&found);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, binary)) = known().get(platform).filter(|(of, _)| *of == stamp) {
            return Ok(Some(binary.clone()));
        }
        let mut hasher = Sha256::new();
        let (mut file, mut left) = (file, found.size());
        while left > 0 {
            let bytes;
            (file, bytes) = part(file, left)?;
            hasher.update(&bytes);
            left -= bytes.len() as u64;
        }
        let binary = AgentBinary {
            platform: platform.to_owned(),
            size_bytes: found.size(),
            sha256: hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            modified_at: Timestamp::from_seconds(found.mtime()),
        };
        known().insert(platform, (stamp, binary.clone()));
        Ok(Some(binary))
    }
}

fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // A pipe in its place would keep us waiting: O_NONBLOCK.
    let opened = File::options().read(true).custom_flags(0o4000).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.size() == 0 || found.size() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "{} is no file of 1 byte to {MAX_BYTES}",
            path.display()
        )));
    }
    Ok(Some((file, found)))
}

/// The next part of a file; one that has become shorter is an error, and the receiver notices that the body is cut.
fn part(mut file: File, left: u64) -> io::Result<(File, Bytes)> {
    let mut part = vec![0; PART.min(usize::try_from(left).unwrap_or(PART))];
    file.read_exact(&mut part)?;
    Ok((file, part.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_listed_is_what_is_in_the_folder_now() {
        let folder = tempfile::tempdir().unwrap();
        let binaries = AgentBinaries::of(folder.path().to_owned());
        assert_eq!(binaries.list().await.unwrap(), []);
        let path = folder.path().join("fleet-agent-linux-x86_64");
        std::fs::write(&path, "abc").unwrap();
        std::fs::write(folder.path().join("fleet-agent-plan9-pdp11"), "abc").unwrap();
        let [binary] = &binaries.list().await.unwrap()[..] else {
            panic!()
        };
        // FIPS 180-2, B.1.
        assert_eq!(
            binary.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!((binary.platform.as_str(), binary.size_bytes), ("linux-x86_64", 3));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "abcd").unwrap();
        assert_ne!(binaries.list().await.unwrap()[0].sha256, binary.sha256);
        let large = vec![7; PART * 2 + 1];
        std::fs::write(&path, &large).unwrap();
        let (size, body) = binaries.body("linux-x86_64").await.unwrap().unwrap();
        let sent = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        assert_eq!((size, &sent[..]), (large.len() as u64, &large[..]));
    }

    #[tokio::test]
    async fn only_files_of_known_platforms_are_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        let binaries = AgentBinaries::of(folder.path().join("agents"));
        for platform in [
            "",
            "linux-x86_64",
            "../secret",
            "/etc/passwd",
            "linux-x86_64/../../secret",
        ] {
            assert!(binaries.body(platform).await.unwrap().is_none(), "{platform}");
        }
        std::fs::create_dir_all(folder.path().join("agents/fleet-agent-linux-x86_64")).unwrap();
        assert!(binaries.body("linux-x86_64").await.is_err());
        assert!(AgentBinaries::default().list().await.unwrap().is_empty());
    }
}
