//! The chain of a lane: each row's link covers the row and the link before it.
//!
//! Numbers rise by one. Rows that were lost to damage keep theirs: whoever repairs a store links the next row over the missing
//! numbers ([`Link::over`]), so that the chain holds and yet shows the gap for good, in every copy of the store. Rows that were
//! taken out without that break the chain, since the next link covers what is not there any more.

use serde::{Deserialize, Serialize};

use super::{Finding, Name, Row, Severity};

/// A row's place in its lane's chain. Made under the commit-order lock, carried by migration, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The place: 1 for the first row of the lane, rising by one.
    pub number: u64,
    /// BLAKE3 over the previous hash (32 zero bytes before the first row), the number and the row.
    pub hash: [u8; 32],
}

impl Link {
    /// The link of `row`, which follows `previous`.
    pub fn after(previous: Option<Self>, row: &Row) -> Self {
        let number = previous.map_or(0, |link| link.number) + 1;
        Self::over(previous, number, row)
    }

    /// The link of `row` at a place further on: the rows between it and `previous` are lost.
    pub fn over(previous: Option<Self>, number: u64, row: &Row) -> Self {
        let hash = previous.map_or([0; 32], |link| link.hash);
        let parts: [&[u8]; 6] = [
            &hash,
            &number.to_le_bytes(),
            row.stream.as_bytes(),
            &row.at.to_le_bytes(),
            &row.n.to_le_bytes(),
            &(row.body.len() as u64).to_le_bytes(),
        ];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&parts.concat());
        hasher.update(&row.body);
        Self {
            number,
            hash: *hasher.finalize().as_bytes(),
        }
    }

    /// A head that stands at a place further on, because the rows up to there are lost: the next row is linked over them.
    pub fn moved_on(head: Option<Self>, number: u64) -> Self {
        let hash = head.map_or([0; 32], |link| link.hash);
        Self { number, hash }
    }
}

/// Where a chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain breaks at row {number}: {problem}")]
pub struct ChainBreak {
    /// The place at which the next intact row was expected.
    pub number: u64,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Numbers without rows, over which the next row was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Gap {
    fn between(last: Option<Link>, next: u64) -> Option<Self> {
        let first = last.map_or(0, |link| link.number) + 1;
        (first < next).then(|| Self { first, last: next - 1 })
    }

    fn finding(self, lane: Name) -> Finding {
        let Self { first, last } = self;
        let (which, them) = if first == last {
            (format!("row {first} of the chain is"), "it")
        } else {
            (format!("rows {first} to {last} of the chain are"), "them")
        };
        Finding {
            severity: Severity::Known,
            subject: lane.to_owned(),
            problem: format!(
                "{which} gone: lost to damage, and a repair went on without {them}; the chain holds before and behind {them}"
            ),
        }
    }
}

/// Gaps of one lane that are told one by one.
const GAPS: usize = 100;

/// Looks at a chain from its first row on: rows come in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct ChainWalk {
    last: Option<Link>,
    gaps: Vec<Gap>,
    /// Those that are not told one by one.
    more: u64,
    broken: Option<ChainBreak>,
}

impl ChainWalk {
    /// The next row. After the first break nothing more is looked at.
    pub fn row(&mut self, row: &Row, link: Option<Link>) {
        if self.broken.is_some() {
            return;
        }
        let gap = link.and_then(|link| Gap::between(self.last, link.number));
        match (gap, link) {
            (Some(gap), Some(link)) if Link::over(self.last, link.number, row) == link => {
                self.last = Some(link);
                self.gap(gap);
            }
            _ => match verify_chain(self.last, [(row, link)]) {
                Ok(last) => self.last = last,
                Err(broken) => self.broken = Some(broken),
            },
        }
    }

    /// Whether a break was found.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The gaps among the rows, in order; no more than the first hundred.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    fn gap(&mut self, gap: Gap) {
        if self.gaps.len() < GAPS {
            self.gaps.push(gap);
        } else {
            self.more += 1;
        }
    }

    /// What there is to say of the chain of `lane`, of which all rows were looked at and the store says that this is its head.
    pub fn findings(mut self, lane: Name, head: Option<Link>) -> Vec<Finding> {
        let at_end = head.filter(|head| self.broken.is_none() && Some(*head) != self.last);
        let damage = |problem: String| Finding {
            severity: Severity::Damage,
            subject: lane.to_owned(),
            problem,
        };
        let wrong = match (&self.broken, head) {
            (Some(broken), _) => Some(broken.to_string()),
            (None, None) if self.last.is_some() => Some("the head of the chain is missing".to_owned()),
            (None, _) => None,
        };
        let mut end = None;
        if let Some(head) = at_end {
            match Gap::between(self.last, head.number + 1) {
                Some(gap) if Link::moved_on(self.last, head.number) == head => self.gap(gap),
                _ => end = Some("rows at the end of the chain are missing".to_owned()),
            }
        }
        let more = (self.more > 0).then(|| Finding {
            severity: Severity::Known,
            subject: lane.to_owned(),
            problem: format!("{} more gaps", self.more),
        });
        let gaps = self.gaps.into_iter().map(|gap| gap.finding(lane));
        let wrong = wrong.into_iter().chain(end).map(damage);
        gaps.chain(more).chain(wrong).collect()
    }
}

/// Verifies a chain without gaps from `start` (none: from the first row). The rows must come in the order of their numbers;
/// returns the last link.
pub fn verify_chain<'a>(
    start: Option<Link>,
    rows: impl IntoIterator<Item = (&'a Row, Option<Link>)>,
) -> Result<Option<Link>, ChainBreak> {
    let mut last = start;
    for (row, link) in rows {
        let expected = Link::after(last, row);
        let number = expected.number;
        match link {
            None => {
                return Err(ChainBreak {
                    number,
                    problem: "a row has no link",
                });
            }
            Some(link) if link.number != number => {
                return Err(ChainBreak {
                    number,
                    problem: "a row is missing or out of order",
                });
            }
            Some(link) if link.hash != expected.hash => {
                return Err(ChainBreak {
                    number,
                    problem: "a row was altered",
                });
            }
            Some(link) => last = Some(link),
        }
    }
    Ok(last)
}

/// The links of a chain of which rows are lost, anew: each row keeps its number, and the first behind lost ones is linked over
/// them. Rows come in the order of their numbers. Where a row was altered the old links stay from there on, so that the break
/// shows.
pub fn link_over_losses<'a>(rows: impl IntoIterator<Item = (&'a Row, Link)>) -> Vec<Link> {
    let mut links = Vec::new();
    let (mut was, mut now, mut broken): (Option<Link>, Option<Link>, bool) = (None, None, false);
    for (row, link) in rows {
        let lost = Gap::between(was, link.number).is_some();
        // The link behind lost rows covers one that nobody has; all others can be verified.
        broken |= !lost && Link::after(was, row) != link;
        let linked = if broken {
            link
        } else {
            Link::over(now, link.number, row)
        };
        links.push(linked);
        (was, now) = (Some(link), Some(linked));
    }
    links
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn row(n: u32) -> Row {
        Row {
            stream: Uuid::from_u128(7),
            at: i64::from(n),
            n,
            body: Bytes::from(format!("{{\"n\":{n}}}")),
            index: Vec::new(),
        }
    }

    /// A chain of rows 1 to `length`.
    fn chain(length: u32) -> Vec<(Row, Link)> {
        let mut last = None;
        (1..=length)
            .map(|n| {
                let link = Link::after(last, &row(n));
                last = Some(link);
                (row(n), link)
            })
            .collect()
    }

    /// What is left of a chain without these rows, linked anew over them.
    fn without(rows: &[(Row, Link)], lost: &[u64]) -> Vec<(Row, Link)> {
        let left: Vec<_> = rows.iter().filter(|(_, link)| !lost.contains(&link.number)).collect();
        let links = link_over_losses(left.iter().map(|(row, link)| (row, *link)));
        left.iter().map(|(row, _)| row.clone()).zip(links).collect()
    }

    /// Walks a chain whose store says that `head` is its last link (0: the last row's) and compares what there is to say.
    #[track_caller]
    fn check(rows: &[(Row, Link)], head: u64, expected: &[(Severity, &str)]) {
        let last = rows.last().map(|(_, link)| *link);
        let head = if head == 0 {
            last
        } else {
            Some(Link::moved_on(last, head))
        };
        let mut walk = ChainWalk::default();
        rows.iter().for_each(|(row, link)| walk.row(row, Some(*link)));
        let findings = walk.findings("audit", head);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (severity, words)) in findings.iter().zip(expected) {
            assert_eq!(finding.severity, *severity, "{finding:?}");
            assert!(finding.problem.contains(words), "{words}: {finding:?}");
        }
    }

    use Severity::{Damage, Known};

    #[test]
    fn a_whole_chain_has_nothing_to_say() {
        check(&[], 0, &[]);
        check(&chain(5), 0, &[]);
    }

    #[test]
    fn rows_that_are_just_missing_break_the_chain() {
        let mut rows = chain(5);
        rows.remove(2);
        check(&rows, 0, &[(Damage, "breaks at row 3: a row is missing")]);
        let whole = chain(5);
        let mut walk = ChainWalk::default();
        whole[..3].iter().for_each(|(row, link)| walk.row(row, Some(*link)));
        let findings = walk.findings("audit", Some(whole[4].1));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].problem.contains("at the end of the chain are missing"));
    }

    #[test]
    fn rows_that_a_repair_linked_over_are_a_known_gap_and_the_chain_holds_behind_it() {
        check(&without(&chain(6), &[3]), 0, &[(Known, "row 3 of the chain")]);
        check(&without(&chain(6), &[1, 2]), 0, &[(Known, "rows 1 to 2 of the chain")]);
        let mut rows = without(&chain(9), &[2, 5, 6]);
        let gaps = [(Known, "row 2 of"), (Known, "rows 5 to 6 of")];
        check(&rows, 0, &gaps);
        // What is altered behind a gap shows.
        rows[4].0.body = Bytes::from_static(b"{}");
        check(&rows, 0, &[gaps[0], gaps[1], (Damage, "at row 8: a row was altered")]);
    }

    #[test]
    fn a_second_repair_leaves_the_gaps_of_the_first() {
        let once = without(&chain(9), &[3]);
        assert_eq!(without(&once, &[]), once);
        check(
            &without(&once, &[4, 7]),
            0,
            &[(Known, "rows 3 to 4"), (Known, "row 7 of")],
        );
    }

    #[test]
    fn rows_lost_at_the_end_show_before_and_after_the_next_row() {
        let mut rows = without(&chain(5), &[4, 5]);
        check(&rows, 5, &[(Known, "rows 4 to 5")]);
        let head = Link::moved_on(Some(rows[2].1), 5);
        rows.push((row(6), Link::after(Some(head), &row(6))));
        check(&rows, 0, &[(Known, "rows 4 to 5")]);
        check(&[], 2, &[(Known, "rows 1 to 2")]);
    }

    #[test]
    fn a_repair_hides_no_row_that_was_altered() {
        let mut rows = chain(6);
        rows[3].0.body = Bytes::from_static(b"{}");
        check(&without(&rows, &[]), 0, &[(Damage, "at row 4: a row was altered")]);
        check(
            &without(&rows, &[2]),
            0,
            &[(Known, "row 2 of"), (Damage, "at row 4: a row")],
        );
    }
}
