//! Times of the week.

use jiff::{
    civil::{Time, Weekday},
    tz::TimeZone,
};
use serde::Deserialize;

use fleet_core::kernel::Timestamp;

/// A time that comes round each week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hours {
    /// The days on which it begins.
    days: Vec<Weekday>,
    from: Time,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Monday => Self::Monday,
            Day::Tuesday => Self::Tuesday,
            Day::Wednesday => Self::Wednesday,
            Day::Thursday => Self::Thursday,
            Day::Friday => Self::Friday,
            Day::Saturday => Self::Saturday,
            Day::Sunday => Self::Sunday,
        }
    }
}

impl Hours {
    /// On these days, or on all; from one time of day (`HH:MM`) until another, which is the next day's where it is not later.
    pub(super) fn new(days: Option<&[Day]>, from: &str, until: &str) -> Result<Self, String> {
        let days = match days {
            None => Weekday::Monday.cycle_forward().take(7).collect(),
            Some([]) => return Err("days is empty: it never begins".into()),
            Some(days) => days.iter().map(|day| Weekday::from(*day)).collect(),
        };
        let (from, until) = (time(from)?, time(until)?);
        Ok(Self { days, from, until })
    }

    /// Whether this moment is within it, in this time zone.
    pub(super) fn contains(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let Ok(at) = jiff::Timestamp::from_microsecond(at.as_micros()) else {
            return false;
        };
        let at = zone.to_datetime(at);
        let (day, time) = (at.weekday(), at.time());
        let begins = |day| self.days.contains(&day);
        if self.from < self.until {
            begins(day) && time >= self.from && time < self.until
        } else {
            begins(day) && time >= self.from || begins(day.previous()) && time < self.until
        }
    }
}

fn time(text: &str) -> Result<Time, String> {
    let wrong = || format!("{text:?} is no time of day such as \"22:00\"");
    let digits = |text: &str| match text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit()) {
        true => text.parse::<i8>().map_err(|_| wrong()),
        false => Err(wrong()),
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    Time::new(digits(hour)?, digits(minute)?, 0, 0).map_err(|_| wrong())
}
