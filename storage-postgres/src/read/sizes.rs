//! How many rows to ask for next.

/// Rows of the first statement, before anything is known of their size.
const FIRST: usize = 64;

/// How large the rows of a table are that were read so far. All that an engine is asked for it sends, read or not: a page of large bodies has
/// to be a short one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    rows: usize,
    bytes: usize,
}

impl Sizes {
    /// These were read.
    pub(crate) fn add(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes;
    }

    /// About as many rows as go into so many bytes; one at least, and at most four times as many as were read, for those to come may be
    /// larger.
    pub(crate) fn fit(self, bytes: usize) -> usize {
        match self.rows {
            0 => FIRST,
            rows => (bytes.saturating_mul(rows) / self.bytes.max(1)).clamp(1, rows.saturating_mul(4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(read: &[(usize, usize)], bytes: usize, expected: usize) {
        let mut sizes = Sizes::default();
        for (rows, bytes) in read {
            sizes.add(*rows, *bytes);
        }
        assert_eq!(sizes.fit(bytes), expected, "{read:?}");
    }

    #[test]
    fn as_many_are_asked_for_as_there_is_room_for() {
        check(&[], 1_000_000, 64);
        check(&[(64, 64_000)], 100_000, 100);
        check(&[(64, 32_000), (32, 64_000)], 100_000, 100);
    }

    #[test]
    fn what_is_larger_than_the_room_comes_alone() {
        check(&[(64, 64_000_000)], 100_000, 1);
        check(&[(64, 64_000)], 0, 1);
    }

    #[test]
    fn small_ones_do_not_promise_that_all_are_small() {
        check(&[(64, 0)], usize::MAX, 256);
        check(&[(64, 64)], 1_000_000, 256);
    }
}
