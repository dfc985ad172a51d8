//! What a store is for: serving, being filled, frozen.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    kernel::Timestamp,
    store::{Error, Result},
};

/// A move, as each of its two stores remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The same in both stores.
    pub id: Uuid,
    /// The other store: where it is, without secrets.
    pub peer: String,
    /// When the move began.
    pub at: Timestamp,
}

/// What a store is for now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", content = "move", rename_all = "snake_case")]
pub enum Phase {
    /// It takes reads and writes.
    #[default]
    Serving,
    /// It is being filled by a move, or was when that broke off.
    Filling(Move),
    /// Its data was moved, or is about to be: it is read-only.
    Frozen(Move),
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("the store serves"),
            Self::Filling(from) => write!(
                f,
                "the store is being filled from {} (begun {}) and is not complete; finish that move with `migrate-storage run \
                 --resume`, or empty the store and begin again",
                from.peer, from.at
            ),
            Self::Frozen(to) => write!(
                f,
                "the store was frozen for its move to {} (begun {}) and is read-only; use the data there, or bring it back \
                 with `migrate-storage back`",
                to.peer, to.at
            ),
        }
    }
}

/// A step of a store's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// See [`super::Relocate::freeze`].
    Freeze(Move),
    /// See [`super::Relocate::fill`]; whether the store holds nothing.
    Fill {
        /// The move.
        from: Move,
        /// Whether commit order is at 0 and nothing is held.
        empty: bool,
    },
    /// See [`super::Relocate::serve`].
    Serve,
    /// See [`super::Relocate::clear`].
    Clear,
}

impl Phase {
    /// The phase after a step: the one table of what may follow what.
    pub fn after(&self, step: &Step) -> Result<Self> {
        match (self, step) {
            (Self::Serving, Step::Freeze(to)) => Ok(Self::Frozen(to.clone())),
            (Self::Frozen(now), Step::Freeze(to)) if now.id == to.id => Ok(self.clone()),
            (Self::Serving, Step::Fill { from, empty: true }) | (Self::Frozen(_), Step::Fill { from, .. }) => {
                Ok(Self::Filling(from.clone()))
            }
            (Self::Filling(now), Step::Fill { from, .. }) if now.id == from.id => Ok(self.clone()),
            (Self::Serving, Step::Fill { empty: false, .. }) => Err(Error::Refused(
                "the store is not empty; data can only be moved into an empty one".to_owned(),
            )),
            (_, Step::Serve) | (Self::Filling(_), Step::Clear) => Ok(Self::Serving),
            (Self::Serving, Step::Clear) | (Self::Frozen(_), Step::Clear) => Err(Error::Refused(
                "only a store that is being filled can be cleared".to_owned(),
            )),
            (Self::Filling(_) | Self::Frozen(_), Step::Freeze(_)) | (Self::Filling(_), Step::Fill { .. }) => {
                Err(self.refusal())
            }
        }
    }

    /// Refuses what only a serving store does.
    pub fn check_serving(&self) -> Result<()> {
        match self {
            Self::Serving => Ok(()),
            Self::Filling(_) | Self::Frozen(_) => Err(self.refusal()),
        }
    }

    /// Refuses a patch anywhere but in a store that is being filled.
    pub fn check_filling(&self) -> Result<()> {
        match self {
            Self::Filling(_) => Ok(()),
            Self::Serving => Err(Error::Refused("the store is not being filled".to_owned())),
            Self::Frozen(_) => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Error {
        Error::NotServing(Box::new(self.clone()))
    }
}

/// What a store says of its place among stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it is for.
    #[serde(flatten)]
    pub phase: Phase,
    /// The move that filled it last; none for a store that began by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Move>,
    /// The moves that filled it before, the newest last: data that came back into a store still came from where it came from
    /// first. At most [`Standing::EARLIER`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Uuid>,
}

impl Standing {
    /// Moves that are remembered besides the last.
    pub const EARLIER: usize = 16;

    /// Whether the store's data came by this move, lately or before.
    pub fn came_by(&self, id: Uuid) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.id == id) || self.earlier.contains(&id)
    }

    /// The standing after a step. Filling records the origin; filling a frozen store, as a way back does, remembers the one
    /// before as well; clearing forgets all.
    pub fn after(&self, step: &Step) -> Result<Self> {
        let phase = self.phase.after(step)?;
        let (origin, earlier) = match step {
            Step::Fill { from, .. } => {
                let mut earlier = self.earlier.clone();
                let before = self.origin.as_ref().map(|origin| origin.id);
                earlier.extend(before.filter(|before| *before != from.id && !self.earlier.contains(before)));
                let surplus = earlier.len().saturating_sub(Self::EARLIER);
                (Some(from.clone()), earlier.split_off(surplus))
            }
            Step::Clear => (None, Vec::new()),
            Step::Freeze(_) | Step::Serve => (self.origin.clone(), self.earlier.clone()),
        };
        Ok(Self { phase, origin, earlier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: u128) -> Move {
        Move {
            id: Uuid::from_u128(id),
            peer: format!("sqlite:{id}"),
            at: Timestamp::from_seconds(1),
        }
    }

    /// The phase after a step, in a word; or how it is refused.
    #[track_caller]
    fn check(phase: &Phase, step: &Step, expected: &str) {
        let got = match phase.after(step) {
            Ok(Phase::Serving) => "serving".to_owned(),
            Ok(Phase::Filling(by)) => format!("filling {}", by.id.as_u128()),
            Ok(Phase::Frozen(by)) => format!("frozen {}", by.id.as_u128()),
            Err(Error::Refused(_)) => "refused".to_owned(),
            Err(Error::NotServing(_)) => "not serving".to_owned(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expected, "{phase:?} after {step:?}");
    }

    #[test]
    fn every_step_from_every_phase() {
        let fill = |id, empty| Step::Fill { from: of(id), empty };
        let (serving, filling, frozen) = (Phase::Serving, Phase::Filling(of(1)), Phase::Frozen(of(1)));
        for (step, from_serving, from_filling, from_frozen) in [
            (Step::Freeze(of(1)), "frozen 1", "not serving", "frozen 1"),
            (Step::Freeze(of(2)), "frozen 2", "not serving", "not serving"),
            (fill(1, true), "filling 1", "filling 1", "filling 1"),
            (fill(1, false), "refused", "filling 1", "filling 1"),
            (fill(2, true), "filling 2", "not serving", "filling 2"),
            (Step::Serve, "serving", "serving", "serving"),
            (Step::Clear, "refused", "serving", "refused"),
        ] {
            check(&serving, &step, from_serving);
            check(&filling, &step, from_filling);
            check(&frozen, &step, from_frozen);
        }
    }

    #[test]
    fn data_that_comes_back_still_came_from_where_it_came_from_first() {
        let take = |standing: Standing, step| standing.after(&step).unwrap();
        let fill = |id, empty| Step::Fill { from: of(id), empty };
        let mut store = take(take(Standing::default(), fill(1, true)), Step::Serve);
        for id in 2..40 {
            store = take(store, Step::Freeze(of(id)));
            // Twice: a way back that was broken off and goes on.
            store = take(take(store, fill(id + 100, false)), fill(id + 100, false));
            store = take(store, Step::Serve);
        }
        let came_by = |id| store.came_by(Uuid::from_u128(id));
        assert!(came_by(139) && came_by(138) && came_by(123));
        assert!(!came_by(122), "that is long ago");
        assert!(!came_by(39), "it was frozen for that move, not filled by it");
        let cleared = take(take(take(store, Step::Freeze(of(50))), fill(51, false)), Step::Clear);
        assert_eq!(cleared, Standing::default());
    }

    #[test]
    fn a_standing_reads_back_as_it_was_written() {
        for standing in [
            Standing::default(),
            Standing {
                phase: Phase::Frozen(of(2)),
                origin: Some(of(1)),
                earlier: vec![Uuid::from_u128(7)],
            },
        ] {
            let text = serde_json::to_string(&standing).unwrap();
            assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing, "{text}");
        }
    }
}
