//! Counting tests from what their runners print.

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    /// Whether a runner said so.
    pub told: bool,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.told |= other.told;
    }

    /// Adds what the exit code says: a command that tells of no tests is one itself, and a failure without a failed test (a
    /// build that broke) is one more.
    pub fn with_ending(mut self, succeeded: bool) -> Self {
        if !self.told {
            self.passed = u64::from(succeeded);
        }
        if !succeeded && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

/// What a line says, if it is the closing line of a runner.
pub fn counts_of(line: &str) -> Counts {
    let plain = without_colors(line);
    let line = plain.trim_end();
    if let Some((_, rest)) = line
        .trim_start()
        .strip_prefix("Summary [")
        .and_then(|rest| rest.split_once(']'))
    {
        return nextest(rest);
    }
    // Not where it is indented: nextest shows the closing line of the one test that failed, and counts it itself.
    if let Some(rest) = line.strip_prefix("test result: ") {
        return Counts {
            passed: number_before(rest, "passed"),
            failed: number_before(rest, "failed"),
            told: true,
        };
    }
    Counts::default()
}

/// ` 12 tests run: 10 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 3 skipped`; a flaky test counts as failed: a test passes the
/// first time or not at all.
fn nextest(text: &str) -> Counts {
    let Some((_, results)) = text.split_once("run:") else {
        return Counts::default();
    };
    let flaky = number_before(results, "flaky");
    Counts {
        passed: number_before(results, "passed").saturating_sub(flaky),
        failed: number_before(results, "failed")
            + number_before(results, "timed out")
            + number_before(results, "exec failed")
            + flaky,
        told: true,
    }
}

/// The number in front of a word, between commas and brackets; 0 where there is none.
fn number_before(text: &str, word: &str) -> u64 {
    text.split([',', ';', '(', ')', '.'])
        .filter_map(|part| part.trim().split_once(' '))
        .find(|(_, what)| *what == word)
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // ESC [ parameters letter
            if characters.next() == Some('[') {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(u64, u64)>) {
        let counts = counts_of(line);
        assert_eq!(
            counts.told.then_some((counts.passed, counts.failed)),
            expected,
            "{line}"
        );
    }

    #[test]
    fn the_closing_lines_of_runners_are_counted() {
        check(
            "     Summary [   0.005s] 12 tests run: 12 passed, 0 skipped",
            Some((12, 0)),
        );
        check("     Summary [   1.2s] 1 test run: 1 passed, 3 skipped\n", Some((1, 0)));
        check(
            "     Summary [  32.064s] 20 tests run: 15 passed (2 slow), 3 failed, 2 timed out, 1 skipped",
            Some((15, 5)),
        );
        check(
            "Summary [ 1s] 3/7 tests run: 2 passed, 1 failed, 0 skipped",
            Some((2, 1)),
        );
        check(
            "Summary [ 1s] 5 tests run: 4 passed (1 slow, 1 flaky), 1 exec failed, 0 skipped",
            Some((3, 2)),
        );
        check(
            "\u{1b}[32;1m     Summary\u{1b}[0m [   0.005s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped",
            Some((2, 0)),
        );
        check(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            Some((3, 0)),
        );
        check(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            Some((3, 2)),
        );
        check("3 passed, 0 failed", None);
        check("    test result: FAILED. 0 passed; 1 failed; 0 ignored", None);
        check("the Summary [ is not at the start", None);
    }

    #[test]
    fn a_command_without_tests_is_one() {
        let none = Counts::default();
        assert_eq!((none.with_ending(true).passed, none.with_ending(true).failed), (1, 0));
        assert_eq!((none.with_ending(false).passed, none.with_ending(false).failed), (0, 1));
    }

    #[test]
    fn a_failure_is_never_counted_away() {
        let told = counts_of("test result: ok. 3 passed; 0 failed;");
        assert_eq!((told.with_ending(false).passed, told.with_ending(false).failed), (3, 1));
    }
}
