//! The lines of a trace.
//!
//! ```text
//! 4242 pwrite64(9</tmp/fleet.db-wal>, "7\177\6\202"..., 32, 0) = 32
//! 4242 fdatasync(9</tmp/fleet.db-wal> <unfinished ...>
//! 4243 write(1<pipe:[99]>, "acknowledged 17\n", 16) = 16
//! 4242 <... fdatasync resumed>) = 0
//! ```

use std::collections::HashMap;

use super::{Call, What};

const UNFINISHED: &[u8] = b" <unfinished ...>";

pub(super) fn parse(trace: &[u8]) -> Result<Vec<Call>, String> {
    let mut calls: Vec<Call> = Vec::new();
    // The call that each thread is in.
    let mut unfinished: HashMap<u64, usize> = HashMap::new();
    // Calls that failed are told only by their end.
    let mut failed = Vec::new();
    for (at, line) in trace.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let problem = |what: &str| format!("line {} of the trace: {what}: {}", at + 1, shown(line));
        let (thread, rest) = number(line).ok_or_else(|| problem("it does not begin with a thread"))?;
        let rest = rest.trim_ascii_start();
        if rest.starts_with(b"+++") || rest.starts_with(b"---") {
            continue;
        }
        if rest.starts_with(b"<... ") {
            let Some(call) = unfinished.remove(&thread) else {
                continue;
            };
            let answer = answer(rest).ok_or_else(|| problem("it has no answer"))?;
            match answer {
                Some(count) => {
                    calls[call].ended = Some(at);
                    cut(&mut calls[call].what, count);
                }
                None => failed.push(call),
            }
            continue;
        }
        let pending = rest.ends_with(UNFINISHED);
        let body = rest.strip_suffix(UNFINISHED).unwrap_or(rest);
        let Some(mut what) = call(body).map_err(problem)? else {
            continue;
        };
        if pending {
            unfinished.insert(thread, calls.len());
            calls.push(Call {
                begun: at,
                ended: None,
                what,
            });
            continue;
        }
        if let Some(count) = answer(rest).ok_or_else(|| problem("it has no answer"))? {
            cut(&mut what, count);
            calls.push(Call {
                begun: at,
                ended: Some(at),
                what,
            });
        }
    }
    let mut index = 0;
    calls.retain(|_| {
        index += 1;
        !failed.contains(&(index - 1))
    });
    Ok(calls)
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned()
}

/// A number that a text begins with, and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, &text[digits..]))
}

/// What a call returned: a count, or none when it failed or never returned.
fn answer(line: &[u8]) -> Option<Option<usize>> {
    let at = line.windows(3).rposition(|three| three == b" = ")?;
    let answer = &line[at + 3..];
    if answer.starts_with(b"-") || answer.starts_with(b"?") {
        return Some(None);
    }
    number(answer).map(|(count, _)| usize::try_from(count).ok())
}

/// Only so many bytes were written.
fn cut(what: &mut What, count: usize) {
    if let What::Write { bytes, .. } = what {
        bytes.truncate(count);
    }
}

/// A call, if it is one that counts.
fn call(text: &[u8]) -> Result<Option<What>, &'static str> {
    let Some(open) = text.iter().position(|byte| *byte == b'(') else {
        return Err("it is no call");
    };
    let (name, arguments) = (&text[..open], &text[open + 1..]);
    match name {
        b"write" | b"pwrite64" | b"writev" | b"pwritev" | b"pwritev2" => {
            let (descriptor, file, rest) = descriptor(arguments).ok_or("its file is not told")?;
            Ok(Some(What::Write {
                standard_output: descriptor == 1,
                file,
                bytes: strings(rest)?,
            }))
        }
        b"fsync" | b"fdatasync" => {
            let (_, file, _) = descriptor(arguments).ok_or("its file is not told")?;
            Ok(Some(What::Sync { file }))
        }
        b"openat" | b"open" | b"creat" => {
            let made = name == b"creat" || arguments.windows(7).any(|seven| seven == b"O_CREAT");
            let from = arguments
                .iter()
                .position(|byte| *byte == b'"')
                .ok_or("its file is not told")?;
            let (path, _) = string(&arguments[from + 1..])?;
            let file = String::from_utf8_lossy(&path).into_owned();
            Ok(made.then_some(What::Create { file }))
        }
        _ => Ok(None),
    }
}

/// `9</tmp/file>`: the number, the path, and what follows.
fn descriptor(text: &[u8]) -> Option<(u64, String, &[u8])> {
    let (descriptor, rest) = number(text)?;
    let rest = rest.strip_prefix(b"<")?;
    let ends = |at: usize| rest[at] == b'>' && matches!(rest.get(at + 1), None | Some(b',' | b')'));
    let end = (0..rest.len()).find(|at| ends(*at))?;
    let path = String::from_utf8_lossy(&rest[..end]);
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned();
    Some((descriptor, path, &rest[end + 1..]))
}

/// All quoted bytes of some arguments, one after the other.
fn strings(mut text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    while let Some(open) = text.iter().position(|byte| *byte == b'"') {
        let (string, rest) = string(&text[open + 1..])?;
        if rest.starts_with(b"...") {
            return Err("bytes are left out; trace with a greater -s");
        }
        bytes.extend(string);
        text = rest;
    }
    Ok(bytes)
}

/// A string after its opening quote, and what follows the closing one.
fn string(text: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => return Ok((bytes, &text[at..])),
            b'\\' => {
                let escaped = *text.get(at).ok_or("a string ends in the middle of an escape")?;
                at += 1;
                match escaped {
                    b'n' => bytes.push(b'\n'),
                    b't' => bytes.push(b'\t'),
                    b'r' => bytes.push(b'\r'),
                    b'v' => bytes.push(0x0b),
                    b'f' => bytes.push(0x0c),
                    b'0'..=b'7' => {
                        // One to three octal digits.
                        let mut value = u32::from(escaped - b'0');
                        for _ in 0..2 {
                            match text.get(at) {
                                Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                                _ => break,
                            }
                            at += 1;
                        }
                        bytes.push(u8::try_from(value).map_err(|_| "an escape is no byte")?);
                    }
                    other => bytes.push(other),
                }
            }
            other => bytes.push(*other),
        }
    }
    Err("a string has no end")
}
