//! When plans are due, for those who look ahead.

use std::collections::BTreeSet;

use super::{Plan, PlanId};
use crate::{
    kernel::{MAX_LIMIT, PageRequest, Result, Timestamp},
    store::{Query, Reader, Versioned},
    work::schedule::Timetable,
};

/// The plans whose schedules count, ready to be asked.
#[derive(Debug)]
pub(in crate::work) struct Timetables(Vec<Versioned<Plan>>);

/// A time at which a plan is due.
#[derive(Clone, Copy, Debug)]
pub(in crate::work) struct PlannedTime<'a> {
    pub(in crate::work) plan: &'a Versioned<Plan>,
    pub(in crate::work) at: Timestamp,
}

impl Timetables {
    /// All of them; bounded by how many plans there may be.
    pub(in crate::work) async fn load(reader: &mut Reader) -> Result<Self> {
        let (mut plans, mut token) = (Vec::new(), None);
        loop {
            let page = PageRequest::new(Some(MAX_LIMIT), token)?;
            let found = reader.list(&Query::<Plan>::all(), &page).await?;
            let counting = found
                .items
                .into_iter()
                .filter(|plan| plan.enabled && plan.schedule.is_some());
            plans.extend(counting);
            token = found.next;
            if token.is_none() {
                return Ok(Self(plans));
            }
        }
    }

    /// The first of their times from one moment on and before another, in order. Says whether there are more.
    pub(in crate::work) fn times(&self, from: Timestamp, to: Timestamp, limit: usize) -> (Vec<PlannedTime<'_>>, bool) {
        let timetables = self.0.iter().filter_map(|plan| {
            let schedule = plan.schedule.as_ref()?;
            Some((plan, Timetable::new(schedule)))
        });
        let timetables: Vec<_> = timetables.collect();
        // The moment itself counts.
        let before = Timestamp::from_micros(from.as_micros().saturating_sub(1));
        let mut next: BTreeSet<(Timestamp, PlanId, usize)> = BTreeSet::new();
        let due = |place: usize, after: Timestamp| {
            let (plan, timetable) = timetables.get(place)?;
            let at = timetable.next_after(after).filter(|at| *at < to)?;
            Some((at, plan.id, place))
        };
        next.extend((0..timetables.len()).filter_map(|place| due(place, before)));
        let mut found = Vec::new();
        while let Some((at, _, place)) = next.pop_first() {
            if found.len() == limit {
                return (found, true);
            }
            if let Some((plan, _)) = timetables.get(place) {
                found.push(PlannedTime { plan, at });
            }
            next.extend(due(place, at));
        }
        (found, false)
    }
}
