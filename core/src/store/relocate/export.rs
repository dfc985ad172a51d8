//! A whole view as a stream of records.

use std::collections::VecDeque;

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::RecordKey;
use crate::store::{ExportDigest, Record, Result, View};

/// Records that are read at once.
const PAGE: usize = 1_000;

struct Export {
    view: Box<dyn View>,
    after: Option<RecordKey>,
    ready: VecDeque<Record>,
    /// None once the end was given.
    digest: Option<ExportDigest>,
}

impl dyn View {
    /// Everything, in canonical order, and the end with its digest. Memory stays bounded; the view lives as long as the stream.
    pub fn export(self: Box<Self>) -> BoxStream<'static, Result<Record>> {
        let export = Export {
            view: self,
            after: None,
            ready: VecDeque::new(),
            digest: Some(ExportDigest::default()),
        };
        stream::unfold(export, |mut export| async move {
            let next = export.next().await.transpose()?;
            if next.is_err() {
                export.digest = None;
            }
            Some((next, export))
        })
        .boxed()
    }
}

impl Export {
    async fn next(&mut self) -> Result<Option<Record>> {
        let Some(mut digest) = self.digest.take() else {
            return Ok(None);
        };
        if self.ready.is_empty() {
            // As long as it gets on: a store that takes longer than a view may be held is still read from one view.
            self.view.renew().await?;
            self.ready = self.view.records(self.after, PAGE).await?.into();
        }
        let Some(record) = self.ready.pop_front() else {
            return Ok(Some(digest.end(self.view.seq())));
        };
        digest.add(&record);
        self.digest = Some(digest);
        self.after = record.key();
        Ok(Some(record))
    }
}
