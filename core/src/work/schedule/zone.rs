//! Time zones, from the database that comes with the program.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::SCHEDULE_ZONE_UNKNOWN;
use crate::kernel::Result;

/// The longest name of a zone, in bytes; the database's longest has 32.
const MAX_ZONE_BYTES: usize = 64;
/// One letter in so many may be wrong for a name to be suggested.
const NEAR: usize = 4;

/// A zone by its name, whatever its case; never the system's database, which differs from machine to machine.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.len() > MAX_ZONE_BYTES {
        return None;
    }
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    (!zone.is_unknown()).then_some(zone)
}

/// Checks the name of a zone and gives it back as the database spells it. `pointer` is where it stands in the request.
pub(crate) fn check_zone(name: &str, pointer: &str) -> Result<String> {
    if let Some(zone) = zone(name) {
        return Ok(zone.iana_name().unwrap_or(name).to_owned());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(MAX_ZONE_BYTES).collect();
    let hint = match suggestion(name) {
        Some(near) => format!("did you mean {near}?"),
        None => "give a name of the IANA database, such as Europe/Berlin or UTC".into(),
    };
    Err(SCHEDULE_ZONE_UNKNOWN
        .error(format!("there is no time zone {shown}; {hint}"))
        .with_field(pointer, hint))
}

/// The zone that was probably meant: of that city, or of nearly that name.
fn suggestion(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > MAX_ZONE_BYTES {
        return None;
    }
    let wanted = name.trim().to_lowercase().replace(' ', "_");
    let city = |zone: &str| zone.rsplit('/').next().unwrap_or_default().to_owned();
    let near = city(&wanted).chars().count() / NEAR;
    let known = TimeZoneDatabase::bundled();
    let judged = known.available().filter_map(|zone| {
        let lower = zone.as_str().to_lowercase();
        let distance = distance(&lower, &wanted).min(distance(&city(&lower), &city(&wanted)));
        // Among equals the one that people write: `Europe/Berlin` before `Berlin`.
        let plain = !lower.contains('/') || lower.starts_with("etc/");
        (distance <= near).then(|| ((distance, plain), zone.as_str().to_owned()))
    });
    judged.min().map(|(_, zone)| zone)
}

/// How many letters have to be changed, added or removed to make one text of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (n, letter) in one.chars().enumerate() {
        let mut next = vec![n + 1];
        let mut left = n + 1;
        for (pair, wanted) in row.windows(2).zip(&other) {
            let [diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(letter != *wanted)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: std::result::Result<&str, &str>) {
        let got = check_zone(name, "/zone").map_err(|error| error.fields()[0].message.clone());
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{name}");
    }

    #[test]
    fn a_zone_is_known_in_any_case_and_kept_as_it_is_spelled() {
        check("Europe/Berlin", Ok("Europe/Berlin"));
        check("america/new_york", Ok("America/New_York"));
        check("utc", Ok("UTC"));
    }

    #[test]
    fn an_unknown_zone_is_refused_with_what_was_probably_meant() {
        check("Europe/Berlim", Err("did you mean Europe/Berlin?"));
        check("Berlin", Err("did you mean Europe/Berlin?"));
        check("America/New York", Err("did you mean America/New_York?"));
        check("Asia/Tokio", Err("did you mean Asia/Tokyo?"));
        let plain = "give a name of the IANA database, such as Europe/Berlin or UTC";
        for name in [
            "",
            "Middle-earth/Shire",
            "../../etc/passwd",
            "Etc/Unknown",
            "a\0b",
            &"x".repeat(9_999),
        ] {
            check(name, Err(plain));
        }
    }
}
