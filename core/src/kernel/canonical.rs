//! Canonical JSON: one sequence of bytes for one value, so that a digest means the same in every backend.
//!
//! Members are sorted by the bytes of their names; there is no white space; whole numbers are written without a point;
//! other numbers in the shortest form that reads back to the same value; U+0000 is refused, because one of the engines
//! cannot hold it. (In spirit RFC 8785, but with integers up to 64 bits.)

use serde::Serialize;
use serde_json::Value;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// It cannot be written as JSON at all.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A text holds U+0000.
    #[error("a text holds the character U+0000, which cannot be stored")]
    Nul,
    /// Nested deeper than 64 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

const MAX_DEPTH: usize = 64;

/// The canonical bytes of a value.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    from_value(&serde_json::to_value(value)?)
}

/// The canonical bytes of a JSON value.
pub fn from_value(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out, 0)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), CanonicalError> {
    if depth > MAX_DEPTH {
        return Err(CanonicalError::Depth);
    }
    match value {
        Value::Null | Value::Bool(_) => serde_json::to_writer(&mut *out, value)?,
        Value::Number(number) => match number.as_f64() {
            // 1.0 and 1 are one number; beyond 2^53 a float is not known to be whole.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                serde_json::to_writer(&mut *out, &(float as i64))?;
            }
            _ => serde_json::to_writer(&mut *out, number)?,
        },
        Value::String(text) => write_text(text, out)?,
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // serde_json's map may keep insertion order (another crate can switch that on), so sort here.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push(b'{');
            for (n, (name, member)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_text(name, out)?;
                out.push(b':');
                write(member, out, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if text.contains('\0') {
        return Err(CanonicalError::Nul);
    }
    Ok(serde_json::to_writer(out, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let value: Value = serde_json::from_str(input).unwrap();
        let got = from_value(&value).ok().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(got.as_deref(), expected, "{input}");
    }

    #[test]
    fn one_value_has_one_form() {
        check(
            r#"{ "b": 1, "a": [1.0, -0.0, 1e2, 0.10] }"#,
            Some(r#"{"a":[1,0,100,0.1],"b":1}"#),
        );
        check(r#""\u0041\u00e9\/""#, Some(r#""Aé/""#));
        check("18446744073709551615", Some("18446744073709551615"));
    }

    #[test]
    fn what_an_engine_cannot_hold_is_refused() {
        check(r#"{"a":"x\u0000y"}"#, None);
        check(r#"{"a\u0000":1}"#, None);
        check(&format!("{}1{}", "[".repeat(70), "]".repeat(70)), None);
    }
}
