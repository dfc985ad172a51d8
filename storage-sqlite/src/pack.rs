//! The parameters of one statement for many rows.

use std::fmt::Write as _;

use fleet_core::store::Value;
use uuid::Uuid;

/// Rows for one statement: a JSON array of arrays, for `json_each`, and a blob that holds ids and bodies, which JSON cannot
/// carry byte for byte; the array says where they begin and how long they are. [`crate::sql`] has the other half.
#[derive(Debug)]
pub(crate) struct Pack {
    json: String,
    blob: Vec<u8>,
    fields: usize,
}

impl Pack {
    pub(crate) fn new() -> Self {
        Self {
            json: String::from("["),
            // One byte that nothing points to: an empty blob would read as null.
            blob: vec![0],
            fields: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.json.len() == 1
    }

    /// Begins a row.
    pub(crate) fn row(&mut self) -> &mut Self {
        if self.is_empty() {
            self.json.push('[');
        } else {
            self.json.push_str("],[");
        }
        self.fields = 0;
        self
    }

    fn field(&mut self) -> &mut String {
        if self.fields > 0 {
            self.json.push(',');
        }
        self.fields += 1;
        &mut self.json
    }

    /// One field.
    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self.field(), "{value}");
        self
    }

    /// One field. Places and revisions stay far below 2^63; a larger one would be a bug, and is pinned rather than wrapped.
    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// One field.
    pub(crate) fn null(&mut self) -> &mut Self {
        self.field().push_str("null");
        self
    }

    /// One field.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let json = self.field();
        json.push('"');
        for c in text.chars() {
            match c {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                c if (c as u32) < 0x20 => {
                    let _ = write!(json, "\\u{:04x}", c as u32);
                }
                c => json.push(c),
            }
        }
        json.push('"');
        self
    }

    /// Puts an id into the blob, for any number of fields; says where it begins.
    pub(crate) fn place(&mut self, id: &Uuid) -> i64 {
        self.put(id.as_bytes())
    }

    /// One field.
    pub(crate) fn id(&mut self, id: &Uuid) -> &mut Self {
        let place = self.place(id);
        self.int(place)
    }

    /// One field: a sum of sixteen bytes.
    pub(crate) fn sum(&mut self, sum: &[u8; 16]) -> &mut Self {
        let place = self.put(sum);
        self.int(place)
    }

    /// Two fields: where the bytes begin and how many there are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let place = self.put(bytes);
        self.int(place);
        self.uint(bytes.len() as u64)
    }

    /// One field.
    pub(crate) fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.null(),
            Value::Int(value) => self.int(*value),
            Value::Text(text) => self.text(text),
            Value::Id(id) => self.id(id),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> i64 {
        // SQL counts from one.
        let place = self.blob.len() + 1;
        self.blob.extend_from_slice(bytes);
        i64::try_from(place).unwrap_or(i64::MAX)
    }

    /// The two parameters.
    pub(crate) fn finish(mut self) -> (String, Vec<u8>) {
        self.json.push_str(if self.is_empty() { "]" } else { "]]" });
        (self.json, self.blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fill: impl FnOnce(&mut Pack), json: &str, blob: &[u8]) {
        let mut pack = Pack::new();
        fill(&mut pack);
        let (got_json, got_blob) = pack.finish();
        assert_eq!(got_json, json);
        assert_eq!(&got_blob[1..], blob);
    }

    #[test]
    fn rows_become_arrays_and_bytes_go_to_the_blob() {
        check(|_| {}, "[]", b"");
        check(
            |pack| {
                pack.row().int(i64::MIN).null().bytes(b"ab");
                pack.row().bytes(b"").text("x");
            },
            "[[-9223372036854775808,null,2,2],[4,0,\"x\"]]",
            b"ab",
        );
    }

    #[test]
    fn texts_are_escaped() {
        let text = "a\"b\\c\nd\u{1}e\u{7f}\u{2028}é";
        let mut pack = Pack::new();
        pack.row().text(text);
        let (json, _) = pack.finish();
        let read: Vec<Vec<String>> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, [[text]]);
    }
}
