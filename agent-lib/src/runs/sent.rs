//! What one session has sent about each run. Forgotten with the session: the next one sends again what was not confirmed.

use std::collections::BTreeMap;

use fleet_core::work::RunId;

/// How far one session has told the server of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SentRun {
    pub(super) accepted: bool,
    pub(super) started: bool,
    pub(super) chunks: u32,
    pub(super) finished: bool,
}

/// What one session has sent.
#[derive(Debug, Default)]
pub struct Sent {
    pub(super) runs: BTreeMap<RunId, SentRun>,
}
