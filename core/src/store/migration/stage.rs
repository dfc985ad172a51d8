//! How far two stores are with each other: one table over their standings.

use serde::Serialize;

use super::{
    Problem, Side,
    error::{SOURCE_FILLING, SOURCE_FROZEN, TARGET_FILLING, TARGET_IS_NO_POINT_OF_RETURN},
};
use crate::store::{Move, Phase, Standing};

/// How far a pair of stores is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stage", content = "move", rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was begun; both serve. A move can begin if the target is empty.
    Apart,
    /// The target is frozen and the source's data came from it: the way back is open.
    WayBack,
    /// The target is being filled while the source serves.
    Filling(Move),
    /// The source is frozen and the target does not serve yet.
    Frozen(Move),
    /// The target serves; the source is its point of return.
    Moved(Move),
}

impl Stage {
    /// Where the pair stands; `source` and `target` are the names by which stores remember each other.
    ///
    /// The move's id in both stores is what makes an interrupted move one that can be gone on with. Where only one of them has
    /// it, the name of the other store must fit: nothing is ever filled from, or unfrozen for, a store that was not meant.
    pub fn of(from: &Standing, source: &str, to: &Standing, target: &str) -> Result<Self, Problem> {
        match (&from.phase, &to.phase) {
            (Phase::Frozen(out), Phase::Filling(into)) if out.id == into.id => Ok(Self::Frozen(out.clone())),
            (Phase::Frozen(out), Phase::Serving | Phase::Frozen(_)) if to.came_by(out.id) => {
                Ok(Self::Moved(out.clone()))
            }
            // Frozen, and the target was not begun, or was cleared.
            (Phase::Frozen(out), Phase::Serving) if out.peer == target => Ok(Self::Frozen(out.clone())),
            (Phase::Frozen(out), _) => Err(Problem::new(
                SOURCE_FROZEN,
                Side::Source,
                format!("the source was frozen for its move to {} (move {})", out.peer, out.id),
                "use the data there, or bring it back first",
            )),
            (Phase::Filling(into), _) => Err(Problem::new(
                SOURCE_FILLING,
                Side::Source,
                format!(
                    "the source is itself being filled from {} and is not complete",
                    into.peer
                ),
                "finish that move, or take the other store as the source",
            )),
            (Phase::Serving, Phase::Filling(into)) if into.peer == source => Ok(Self::Filling(into.clone())),
            (Phase::Serving, Phase::Filling(into)) => Err(Problem::new(
                TARGET_FILLING,
                Side::Target,
                format!("the target is being filled from {} (move {})", into.peer, into.id),
                "finish or abandon that move, or take another target",
            )),
            (Phase::Serving, Phase::Frozen(out)) if from.came_by(out.id) => Ok(Self::WayBack),
            (Phase::Serving, Phase::Frozen(out)) => Err(Problem::new(
                TARGET_IS_NO_POINT_OF_RETURN,
                Side::Target,
                format!(
                    "the target was frozen for move {}, and the source's data came by {}",
                    out.id,
                    match &from.origin {
                        Some(origin) => format!("move {} from {}", origin.id, origin.peer),
                        None => "no move".to_owned(),
                    }
                ),
                "take the store that the source's data came from, or another, empty target",
            )),
            (Phase::Serving, Phase::Serving) => Ok(Self::Apart),
        }
    }

    /// The move that is under way or over.
    pub fn begun(&self) -> Option<&Move> {
        match self {
            Self::Apart | Self::WayBack => None,
            Self::Filling(begun) | Self::Frozen(begun) | Self::Moved(begun) => Some(begun),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::kernel::Timestamp;

    fn by(id: u128, peer: &str) -> Move {
        Move {
            id: Uuid::from_u128(id),
            peer: peer.to_owned(),
            at: Timestamp::from_seconds(1),
        }
    }

    fn standing(phase: Phase, origin: Option<u128>) -> Standing {
        Standing {
            phase,
            origin: origin.map(|id| by(id, "elsewhere")),
            ..Standing::default()
        }
    }

    #[track_caller]
    fn check(source: &Standing, target: &Standing, expected: &str) {
        let got = match Stage::of(source, "a", target, "b") {
            Ok(Stage::Apart) => "apart".to_owned(),
            Ok(Stage::WayBack) => "way back".to_owned(),
            Ok(Stage::Filling(by)) => format!("filling {}", by.id.as_u128()),
            Ok(Stage::Frozen(by)) => format!("frozen {}", by.id.as_u128()),
            Ok(Stage::Moved(by)) => format!("moved {}", by.id.as_u128()),
            Err(problem) => problem.code.name().to_owned(),
        };
        assert_eq!(got, expected, "{source:?} and {target:?}");
    }

    #[test]
    fn every_pair_of_standings_has_one_meaning() {
        let serving = || standing(Phase::Serving, None);
        let filling = |id, peer| standing(Phase::Filling(by(id, peer)), Some(id));
        let frozen = |id, peer| standing(Phase::Frozen(by(id, peer)), None);

        check(&serving(), &serving(), "apart");
        check(&serving(), &filling(1, "a"), "filling 1");
        check(&serving(), &filling(1, "other"), "migration.target_filling");
        check(&standing(Phase::Serving, Some(1)), &frozen(1, "a"), "way back");
        check(
            &standing(Phase::Serving, Some(2)),
            &frozen(1, "a"),
            "migration.target_is_no_point_of_return",
        );
        check(&serving(), &frozen(1, "a"), "migration.target_is_no_point_of_return");

        check(&frozen(1, "b"), &serving(), "frozen 1");
        check(&frozen(1, "other"), &serving(), "migration.source_frozen");
        check(&frozen(1, "b"), &filling(1, "a"), "frozen 1");
        check(&frozen(1, "b"), &filling(2, "a"), "migration.source_frozen");
        check(&frozen(1, "b"), &standing(Phase::Serving, Some(1)), "moved 1");
        check(
            &frozen(1, "b"),
            &standing(Phase::Frozen(by(2, "c")), Some(1)),
            "moved 1",
        );
        check(&frozen(1, "b"), &frozen(2, "c"), "migration.source_frozen");
        // What came back by another move came from where it came from first.
        let returned = Standing {
            earlier: vec![Uuid::from_u128(1)],
            ..standing(Phase::Serving, Some(3))
        };
        check(&returned, &frozen(1, "a"), "way back");
        check(&returned, &frozen(2, "a"), "migration.target_is_no_point_of_return");
        check(&frozen(1, "b"), &returned, "moved 1");
        for target in [serving(), filling(1, "a"), frozen(1, "a")] {
            check(&filling(3, "c"), &target, "migration.source_filling");
        }
    }
}
