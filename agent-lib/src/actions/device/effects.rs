//! The seam where what an action does to its device can be seen: programs that run, files that get their place, notes that are kept.

use std::{fmt, io, sync::Arc};

/// Hears of each thing that is done to a device.
pub trait Witness: fmt::Debug + Send + Sync {
    /// It is about to be done.
    ///
    /// # Errors
    /// Where it cannot be done: then it is not.
    fn before(&self, what: &str) -> io::Result<()>;

    /// It was done.
    fn after(&self, what: &str);
}

/// Who hears of it, if anybody does.
#[derive(Clone, Debug, Default)]
pub(in crate::actions) struct Effects(Option<Arc<dyn Witness>>);

impl Effects {
    pub(in crate::actions) fn seen_by(witness: Arc<dyn Witness>) -> Self {
        Self(Some(witness))
    }

    /// Something is about to be done.
    pub(super) fn before(&self, what: impl FnOnce() -> String) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |witness| witness.before(&what()))
    }

    /// It was done.
    pub(super) fn after(&self, what: impl FnOnce() -> String) {
        if let Some(witness) = &self.0 {
            witness.after(&what());
        }
    }

    /// Does it, before the eyes of whoever hears of it.
    pub(super) fn done<T>(&self, what: &str, path: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let what = || format!("{what} {path}");
        self.before(what)?;
        let done = act()?;
        self.after(what);
        Ok(done)
    }
}
