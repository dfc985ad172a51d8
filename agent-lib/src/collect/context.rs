//! What collectors are given.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fleet_core::kernel::{Clock, Timestamp};

/// Where collectors read and what time it is.
#[derive(Clone, Debug)]
pub struct CollectContext {
    root: PathBuf,
    clock: Arc<dyn Clock>,
}

impl CollectContext {
    /// This very device.
    pub fn device(clock: Arc<dyn Clock>) -> Self {
        Self {
            root: "/".into(),
            clock,
        }
    }

    /// A system whose files are below `root`: a mounted image, or a test. No program is run and the kernel is not asked, as both
    /// would answer for this device.
    pub fn below(root: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            root: root.into(),
            clock,
        }
    }

    /// Whether it is this very device.
    pub fn is_device(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path`, such as `/etc/passwd`, is to be read.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
