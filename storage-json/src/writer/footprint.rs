//! How much room the store takes.

use std::collections::HashMap;

use super::Writer;
use crate::layout::Part;

impl Writer {
    /// Bytes of what is stored under each name; the journal and what is nobody's stand under the empty one. What was trimmed or
    /// replaced since the last snapshot is in it still.
    pub(super) fn footprint(&self) -> HashMap<String, u64> {
        let mut parts = HashMap::from([(String::new(), self.behind)]);
        for file in &self.manifest.files {
            let name = match &file.part {
                Part::Kind(name) | Part::Latest(name) => name.as_str(),
                Part::Rows { lane, .. } => lane.as_str(),
                Part::Feed(_) | Part::Batches(_) | Part::Leases => "",
            };
            *parts.entry(name.to_owned()).or_default() += file.bytes;
        }
        parts
    }
}
