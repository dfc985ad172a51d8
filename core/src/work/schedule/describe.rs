//! Schedules in words.

use super::{Cron, Schedule};
use crate::kernel::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "last"];
/// So many times of day are told one by one.
const TOLD: usize = 6;

/// A schedule in words, such as `every day at 03:00 Europe/Berlin`.
pub fn describe(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Once { at } => format!("once at {}", short_time(*at)),
        Schedule::Cron { cron, zone } => match Cron::parse(cron) {
            Ok(parsed) => format!("{} {zone}", words(&parsed)),
            Err(_) => format!("{cron} {zone}"),
        },
    }
}

/// A time without the parts that are zero, such as `2026-11-22 03:00 UTC`.
pub(crate) fn short_time(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.strip_suffix(".000000Z").unwrap_or(text.trim_end_matches('Z'));
    let text = text.strip_suffix(":00").unwrap_or(text);
    format!("{} UTC", text.replacen('T', " ", 1))
}

/// A length of time in its largest whole unit, such as `90 minutes`.
pub(crate) fn span_text(seconds: u64) -> String {
    let (count, unit) = match seconds {
        _ if seconds > 0 && seconds.is_multiple_of(86_400) => (seconds / 86_400, "day"),
        _ if seconds > 0 && seconds.is_multiple_of(3_600) => (seconds / 3_600, "hour"),
        _ if seconds > 0 && seconds.is_multiple_of(60) => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn words(cron: &Cron) -> String {
    let (is_interval, time) = time(cron);
    let months = set(u64::from(cron.months), 1..=12);
    let months = match months.len() {
        12 => String::new(),
        _ => format!(" in {}", runs(&months, |month| name(&MONTHS, month - 1))),
    };
    match (days(cron), is_interval) {
        (None, true) => format!("{time}{months}"),
        (None, false) => format!("every day{months} {time}"),
        (Some(days), true) => format!("{time} {days}{months}"),
        (Some(days), false) => format!("{days}{months} {time}"),
    }
}

/// Which times of a day, and whether that reads as an interval.
fn time(cron: &Cron) -> (bool, String) {
    let (minutes, hours) = (set(cron.minutes, 0..=59), set(u64::from(cron.hours), 0..=23));
    let every = |step: u32| match step {
        1 => "every minute".to_owned(),
        step => format!("every {step} minutes"),
    };
    // From the full hour on, in steps that fit it.
    let step = match minutes[..] {
        [0, second, ..] if 60 % second == 0 && minutes.iter().copied().eq((0..60).step_by(second as usize)) => {
            Some(second)
        }
        _ => None,
    };
    if cron.is_interval() {
        return (
            true,
            match (step, &minutes[..]) {
                (Some(step), _) => every(step),
                (None, [0]) => "every hour".into(),
                (None, [minute]) => format!("every hour at minute {minute}"),
                (None, _) => format!("every hour at minutes {}", runs(&minutes, |minute| minute.to_string())),
            },
        );
    }
    let of_hours = |hours: &[u32]| runs(hours, |hour| format!("{hour:02}:00"));
    match (step, &hours[..]) {
        (Some(step), _) => match (hours.first(), hours.last()) {
            (Some(first), Some(last)) if is_row(&hours) => {
                (true, format!("{} from {first:02}:00 to {last:02}:59", every(step)))
            }
            _ => (true, format!("{} in the hours of {}", every(step), of_hours(&hours))),
        },
        (None, _) if minutes.len() * hours.len() <= TOLD => {
            let times = hours
                .iter()
                .flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
            (false, format!("at {}", list(times.collect())))
        }
        (None, _) if minutes[..] == [0] => match (hours.first(), hours.last(), every_other(&hours)) {
            (Some(first), Some(last), _) if is_row(&hours) => {
                (true, format!("every hour from {first:02}:00 to {last:02}:00"))
            }
            (_, _, Some(step)) => (true, format!("every {step} hours from 00:00 on")),
            _ => (false, format!("at {}", of_hours(&hours))),
        },
        (None, _) => {
            let minutes = runs(&minutes, |minute| minute.to_string());
            (
                true,
                format!("at minutes {minutes} of the hours of {}", of_hours(&hours)),
            )
        }
    }
}

/// Which days; none when it is all of them.
fn days(cron: &Cron) -> Option<String> {
    let weekdays = set(u64::from(cron.weekdays), 0..=6);
    let any_weekday = weekdays.len() == 7;
    let days = set(u64::from(cron.days), 1..=31);
    let any_day = days.len() == 31;
    let by_day = || {
        let mut texts = Vec::new();
        match &days[..] {
            [] => {}
            [day] => texts.push(format!("day {day}")),
            several => texts.push(format!("days {}", runs(several, |day| day.to_string()))),
        }
        if cron.last_day {
            texts.push("the last day".into());
        }
        format!("on {} of the month", list(texts))
    };
    let by_weekday = || {
        // From Monday on, as a week is read.
        let from_monday: Vec<_> = weekdays.iter().map(|day| if *day == 0 { 7 } else { *day }).collect();
        let mut sorted = from_monday;
        sorted.sort_unstable();
        let mut texts = Vec::new();
        if !sorted.is_empty() {
            texts.push(format!("every {}", runs(&sorted, |day| name(&WEEKDAYS, day % 7))));
        }
        for (weekday, which) in cron.nth.iter().enumerate() {
            for (at, ordinal) in ORDINALS.iter().enumerate() {
                if which & (1 << (at + 1)) != 0 {
                    let weekday = WEEKDAYS.get(weekday).copied().unwrap_or_default();
                    texts.push(format!("the {ordinal} {weekday} of the month"));
                }
            }
        }
        let text = list(texts);
        if text.starts_with("the") {
            format!("on {text}")
        } else {
            text
        }
    };
    match (any_day, any_weekday) {
        (true, true) => None,
        // Named, and all of them: either will do, so it is every day.
        (true, _) | (_, true) if cron.names_days && cron.names_weekdays => None,
        (false, true) => Some(by_day()),
        (true, false) => Some(by_weekday()),
        (false, false) if cron.names_days && cron.names_weekdays => Some(format!("{} or {}", by_day(), by_weekday())),
        (false, false) => Some(format!("{}, if it is also {}", by_day(), by_weekday())),
    }
}

fn name(names: &[&str], at: u32) -> String {
    names.get(at as usize).copied().unwrap_or_default().to_owned()
}

/// The numbers whose bits are set.
fn set(bits: u64, of: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    of.filter(|value| bits & (1 << value) != 0).collect()
}

fn is_row(numbers: &[u32]) -> bool {
    numbers
        .windows(2)
        .all(|pair| matches!(pair, [one, next] if one + 1 == *next))
}

/// The step of hours that divide a day from midnight on.
fn every_other(hours: &[u32]) -> Option<u32> {
    match hours {
        [0, step, ..] if 24 % step == 0 && hours.iter().copied().eq((0..24).step_by(*step as usize)) => Some(*step),
        _ => None,
    }
}

/// Numbers as a list, three and more in a row as a range.
fn runs(numbers: &[u32], show: impl Fn(u32) -> String) -> String {
    let mut texts = Vec::new();
    for run in numbers.chunk_by(|one, next| one + 1 == *next) {
        match run {
            [first, _, .., last] => texts.push(format!("{} to {}", show(*first), show(*last))),
            few => texts.extend(few.iter().map(|number| show(*number))),
        }
    }
    list(texts)
}

fn list(mut texts: Vec<String>) -> String {
    let Some(last) = texts.pop() else {
        return String::new();
    };
    match texts.is_empty() {
        true => last,
        false => format!("{} and {last}", texts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cron: &str, expected: &str) {
        assert_eq!(words(&Cron::parse(cron).unwrap()), expected, "{cron}");
    }

    #[test]
    fn a_schedule_is_told_as_people_would() {
        check("0 3 * * *", "every day at 03:00");
        check("0 3 * * 0", "every Sunday at 03:00");
        check("30 2,14 * * mon-fri", "every Monday to Friday at 02:30 and 14:30");
        check("0 4 * * sat,sun", "every Saturday and Sunday at 04:00");
        check("0 4 * * fri-sun", "every Friday to Sunday at 04:00");
        check("0 4 1 * *", "on day 1 of the month at 04:00");
        check("0 4 L * *", "on the last day of the month at 04:00");
        check("0 4 * * tue#2", "on the second Tuesday of the month at 04:00");
        check("0 4 * * friL", "on the last Friday of the month at 04:00");
        check("0 4 13 * fri", "on day 13 of the month or every Friday at 04:00");
        check("0 0 1 1,7 *", "on day 1 of the month in January and July at 00:00");
        check("0 3 * 6-8 *", "every day in June to August at 03:00");
    }

    #[test]
    fn an_interval_is_told_as_one() {
        check("* * * * *", "every minute");
        check("*/15 * * * *", "every 15 minutes");
        check("0 * * * *", "every hour");
        check("30 * * * *", "every hour at minute 30");
        check("5,35 * * * *", "every hour at minutes 5 and 35");
        check(
            "*/15 8-17 * * 1-5",
            "every 15 minutes from 08:00 to 17:59 every Monday to Friday",
        );
        check("0 9-17 * * *", "every hour from 09:00 to 17:00");
        check("0 */2 * * *", "every 2 hours from 00:00 on");
        check(
            "1,2,3,8 1-9 * * *",
            "at minutes 1 to 3 and 8 of the hours of 01:00 to 09:00",
        );
    }

    #[test]
    fn lengths_and_times_are_told_without_zeros() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (5_400, "90 minutes"),
            (7_200, "2 hours"),
            (86_400, "1 day"),
        ] {
            assert_eq!(span_text(seconds), expected);
        }
        let at = |text: &str| short_time(text.parse().unwrap());
        assert_eq!(at("2026-11-22T03:00:00Z"), "2026-11-22 03:00 UTC");
        assert_eq!(at("2026-11-22T03:00:01.5Z"), "2026-11-22 03:00:01.500000 UTC");
    }
}
