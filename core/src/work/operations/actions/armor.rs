//! Public keys of OpenPGP as text (RFC 9580, section 6). Pure.
//!
//! apt reads keys from files of this form, rpm takes no other. What is in them is theirs to judge: here it only has to be a public key,
//! whole, and a single block, as apt reads no further than that.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
/// How many characters a line of the text has.
const WIDTH: usize = 64;
/// The kind of packet that a public key begins with.
const PUBLIC_KEY: u8 = 6;

/// The bytes of a key that is given as text.
///
/// # Errors
/// What is wrong with it.
pub fn dearmored(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = text.trim().lines().map(str::trim_end);
    if lines.next() != Some(BEGIN) {
        return Err(format!("it does not begin with {BEGIN}"));
    }
    // Headers, up to an empty line.
    let mut has_body = false;
    for line in lines.by_ref() {
        if line.is_empty() {
            has_body = true;
            break;
        }
        if !line.contains(": ") && !line.ends_with(':') {
            break;
        }
    }
    if !has_body {
        return Err("no empty line stands before the key".into());
    }
    let (mut body, mut checksum, mut is_whole) = (String::new(), None, false);
    for line in lines.by_ref() {
        if line == END {
            is_whole = true;
            break;
        }
        match line.strip_prefix('=') {
            Some(sum) => checksum = Some(sum.to_owned()),
            None => body.push_str(line),
        }
    }
    if !is_whole || lines.next().is_some() {
        return Err(format!(
            "it does not end with {END}, or more follows; one block is taken"
        ));
    }
    let bytes = STANDARD
        .decode(body)
        .map_err(|error| format!("it is no base64: {error}"))?;
    if checksum.is_some_and(|checksum| checksum != STANDARD.encode(crc24(&bytes))) {
        return Err("its checksum is another one: something is missing, or was altered".into());
    }
    match is_public_key(&bytes) {
        true => Ok(bytes),
        false => Err("no public key is in it".into()),
    }
}

/// A key as text: as it is, if it is text already.
///
/// # Errors
/// What is wrong with it.
pub fn armored(bytes: &[u8]) -> Result<String, String> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.trim_start().starts_with("-----")
    {
        return dearmored(text).map(|_| text.to_owned());
    }
    if !is_public_key(bytes) {
        return Err("no public key is in it".into());
    }
    let body = STANDARD.encode(bytes);
    let mut text = format!("{BEGIN}\n\n");
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % WIDTH == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    Ok(format!("{text}\n={}\n{END}\n", STANDARD.encode(crc24(bytes))))
}

/// Whether the first packet is a public key, in the old way of writing its kind or the new one.
fn is_public_key(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(first) if first & 0xc0 == 0xc0 => first & 0x3f == PUBLIC_KEY,
        Some(first) if first & 0xc0 == 0x80 => first >> 2 & 0x0f == PUBLIC_KEY,
        _ => false,
    }
}

/// The checksum of the text form (RFC 9580, section 6.1.1).
fn crc24(bytes: &[u8]) -> [u8; 3] {
    let mut crc: u32 = 0x00b7_04ce;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    let [_, high, middle, low] = crc.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that gpg made, as gpg writes it.
    const KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n\
mDMEawPIEBYJKwYBBAHaRw8BAQdAx2/YHqr8tZBb6t/T0nxhyjVAhKYc7zub+QjP\n\
dWwgOA+0IWZsZWV0IHNhbXBsZSA8bm9ib2R5QGV4YW1wbGUub3JnPoiQBBMWCAA4\n\
FiEEJZQJTcppkj1Tn+/0zF5ceLj6AA8FAmsDyBACGwMFCwkIBwIGFQoJCAsCBBYC\n\
AwECHgECF4AACgkQzF5ceLj6AA+IqQEAmEkTrWxVa5SmQuJEw2G4XpQyaxzReeEm\n\
DYORVx48fT4A+wSuv6LRFRUFmxdAWEPMNYkBjxJS2TkKRBnb+2Z+SLsE\n\
=jsMj\n\
-----END PGP PUBLIC KEY BLOCK-----\n";

    #[track_caller]
    fn check(text: &str, problem: Option<&str>) {
        match (dearmored(text), problem) {
            (Ok(_), None) => {}
            (Err(got), Some(expected)) if got.contains(expected) => {}
            (got, expected) => panic!("{got:?}, and not {expected:?}"),
        }
    }

    #[test]
    fn a_key_is_the_same_as_bytes_and_as_text() {
        let bytes = dearmored(KEY).unwrap();
        assert_eq!(armored(&bytes).unwrap(), KEY);
        assert_eq!(armored(KEY.as_bytes()).unwrap(), KEY);
    }

    #[test]
    fn a_key_is_whole_and_public() {
        check(KEY, None);
        check(&KEY.replace("BLOCK-----\n\n", "BLOCK-----\nComment: mine\n\n"), None);
        check(&KEY.replace('\n', "\r\n"), None);
        let unchecked: Vec<_> = KEY.lines().filter(|line| !line.starts_with('=')).collect();
        check(&unchecked.join("\n"), None);
        check("", Some("does not begin"));
        check(&KEY.replace("PUBLIC", "PRIVATE"), Some("does not begin"));
        check(&KEY.replacen("\n\n", "\n", 1), Some("empty line"));
        check(&KEY.replace("-----END", "-----"), Some("does not end"));
        check(&format!("{KEY}{KEY}"), Some("does not end"));
        check(&KEY.replacen("\nm", "\nn", 1), Some("checksum"));
        check(&format!("{BEGIN}\n\naGVsbG8=\n{END}\n"), Some("no public key"));
        check(&format!("{BEGIN}\n\n{END}\n"), Some("no public key"));
        assert!(armored(b"hello").is_err() && armored(b"").is_err());
    }
}
