//! What the server keeps for itself: when jobs are due, where the feed stood, which backups there are,
//! and which releases of the agent.

use std::time::Duration;

use fleet_core::{
    access::Actor,
    agents::{AgentRelease, AgentReleaseId, ReleaseSource},
    blobs::{Blob, BlobDigest, BlobId, BlobRef},
    jobs::{JobId, JobState},
    protocol::{AgentVersion, Sha256Digest},
    retention::{FeedMark, FeedMarks, FeedMarksId},
    storage::{BackedUpBlobs, BackupOutcome, BackupTrigger, EndedMove, MoveState, StorageBackup},
    store::Result,
};

use crate::{Dataset, dice::Dice, writer::Writer};

const HOUR: Duration = Duration::from_secs(3_600);
/// Daily backups that are kept.
const BACKUPS: u64 = 7;
/// Releases of the agent, over both platforms.
const RELEASES: u64 = 12;

impl Dataset {
    pub(crate) async fn write_upkeep(&self, writer: &mut Writer<'_>) -> Result<()> {
        let now = self.now();
        for name in ["retention.trim", "retention.forget"] {
            let state = JobState {
                name: name.to_owned(),
                due_at: now.plus(HOUR),
                ran_at: now,
                error: None,
            };
            writer.set(JobId::of(name), &state).await?;
        }
        let marks = (0..168_u32).map(|hours| FeedMark {
            at: now.minus(HOUR * (168 - hours)),
            seq: u64::from(hours),
        });
        let marks = FeedMarks { marks: marks.collect() };
        writer.set(FeedMarksId::only(), &marks).await?;
        for n in 0..BACKUPS {
            let mut dice = Dice::new(self.seed, "backup", n);
            let made_at = now.minus(HOUR * 24 * u32::try_from(BACKUPS - n).unwrap_or(1));
            let backup = StorageBackup {
                id: dice.id(made_at),
                made_at,
                took_seconds: 1 + dice.next() % 60,
                trigger: BackupTrigger::Schedule,
                folder: "backups".to_owned(),
                file: format!("fleet-{n}.backup"),
                outcome: BackupOutcome::Done {
                    bytes: 1_000_000 + dice.next() % 1_000_000,
                    records: 10_000 + dice.next() % 1_000,
                    seq: n + 1,
                    digest: dice.hex::<32>(),
                    key_included: true,
                },
                blobs: Some(BackedUpBlobs {
                    count: RELEASES,
                    bytes: RELEASES * 7_000_000,
                    damaged: 0,
                }),
            };
            writer.put(&backup).await?;
        }
        let mut dice = Dice::new(self.seed, "move", 0);
        let began_at = now.minus(HOUR * 24 * 300);
        let ended = EndedMove {
            id: dice.id(began_at),
            from: "sqlite:/var/lib/fleet/first.db".to_owned(),
            to: "sqlite:/var/lib/fleet/fleet.db".to_owned(),
            state: MoveState::Done,
            began_at,
            ended_at: began_at.plus(HOUR),
            records: dice.next() % 1_000_000,
            pause_ms: Some(dice.next() % 1_000),
            problem: None,
        };
        writer.put(&ended).await?;
        self.write_releases(writer).await?;
        writer.flush().await
    }

    /// A release of the agent every month for two platforms; the programs themselves are nowhere.
    async fn write_releases(&self, writer: &mut Writer<'_>) -> Result<()> {
        for n in 0..RELEASES {
            let mut dice = Dice::new(self.seed, "agent release", n);
            let created_at = self
                .now()
                .minus(HOUR * 24 * 30 * u32::try_from(RELEASES - n).unwrap_or(1));
            let platform = if n % 2 == 0 { "linux-x86_64" } else { "linux-aarch64" };
            let (version, sha256) = (AgentVersion::new(1, n / 2, 0), Sha256Digest::from_bytes(dice.bytes()));
            let blob = BlobRef {
                digest: BlobDigest::from_bytes(dice.bytes()),
                size_bytes: 5_000_000 + dice.next() % 1_000_000,
                media_type: "application/octet-stream".to_owned(),
            };
            let stored = Blob {
                id: BlobId::of(blob.digest),
                digest: blob.digest,
                size_bytes: blob.size_bytes,
                stored_at: created_at,
                unreferenced_since: None,
                unnamed_since: None,
                leaving_since: None,
            };
            let release = AgentRelease {
                id: AgentReleaseId::of(platform, &version, sha256),
                version,
                platform: platform.to_owned(),
                blob,
                sha256,
                source: ReleaseSource::Imported,
                created_by: Actor::System {
                    part: "agents".to_owned(),
                },
                created_at,
                withdrawn_at: None,
            };
            writer.put(&stored).await?;
            writer.put(&release).await?;
        }
        Ok(())
    }
}
