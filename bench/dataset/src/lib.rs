//! Seeded fleets: what a store holds after some months with so many devices, the same for the same seed, in any backend.
//!
//! ```text
//!   Size         how many of everything; S = 100, M = 10,000, L = 100,000 devices
//!   Dataset      the fleet as a function of its seed: device(n), key(n), reports(n), nothing is kept
//!   fill         streams it into a backend, in batches of bounded size
//!
//!   catalogue    committed lists of a real distribution (data/, made by data/make.py)
//!   sets         package sets: images with patch levels and drift
//!   device · sections · people · groups · work · desired · adversarial      what there is
//!   writer       the batches
//! ```
//!
//! Documents, rows and latest values are core's own types, encoded by core's typed layer; nothing is written that a use case
//! could not have written, but for `adversarial`. A test compares an inventory with what reports of the same device leave
//! behind.
//!
//! Left out, because core has no home for it yet: containers. Disks are sections of mounts.
//!
//! ```
//! # use std::sync::Arc;
//! # use fleet_core::{access::Context, kernel::SystemClock, store::{Backend, memory::MemoryStore}};
//! use fleet_bench_dataset::{Dataset, Size};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), fleet_bench_dataset::FillError> {
//! let backend: Arc<dyn Backend> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let dataset = Dataset::new(7, Size { packages: 20, ..Size::of(5) });
//! let filled = dataset.fill(&backend, |_| ()).await?;
//! assert_eq!(filled.devices, 5);
//!
//! let fleet = dataset.open(&backend).await?;
//! let counts = fleet.devices().counts(&Context::system("example")).await?;
//! assert_eq!(counts.devices, 5);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod adversarial;
mod catalogue;
mod desired;
mod device;
mod dice;
mod escrow;
mod fill;
mod groups;
mod people;
mod sections;
mod sets;
mod upkeep;
mod work;
mod writer;

use fleet_core::{
    devices::inventory::{BodyError, SectionBody, SectionReport},
    kernel::{MasterKey, SeededRandom, Timestamp},
};
use serde::Serialize;

pub use fill::{Filled, Progress};

/// What containers and the like are waiting for.
pub const LEFT_OUT: &str = "containers (core has no section for them yet)";

/// How many of everything there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Devices.
    pub devices: usize,
    /// Packages of each device, at most about 2,700.
    pub packages: usize,
    /// Distinct package sets; at most as many as devices. Real fleets are clones with drift.
    pub package_sets: usize,
    /// Services of each device.
    pub services: usize,
    /// Listening ports of each device.
    pub ports: usize,
    /// Mounted disks of each device.
    pub disks: usize,
    /// People who may sign in.
    pub users: usize,
    /// Groups of devices.
    pub groups: usize,
    /// Batches of runs.
    pub batches: usize,
    /// Runs of each batch; at most as many as devices.
    pub runs_per_batch: usize,
    /// Events on the timeline of each device.
    pub events: usize,
    /// Chunks of output of each run that began.
    pub chunks: usize,
    /// Whether there is also what no engine likes: 4-byte UTF-8, bodies of 1 MB, extreme times and numbers, keys that
    /// differ only in case or normalisation.
    pub adversarial: bool,
}

impl Size {
    /// The usual proportions: 600 packages, 60 services, 20 ports and 6 disks each, 15 distinct package sets for each 100
    /// devices, one run for each device.
    pub fn of(devices: usize) -> Self {
        Self {
            devices,
            packages: 600,
            package_sets: (devices * 15).div_ceil(100),
            services: 60,
            ports: 20,
            disks: 6,
            users: 40,
            groups: 30,
            batches: devices.div_ceil(50),
            runs_per_batch: 50,
            events: 5,
            chunks: 2,
            adversarial: false,
        }
    }

    /// S: 100 devices.
    pub fn small() -> Self {
        Self::of(100)
    }

    /// M: 10,000 devices.
    pub fn medium() -> Self {
        Self::of(10_000)
    }

    /// L: 100,000 devices.
    pub fn large() -> Self {
        Self::of(100_000)
    }

    /// The same and what no engine likes.
    #[must_use]
    pub fn adversarial(self) -> Self {
        Self {
            adversarial: true,
            ..self
        }
    }
}

/// A fleet as a function of its seed. Cheap to clone and to ask; nothing of it is kept.
#[derive(Clone, Debug)]
pub struct Dataset {
    seed: u64,
    size: Size,
    images: sets::Images,
}

impl Dataset {
    /// The fleet of a seed.
    pub fn new(seed: u64, mut size: Size) -> Self {
        size.package_sets = size.package_sets.clamp(1, size.devices.max(1));
        size.packages = size.packages.clamp(1, 2_700);
        size.runs_per_batch = size.runs_per_batch.min(size.devices);
        let images = sets::images(seed, size.packages);
        Self { seed, size, images }
    }

    /// How many of everything there are.
    pub fn size(&self) -> &Size {
        &self.size
    }

    /// The time at which the fleet stands: 2026-11-20T12:00:00Z.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_795_176_000)
    }

    /// The key that seals the secrets of the filled store. Not a secret: it follows from the seed.
    pub fn master_key(&self) -> MasterKey {
        MasterKey::generate(&SeededRandom::new(self.seed))
    }

    /// The reports of all sections of a device, as its agent would send them. (A device that was never heard of sent none.)
    pub fn reports(&self, device: usize) -> Result<Vec<SectionReport>, BodyError> {
        let contents = self.contents(self.set_of(device));
        let known = self.device(device);
        let packages = SectionBody::Packages(contents.packages(self.now()));
        self.sections(device, &known, &contents)
            .into_iter()
            .chain([packages])
            .map(|body| SectionReport::new(body, self.now()))
            .collect()
    }
}

/// Why a store cannot be filled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// The store holds something already.
    #[error("the store is not empty")]
    NotEmpty,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] fleet_core::store::Error),
    /// The fleet over the store failed; with the cause.
    #[error("{0}")]
    Fleet(String),
    /// A section has no report.
    #[error("a section cannot be reported: {0}")]
    Section(#[from] BodyError),
}

impl From<fleet_core::kernel::Error> for FillError {
    fn from(error: fleet_core::kernel::Error) -> Self {
        Self::Fleet(error.log())
    }
}
