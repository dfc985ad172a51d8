//! What a name and a password may be.

use super::Password;
use crate::kernel::{Class, Code, Error, Result};

/// There is no such user, or the actor may not know of it.
pub const NOT_FOUND: Code = Code::new("user.not_found", Class::NotFound);
/// Without this user nobody could administer the server.
pub const LAST_ADMIN: Code = Code::new("user.last_admin", Class::Conflict);

/// Characters of a name to sign in with.
const NAME_MAX: usize = 64;
/// Characters of a name that people read.
const DISPLAY_NAME_MAX: usize = 128;
/// Characters of a password. NIST SP 800-63B-4 §3.1.1.2 asks for at least 8, and 15 where it stands alone; 12 with a
/// lockout ladder lies between.
const PASSWORD_MIN: usize = 12;
const PASSWORD_MAX: usize = 256;
/// Different characters of a password.
const PASSWORD_VARIETY: usize = 5;

/// Passwords of at least twelve characters that head the lists of leaked ones, in lower case.
const WORST: [&str; 24] = [
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789123",
    "1234567890ab",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u8i",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "administrator",
    "adminadminadmin",
    "changemechangeme",
    "changeme1234",
    "correcthorsebatterystaple",
    "iloveyou1234",
    "letmeinletmein",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "qwerty123456",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdf",
];

/// The stored form of a name to sign in with: folded to lower case.
pub(crate) fn fold_name(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Checks and folds a name to sign in with.
pub(super) fn check_name(name: &str) -> Result<String> {
    let name = fold_name(name);
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-@+".contains(c));
    if fits {
        Ok(name)
    } else {
        Err(Error::invalid_field(
            "/name",
            format!("1 to {NAME_MAX} letters a-z, digits and . _ - @ +, beginning with a letter or digit"),
        ))
    }
}

/// Checks and trims a name that people read.
pub(super) fn check_display_name(name: &str) -> Result<String> {
    let name = name.trim();
    if (1..=DISPLAY_NAME_MAX).contains(&name.chars().count()) && !name.contains(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid_field(
            "/display_name",
            format!("1 to {DISPLAY_NAME_MAX} characters without control characters"),
        ))
    }
}

/// Checks a new password of the user of this (folded) name.
pub(crate) fn check_password(password: &Password, name: &str) -> Result<()> {
    let refuse = |why: String| Err(Error::invalid_field("/password", why));
    let text = password.as_str();
    let length = text.chars().count();
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&length) {
        return refuse(format!("a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters"));
    }
    let folded = zeroize::Zeroizing::new(text.to_lowercase());
    if fold_name(text) == name {
        return refuse("the password must not be the name to sign in with".to_owned());
    }
    let mut different: Vec<char> = folded.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < PASSWORD_VARIETY {
        return refuse(format!(
            "a password has at least {PASSWORD_VARIETY} different characters"
        ));
    }
    if WORST.contains(&folded.as_str()) {
        return refuse("this password is among the first that anybody would try".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(password: &str, fits: bool) {
        assert_eq!(
            check_password(&password.into(), "anna.schmidt@example.org").is_ok(),
            fits,
            "{password}"
        );
    }

    #[test]
    fn a_password_is_long_enough_and_not_too_long() {
        check("elevenchars", false);
        check("twelve-chars", true);
        check("zwölf-zeiche", true);
        check(&"abcdef".repeat(42), true);
        check(&"abcdef".repeat(43), false);
    }

    #[test]
    fn what_anybody_would_try_is_refused() {
        check("anna.schmidt@example.org", false);
        check("Anna.Schmidt@Example.ORG ", false);
        check("Password1234", false);
        check("aaaaaaaaaaaaaaaa", false);
        check("abcdabcdabcdabcd", false);
        for worst in WORST {
            assert!(worst.len() >= PASSWORD_MIN, "{worst} is too short to be listed");
            check(worst, false);
        }
    }

    #[test]
    fn names_are_folded_and_bounded() {
        for (name, expected) in [
            ("Anna", Some("anna")),
            (" anna.schmidt+x@example.org ", Some("anna.schmidt+x@example.org")),
            ("", None),
            (" ", None),
            (".anna", None),
            ("an na", None),
            ("änna", None),
            ("anna\0", None),
            (&"a".repeat(64), Some("a".repeat(64).as_str())),
            (&"a".repeat(65), None),
        ] {
            assert_eq!(check_name(name).ok().as_deref(), expected, "{name}");
        }
        assert_eq!(check_display_name(" Änna Ö. ").unwrap(), "Änna Ö.");
        for name in ["", " ", "a\nb", &"ä".repeat(129)] {
            assert!(check_display_name(name).is_err(), "{name}");
        }
    }
}
