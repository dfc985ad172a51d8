//! When windows are, one occurrence after the other; pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Window, WindowId, WindowKind, WindowSet, rules::Ready};
use crate::{
    kernel::{EntityId as _, Timestamp},
    store::Rev,
};

/// The most occurrences in one calendar.
pub const MAX_OCCURRENCES: usize = 1_000;
/// The longest time that is looked at, in seconds: 366 days.
pub const MAX_RANGE_SECONDS: u64 = 366 * 86_400;

/// One time that a window is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OccurrenceView {
    /// The window.
    pub window: WindowId,
    /// Its name.
    pub name: String,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
    /// Its first moment.
    pub starts_at: Timestamp,
    /// The first moment after it.
    pub ends_at: Timestamp,
}

/// One time that a window is, with the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrence<'a> {
    pub(super) window: &'a Window,
    pub(super) revision: Rev,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
}

impl Occurrence<'_> {
    pub(super) fn view(&self) -> OccurrenceView {
        OccurrenceView {
            window: self.window.id,
            name: self.window.name.clone(),
            kind: self.window.kind,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
        }
    }

    /// Where it stands in the calendar: in the order of their starts, and of their windows among equals.
    pub(super) fn place(&self) -> Place {
        (self.starts_at, self.window.id.uuid())
    }
}

/// Where an occurrence stands in the calendar.
pub(super) type Place = (Timestamp, uuid::Uuid);

impl WindowSet {
    /// The occurrences that lie between two times in part or as a whole, in the order of their starts; those behind `after`, and at
    /// most `limit`. Says whether there are more.
    pub(super) fn occurrences(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<Place>,
        limit: usize,
    ) -> (Vec<Occurrence<'_>>, bool) {
        let is_behind = |ready: &Ready, start| after.is_none_or(|after| (start, ready.window.id.uuid()) > after);
        let first = |ready: &Ready| {
            let mut start = ready.times.first_not_over(from)?;
            // What was told on pages before is not walked through again.
            if let Some((told, _)) = after.filter(|(told, _)| start < *told) {
                let before = Timestamp::from_micros(told.as_micros().saturating_sub(1));
                start = ready.times.next_start(before)?;
            }
            match is_behind(ready, start) {
                true => Some(start),
                false => ready.times.next_start(start),
            }
        };
        let mut next: BTreeSet<(Timestamp, uuid::Uuid, usize)> = BTreeSet::new();
        for (at, ready) in self.windows.iter().enumerate() {
            let start = first(ready).filter(|start| *start < to);
            next.extend(start.map(|start| (start, ready.window.id.uuid(), at)));
        }
        let mut found = Vec::new();
        while let Some((start, id, at)) = next.pop_first() {
            if found.len() == limit {
                return (found, true);
            }
            let Some(ready) = self.windows.get(at) else { continue };
            found.push(Occurrence {
                window: &ready.window,
                revision: ready.revision,
                starts_at: start,
                ends_at: ready.times.end(start),
            });
            let later = ready.times.next_start(start).filter(|start| *start < to);
            next.extend(later.map(|start| (start, id, at)));
        }
        (found, false)
    }
}
