//! Lines at the end of a file; each group is one write and one `fdatasync`.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use anyhow::Result;
use async_trait::async_trait;

use super::{Engine, Pair};

/// A file of lines.
pub struct JsonProbe(Arc<File>);

impl JsonProbe {
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(Arc::new(file)))
    }
}

#[async_trait]
impl Engine for JsonProbe {
    async fn store(&mut self, group: &[Pair]) -> Result<()> {
        let mut lines = Vec::with_capacity(group.len() * 512);
        for pair in group {
            write!(lines, r#"{{"id":"{}","body":"#, pair.id)?;
            lines.extend_from_slice(&pair.body);
            write!(
                lines,
                r#","stream":"{}","at":{},"n":{},"row":"#,
                pair.stream, pair.at, pair.n
            )?;
            lines.extend_from_slice(&pair.row);
            lines.extend_from_slice(b"}\n");
        }
        let file = Arc::clone(&self.0);
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
