//! Cron expressions: read, and walked along the calendar. No zone and no clock; those are in `rules.rs`.
//!
//! A parser of our own: the library that would do (croner) brings chrono and judges daylight saving by itself, and what is left of the
//! work without those two is this file.

use jiff::civil::{Date, DateTime};

/// The longest expression, in bytes.
pub const MAX_CRON_BYTES: usize = 128;
/// Every day that exists in some year comes within this many years: 29 February on a given weekday within 40.
const SEARCH_YEARS: i16 = 50;
/// Bit of [`Cron::nth`] for the last one of the month.
const LAST: u8 = 1 << 6;

/// A cron expression of five fields that was understood.
///
/// Fields are minute (0–59), hour (0–23), day of month (1–31), month (1–12 or `jan`–`dec`) and day of week (0–7 or `sun`–`sat`, where 0
/// and 7 are Sunday), each of them `*`, a value, a range `a-b`, a list of those, and with a step `*/n` or `a-b/n`. Beyond cron(5): `L` is
/// the last day of the month, `fri#2` its second Friday, `friL` its last one. `@hourly`, `@daily`, `@weekly`, `@monthly` and
/// `@yearly` are short for what they say.
///
/// Where both kinds of day are named, either will do, as in cron(5); where one of them begins with `*`, both must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: u32,
    pub(super) last_day: bool,
    pub(super) months: u16,
    /// Whole weekdays; Sunday is bit 0.
    pub(super) weekdays: u8,
    /// For each weekday, which of the month: bit 1 the first to bit 5 the fifth, bit 6 the last.
    pub(super) nth: [u8; 7],
    /// Whether the day of month does not begin with `*`.
    pub(super) names_days: bool,
    /// Whether the day of week does not begin with `*`.
    pub(super) names_weekdays: bool,
}

const EVERY_HOUR: u32 = (1 << 24) - 1;

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "minute",
    least: 0,
    most: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    least: 0,
    most: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of month",
    least: 1,
    most: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    least: 0,
    most: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Cron {
    /// Reads an expression; the error says what is wrong with which field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_CRON_BYTES {
            return Err(format!("at most {MAX_CRON_BYTES} bytes"));
        }
        let text = text.to_ascii_lowercase();
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "five fields are wanted (minute, hour, day of month, month, day of week), this has {}",
                fields.len()
            ));
        };
        let mut cron = Self {
            minutes: MINUTE.read(minutes)?,
            hours: low_bits(HOUR.read(hours)?),
            days: 0,
            last_day: false,
            months: u16::try_from(MONTH.read(months)?).unwrap_or(u16::MAX),
            weekdays: 0,
            nth: [0; 7],
            names_days: !days.starts_with(['*', '?']),
            names_weekdays: !weekdays.starts_with(['*', '?']),
        };
        cron.read_days(days)?;
        cron.read_weekdays(weekdays)?;
        Ok(cron)
    }

    fn read_days(&mut self, text: &str) -> Result<(), String> {
        for item in text.split(',') {
            match item {
                "l" => self.last_day = true,
                item => self.days |= low_bits(DAY.item(item)?),
            }
        }
        Ok(())
    }

    fn read_weekdays(&mut self, text: &str) -> Result<(), String> {
        for item in text.split(',') {
            let (weekday, which) = if let Some((weekday, which)) = item.split_once('#') {
                match which.parse::<u8>() {
                    Ok(which @ 1..=5) => (weekday, 1 << which),
                    _ => return Err(format!("{}: after # stands 1 to 5, as in fri#2", WEEKDAY.name)),
                }
            } else if let Some(weekday) = item.strip_suffix('l').filter(|weekday| !weekday.is_empty()) {
                (weekday, LAST)
            } else {
                let bits = WEEKDAY.item(item)?;
                self.weekdays |= u8::try_from((bits | bits >> 7) & 0x7f).unwrap_or_default();
                continue;
            };
            let weekday = WEEKDAY.value(weekday)? as usize % 7;
            if let Some(nth) = self.nth.get_mut(weekday) {
                *nth |= which;
            }
        }
        Ok(())
    }

    /// Whether it is for every hour of a day: then it means an interval, and no times of day.
    pub fn is_interval(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    /// Whether any year has such a day.
    pub fn ever_fires(&self) -> bool {
        // From a year after which a leap year is left out (2100), so that the longest wait is seen.
        self.next_wall(DateTime::constant(2096, 3, 1, 0, 0, 0, 0)).is_some()
    }

    /// The first minute of the calendar, from this one on, that matches.
    pub(super) fn next_wall(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut least = (from.hour(), from.minute());
        let last_year = from.year().saturating_add(SEARCH_YEARS);
        while date.year() <= last_year {
            if self.months & bit(date.month()) as u16 == 0 {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                if self.has_day(date)
                    && let Some((hour, minute)) = self.next_time(least)
                {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.tomorrow().ok()?;
            }
            least = (0, 0);
        }
        None
    }

    fn next_time(&self, (hour, minute): (i8, i8)) -> Option<(i8, i8)> {
        let (hour_bits, minute_bits) = (u64::from(self.hours), self.minutes);
        if hour_bits & bit(hour) != 0
            && let Some(minute) = lowest(minute_bits & !(bit(minute) - 1))
        {
            return Some((hour, minute));
        }
        Some((lowest(hour_bits & !(bit(hour + 1) - 1))?, lowest(minute_bits)?))
    }

    pub(super) fn has_day(&self, date: Date) -> bool {
        let by_day =
            u64::from(self.days) & bit(date.day()) != 0 || (self.last_day && date.day() == date.days_in_month());
        let weekday = date.weekday().to_sunday_zero_offset();
        let nth = self
            .nth
            .get(weekday.unsigned_abs() as usize)
            .copied()
            .unwrap_or_default();
        let by_weekday = u64::from(self.weekdays) & bit(weekday) != 0
            || u64::from(nth) & bit((date.day() - 1) / 7 + 1) != 0
            || (nth & LAST != 0 && date.day() + 7 > date.days_in_month());
        match self.names_days && self.names_weekdays {
            true => by_day || by_weekday,
            false => by_day && by_weekday,
        }
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, String> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= self.item(item)?;
        }
        Ok(bits)
    }

    /// `*`, `a`, `a-b`, each with or without `/n`.
    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step: u32 = step.parse().map_err(|_| self.wrong(item))?;
                if step == 0 || step > self.most {
                    return Err(format!("{}: a step is 1 to {}", self.name, self.most));
                }
                (range, Some(step))
            }
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.least, self.most),
            None => {
                let first = self.value(range)?;
                (first, if step.is_some() { self.most } else { first })
            }
            Some((first, last)) => (self.value(first)?, self.value(last)?),
        };
        // A week may end with Sunday.
        let last = if self.most == 7 && last == 0 && first > 0 {
            7
        } else {
            last
        };
        if first > last {
            return Err(format!("{}: {range} goes backwards; write two ranges", self.name));
        }
        let step = step.unwrap_or(1) as usize;
        Ok((first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|name| *name == text) {
            return Ok(u32::try_from(at).unwrap_or_default() + self.least);
        }
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(value) if is_number && (self.least..=self.most).contains(&value) => Ok(value),
            _ => Err(self.wrong(text)),
        }
    }

    fn wrong(&self, text: &str) -> String {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(20).collect();
        let names = match self.names {
            [first, .., last] => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        format!(
            "{}: {shown:?} is none of {} to {}{names}",
            self.name, self.least, self.most
        )
    }
}

/// A number of the calendar as one bit.
fn bit(value: i8) -> u64 {
    1 << value.unsigned_abs()
}

fn low_bits(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
}

fn lowest(bits: u64) -> Option<i8> {
    (bits != 0).then(|| i8::try_from(bits.trailing_zeros()).unwrap_or_default())
}
