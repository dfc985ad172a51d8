//! Which of two versions is the later one, where no program of the device says it. Pure.

use std::cmp::Ordering;

/// The order of `[epoch:]version[-release]` by the rules of rpm (rpm-version(7), rpmvercmp).
pub(super) fn rpm_order(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
        [epoch, version, release].map(str::to_owned)
    };
    let (a, b) = (parts(a), parts(b));
    let orders = a.iter().zip(&b).map(|(a, b)| segments(a, b));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Runs of digits are numbers, runs of letters texts; all else only parts them, but `~`, which comes before the end, and `^`, which comes
/// after it and before everything else.
fn segments(mut a: &str, mut b: &str) -> Ordering {
    let parts = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    loop {
        (a, b) = (a.trim_start_matches(parts), b.trim_start_matches(parts));
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(rest_a), Some(rest_b)) => {
                (a, b) = (rest_a, rest_b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (a.strip_prefix('^'), b.strip_prefix('^')) {
            (Some(rest_a), Some(rest_b)) => {
                (a, b) = (rest_a, rest_b);
                continue;
            }
            (Some(_), None) if b.is_empty() => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) if a.is_empty() => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let is_number = a.starts_with(|c: char| c.is_ascii_digit());
        let run = |text: &str| {
            let goes_on = |c: u8| {
                if is_number {
                    c.is_ascii_digit()
                } else {
                    c.is_ascii_alphabetic()
                }
            };
            text.bytes().take_while(|c| goes_on(*c)).count()
        };
        let ((run_a, rest_a), (run_b, rest_b)) = (a.split_at(run(a)), b.split_at(run(b)));
        let order = match (run_b.is_empty(), is_number) {
            // A number is later than letters.
            (true, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, true) => {
                let (a, b) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then(a.cmp(b))
            }
            (false, false) => run_a.cmp(run_b),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, order: Ordering, b: &str) {
        assert_eq!(rpm_order(a, b), order, "{a} {b}");
        assert_eq!(rpm_order(b, a), order.reverse(), "{b} {a}");
    }

    #[test]
    fn versions_are_ordered_as_rpm_does_it() {
        for (earlier, later) in [
            ("1.0", "2.0"),
            ("2.0", "2.0.1"),
            ("5.5p1", "5.5p2"),
            ("5.5p1", "5.5p10"),
            ("10xyz", "10.1xyz"),
            ("xyz10", "xyz10.1"),
            ("xyz.4", "8"),
            ("6.0", "6.0.rc1"),
            ("1.0~rc1", "1.0"),
            ("1.0~rc1", "1.0~rc2"),
            ("1.0~rc1~git1", "1.0~rc1"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("1.0^git1", "1.0^git2"),
            ("1.0~rc1", "1.0~rc1^git1"),
            ("9.0-1.el9", "10.0-1.el9"),
            ("1.0-1.el9", "1.0-2.el9"),
            ("2.0-1", "1:1.0-1"),
        ] {
            check(earlier, Ordering::Less, later);
        }
        for (one, other) in [
            ("1.0", "1.0"),
            ("2_0", "2.0"),
            ("1.05", "1.5"),
            ("0:1-1", "1-1"),
            ("a+", "a_"),
        ] {
            check(one, Ordering::Equal, other);
        }
    }
}
