//! What is written, and who writes it: the same bodies through our store and into a probe, by as many clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use fleet_bench_dataset::{Dataset, Size};
use fleet_core::{
    access::{Actor, AuditEntry, Origin, Outcome, Subject},
    devices::{DeviceId, DeviceLink, DeviceState},
    kernel::{EntityId as _, Timestamp},
    protocol::{Gauges, OutputStream},
    store::{
        Backend, Batch, Entity as _, Expect, Ingest, JsonObject, LaneRow as _, LatestValue as _, Name, Value, Write,
        encode,
    },
    work::output::Chunk,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::machine;

/// Devices that the writes are about.
const DEVICES: usize = 1_000;
/// Not measured: what a start costs.
const WARM_UP: Duration = Duration::from_millis(700);

/// What is written at once, durable before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// A heartbeat: a latest value and a row of a lane, on the hot path, which may wait a moment for company.
    Heartbeats,
    /// A change: a document and a row of the audit, which never waits.
    Commits,
}

impl What {
    pub const ALL: [Self; 2] = [Self::Heartbeats, Self::Commits];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Heartbeats => "heartbeats/s",
            Self::Commits => "commits/s",
        }
    }

    /// Where its rows are.
    pub const fn lane(self) -> Name {
        match self {
            Self::Heartbeats => Chunk::LANE,
            Self::Commits => AuditEntry::LANE,
        }
    }
}

/// A keyed body that replaces the one before, and a row; with the values of their index columns.
#[derive(Clone, Debug)]
pub struct Pair {
    pub id: Uuid,
    pub body: Bytes,
    pub keys: Vec<Value>,
    pub stream: Uuid,
    pub at: i64,
    pub n: u32,
    pub row: Bytes,
    pub columns: Vec<Value>,
    pub order: Option<Order>,
}

/// What a change leaves besides: its place in commit order, and what is remembered of it so that it can be told of, proven, and not
/// done twice. For a probe these are bytes like any others.
#[derive(Clone, Debug)]
pub struct Order {
    /// The document's revision and the place, which is the row's in its chain as well.
    pub rev: i64,
    pub seq: i64,
    pub fingerprint: [u8; 16],
    pub hash: [u8; 32],
    /// What followers are told: the document with its revision, and the stream.
    pub feed: Vec<u8>,
}

/// Takes what a client writes; done when it is durable.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    async fn write(&self, number: u64) -> Result<()>;
}

/// What the clients write, by a number that is never used twice.
#[derive(Clone, Debug)]
pub struct Source {
    devices: Arc<Vec<DeviceId>>,
    now: Timestamp,
}

impl Source {
    pub fn new() -> Self {
        let dataset = Dataset::new(1, Size::of(DEVICES));
        Self {
            devices: Arc::new((0..DEVICES).map(|n| dataset.device_id(n)).collect()),
            now: dataset.now(),
        }
    }

    fn device(&self, number: u64) -> DeviceId {
        self.devices[(number % DEVICES as u64) as usize]
    }

    fn at(&self, number: u64) -> Timestamp {
        self.now.plus(Duration::from_micros(number))
    }

    fn state(&self, number: u64) -> DeviceState {
        DeviceState {
            seen_at: self.at(number),
            epoch: 7,
            agent_version: "0.1.0".into(),
            gauges: Gauges {
                uptime_seconds: Some(86_400 + number % 1_000),
                load_hundredths: Some(25),
                memory_total_bytes: Some(8 << 30),
                memory_used_bytes: Some((1 << 30) + number % 1_000),
            },
        }
    }

    /// A sample of about 100 bytes.
    fn sample(&self, number: u64) -> Chunk {
        Chunk {
            stream: OutputStream::Stdout,
            text: format!("{number:020} cpu 12 memory 3412 load 25 disk 71 in 1234 out 4321"),
        }
    }

    fn link(&self, number: u64) -> DeviceLink {
        DeviceLink {
            id: self.device(number),
            server: Uuid::from_u128(7),
            epoch: 1 + number,
            connected_at: self.at(number),
        }
    }

    fn entry(&self, number: u64) -> AuditEntry {
        let device = self.device(number);
        AuditEntry {
            id: Uuid::from_u128(u128::from(number)),
            at: self.at(number),
            actor: Actor::User {
                id: Uuid::from_u128(9),
                name: "ann".into(),
            },
            origin: Origin {
                address: Some("192.0.2.7".into()),
                request_id: Some(format!("{number:016x}")),
            },
            action: "device.update".into(),
            outcome: Outcome::Done,
            subject: Some(Subject {
                kind: "device".into(),
                id: device.uuid(),
                name: "web-00001".into(),
            }),
            changed: vec!["labels/site".into()],
            details: Default::default(),
        }
    }

    /// The bytes alone, for a probe.
    pub fn pair(&self, what: What, number: u64) -> Result<Pair> {
        let (device, at) = (self.device(number), self.at(number));
        let (body, keys, row) = match what {
            What::Heartbeats => {
                let sample = self.sample(number).row(device.uuid(), at, 0)?;
                (self.state(number).encode()?, Vec::new(), sample)
            }
            What::Commits => {
                let (link, entry) = (self.link(number), self.entry(number));
                let keys = link.index().into_iter().flatten().collect();
                (encode(&link, &JsonObject::new())?, keys, entry.row(entry.id, at, 0)?)
            }
        };
        let order = (what == What::Commits).then(|| self.order(device, number, row.stream));
        Ok(Pair {
            order,
            id: device.uuid(),
            body,
            keys,
            stream: row.stream,
            at: row.at,
            n: row.n,
            row: row.body,
            columns: row.index,
        })
    }
}

impl Source {
    fn order(&self, device: DeviceId, number: u64, stream: Uuid) -> Order {
        let (id, stream) = (device.uuid().into_bytes(), stream.into_bytes());
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(&id);
        hash[16..].copy_from_slice(&stream);
        let rev = 1 + number / DEVICES as u64;
        let parts: [&[u8]; 5] = [
            DeviceLink::KIND.as_bytes(),
            &id,
            &rev.to_be_bytes(),
            AuditEntry::LANE.as_bytes(),
            &stream,
        ];
        Order {
            rev: rev.cast_signed(),
            seq: number.cast_signed(),
            fingerprint: stream,
            hash,
            feed: parts.concat(),
        }
    }
}

/// Our store. What is written is encoded by the typed layer each time, as it is by the services.
pub struct Ours {
    pub backend: Arc<dyn Backend>,
    pub source: Source,
    pub what: What,
}

#[async_trait]
impl Target for Ours {
    async fn write(&self, number: u64) -> Result<()> {
        let source = &self.source;
        let device = source.device(number);
        match self.what {
            What::Heartbeats => {
                let mut ingest = Ingest::default();
                ingest
                    .set(device, &source.state(number))
                    .and_then(|ingest| ingest.append(device.uuid(), source.at(number), 0, &source.sample(number)))
                    .map_err(|error| anyhow!(error.log()))?;
                Ok(self.backend.ingest(ingest).await?)
            }
            What::Commits => {
                let (link, entry) = (source.link(number), source.entry(number));
                let put = Write::Put {
                    key: DeviceLink::key(device),
                    expect: Expect::Any,
                    body: encode(&link, &JsonObject::new())?,
                    index: link.index(),
                };
                let row = entry.row(entry.id, entry.at, 0)?;
                let batch = Batch {
                    id: entry.id,
                    writes: vec![put],
                    rows: vec![(AuditEntry::LANE, row)],
                };
                Ok(self.backend.commit(batch).await.map(drop)?)
            }
        }
    }
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Turn {
    /// Acknowledged writes a second.
    pub rate: f64,
    /// The latency in milliseconds that 99 of a hundred writes did not exceed.
    pub p99_ms: f64,
    /// The CPU time of this process for each of them, in microseconds: other load on the machine hardly changes it.
    pub cpu_us: f64,
}

/// Lets so many clients write one after the other for a while.
pub async fn turn(target: Arc<dyn Target>, clients: usize, time: Duration) -> Result<Turn> {
    let numbers = Arc::new(AtomicU64::new(1));
    let begun = Instant::now();
    let (from, to) = (begun + WARM_UP, begun + WARM_UP + time);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (target, numbers) = (target.clone(), numbers.clone());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let sent = Instant::now();
                target.write(numbers.fetch_add(1, Ordering::Relaxed)).await?;
                let now = Instant::now();
                if now >= to {
                    return Ok::<_, anyhow::Error>(latencies);
                }
                if now >= from {
                    latencies.push(now.duration_since(sent).as_secs_f64() * 1e3);
                }
            }
        });
    }
    tokio::time::sleep_until(from.into()).await;
    let before = machine::cpu(std::process::id())?;
    tokio::time::sleep_until(to.into()).await;
    let used = machine::cpu(std::process::id())?.since(before).total();
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done??);
    }
    Ok(Turn {
        rate: latencies.len() as f64 / time.as_secs_f64(),
        cpu_us: used * 1e6 / (latencies.len() as f64).max(1.0),
        p99_ms: crate::figures::quantile(latencies, 0.99),
    })
}
