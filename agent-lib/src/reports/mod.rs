//! The inventory of this device: collected now and then, announced by hashes, sent where the server wants it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fleet_core::{
    devices::inventory::{Section, SectionReport},
    protocol::{MAX_REPORT, Want},
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    collect::{CollectContext, Collectors},
    link::{Http, LinkError},
};

/// The time between two collections.
const EVERY: Duration = Duration::from_secs(3_600);
/// How long one report may take to send.
const PATIENCE: Duration = Duration::from_secs(120);
/// The zstd level: inventory shrinks to a fifth at next to no cost.
const LEVEL: i32 = 3;

/// A collected section, packed.
#[derive(Clone)]
struct Packed {
    hash: String,
    body: Bytes,
}

/// The inventory as it was collected last. Reports are kept packed, so that sending one costs no new collection.
pub struct Reports {
    collectors: Collectors,
    context: CollectContext,
    packed: Mutex<BTreeMap<Section, Packed>>,
    changed: Notify,
    /// Sections that are to be sent, and by what.
    wanted: Mutex<BTreeSet<Section>>,
    sending: Notify,
    sender: Mutex<Option<Http>>,
    collected: watch::Sender<u64>,
    collect_now: Notify,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reports({} sections)", lock(&self.packed).len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports {
    /// Nothing is collected yet.
    pub fn new(collectors: Collectors, context: CollectContext) -> Arc<Self> {
        Arc::new(Self {
            collectors,
            context,
            packed: Mutex::default(),
            changed: Notify::new(),
            wanted: Mutex::default(),
            sending: Notify::new(),
            sender: Mutex::default(),
            collected: watch::channel(0).0,
            collect_now: Notify::new(),
        })
    }

    /// The hashes of what was collected, by section.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        lock(&self.packed)
            .iter()
            .map(|(section, packed)| (section.name().to_owned(), packed.hash.clone()))
            .collect()
    }

    /// Waits until a section has changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over what the server wants; [`Reports::run`] sends it.
    pub fn wanted(&self, http: &Http, want: Want) {
        *lock(&self.sender) = Some(http.clone());
        lock(&self.wanted).extend(want.sections.iter().filter_map(|name| section(name)));
        if want.refresh {
            self.collect_now.notify_one();
        }
        self.sending.notify_one();
    }

    /// Collects and sends until it is dropped: one owner, one loop each.
    pub async fn run(&self) {
        tokio::join!(self.collect_again_and_again(), self.send_what_is_wanted());
    }

    /// Collects these sections (all when none is named) anew; returns which ones changed.
    pub async fn collect(&self, sections: &[Section]) -> Vec<Section> {
        let sections = if sections.is_empty() { &Section::ALL } else { sections };
        let mut changed = Vec::new();
        self.collectors
            .collect(&self.context, sections, |outcome| {
                match outcome
                    .result
                    .map_err(|error| error.to_string())
                    .and_then(|report| pack(&report))
                {
                    Ok(packed) => {
                        let before = lock(&self.packed).insert(outcome.section, packed.clone());
                        if before.is_none_or(|before| before.hash != packed.hash) {
                            changed.push(outcome.section);
                        }
                    }
                    Err(error) => tracing::warn!(section = outcome.section.name(), error, "section left out"),
                }
            })
            .await;
        self.collected.send_modify(|count| *count += 1);
        if !changed.is_empty() {
            self.changed.notify_one();
        }
        changed
    }

    /// Waits until nothing is waiting to be sent, or `patience` is over; whether everything went.
    pub async fn sent(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !lock(&self.wanted).is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        true
    }

    async fn collect_again_and_again(&self) {
        loop {
            self.collect(&[]).await;
            tokio::select! {
                biased;
                () = tokio::time::sleep(EVERY) => {}
                () = self.collect_now.notified() => {}
            }
        }
    }

    async fn send_what_is_wanted(&self) {
        loop {
            self.sending.notified().await;
            loop {
                let next = lock(&self.wanted).first().copied();
                let sender = lock(&self.sender).clone();
                let (Some(section), Some(http)) = (next, sender) else {
                    break;
                };
                let packed = lock(&self.packed).get(&section).cloned();
                if let Some(packed) = packed
                    && let Err(error) = send(&http, section, &packed).await
                {
                    tracing::warn!(section = section.name(), %error, "report not sent");
                    if matches!(error, LinkError::Unreachable(_)) {
                        // The next session asks for it again.
                        lock(&self.wanted).clear();
                        break;
                    }
                }
                lock(&self.wanted).remove(&section);
            }
        }
    }
}

/// The section of this name, if this agent knows it.
pub fn section(name: &str) -> Option<Section> {
    Section::ALL.into_iter().find(|section| section.name() == name)
}

fn pack(report: &SectionReport) -> Result<Packed, String> {
    let body = serde_json::to_vec(report).map_err(|error| error.to_string())?;
    let body = zstd::bulk::compress(&body, LEVEL).map_err(|error| error.to_string())?;
    if body.len() > MAX_REPORT {
        return Err(format!("the report has {} bytes, more than {MAX_REPORT}", body.len()));
    }
    Ok(Packed {
        hash: report.hash.to_string(),
        body: Bytes::from(body),
    })
}

async fn send(http: &Http, section: Section, packed: &Packed) -> Result<(), LinkError> {
    let path = format!("/agent/v1/reports/{}", section.name());
    http.post(&path, "application/json", Some("zstd"), packed.body.clone(), PATIENCE)
        .await?;
    tracing::info!(section = section.name(), bytes = packed.body.len(), "report sent");
    Ok(())
}
