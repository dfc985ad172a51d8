//! Names and labels: what is allowed. Who is kept out.

use std::collections::BTreeMap;

use super::{DEVICE_DISABLED, DEVICE_LABEL_INVALID, DEVICE_NAME_INVALID, DEVICE_PENDING, DEVICE_REVOKED, Device};
use crate::kernel::{Error, Result};

/// The longest name of a device or group, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The most labels of one device.
pub const MAX_LABELS: usize = 64;
/// The longest name of a label, in bytes.
const MAX_LABEL_NAME: usize = 63;
/// The longest value of a label, in bytes.
const MAX_LABEL_VALUE: usize = 255;

/// Refuses a device that an operator keeps out.
pub(crate) fn check_not_kept_out(device: &Device) -> Result<()> {
    check_disabled(device)?;
    if device.pending.is_some() {
        return Err(pending_error());
    }
    if device.revoked_at.is_some() {
        return Err(DEVICE_REVOKED.error("the key of this device was revoked; enrol it again"));
    }
    Ok(())
}

/// Refuses a device that an operator disabled.
pub(crate) fn check_disabled(device: &Device) -> Result<()> {
    if device.disabled {
        Err(DEVICE_DISABLED.error("this device is disabled on the server"))
    } else {
        Ok(())
    }
}

/// How long the agent of a device that waits is asked to stay away, in seconds: an approval holds about as fast.
const PENDING_SECONDS: u64 = 20;

/// The refusal of a device that waits for an operator.
pub(crate) fn pending_error() -> Error {
    DEVICE_PENDING
        .error("this device waits for an operator to approve it")
        .with_retry_after(PENDING_SECONDS)
}

/// Checks a name that people give: 1 to 255 bytes, no control characters, no white space at its ends.
pub fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.trim().len() == name.len()
        && !name.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let why = format!("a name is 1 to {MAX_NAME_BYTES} bytes without control characters or white space at its ends");
    Err(DEVICE_NAME_INVALID.error(why.clone()).with_field("/name", why))
}

/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 2_000;

/// Refuses a description that is too long, in the member `description` of a request.
pub(crate) fn check_description(text: &str) -> Result<()> {
    if text.len() <= MAX_DESCRIPTION && !text.contains('\0') {
        Ok(())
    } else {
        let why = format!("a description is at most {MAX_DESCRIPTION} bytes without U+0000");
        Err(Error::invalid_field("/description", why))
    }
}

/// Checks one label: its name is 1 to 63 of `a-z`, `0-9`, `.`, `_`, `/`, `-`; its value at most 255 bytes without control
/// characters.
pub fn check_label(name: &str, value: &str) -> Result<()> {
    check_label_name(name)?;
    if value.len() > MAX_LABEL_VALUE || value.chars().any(char::is_control) {
        let why = format!("a label's value is at most {MAX_LABEL_VALUE} bytes without control characters");
        return Err(DEVICE_LABEL_INVALID
            .error(why.clone())
            .with_field(format!("/labels/{}", name.replace('/', "~1")), why));
    }
    Ok(())
}

/// Checks the name of a label.
pub(super) fn check_label_name(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= MAX_LABEL_NAME
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-'));
    if fits {
        return Ok(());
    }
    let why = format!("a label's name is 1 to {MAX_LABEL_NAME} of a-z, 0-9 and . _ / -");
    Err(DEVICE_LABEL_INVALID.error(why.clone()).with_field("/labels", why))
}

/// Checks all labels of a device: each one, and that there are at most 64.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        let why = format!("a device has at most {MAX_LABELS} labels");
        return Err(DEVICE_LABEL_INVALID.error(why.clone()).with_field("/labels", why));
    }
    labels.iter().try_for_each(|(name, value)| check_label(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, fits: bool) {
        assert_eq!(check_label(name, value).is_ok(), fits, "{name}={value}");
    }

    #[test]
    fn labels_keep_to_their_alphabet_and_length() {
        check("site", "Berlin – Süd", true);
        check("example.org/team_1", "", true);
        check(&"a".repeat(63), &"v".repeat(255), true);
        check(&"a".repeat(64), "", false);
        check("a", &"v".repeat(256), false);
        for name in ["", "Site", "a b", "a=b", "ä", "a\0"] {
            check(name, "", false);
        }
        check("a", "x\0y", false);
        check("a", "x\ny", false);
    }

    #[test]
    fn a_device_has_at_most_64_labels() {
        let labels = |count: usize| (0..count).map(|n| (format!("l{n}"), String::new())).collect();
        assert!(check_labels(&labels(64)).is_ok());
        assert_eq!(check_labels(&labels(65)).unwrap_err().code(), DEVICE_LABEL_INVALID);
    }

    #[test]
    fn names_are_for_people_and_bounded() {
        for (name, fits) in [
            ("web 1", true),
            ("Größe", true),
            ("", false),
            (" web", false),
            ("a\tb", false),
            ("a\0b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fits, "{name:?}");
        }
        assert!(check_name(&"x".repeat(255)).is_ok());
        assert!(check_name(&"x".repeat(256)).is_err());
    }
}
