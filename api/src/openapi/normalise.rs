//! The normaliser: a pure function over the document that utoipa makes. Client generators stop at, or misread, about ten
//! things that are legal or nearly legal in what it makes; each step removes one kind of them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    schemas::{
        SCHEMAS, admits_null, components, for_each_operation_mut, for_each_parameter_mut, for_each_schema_mut,
        members_mut, operations, reachable, reference, references, rename, target, visit,
    },
    unions,
};

/// Components that stay though no operation may name them: events are read from streams, problems come from every route.
pub const ROOTS: &[&str] = &["LiveEvent", "Problem"];

const PROBLEM: &str = "#/components/responses/Problem";

/// Brings a document into the form that every generator reads. Doing it twice changes nothing more.
pub fn normalise(document: &mut Value, roots: &[&str]) {
    name_inline_copies(document);
    rename_pages(document);
    unions::name_variants(document);
    merge_plain_objects(document);
    require_nullable_members_of_answers(document, roots);
    drop_unreached(document, roots);
    describe_responses(document);
    strip_null_from_parameters(document);
    add_common_errors(document);
    sort(document);
}

/// Step 0: an inline object that equals a component becomes a reference to it. (Generic types are inlined by utoipa.)
fn name_inline_copies(document: &mut Value) {
    // A copy may hold copies; each round names at least one layer. Deeper nesting than this is no document of ours.
    for _ in 0..16 {
        let mut by_content: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, schema) in components(document).into_iter().flatten() {
            if is_worth_a_name(schema) {
                by_content.entry(key(schema)).or_default().push(name.clone());
            }
        }
        let mut changed = false;
        for_each_schema_mut(document, &mut |schema, is_component| {
            if is_component || !is_worth_a_name(schema) {
                return;
            }
            // Two components of one content: which was meant is not known.
            if let Some([name]) = by_content.get(&key(schema)).map(Vec::as_slice) {
                *schema = reference(name);
                changed = true;
            }
        });
        if !changed {
            break;
        }
    }
}

/// Objects with members, unions, and enumerations of several values.
fn is_worth_a_name(schema: &Value) -> bool {
    let filled = |key: &str, at_least: usize| {
        schema.get(key).is_some_and(|value| {
            value.as_object().is_some_and(|members| members.len() >= at_least)
                || value.as_array().is_some_and(|items| items.len() >= at_least)
        })
    };
    // `oneOf [something, null]` is an optional member, not a union.
    let is_optional = schema.get("oneOf").and_then(Value::as_array).is_some_and(|members| {
        members
            .iter()
            .any(|member| member.get("type").is_some_and(|kind| kind == "null"))
    });
    filled("properties", 1) || filled("allOf", 2) || filled("enum", 2) || (filled("oneOf", 2) && !is_optional)
}

/// One text for one content, whatever order the maps are in.
fn key(schema: &Value) -> String {
    super::render(schema)
}

/// Step 0, second half: `Page_Device` becomes `DevicePage`.
fn rename_pages(document: &mut Value) {
    let pages: Vec<String> = components(document)
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| name.strip_prefix("Page_").map(str::to_owned))
        .collect();
    for item in pages {
        let (old, new) = (format!("Page_{item}"), format!("{item}Page"));
        let content = |name: &str| components(document).and_then(|all| all.get(name)).map(key);
        if content(&new).is_none() || content(&new) == content(&old) {
            rename(document, &old, &new);
        }
    }
}

/// Step 2: `allOf` of plain objects becomes one object; `allOf` of one reference becomes the reference.
fn merge_plain_objects(document: &mut Value) {
    let known = components(document).cloned().unwrap_or_default();
    for_each_schema_mut(document, &mut |schema, _| {
        if let Some(merged) = merged(schema, &known, 0) {
            *schema = merged;
        }
    });
}

/// The one object that an `allOf` stands for; nothing if it is not made of plain objects only.
pub(super) fn merged(schema: &Value, known: &Map<String, Value>, depth: usize) -> Option<Value> {
    let parts = schema.get("allOf")?.as_array()?;
    if let ([only], None) = (parts.as_slice(), schema.get("properties"))
        && let Some(reference) = only.get("$ref")
    {
        // Since 3.1 a reference may have siblings.
        let mut out = schema.as_object()?.clone();
        out.remove("allOf");
        out.insert("$ref".to_owned(), reference.clone());
        return Some(Value::Object(out));
    }
    let mut out = schema.as_object()?.clone();
    out.remove("allOf");
    let own = json!({
        "properties": out.remove("properties").unwrap_or_else(|| json!({})),
        "required": out.remove("required").unwrap_or_else(|| json!([])),
    });
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts.iter().chain([&own]) {
        let part = plain_object(part, known, depth)?;
        for (name, property) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
            match properties.get(name) {
                Some(other) if other != property => return None,
                _ => properties.insert(name.clone(), property.clone()),
            };
        }
        for name in part.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !required.contains(name) {
                required.push(name.clone());
            }
        }
    }
    for key in ["title", "description"] {
        let inline = parts
            .iter()
            .filter(|part| part.get("$ref").is_none())
            .find_map(|part| part.get(key));
        if let (false, Some(text)) = (out.contains_key(key), inline) {
            out.insert(key.to_owned(), text.clone());
        }
    }
    out.insert("type".to_owned(), json!("object"));
    out.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        out.insert("required".to_owned(), Value::Array(required));
    }
    Some(Value::Object(out))
}

/// The object behind a part of an `allOf`, if it has members and nothing else that constrains it.
pub(super) fn plain_object(part: &Value, known: &Map<String, Value>, depth: usize) -> Option<Value> {
    // A part that holds itself is no object.
    if depth > 8 {
        return None;
    }
    if let Some(name) = target(part) {
        return plain_object(known.get(name)?, known, depth + 1);
    }
    if part.get("allOf").is_some() {
        return merged(part, known, depth + 1).filter(|merged| merged.get("properties").is_some());
    }
    let constrains = [
        "oneOf",
        "anyOf",
        "not",
        "additionalProperties",
        "patternProperties",
        "enum",
        "$ref",
    ];
    let is_object = part.get("type").is_none_or(|kind| kind == "object");
    (is_object && !constrains.iter().any(|key| part.get(key).is_some())).then(|| part.clone())
}

/// Step 3: in what is only ever answered, a member that may be null is always there. (serde writes `null` for `None`; a
/// member that may be left out is declared as not nullable instead.)
fn require_nullable_members_of_answers(document: &mut Value, roots: &[&str]) {
    let mut asked = BTreeSet::new();
    for operation in operations(document) {
        for key in ["requestBody", "parameters"] {
            operation
                .value
                .get(key)
                .into_iter()
                .for_each(|part| references(part, &mut asked));
        }
        operation.shared.iter().for_each(|part| references(part, &mut asked));
    }
    let asked = reachable(document, asked);
    let mut answered: BTreeSet<String> = roots.iter().map(|name| format!("{SCHEMAS}{name}")).collect();
    for operation in operations(document) {
        operation
            .value
            .get("responses")
            .into_iter()
            .for_each(|part| references(part, &mut answered));
    }
    let answered = reachable(document, answered);

    let before = document.clone();
    let mut require = |schema: &mut Value, _| {
        let nullable: Vec<Value> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(_, property)| admits_null(property, &before))
            .map(|(name, _)| json!(name))
            .collect();
        if let (Some(schema), false) = (schema.as_object_mut(), nullable.is_empty()) {
            let required = schema.entry("required").or_insert_with(|| json!([]));
            if let Some(required) = required.as_array_mut() {
                let missing: Vec<Value> = nullable.into_iter().filter(|name| !required.contains(name)).collect();
                required.extend(missing);
            }
        }
    };
    for (name, schema) in members_mut(document.pointer_mut("/components/schemas")) {
        let reference = format!("{SCHEMAS}{name}");
        if answered.contains(&reference) && !asked.contains(&reference) {
            visit(schema, true, &mut require);
        }
    }
    for_each_operation_mut(document, |_, _, operation| {
        for (_, response) in members_mut(operation.get_mut("responses")) {
            for (_, media) in members_mut(response.get_mut("content")) {
                if let Some(schema) = media.get_mut("schema") {
                    visit(schema, false, &mut require);
                }
            }
        }
    });
}

/// Step 4: components that nothing reaches are noise in every client.
fn drop_unreached(document: &mut Value, roots: &[&str]) {
    let mut found: BTreeSet<String> = roots.iter().map(|name| format!("{SCHEMAS}{name}")).collect();
    for part in ["paths", "webhooks"] {
        document
            .get(part)
            .into_iter()
            .for_each(|part| references(part, &mut found));
    }
    let reached = reachable(document, found);
    for part in ["schemas", "responses", "parameters", "requestBodies", "headers"] {
        let place = format!("/components/{part}");
        if let Some(components) = document.pointer_mut(&place).and_then(Value::as_object_mut) {
            components.retain(|name, _| reached.contains(&format!("#{place}/{name}")));
        }
    }
}

/// Step 5: a response without a description is invalid; the reason phrase says at least what it is.
fn describe_responses(document: &mut Value) {
    for_each_operation_mut(document, |_, _, operation| {
        for (status, response) in members_mut(operation.get_mut("responses")) {
            let described = response
                .get("description")
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty());
            if let (false, Some(response)) = (described || response.get("$ref").is_some(), response.as_object_mut()) {
                response.insert("description".to_owned(), json!(reason(status)));
            }
        }
    });
}

fn reason(status: &str) -> &'static str {
    match status {
        "1XX" => "In progress",
        "2XX" => "Success",
        "3XX" => "Elsewhere",
        "4XX" => "The request was refused",
        "5XX" => "The server failed",
        _ => status
            .parse()
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Any other answer"),
    }
}

/// Step 6: a parameter is there or it is not; it is never null.
fn strip_null_from_parameters(document: &mut Value) {
    for_each_parameter_mut(document, |parameter| {
        if let Some(schema) = parameter.get_mut("schema") {
            strip_null(schema);
        }
    });
}

fn strip_null(schema: &mut Value) {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    for key in ["oneOf", "anyOf"] {
        let Some(members) = schema.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        members.retain(|member| member.get("type").is_none_or(|kind| kind != "null"));
        if let ([Value::Object(only)], Some(schema)) = (members.clone().as_slice(), schema.as_object_mut()) {
            schema.remove(key);
            for (name, member) in only {
                schema.entry(name.clone()).or_insert_with(|| member.clone());
            }
        }
    }
}

/// Step 7: every operation says which errors it may answer, all of one shape.
fn add_common_errors(document: &mut Value) {
    let has_problem = components(document).is_some_and(|all| all.contains_key("Problem"));
    if !has_problem {
        return;
    }
    let protected_by_default = document
        .get("security")
        .and_then(Value::as_array)
        .is_some_and(|schemes| !schemes.is_empty());
    for (_, item) in members_mut(document.get_mut("paths")) {
        let shared = item.get("parameters").cloned().unwrap_or_default();
        for (method, operation) in members_mut(Some(item)) {
            if operation.get("responses").is_some() || operation.get("operationId").is_some() {
                add_errors_of(operation, method, &shared, protected_by_default);
            }
        }
    }
    document["components"]["responses"]["Problem"] = json!({
        "description": "The request was not served; `code` says why.",
        "headers": {
            "X-Request-Id": {
                "description": "The request, as the server's log names it.",
                "schema": { "type": "string" },
            },
            "Retry-After": {
                "description": "With 429 and 503: seconds to wait before the next try.",
                "schema": { "type": "integer", "minimum": 1 },
            },
        },
        "content": { crate::problem::PROBLEM_JSON: { "schema": reference("Problem") } },
    });
}

fn add_errors_of(operation: &mut Value, method: &str, shared: &Value, protected_by_default: bool) {
    let parameters = || {
        let own = operation
            .get("parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        shared.as_array().into_iter().flatten().chain(own)
    };
    let header = |name: &str| {
        parameters().find(|parameter| {
            parameter["in"] == "header"
                && parameter["name"]
                    .as_str()
                    .is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
    };
    let mut statuses = vec!["400", "429", "5XX"];
    let is_protected = match operation.get("security").and_then(Value::as_array) {
        // `[{}]` is how "nobody needs to sign in" is written.
        Some(schemes) => schemes
            .iter()
            .any(|scheme| scheme.as_object().is_some_and(|scheme| !scheme.is_empty())),
        None => protected_by_default,
    };
    if is_protected {
        statuses.extend(["401", "403"]);
    }
    if parameters().any(|parameter| parameter["in"] == "path") {
        statuses.push("404");
    }
    if matches!(method, "post" | "put" | "patch" | "delete") {
        statuses.push("409");
    }
    if let Some(condition) = header("If-Match") {
        statuses.extend(["409", "412"]);
        if condition["required"] == true {
            statuses.push("428");
        }
    }
    if header("Idempotency-Key").is_some() {
        statuses.push("422");
    }
    if operation.get("requestBody").is_some() {
        statuses.extend(["413", "415"]);
    }
    if let Some(operation) = operation.as_object_mut() {
        let responses = operation.entry("responses").or_insert_with(|| json!({}));
        for status in statuses {
            let known = responses.get(status).is_some();
            if let (false, Some(responses)) = (known, responses.as_object_mut()) {
                responses.insert(status.to_owned(), json!({ "$ref": PROBLEM }));
            }
        }
    }
}

/// Step 8: components by name, required members by name. (The rest of the order is [`super::render`]'s.)
fn sort(document: &mut Value) {
    for_each_schema_mut(document, &mut |schema, _| {
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            required.dedup();
        }
    });
    for part in [
        "schemas",
        "responses",
        "parameters",
        "requestBodies",
        "headers",
        "securitySchemes",
    ] {
        if let Some(Value::Object(components)) = document.pointer_mut(&format!("/components/{part}")) {
            let sorted: BTreeMap<String, Value> = std::mem::take(components).into_iter().collect();
            components.extend(sorted);
        }
    }
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
