//! What the server keeps for itself: when jobs are due, where the feed stood, which backups there are.

use std::time::Duration;

use fleet_core::{
    jobs::{JobId, JobState},
    retention::{FeedMark, FeedMarks, FeedMarksId},
    storage::{BackupOutcome, BackupTrigger, StorageBackup},
    store::Result,
};

use crate::{Dataset, dice::Dice, writer::Writer};

const HOUR: Duration = Duration::from_secs(3_600);
/// Daily backups that are kept.
const BACKUPS: u64 = 7;

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
            };
            writer.put(&backup).await?;
        }
        writer.flush().await
    }
}
