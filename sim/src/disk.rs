//! The disk of a device: what was synced stays, what was not may be lost when the power goes.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fleet_agent_lib::disk::{Disk, DiskFile};
use tokio::sync::Notify;

use crate::{dice::Dice, plant::Plant};

/// A disk. It outlives the agents that use it.
#[derive(Debug)]
pub struct SimDisk {
    platter: Mutex<Platter>,
    dice: Dice,
    plant: Option<Plant>,
    /// Woken when the power goes in the middle of a write.
    power: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Platter {
    /// Names as they are, and as a loss of power would leave them.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    files: Vec<Contents>,
    /// Which mount may write; an agent that was killed has an older one.
    mount: u64,
    full: bool,
    largest: u64,
    /// Writes until one is cut short by a loss of power.
    power_fails_in: Option<u64>,
    power_failed: bool,
}

#[derive(Debug, Default)]
struct Contents {
    live: Vec<u8>,
    /// Bytes at the beginning that a loss of power leaves as they are.
    durable: usize,
    /// What is durable, where it was changed since.
    before: Option<Vec<u8>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64, name: &str, plant: Option<Plant>, power: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            platter: Mutex::default(),
            dice: Dice::new(seed, name),
            plant,
            power,
        })
    }

    /// For an agent that is started now; those before it can do nothing any more.
    pub fn mount(self: &Arc<Self>) -> Arc<dyn Disk> {
        let mut platter = self.platter();
        platter.mount += 1;
        (platter.power_fails_in, platter.power_failed) = (None, false);
        Arc::new(Mounted {
            disk: self.clone(),
            mount: platter.mount,
        })
    }

    /// The agent that uses it is killed; what it wrote is in the kernel's hands.
    pub fn killed(&self) {
        self.platter().mount += 1;
    }

    /// The power goes. Of what was not synced any part may be there.
    pub fn power_lost(&self) {
        let mut platter = self.platter();
        platter.mount += 1;
        platter.names = platter.durable_names.clone();
        for file in &mut platter.files {
            let Contents { live, durable, before } = file;
            *live = match before.take() {
                Some(before) => before,
                None => {
                    let tail = live.len() - *durable;
                    let kept = if tail == 0 { 0 } else { self.dice.place(tail + 1) };
                    live[..*durable + kept].to_vec()
                }
            };
            *durable = live.len();
        }
    }

    /// No room from now on, or room again.
    pub fn set_full(&self, full: bool) {
        self.platter().full = full;
    }

    /// The power will go in the middle of a write, so many writes from now.
    pub fn power_fails_in(&self, writes: u64) {
        self.platter().power_fails_in = Some(writes);
    }

    /// It will not.
    pub fn power_stays(&self) {
        self.platter().power_fails_in = None;
    }

    /// Whether it did.
    pub fn has_power_failed(&self) -> bool {
        self.platter().power_failed
    }

    /// The most bytes that any file ever had.
    pub fn largest(&self) -> u64 {
        self.platter().largest
    }

    /// What a file says that is there whole.
    pub fn json(&self, name: &str) -> Option<serde_json::Value> {
        let platter = self.platter();
        let file = *platter.names.get(name)?;
        serde_json::from_slice(&platter.files[file].live).ok()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, mount: u64, work: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        let mut platter = self.platter();
        if platter.mount != mount || platter.power_failed {
            return Err(io::Error::other("this machine is off"));
        }
        work(&mut platter)
    }

    /// Whether a sync does what it says.
    fn syncs(&self) -> bool {
        self.plant != Some(Plant::JournalNotSynced)
    }
}

#[derive(Debug)]
struct Mounted {
    disk: Arc<SimDisk>,
    mount: u64,
}

impl Disk for Mounted {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.with(self.mount, |platter| {
            if let Some(file) = platter.names.get(name) {
                return Ok(*file);
            }
            platter.files.push(Contents::default());
            let file = platter.files.len() - 1;
            platter.names.insert(name.to_owned(), file);
            Ok(file)
        })?;
        Ok(Box::new(Open {
            disk: self.disk.clone(),
            mount: self.mount,
            file,
        }))
    }

    fn find(&self, name: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        let file = self
            .disk
            .with(self.mount, |platter| Ok(platter.names.get(name).copied()))?;
        Ok(file.map(|file| {
            Box::new(Open {
                disk: self.disk.clone(),
                mount: self.mount,
                file,
            }) as Box<dyn DiskFile>
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.with(self.mount, |platter| {
            let removed = platter.names.remove(name);
            removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.with(self.mount, |platter| {
            let file = platter.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            platter.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.with(self.mount, |platter| {
            let file = *platter.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            platter.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(self.mount, |platter| {
            platter.durable_names = platter.names.clone();
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Open {
    disk: Arc<SimDisk>,
    mount: u64,
    file: usize,
}

impl Open {
    fn with<T>(&self, work: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        self.disk
            .with(self.mount, |platter| work(&mut platter.files[self.file]))
    }

    fn sync(&self) -> io::Result<()> {
        let syncs = self.disk.syncs();
        self.with(|contents| {
            if syncs {
                contents.durable = contents.live.len();
                contents.before = None;
            }
            Ok(())
        })
    }
}

impl Contents {
    /// Keeps what is durable before it is changed.
    fn change(&mut self, from: usize) {
        if from < self.durable && self.before.is_none() {
            self.before = Some(self.live[..self.durable].to_vec());
        }
    }
}

impl DiskFile for Open {
    fn length(&self) -> io::Result<u64> {
        self.with(|contents| Ok(contents.live.len() as u64))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|contents| {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = contents.live.get(at..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(self.mount, |platter| {
            if platter.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fails = match &mut platter.power_fails_in {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            };
            let written = if fails {
                &bytes[..self.disk.dice.place(bytes.len() + 1)]
            } else {
                bytes
            };
            let contents = &mut platter.files[self.file];
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            contents.change(at);
            let end = at + written.len();
            if contents.live.len() < end {
                contents.live.resize(end, 0);
            }
            contents.live[at..end].copy_from_slice(written);
            platter.largest = platter.largest.max(platter.files[self.file].live.len() as u64);
            if fails {
                platter.power_failed = true;
                self.disk.power.notify_one();
                return Err(io::Error::other("the power went"));
            }
            Ok(())
        })
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.with(|contents| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            contents.change(length);
            contents.live.resize(length, 0);
            contents.durable = contents.durable.min(length);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
