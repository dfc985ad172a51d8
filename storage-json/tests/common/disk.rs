//! A disk in memory that can be cut off at any moment, that fails when asked to, and that keeps only what was synchronised.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use fleet_storage_json::files::{Files, Guard, OpenFile};

/// What was done to the disk.
#[derive(Clone, Debug)]
pub enum Event {
    Create {
        path: PathBuf,
        node: u64,
    },
    Write {
        node: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        node: u64,
        length: usize,
    },
    Sync {
        node: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    Folder {
        path: PathBuf,
    },
    SyncFolder {
        path: PathBuf,
    },
    /// Set by the test: so many of its calls were answered.
    Answered(usize),
}

/// What a disk holds after a loss of power.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub folders: BTreeSet<PathBuf>,
}

/// Which of what was not synchronised is there all the same.
#[derive(Clone, Copy, Debug)]
pub struct Luck {
    /// Names in the root.
    pub root: bool,
    /// Names in all other folders.
    pub folders: bool,
    /// Contents of files.
    pub data: Data,
}

/// Which contents of a file are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// What was synchronised.
    Synced,
    /// What was written last.
    Written,
    /// What was written, and not that it was cut off afterwards.
    Uncut,
}

impl Luck {
    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        [Data::Synced, Data::Written, Data::Uncut].into_iter().flat_map(|data| {
            (0..4).map(move |bits| Self {
                root: bits & 1 != 0,
                folders: bits & 2 != 0,
                data,
            })
        })
    }

    /// As after the end of the process alone.
    pub const KEPT: Self = Self {
        root: true,
        folders: true,
        data: Data::Written,
    };

    /// Nothing that was not synchronised is there.
    pub const LOST: Self = Self {
        root: false,
        folders: false,
        data: Data::Synced,
    };
}

#[derive(Clone, Debug, Default)]
struct Node {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What was there before it was cut off, until that is synchronised.
    uncut: Option<Vec<u8>>,
    /// What a failed synchronisation has dropped; a later one says that all is well, and it is not.
    dropped: Vec<Range<usize>>,
}

/// A disk as it is now and as it would be after a loss of power.
#[derive(Clone, Debug, Default)]
pub struct Model {
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    folders: BTreeSet<PathBuf>,
}

impl Model {
    pub fn of(image: &Image) -> Self {
        let mut model = Self {
            folders: image.folders.clone(),
            ..Self::default()
        };
        for (node, (path, bytes)) in (1..).zip(&image.files) {
            let contents = Node {
                live: bytes.clone(),
                durable: bytes.clone(),
                ..Node::default()
            };
            model.nodes.insert(node, contents);
            model.names.insert(path.clone(), node);
        }
        model.durable_names = model.names.clone();
        model
    }

    fn node(&mut self, node: u64) -> &mut Node {
        self.nodes.entry(node).or_default()
    }

    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { path, node } => {
                self.nodes.entry(*node).or_default();
                self.names.insert(path.clone(), *node);
            }
            Event::Write { node, bytes } => self.node(*node).live.extend_from_slice(bytes),
            Event::Truncate { node, length } => {
                let node = self.node(*node);
                if node.live.len() > *length {
                    node.uncut.get_or_insert_with(|| node.live.clone());
                }
                node.live.truncate(*length);
                node.dropped.retain(|range| range.start < *length);
            }
            Event::Sync { node } => {
                let node = self.node(*node);
                node.uncut = None;
                node.durable = node.live.clone();
                for range in &node.dropped {
                    let end = range.end.min(node.durable.len());
                    node.durable[range.start.min(end)..end].fill(0);
                }
            }
            Event::Rename { from, to } => {
                if let Some(node) = self.names.remove(from) {
                    self.names.insert(to.clone(), node);
                }
            }
            Event::Remove { path } => drop(self.names.remove(path)),
            Event::Folder { path } => self.folders.extend(path.ancestors().map(Path::to_path_buf)),
            Event::SyncFolder { path } => {
                let within = |name: &PathBuf| name.parent() == Some(path);
                self.durable_names.retain(|name, _| !within(name));
                let names = self.names.iter().filter(|(name, _)| within(name));
                self.durable_names
                    .extend(names.map(|(name, node)| (name.clone(), *node)));
            }
            Event::Answered(_) => {}
        }
    }

    /// What is there after a loss of power; the root is the folder with the manifest.
    pub fn image(&self, luck: Luck, root: &Path) -> Image {
        let mut files = BTreeMap::new();
        let names: BTreeSet<&PathBuf> = self.names.keys().chain(self.durable_names.keys()).collect();
        for name in names {
            let lucky = if name.parent() == Some(root) {
                luck.root
            } else {
                luck.folders
            };
            let node = if lucky {
                self.names.get(name)
            } else {
                self.durable_names.get(name)
            };
            if let Some(node) = node.and_then(|node| self.nodes.get(node)) {
                let bytes = match luck.data {
                    Data::Synced => &node.durable,
                    Data::Written => &node.live,
                    Data::Uncut => node.uncut.as_ref().unwrap_or(&node.live),
                };
                files.insert(name.clone(), bytes.clone());
            }
        }
        Image {
            files,
            folders: self.folders.clone(),
        }
    }

    /// The file that a node is, if it has a name.
    pub fn name(&self, node: u64) -> Option<&PathBuf> {
        self.names.iter().find(|(_, of)| **of == node).map(|(name, _)| name)
    }

    /// How much of a file survives a loss of power for certain.
    pub fn durable(&self, node: u64) -> &[u8] {
        self.nodes.get(&node).map_or(&[], |node| &node.durable)
    }

    pub fn live(&self, node: u64) -> &[u8] {
        self.nodes.get(&node).map_or(&[], |node| &node.live)
    }
}

/// How the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From then on there is no room: half of a write succeeds, the rest does not.
    Full,
    /// One operation fails; a write does so half done.
    Broken,
    /// One synchronisation fails, and what it should have covered is dropped without another word.
    Sync,
    /// From then on nothing can be changed.
    ReadOnly,
}

#[derive(Debug, Default)]
struct Inner {
    model: Model,
    log: Vec<Event>,
    next: u64,
    /// Operations that change something, so far.
    steps: u64,
    fault: Option<(Fault, u64)>,
    /// Whether the fault has struck.
    struck: bool,
    locked: bool,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>, Arc<Gate>);

/// Where synchronisations of files wait while they are held.
#[derive(Debug, Default)]
struct Gate {
    /// Whether they are held, and how many wait.
    held: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut held = self.held.lock().expect("no test panics while it holds the gate");
        held.1 += 1;
        self.changed.notify_all();
        while held.0 {
            held = self.changed.wait(held).expect("no test panics while it holds the gate");
        }
        held.1 -= 1;
    }
}

enum What {
    Write,
    Sync,
    Other,
    /// Needs no room.
    Free,
}

impl Disk {
    pub fn of(image: &Image) -> Self {
        let disk = Self::default();
        let model = Model::of(image);
        let mut inner = disk.lock_inner();
        inner.next = model.nodes.len() as u64;
        inner.model = model;
        drop(inner);
        disk
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Lets the operation of this number fail; they count from 1.
    pub fn fail(&self, fault: Fault, at: u64) {
        self.lock_inner().fault = Some((fault, at));
    }

    /// Keeps the disk busy until what this returns is dropped.
    pub fn stall(&self) -> impl Drop + '_ {
        self.lock_inner()
    }

    /// Lets the next synchronisation of a file wait until it is released.
    pub fn hold(&self) {
        self.1.held.lock().expect("no test panics while it holds the gate").0 = true;
    }

    /// Waits until a synchronisation waits: what it covers was written.
    pub fn held(&self) {
        let mut held = self.1.held.lock().expect("no test panics while it holds the gate");
        while held.1 == 0 {
            held = self
                .1
                .changed
                .wait(held)
                .expect("no test panics while it holds the gate");
        }
    }

    pub fn release(&self) {
        self.1.held.lock().expect("no test panics while it holds the gate").0 = false;
        self.1.changed.notify_all();
    }

    pub fn struck(&self) -> bool {
        self.lock_inner().struck
    }

    pub fn steps(&self) -> u64 {
        self.lock_inner().steps
    }

    pub fn log(&self) -> Vec<Event> {
        self.lock_inner().log.clone()
    }

    pub fn answered(&self, calls: usize) {
        self.lock_inner().log.push(Event::Answered(calls));
    }

    pub fn image(&self, luck: Luck, root: &Path) -> Image {
        self.lock_inner().model.image(luck, root)
    }

    /// Bytes of a folder's files that would not survive a loss of power now.
    pub fn unsynced(&self, folder: &Path) -> usize {
        let inner = self.lock_inner();
        let model = &inner.model;
        let files = model.names.iter().filter(|(name, _)| name.parent() == Some(folder));
        files
            .map(|(name, node)| match model.durable_names.get(name) == Some(node) {
                true => model.live(*node).len() - model.durable(*node).len(),
                false => model.live(*node).len(),
            })
            .sum()
    }
}

impl Inner {
    fn event(&mut self, event: Event) {
        self.model.apply(&event);
        self.log.push(event);
    }

    /// Counts an operation; says how it fails, if it does.
    fn step(&mut self, what: What) -> Option<io::Error> {
        self.steps += 1;
        let (fault, at) = self.fault?;
        let (now, since) = (self.steps == at, self.steps >= at);
        let error = match (fault, what) {
            (Fault::Full, What::Write | What::Other) if since => io::ErrorKind::StorageFull,
            (Fault::ReadOnly, _) if since => io::ErrorKind::ReadOnlyFilesystem,
            (Fault::Broken, _) if now => io::ErrorKind::Other,
            // The first synchronisation from there on.
            (Fault::Sync, What::Sync) if since && !self.struck => io::ErrorKind::Other,
            _ => return None,
        };
        self.struck = true;
        Some(error.into())
    }

    fn there(&self, path: &Path) -> io::Result<u64> {
        self.model
            .names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn failing(error: Option<io::Error>) -> io::Result<()> {
    error.map_or(Ok(()), Err)
}

struct Locked(Disk);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.lock_inner().locked = false;
    }
}

impl Files for Disk {
    fn lock(&self, _: &Path) -> io::Result<Option<Guard>> {
        let mut inner = self.lock_inner();
        if inner.locked {
            return Ok(None);
        }
        inner.locked = true;
        Ok(Some(Box::new(Locked(self.clone()))))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        if inner.model.folders.contains(path) {
            return Ok(());
        }
        failing(inner.step(What::Other))?;
        inner.event(Event::Folder { path: path.to_owned() });
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock_inner();
        if !inner.model.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = inner.model.names.keys().chain(&inner.model.folders);
        let within = paths.filter(|path| path.parent() == Some(folder));
        let names: BTreeSet<String> = within
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inner = self.lock_inner();
        let node = inner.there(path)?;
        Ok(inner.model.live(node).to_vec())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let mut inner = self.lock_inner();
        failing(inner.step(What::Other))?;
        let node = match inner.there(path) {
            Ok(node) => {
                inner.event(Event::Truncate { node, length: 0 });
                node
            }
            Err(_) => {
                inner.next += 1;
                let node = inner.next;
                inner.event(Event::Create {
                    path: path.to_owned(),
                    node,
                });
                node
            }
        };
        Ok(Box::new(Opened {
            disk: self.clone(),
            node,
        }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let node = self.lock_inner().there(path)?;
        Ok(Box::new(Opened {
            disk: self.clone(),
            node,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        failing(inner.step(What::Other))?;
        inner.there(from)?;
        inner.event(Event::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        inner.there(path)?;
        failing(inner.step(What::Free))?;
        inner.event(Event::Remove { path: path.to_owned() });
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock_inner();
        failing(inner.step(What::Sync))?;
        inner.event(Event::SyncFolder { path: path.to_owned() });
        Ok(())
    }
}

struct Opened {
    disk: Disk,
    node: u64,
}

impl OpenFile for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.disk.lock_inner();
        let node = self.node;
        let error = inner.step(What::Write);
        // What cannot be written whole is written by half, and the next call says why.
        let half = match &error {
            Some(error) if error.kind() != io::ErrorKind::ReadOnlyFilesystem => bytes.len() / 2,
            Some(_) => 0,
            None => bytes.len(),
        };
        if half > 0 {
            inner.event(Event::Write {
                node,
                bytes: bytes[..half].to_vec(),
            });
        }
        match error {
            Some(error) => Err(error),
            None => Ok(bytes.len()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.1.pass();
        let mut inner = self.disk.lock_inner();
        let node = self.node;
        if let Some(error) = inner.step(What::Sync) {
            let contents = inner.model.node(node);
            let (from, to) = (contents.durable.len(), contents.live.len());
            contents.dropped.push(from..to.max(from));
            return Err(error);
        }
        inner.event(Event::Sync { node });
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.lock_inner();
        let node = self.node;
        failing(inner.step(What::Free))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        inner.event(Event::Truncate { node, length });
        Ok(())
    }
}
