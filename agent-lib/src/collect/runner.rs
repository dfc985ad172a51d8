//! Runs collectors, each so that it can harm nobody but its own section.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_core::devices::inventory::{Section, SectionBody, SectionReport};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    CollectContext, CollectError, cpu::CpuCollector, interfaces::InterfacesCollector, memory::MemoryCollector,
    mounts::MountsCollector, os::OsCollector, packages::PackagesCollector, ports::PortsCollector,
    systemd::SystemdCollector, users::UsersCollector,
};

/// Reads one section from the device.
#[async_trait]
pub trait Collector: fmt::Debug + Send + Sync + 'static {
    /// Which section.
    fn section(&self) -> Section;

    /// The longest that it may take.
    fn timeout(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Reads the section. It runs alone on a thread of low priority, so it may block; children that it starts inherit the
    /// priority.
    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError>;
}

/// What became of one section.
#[derive(Debug)]
pub struct SectionOutcome {
    /// Which section.
    pub section: Section,
    /// The full report, or why there is none.
    pub result: Result<SectionReport, CollectError>,
}

/// A collector that blocks in the kernel gets this much longer before it is left behind.
const GRACE: Duration = Duration::from_secs(1);
/// Of nice(2): the work of the device comes first.
const NICENESS: i32 = 10;

#[derive(Debug)]
struct Slot {
    collector: Arc<dyn Collector>,
    /// A thread is at work, perhaps one that was left behind.
    busy: Arc<AtomicBool>,
}

/// A set of collectors. Keep it: it remembers which of them hang, and does not start those again.
#[derive(Debug)]
pub struct Collectors {
    slots: Vec<Slot>,
}

impl Default for Collectors {
    fn default() -> Self {
        Self::new([
            Arc::new(OsCollector) as Arc<dyn Collector>,
            Arc::new(CpuCollector),
            Arc::new(MemoryCollector),
            Arc::new(MountsCollector::default()),
            Arc::new(InterfacesCollector),
            Arc::new(UsersCollector),
            Arc::new(PortsCollector),
            Arc::new(SystemdCollector),
            Arc::new(PackagesCollector::default()),
        ])
    }
}

impl Collectors {
    /// These collectors, to be run in this order.
    pub fn new(collectors: impl IntoIterator<Item = Arc<dyn Collector>>) -> Self {
        let slots = collectors.into_iter().map(|collector| Slot {
            collector,
            busy: Arc::default(),
        });
        Self { slots: slots.collect() }
    }

    /// The same without these sections: what an operator leaves out is not even read.
    #[must_use]
    pub fn without(mut self, sections: &[Section]) -> Self {
        self.slots.retain(|slot| !sections.contains(&slot.collector.section()));
        self
    }

    /// Collects `sections` one after the other and hands out each as it is ready, so that only one is in memory at a time.
    pub async fn collect(
        &self,
        context: &CollectContext,
        sections: &[Section],
        mut each: impl FnMut(SectionOutcome) + Send,
    ) {
        for slot in &self.slots {
            let section = slot.collector.section();
            if sections.contains(&section) {
                let result = slot.run(context).await;
                if let Err(error) = &result {
                    tracing::warn!(%section, code = error.code().name(), %error, "section not collected");
                }
                each(SectionOutcome { section, result });
            }
        }
    }
}

impl Slot {
    async fn run(&self, context: &CollectContext) -> Result<SectionReport, CollectError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(CollectError::Busy);
        }
        // Made before the thread: if it cannot be started, dropping the closure frees the slot.
        let free = Free(Arc::clone(&self.busy));
        let (collector, context) = (Arc::clone(&self.collector), context.clone());
        let timeout = collector.timeout();
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("collect-{}", collector.section()))
            .spawn(move || {
                let free = free;
                let result = run_here(&*collector, &context, timeout);
                drop(free);
                // Nobody waits any more when it came too late.
                let _ = sender.send(result);
            })
            .map_err(|cause| CollectError::System {
                what: "cannot start a thread",
                cause,
            })?;
        match tokio::time::timeout(timeout + GRACE, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CollectError::Panicked),
            Err(_) => Err(timed_out(timeout)),
        }
    }
}

/// Marks the slot as free, also when the thread panics.
struct Free(Arc<AtomicBool>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn timed_out(timeout: Duration) -> CollectError {
    CollectError::TimedOut {
        seconds: timeout.as_secs(),
    }
}

/// Runs a collector on this thread, which is its own.
fn run_here(
    collector: &dyn Collector,
    context: &CollectContext,
    timeout: Duration,
) -> Result<SectionReport, CollectError> {
    // On Linux this is the thread's own. Refusal costs only politeness.
    let _ = rustix::process::nice(NICENESS);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| CollectError::System {
            what: "cannot start a runtime",
            cause,
        })?;
    let body = runtime.block_on(async { tokio::time::timeout(timeout, collector.collect(context)).await });
    runtime.shutdown_background();
    let body = body.map_err(|_| timed_out(timeout))??;
    Ok(SectionReport::new(body, context.now())?)
}

/// Collects every section but these once, in sequence.
pub async fn collect_all(context: &CollectContext, without: &[Section]) -> Vec<SectionOutcome> {
    let mut outcomes = Vec::with_capacity(Section::ALL.len());
    Collectors::default()
        .without(without)
        .collect(context, &Section::ALL, |outcome| outcomes.push(outcome))
        .await;
    outcomes
}

/// All sections as one JSON object: `{"v": 1, "sections": {name: report}, "errors": {name: {code, message}}}`.
pub fn report(outcomes: Vec<SectionOutcome>) -> Value {
    let mut sections = serde_json::Map::new();
    let mut errors = serde_json::Map::new();
    for SectionOutcome { section, result } in outcomes {
        let name = section.name().to_owned();
        match result {
            Ok(report) => {
                let report = json!({
                    "hash": report.hash,
                    "collected_at": report.collected_at,
                    "body": report.body.unwrap_or_default(),
                });
                sections.insert(name, report);
            }
            Err(error) => {
                let error = json!({"code": error.code().name(), "message": error.message()});
                errors.insert(name, error);
            }
        }
    }
    json!({"v": 1, "sections": sections, "errors": errors})
}
