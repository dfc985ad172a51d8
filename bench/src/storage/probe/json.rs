//! Lines at the end of a file; each group is one write and one `fdatasync`. The bytes are those that our store writes, but for the
//! checksum, which nobody computes here.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use anyhow::Result;
use async_trait::async_trait;
use fleet_core::{
    access::AuditEntry,
    devices::{DeviceLink, DeviceState},
    store::{Entity as _, LaneRow as _, LatestValue as _},
    work::output::Chunk,
};

use super::{Engine, Pair, What};

/// A file of lines.
pub struct JsonProbe {
    file: Arc<File>,
    what: What,
    /// The number of the next line.
    next: u64,
}

impl JsonProbe {
    pub fn open(path: &Path, what: What) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file: Arc::new(file),
            what,
            next: 1,
        })
    }

    fn line(&self, lines: &mut Vec<u8>, pair: &Pair, number: u64) -> Result<()> {
        let synced = self.next - 1;
        write!(lines, r#"{{"crc":"00000000","n":{number},"synced":{synced},"op":{{"#)?;
        let lane = match self.what {
            What::Heartbeats => {
                let set = DeviceState::SET;
                write!(
                    lines,
                    r#""ingest":{{"latest":[{{"set":"{set}","id":"{}","body":"#,
                    pair.id
                )?;
                lines.extend_from_slice(&pair.body);
                lines.extend_from_slice(b"}]");
                Chunk::LANE
            }
            What::Commits => {
                // A batch has the id of its row, and a place in commit order.
                let (batch, kind) = (pair.stream, DeviceLink::KIND);
                write!(
                    lines,
                    r#""commit":{{"batch":"{batch}","seq":{number},"writes":[{{"put":{{"kind":"{kind}","#
                )?;
                write!(lines, r#""id":"{}","expect":"any","body":"#, pair.id)?;
                lines.extend_from_slice(&pair.body);
                lines.extend_from_slice(b"}}]");
                AuditEntry::LANE
            }
        };
        let Pair { stream, at, n, .. } = pair;
        write!(
            lines,
            r#","rows":[{{"lane":"{lane}","stream":"{stream}","at":{at},"n":{n},"body":"#
        )?;
        lines.extend_from_slice(&pair.row);
        lines.extend_from_slice(b"}]}}}\n");
        Ok(())
    }
}

#[async_trait]
impl Engine for JsonProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        let mut lines = Vec::with_capacity(group.len() * 1_024);
        for (number, pair) in (self.next..).zip(group) {
            self.line(&mut lines, pair, number)?;
        }
        self.next += group.len() as u64;
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            (&*file).write_all(&lines)?;
            file.sync_data()
        })
        .await??;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
