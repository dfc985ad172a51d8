//! Writing JSON with its members in order, without a tree of it: an object is put in order where its end is written, and most
//! are in order already.

use std::{
    cell::RefCell,
    io::{self, Write},
    ops::Range,
};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::{CanonicalError, MAX_DEPTH};

/// Bytes that most values fit in.
const USUAL: usize = 256;

/// One value, as far as it is written. The outermost object stays open for further members.
#[derive(Debug)]
pub(super) struct Ordered {
    shared: RefCell<Shared>,
}

/// What the serializer's two halves write to.
#[derive(Debug)]
struct Shared {
    out: Vec<u8>,
    /// Arrays and objects that are not at their end, outermost first.
    open: Vec<Open>,
    /// Members of all objects that are open, by object.
    members: Vec<Member>,
    /// Why it went no further.
    refused: Option<CanonicalError>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its first item begins.
    begin: usize,
    /// Members of the objects around it.
    members: usize,
}

/// A member of an object: from the quote of its name to the end of its value.
#[derive(Clone, Copy, Debug)]
struct Member {
    begin: usize,
    name_end: usize,
}

impl Default for Ordered {
    fn default() -> Self {
        Self {
            shared: RefCell::new(Shared {
                out: Vec::with_capacity(USUAL),
                open: Vec::new(),
                members: Vec::new(),
                refused: None,
            }),
        }
    }
}

impl Ordered {
    /// Writes a value behind what there is.
    pub(super) fn write(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), CanonicalError> {
        let mut serializer = Serializer::with_formatter(Sink(&self.shared), Sorting(&self.shared));
        let written = value.serialize(&mut serializer);
        let refused = self.shared.get_mut().refused.take();
        written.map_err(|error| refused.unwrap_or(CanonicalError::Json(error)))
    }

    /// Adds a member to the object that was written, unless it has one of that name.
    pub(super) fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), CanonicalError> {
        let shared = self.shared.get_mut();
        if shared.out.first() != Some(&b'{') {
            return Err(CanonicalError::NotAnObject);
        }
        let (end, known) = (shared.out.len(), shared.members.len());
        if known > 0 {
            shared.out.push(b',');
        }
        let begin = shared.out.len();
        self.write(name)?;
        let shared = self.shared.get_mut();
        let member = Member {
            begin,
            name_end: shared.out.len(),
        };
        let has_it = (0..known).any(|position| shared.name(shared.members[position]) == shared.name(member));
        if has_it {
            shared.out.truncate(end);
            return Ok(());
        }
        shared.out.push(b':');
        // As deep as a member of it is.
        shared.open.push(Open { begin: 1, members: 0 });
        shared.members.push(member);
        let written = self.write(value);
        self.shared.get_mut().open.pop();
        written
    }

    /// The bytes.
    pub(super) fn finish(self) -> Result<Vec<u8>, CanonicalError> {
        let mut shared = self.shared.into_inner();
        if shared.out.first() == Some(&b'{') {
            shared.sort(Open { begin: 1, members: 0 })?;
            shared.out.push(b'}');
        }
        Ok(shared.out)
    }
}

impl Shared {
    fn refuse(&mut self, error: CanonicalError) -> io::Error {
        self.refused = Some(error);
        io::Error::from(io::ErrorKind::InvalidData)
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.open.push(Open {
            begin: self.out.len(),
            members: self.members.len(),
        });
    }

    /// What begins within an array or object.
    fn begin_item(&mut self, first: bool) -> io::Result<()> {
        if self.open.len() > MAX_DEPTH {
            return Err(self.refuse(CanonicalError::Depth));
        }
        if !first {
            self.out.push(b',');
        }
        Ok(())
    }

    /// The name of a member, with its escapes.
    fn name(&self, member: Member) -> &[u8] {
        &self.out[member.begin + 1..member.name_end - 1]
    }

    /// Puts the members of an object in order, whose last byte is that of its last member.
    fn sort(&mut self, object: Open) -> Result<(), CanonicalError> {
        let members = &self.members[object.members..];
        let in_order = members.windows(2).all(|pair| self.name(pair[0]) < self.name(pair[1]));
        let escaped = || members.iter().any(|member| self.name(*member).contains(&b'\\'));
        if in_order && !escaped() {
            return Ok(());
        }
        let mut sorted: Vec<(Vec<u8>, Range<usize>)> = Vec::with_capacity(members.len());
        for (n, member) in members.iter().enumerate() {
            // Without the comma before the next.
            let end = members.get(n + 1).map_or(self.out.len(), |next| next.begin - 1);
            let name: String = serde_json::from_slice(&self.out[member.begin..member.name_end])?;
            sorted.push((name.into_bytes(), member.begin..end));
        }
        // Of members with one name the last counts, as it does where JSON is read.
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut ordered = Vec::with_capacity(self.out.len() - object.begin);
        for (n, (name, range)) in sorted.iter().enumerate() {
            if sorted.get(n + 1).is_some_and(|(next, _)| next == name) {
                continue;
            }
            if !ordered.is_empty() {
                ordered.push(b',');
            }
            ordered.extend_from_slice(&self.out[range.clone()]);
        }
        self.out.truncate(object.begin);
        self.out.extend_from_slice(&ordered);
        Ok(())
    }
}

/// Where the serializer writes.
struct Sink<'s>(&'s RefCell<Shared>);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().out.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the serializer writes. All of it goes to the sink's bytes, whose length is where it stands.
struct Sorting<'s>(&'s RefCell<Shared>);

impl Formatter for Sorting<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // 1.0 and 1 are one number; beyond 2^53 a float is not known to be whole.
        if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
            return self.write_i64(writer, value as i64);
        }
        CompactFormatter.write_f64(writer, value)
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    fn write_i128<W: ?Sized + Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.write_i64(writer, value),
            (_, Ok(value)) => self.write_u64(writer, value),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "an integer beyond 64 bits")),
        }
    }

    fn write_u128<W: ?Sized + Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        match u64::try_from(value) {
            Ok(value) => self.write_u64(writer, value),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "an integer beyond 64 bits")),
        }
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if matches!(escape, CharEscape::AsciiControl(0)) {
            return Err(self.0.borrow_mut().refuse(CanonicalError::Nul));
        }
        CompactFormatter.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.borrow_mut().open(b'[');
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let mut shared = self.0.borrow_mut();
        shared.open.pop();
        shared.out.push(b']');
        Ok(())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        self.0.borrow_mut().begin_item(first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.0.borrow_mut().open(b'{');
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let mut shared = self.0.borrow_mut();
        let Some(object) = shared.open.pop() else { return Ok(()) };
        if shared.open.is_empty() && object.begin == 1 {
            // The outermost: `finish` ends it.
            return Ok(());
        }
        shared.sort(object).map_err(io::Error::other)?;
        shared.members.truncate(object.members);
        shared.out.push(b'}');
        Ok(())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        let mut shared = self.0.borrow_mut();
        shared.begin_item(first)?;
        let begin = shared.out.len();
        shared.members.push(Member { begin, name_end: begin });
        Ok(())
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        let mut shared = self.0.borrow_mut();
        let end = shared.out.len();
        if let Some(member) = shared.members.last_mut() {
            member.name_end = end;
        }
        Ok(())
    }
}
