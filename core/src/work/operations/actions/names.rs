//! Which names and texts there are. Pure.

/// Why a text is not taken, or nothing.
pub(super) type Checked = Result<(), String>;

/// The most entries of a list of names.
pub(super) const MAX_NAMES: usize = 200;

/// A name of a user or group, as `useradd` of all distributions takes it.
pub(super) fn account(member: &str, name: &str) -> Checked {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let goes_on = name
        .bytes()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-.".contains(&c));
    if begins && goes_on && name.len() <= 32 {
        Ok(())
    } else {
        Err(format!(
            "{member}: {name:?} is no name; take 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _"
        ))
    }
}

/// Names of users or groups, each once.
pub(super) fn accounts(member: &str, names: &[String]) -> Checked {
    if names.len() > MAX_NAMES {
        return Err(format!("{member}: at most {MAX_NAMES} names"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        account(member, name)?;
        if !seen.insert(name) {
            return Err(format!("{member}: {name} stands there twice"));
        }
    }
    Ok(())
}

/// Who owns a file: a name, or a number.
pub(super) fn owner(member: &str, name: Option<&str>) -> Checked {
    match name {
        None => Ok(()),
        Some(name) if name.bytes().all(|c| c.is_ascii_digit()) => match name.parse::<u32>() {
            Ok(u32::MAX) | Err(_) => Err(format!("{member}: {name:?} is no number of an account")),
            Ok(_) => Ok(()),
        },
        Some(name) => account(member, name),
    }
}

/// Permissions of a file: three or four octal digits.
pub(super) fn mode(mode: Option<&str>) -> Checked {
    match mode {
        Some(mode) if !matches!(mode.len(), 3 | 4) || !mode.bytes().all(|c| (b'0'..=b'7').contains(&c)) => Err(
            format!("mode: {mode:?} is none; take three or four octal digits, such as 0644"),
        ),
        _ => Ok(()),
    }
}

/// A name of a package, or an exact version of one: nothing that a package manager takes for an option, a pattern or a second
/// argument.
pub(super) fn package(member: &str, name: &str, longest: usize) -> Checked {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._+:~^@-".contains(&c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= longest && name.bytes().all(good) && !name.ends_with('-') {
        Ok(())
    } else {
        Err(format!(
            "{member}: {name:?} is none; take 1 to {longest} letters, digits and . _ + : ~ ^ @ -, beginning with a letter or digit and \
             not ending with -"
        ))
    }
}

/// A package that is not the agent's own: one that removes itself can say nothing of it any more.
pub(super) fn not_agent(member: &str, name: &str) -> Checked {
    match name.split([':', '.']).next() {
        Some("fleet-agent") => Err(format!(
            "{member}: the agent's own package is not removed by what the agent does"
        )),
        _ => Ok(()),
    }
}

/// A name that becomes part of the name of a file and of a group: `a` to `z`, digits and hyphens.
pub(super) fn tag(member: &str, name: &str, longest: usize) -> Checked {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=longest).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-') {
        Ok(())
    } else {
        Err(format!(
            "{member}: {name:?} is none; take 1 to {longest} of a-z, 0-9 and -, not beginning with -"
        ))
    }
}

/// A text of one line, without control characters.
pub(super) fn line(member: &str, text: &str, longest: usize) -> Checked {
    if text.len() <= longest && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!(
            "{member}: one line of at most {longest} bytes, without control characters"
        ))
    }
}

/// Content that the parameters carry along. More is refused by name, before the limit of all parameters is met.
pub(super) fn content(member: &str, text: &str) -> Checked {
    let most = crate::work::operations::MAX_PARAMS;
    if text.contains('\0') {
        Err(format!("{member}: text without U+0000"))
    } else if text.len() > most {
        Err(format!(
            "{member}: {} bytes; parameters hold at most {} KiB with all their members, so larger content cannot be sent yet",
            text.len(),
            most >> 10
        ))
    } else {
        Ok(())
    }
}

/// The longest address that is taken, in bytes.
const MAX_URL: usize = 2_048;

/// An address of one of these schemes (`https`, or `file` for a path of the device). No user and no password: parameters are stored and
/// shown.
pub(super) fn url(member: &str, url: &str, schemes: &[&str]) -> Checked {
    let good = |c: u8| c.is_ascii_graphic() && !b"\"'\\<>`{}|^#".contains(&c);
    let refuse = |why: &str| Err(format!("{member}: {url:.100?} {why}"));
    if url.len() > MAX_URL || !url.bytes().all(good) {
        return refuse(&format!(
            "is no address; take at most {MAX_URL} letters, digits and signs, without spaces, quotes and #"
        ));
    }
    let known = schemes
        .iter()
        .find_map(|scheme| Some((*scheme, url.strip_prefix(scheme)?.strip_prefix(':')?)));
    let Some((scheme, rest)) = known else {
        return refuse(&format!("begins with none of {}:", schemes.join(":, ")));
    };
    if scheme == "file" {
        return match rest.starts_with('/') {
            true => Ok(()),
            false => refuse("names no absolute path, such as file:/srv/mirror"),
        };
    }
    let host = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?']).next());
    match host {
        None | Some("") => refuse("names no host"),
        Some(host) if host.contains('@') => refuse(
            "has a user's name in it: parameters are stored and shown, so what lets in belongs in a file of the device, such as apt's \
             auth.conf",
        ),
        Some(_) => Ok(()),
    }
}

/// A SHA-256, as 64 hexadecimal digits in lower case.
pub(super) fn sha256(member: &str, digest: &str) -> Checked {
    let good = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    match digest.len() == 64 && digest.bytes().all(good) {
        true => Ok(()),
        false => Err(format!(
            "{member}: {digest:.80?} is no SHA-256; take 64 digits of 0-9 and a-f"
        )),
    }
}

/// Where a file is fetched from. Over plain http anybody on the way may send another one, so there its digest has to be known.
pub(super) fn fetched(url: &str, digest: Option<&str>) -> Checked {
    self::url("url", url, &["https", "http"])?;
    match digest {
        Some(digest) => sha256("sha256", digest),
        None if url.starts_with("https:") => Ok(()),
        None => Err("sha256: say it, or take https: over http anybody on the way may send another file".into()),
    }
}

/// A name of a file that is only that.
pub(super) fn file_name(member: &str, name: &str) -> Checked {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._+~-".contains(&c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins && name.len() <= 200 && name.bytes().all(good) {
        true => Ok(()),
        false => Err(format!(
            "{member}: {name:.100?} is no name of a file; take 1 to 200 letters, digits and . _ + ~ -, beginning with a letter or digit"
        )),
    }
}

/// The last part of an address, without what asks or names a place in it.
pub(super) fn last_part(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("//").map_or(path, |(_, path)| path);
    path.rsplit_once('/').map_or("", |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(takes: impl Fn(&str) -> Checked, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(takes(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(takes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn accounts_have_the_names_that_every_distribution_takes() {
        check(
            |name| account("name", name),
            &["root", "_apt", "www-data", "a.b", "x1"],
            &[
                "",
                "-a",
                "1a",
                "Root",
                "a b",
                "a:b",
                "a\n",
                "ä",
                "a23456789012345678901234567890123",
            ],
        );
        check(
            |name| owner("owner", Some(name)),
            &["root", "0", "1000"],
            &["4294967295", "99999999999", "-1", ""],
        );
        let twice = ["a".to_owned(), "b".to_owned(), "a".to_owned()];
        assert!(accounts("users", &twice).is_err() && accounts("users", &twice[..2]).is_ok());
    }

    #[test]
    fn modes_are_octal() {
        check(
            |text| mode(Some(text)),
            &["644", "0644", "4755"],
            &["", "64", "00644", "0648", "+644", "u+x"],
        );
    }

    #[test]
    fn packages_have_no_names_that_a_manager_reads_as_more() {
        check(
            |name| package("name", name, 255),
            &[
                "nginx",
                "g++",
                "libstdc++6",
                "python3.11",
                "gcc:amd64",
                "1:2.0-3~bpo+1",
                "2.0^git",
            ],
            &[
                "", "-y", "--yes", "hello-", "a b", "a=b", "a/b", "a*", "a?", "a;b", "$a", ".a", "a\n",
            ],
        );
    }

    #[test]
    fn content_that_no_parameters_hold_is_refused_by_name() {
        let most = crate::work::operations::MAX_PARAMS;
        check(
            |text| content("content", text),
            &["", "ü\n", &"x".repeat(most)],
            &["\0", &"x".repeat(most + 1)],
        );
    }

    #[test]
    fn addresses_are_whole_and_carry_no_password() {
        check(
            |text| url("url", text, &["https", "http", "file"]),
            &[
                "https://example.org/debian",
                "http://[2001:db8::1]:8080/$releasever/?a=b&c=%20",
                "file:/srv/mirror",
                "file:///srv/mirror",
            ],
            &[
                "",
                "example.org",
                "https:",
                "https://",
                "https:///debian",
                "ftp://example.org",
                "https://ana:secret@example.org/",
                "https://example.org/a b",
                "https://example.org/\nTrusted: yes",
                "https://example.org/\"",
                "file:srv/mirror",
                &format!("https://example.org/{}", "x".repeat(2_048)),
            ],
        );
        check(|text| url("url", text, &["https"]), &[], &["http://example.org/"]);
    }

    #[test]
    fn what_comes_over_plain_http_has_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        check(
            |url| fetched(url, None),
            &["https://example.org/a.deb"],
            &["http://example.org/a.deb", "file:/a.deb"],
        );
        check(
            |url| fetched(url, Some(&digest)),
            &["https://example.org/a.deb", "http://example.org/a.deb"],
            &["file:/a.deb"],
        );
        check(
            |digest| fetched("https://example.org/a", Some(digest)),
            &[&digest],
            &["", &digest[1..], &digest.to_uppercase(), &digest.replace('a', "g")],
        );
    }

    #[test]
    fn a_file_has_the_name_that_its_address_ends_with() {
        for (url, expected) in [
            ("https://example.org/a/b.deb", "b.deb"),
            ("https://example.org/b.deb?x=/y", "b.deb"),
            ("https://example.org/a/", ""),
            ("https://example.org", ""),
        ] {
            assert_eq!(last_part(url), expected, "{url}");
        }
        check(
            |name| file_name("name", name),
            &["Krita-5.2.AppImage", "a_1+2~3.deb"],
            &["", ".a", "-a", "a/b", "a b", "a%20b", "..", &"x".repeat(201)],
        );
    }
}
