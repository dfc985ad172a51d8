//! One text for one document. Whether serde_json keeps the order of members depends on a feature that any crate in a build
//! may switch on, so the order is decided here: first the members that people look for first, then by name.

use serde_json::Value;

/// The order of the document's own members, and of a schema's.
const FIRST: &[&str] = &[
    "openapi",
    "info",
    "servers",
    "security",
    "tags",
    "paths",
    "components",
    "schemas",
    "responses",
    "$ref",
    "type",
    "id",
    "operationId",
    "title",
    "name",
    "in",
    "summary",
    "description",
    "format",
    "required",
    "properties",
];

/// The document as indented JSON, ending in a new line. The same document always gives the same text.
pub fn render(document: &Value) -> String {
    let mut out = String::with_capacity(64 * 1024);
    write(document, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| (rank(name), *name));
            let lines = members.into_iter().map(|(name, member)| (Some(name.as_str()), member));
            write_lines(lines, '{', '}', depth, out);
        }
        Value::Array(items) if !items.is_empty() => {
            write_lines(items.iter().map(|item| (None, item)), '[', ']', depth, out);
        }
        // `Value` writes scalars, `{}` and `[]` without a way to fail.
        other => out.push_str(&other.to_string()),
    }
}

fn write_lines<'a>(
    lines: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    open: char,
    close: char,
    depth: usize,
    out: &mut String,
) {
    out.push(open);
    for (n, (name, value)) in lines.enumerate() {
        out.push_str(if n == 0 { "\n" } else { ",\n" });
        indent(depth + 1, out);
        if let Some(name) = name {
            out.push_str(&Value::from(name).to_string());
            out.push_str(": ");
        }
        write(value, depth + 1, out);
    }
    out.push('\n');
    indent(depth, out);
    out.push(close);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn rank(name: &str) -> usize {
    FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_is_ours_and_the_text_reads_back() {
        let document = json!({"paths": {}, "zebra": [1, "a\"b"], "alpha": [], "openapi": "3.1.0"});
        let text = render(&document);
        assert_eq!(
            text,
            "{\n  \"openapi\": \"3.1.0\",\n  \"paths\": {},\n  \"alpha\": [],\n  \"zebra\": [\n    1,\n    \"a\\\"b\"\n  ]\n}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
