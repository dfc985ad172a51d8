//! Which run may begin next: one at a time changes the device, a few beside it only look. Pure.

use std::collections::{BTreeMap, HashMap};

use fleet_core::{
    kernel::{Class, Code, Result, Timestamp},
    work::operations::Lane,
};

/// Too many runs wait already.
pub const LANE_FULL: Code = Code::new("executor.lane_full", Class::Unavailable);

/// How much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// How many shared runs execute at the same time.
    pub shared: usize,
    /// How many runs may wait, over both lanes.
    pub waiting: usize,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            shared: 4,
            waiting: 256,
        }
    }
}

/// Names a place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The two lanes of a device. The exclusive lane holds one run at a time; the shared one a few, beside it. In each lane the one
/// that was due first goes first; of equal ones, the one that came first.
#[derive(Debug)]
pub struct Lanes {
    limits: LaneLimits,
    exclusive: Queue,
    shared: Queue,
    lanes: HashMap<Ticket, Lane>,
    tickets: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<(Timestamp, Ticket), ()>,
    running: usize,
}

impl Lanes {
    /// Two empty lanes.
    pub fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            exclusive: Queue::default(),
            shared: Queue::default(),
            lanes: HashMap::new(),
            tickets: 0,
        }
    }

    /// Queues a run that may begin at `due`.
    ///
    /// # Errors
    /// [`LANE_FULL`] when too many wait already.
    pub fn enter(&mut self, lane: Lane, due: Timestamp) -> Result<Ticket> {
        if self.waiting() >= self.limits.waiting {
            return Err(LANE_FULL.error(format!("{} runs wait on this device already", self.limits.waiting)));
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.queue(lane).waiting.insert((due, ticket), ());
        self.lanes.insert(ticket, lane);
        Ok(ticket)
    }

    /// The runs that may begin now; they count as running until they [`leave`](Self::leave).
    pub fn begin(&mut self, now: Timestamp) -> Vec<Ticket> {
        let mut begun = Vec::new();
        for lane in [Lane::Exclusive, Lane::Shared] {
            let places = self.places(lane);
            let queue = self.queue(lane);
            while queue.running < places
                && let Some(first) = queue.waiting.first_entry()
                && first.key().0 <= now
            {
                begun.push(first.remove_entry().0.1);
                queue.running += 1;
            }
        }
        begun
    }

    /// A run has ended, or no longer wants to begin.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(lane) = self.lanes.remove(&ticket) else {
            return;
        };
        let queue = self.queue(lane);
        let before = queue.waiting.len();
        queue.waiting.retain(|(_, waiting), ()| *waiting != ticket);
        if queue.waiting.len() == before {
            queue.running = queue.running.saturating_sub(1);
        }
    }

    /// When the next run becomes due for which there is a place.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lanes = [(Lane::Exclusive, &self.exclusive), (Lane::Shared, &self.shared)].into_iter();
        lanes
            .filter(|(lane, queue)| queue.running < self.places(*lane))
            .filter_map(|(_, queue)| queue.waiting.first_key_value().map(|((due, _), ())| *due))
            .min()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.exclusive.waiting.len() + self.shared.waiting.len()
    }

    fn places(&self, lane: Lane) -> usize {
        match lane {
            Lane::Exclusive => 1,
            Lane::Shared => self.limits.shared.max(1),
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Exclusive => &mut self.exclusive,
            Lane::Shared => &mut self.shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step is `(second, what)`: `eN`/`sN` enters a run due at second N, `-K` lets the K-th entered leave, `.` nothing.
    /// Gives which runs began after each step, by order of entering.
    #[track_caller]
    fn check(steps: &[(i64, &str)], expected: &[&[u64]]) {
        let mut lanes = Lanes::new(LaneLimits { shared: 2, waiting: 3 });
        let got: Vec<Vec<u64>> = steps
            .iter()
            .map(|(second, what)| {
                let (kind, number) = what.split_at(1);
                let number = number.parse().unwrap_or(0);
                match kind {
                    "e" => drop(lanes.enter(Lane::Exclusive, Timestamp::from_seconds(number)).unwrap()),
                    "s" => drop(lanes.enter(Lane::Shared, Timestamp::from_seconds(number)).unwrap()),
                    "-" => lanes.leave(Ticket(number as u64)),
                    _ => {}
                }
                let begun = lanes.begin(Timestamp::from_seconds(*second));
                begun.iter().map(|ticket| ticket.0).collect()
            })
            .collect();
        assert_eq!(got, expected, "{steps:?}");
    }

    #[test]
    fn one_exclusive_run_at_a_time() {
        check(&[(0, "e0"), (0, "e0"), (0, "-1"), (0, "-2")], &[&[1], &[], &[2], &[]]);
    }

    #[test]
    fn a_few_shared_runs_beside_it() {
        check(
            &[(0, "e0"), (0, "s0"), (0, "s0"), (0, "s0"), (0, "-2")],
            &[&[1], &[2], &[3], &[], &[4]],
        );
    }

    #[test]
    fn what_is_due_first_goes_first_and_nothing_before_its_time() {
        check(
            &[(0, "e0"), (1, "e9"), (2, "e5"), (10, "-1"), (10, "-3")],
            &[&[1], &[], &[], &[3], &[2]],
        );
        check(&[(0, "e5"), (4, "."), (5, ".")], &[&[], &[], &[1]]);
    }

    #[test]
    fn one_that_leaves_the_queue_never_begins_and_frees_nobody_elses_place() {
        check(
            &[
                (0, "e0"),
                (0, "e0"),
                (0, "e0"),
                (0, "-2"),
                (0, "-1"),
                (0, "-1"),
                (0, "-3"),
            ],
            &[&[1], &[], &[], &[], &[3], &[], &[]],
        );
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut lanes = Lanes::new(LaneLimits { shared: 1, waiting: 2 });
        lanes.enter(Lane::Shared, Timestamp::EPOCH).unwrap();
        let waiting = lanes.enter(Lane::Exclusive, Timestamp::EPOCH).unwrap();
        assert_eq!(
            lanes.enter(Lane::Shared, Timestamp::EPOCH).unwrap_err().code(),
            LANE_FULL
        );
        lanes.leave(waiting);
        lanes.enter(Lane::Shared, Timestamp::EPOCH).unwrap();
    }

    #[test]
    fn the_next_time_to_look_counts_only_lanes_with_a_place() {
        let mut lanes = Lanes::new(LaneLimits::default());
        assert_eq!(lanes.next_due(), None);
        let second = Timestamp::from_seconds;
        let first = lanes.enter(Lane::Exclusive, second(1)).unwrap();
        lanes.enter(Lane::Exclusive, second(2)).unwrap();
        lanes.enter(Lane::Shared, second(9)).unwrap();
        assert_eq!(lanes.next_due(), Some(second(1)));
        assert_eq!(lanes.begin(second(1)), [first]);
        assert_eq!(lanes.next_due(), Some(second(9)));
        lanes.leave(first);
        assert_eq!(lanes.next_due(), Some(second(2)));
    }
}
