//! One line of any file: an object of JSON whose first member is the CRC-32 of all that follows.
//!
//! ```text
//! {"crc":"5a0c9d31","id":"0192…","rev":3,"seq":17,"body":{"v":1,"name":"web-1"}}
//! ```

use serde::{Deserialize, Serialize};

/// What stands before the checksum.
const BEGIN: &[u8] = b"{\"crc\":\"";
/// The length of the checksum in hexadecimal digits.
const CRC: usize = 8;
/// Where the rest of the line begins, at the mark that closes the checksum.
const REST: usize = BEGIN.len() + CRC + 1;

/// Appends a line. The record has to be an object with at least one member.
pub(crate) fn push(out: &mut Vec<u8>, record: &impl Serialize) -> serde_json::Result<()> {
    push_with(out, |out| serde_json::to_writer(out, record))
}

/// Appends a line whose record is written by a function: an object with at least one member.
pub(crate) fn push_with<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(BEGIN);
    out.extend_from_slice(b"00000000\"");
    let rest = out.len();
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // The brace that opens the record becomes the comma behind the checksum.
    out[rest] = b',';
    let mut digits = [0; CRC];
    let crc = crc32fast::hash(&out[rest..]).to_be_bytes();
    // As many digits as there is room for.
    let _ = hex::encode_to_slice(crc, &mut digits);
    out[start + BEGIN.len()..rest - 1].copy_from_slice(&digits);
    out.push(b'\n');
    Ok(())
}

/// What follows the checksum, if it is what was written; the line comes without its end.
pub(crate) fn rest(line: &[u8]) -> Option<&[u8]> {
    let digits = line.strip_prefix(BEGIN)?.get(..CRC)?;
    let mut crc = [0; 4];
    hex::decode_to_slice(digits, &mut crc).ok()?;
    let rest = line.get(REST..)?;
    (line.get(REST - 1) == Some(&b'"') && crc32fast::hash(rest) == u32::from_be_bytes(crc)).then_some(rest)
}

/// The operation of a line of the journal, and all behind it; the line was written by [`push_with`].
pub(crate) fn operation(line: &[u8]) -> Option<&[u8]> {
    const OP: &[u8] = b",\"op\":";
    // Before it stand two numbers and nothing else.
    let rest = line.get(REST..)?;
    let at = rest.windows(OP.len()).take(64).position(|window| window == OP)?;
    rest.get(at + OP.len()..)
}

/// The record of a line that [`rest`] has passed.
pub(crate) fn parse<'l, T: Deserialize<'l>>(line: &'l [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// The lines of a file, without their ends, and whether each has its end.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| match line.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (line, false),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        a: u32,
        b: String,
    }

    fn line() -> Vec<u8> {
        let mut out = Vec::new();
        let sample = Sample { a: 1, b: "x\ny".into() };
        push(&mut out, &sample).unwrap();
        out
    }

    #[test]
    fn a_line_is_json_and_comes_back() {
        let out = line();
        assert_eq!(out, b"{\"crc\":\"2de319f9\",\"a\":1,\"b\":\"x\\ny\"}\n".to_vec());
        let (line, whole) = split(&out).next().unwrap();
        assert!(whole && rest(line).is_some());
        assert_eq!(parse::<Sample>(line), Ok(Sample { a: 1, b: "x\ny".into() }));
    }

    #[test]
    fn any_change_of_a_byte_and_any_cut_is_noticed() {
        let out = line();
        let line = &out[..out.len() - 1];
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(rest(&changed).is_none(), "byte {at}");
            assert!(rest(&line[..at]).is_none(), "cut at {at}");
        }
    }
}
