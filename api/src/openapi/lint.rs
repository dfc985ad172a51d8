//! The rules of this house for the document: what makes clients pleasant and cannot be seen by a validator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schemas::{Operation, components, operations, references, target};

const PROBLEM_RESPONSE: &str = "#/components/responses/Problem";
/// Our own extensions: permission, audit action, kind of stream, WebSocket, stability, end of support.
const EXTENSIONS: &[&str] = &[
    "x-fleet-permission",
    "x-fleet-audit",
    "x-fleet-stream",
    "x-fleet-websocket",
    "x-fleet-stability",
    "x-fleet-sunset",
];

/// What a normalised document does against the rules, one line each, naming the place; empty when all is well.
pub fn lint(document: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    for operation in operations(document) {
        let place = format!("{} {}", operation.method.to_uppercase(), operation.path);
        let mut complain = |what: String| complaints.push(format!("{place}: {what}"));
        match operation.value.get("operationId").and_then(Value::as_str) {
            Some(id) if is_verb_noun(id) => {
                if let Some(other) = ids.insert(id, place.clone()) {
                    complain(format!("operation id {id} is also that of {other}"));
                }
            }
            Some(id) => complain(format!("operation id {id} is not verb_noun in snake case")),
            None => complain("has no operation id".to_owned()),
        }
        check_labels(&operation, &mut complain);
        check_responses(&operation, document, &mut complain);
        check_body(&operation, document, &mut complain);
        for parameter in parameters(&operation) {
            let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
            if is_id(name) && !is_text(parameter.get("schema").unwrap_or(&Value::Null), document) {
                complain(format!("parameter {name} is an id and not a string"));
            }
        }
    }
    for (name, schema) in components(document).into_iter().flatten() {
        if name.ends_with("Page") && !is_page(schema) {
            complaints.push(format!("{name}: a page has items and next, both required"));
        }
        check_ids(name, schema, document, &mut complaints);
        check_defaults(name, schema, &mut complaints);
    }
    let mut all = BTreeSet::new();
    references(document, &mut all);
    complaints.extend(
        all.iter()
            .filter(|reference| {
                reference
                    .strip_prefix('#')
                    .and_then(|pointer| document.pointer(pointer))
                    .is_none()
            })
            .map(|reference| format!("{reference}: referred to and not there")),
    );
    complaints
}

fn check_labels(operation: &Operation<'_>, complain: &mut dyn FnMut(String)) {
    let kebab = |text: &str| {
        !text.is_empty()
            && text
                .split('-')
                .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    match operation.value.get("tags").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::String(tag)]) if kebab(tag) => {}
        _ => complain("wants exactly one tag, in kebab case".to_owned()),
    }
    match operation.value.get("x-fleet-permission").and_then(Value::as_str) {
        Some(permission) if !permission.is_empty() => {}
        _ => complain("has no x-fleet-permission (public where nobody need sign in)".to_owned()),
    }
    for name in operation.value.as_object().into_iter().flatten().map(|(name, _)| name) {
        if name.starts_with("x-") && !EXTENSIONS.contains(&name.as_str()) {
            complain(format!("{name} is no extension of ours"));
        }
    }
}

fn check_responses(operation: &Operation<'_>, document: &Value, complain: &mut dyn FnMut(String)) {
    let mut successes = Vec::new();
    let mut refusals = 0;
    for (status, response) in operation
        .value
        .get("responses")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let is_reference = response.get("$ref").is_some();
        let description = response.get("description").and_then(Value::as_str).unwrap_or_default();
        if !is_reference && description.trim().is_empty() {
            complain(format!("response {status} has no description"));
        }
        let content = response.get("content").and_then(Value::as_object);
        match status.as_bytes().first() {
            Some(b'4' | b'5' | b'd') => {
                refusals += usize::from(status.starts_with('4'));
                let is_problem = response
                    .get("$ref")
                    .is_some_and(|reference| reference == PROBLEM_RESPONSE)
                    || content.is_some_and(|content| {
                        content.len() == 1
                            && content
                                .get(crate::problem::PROBLEM_JSON)
                                .is_some_and(|media| media.get("schema").and_then(target) == Some("Problem"))
                    });
                if !is_problem {
                    complain(format!("response {status} is no Problem"));
                }
            }
            Some(b'2') => successes.extend(
                content
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, media)| media.get("schema")),
            ),
            _ => {}
        }
    }
    if refusals == 0 {
        complain("says no 4xx".to_owned());
    }
    if successes.windows(2).any(|pair| pair[0] != pair[1]) {
        complain("has several schemas for success".to_owned());
    }
    let is_list = operation
        .value
        .get("operationId")
        .and_then(Value::as_str)
        .is_some_and(|id| id.starts_with("list_"));
    for schema in successes {
        if schema.get("type").is_some_and(|kind| kind == "array") {
            complain("answers a bare array; lists are pages".to_owned());
        }
        let page = target(schema).and_then(|name| components(document)?.get(name));
        if is_list && !page.is_some_and(is_page) {
            complain("is a list and answers no page".to_owned());
        }
    }
}

fn check_body(operation: &Operation<'_>, document: &Value, complain: &mut dyn FnMut(String)) {
    let content = operation
        .value
        .pointer("/requestBody/content")
        .and_then(Value::as_object);
    for (kind, media) in content.into_iter().flatten().filter(|(kind, _)| kind.ends_with("json")) {
        let schema = media.get("schema").unwrap_or(&Value::Null);
        let named = target(schema).and_then(|name| components(document)?.get(name));
        let has_example = |value: &Value| value.get("example").is_some() || value.get("examples").is_some();
        if !has_example(media) && !has_example(schema) && !named.is_some_and(has_example) {
            complain(format!("its {kind} body has no example"));
        }
    }
}

fn parameters<'a>(operation: &Operation<'a>) -> impl Iterator<Item = &'a Value> {
    let own = operation.value.get("parameters").and_then(Value::as_array);
    operation.shared.iter().chain(own.into_iter().flatten())
}

/// `list_devices`, `get_device_package_set`.
fn is_verb_noun(id: &str) -> bool {
    let mut words = 0;
    id.split('_').all(|word| {
        words += 1;
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || (words > 1 && byte.is_ascii_digit()))
    }) && words >= 2
}

fn is_page(schema: &Value) -> bool {
    let has = |name: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        schema.pointer(&format!("/properties/{name}")).is_some()
            && required.is_some_and(|required| required.iter().any(|member| member == name))
    };
    has("items")
        && has("next")
        && schema
            .pointer("/properties/items/type")
            .is_some_and(|kind| kind == "array")
}

fn is_id(name: &str) -> bool {
    name == "id" || name.ends_with("_id") || name.ends_with("_ids")
}

/// A default of null stands only where null may.
fn check_defaults(place: &str, schema: &Value, complaints: &mut Vec<String>) {
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let is_null = |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
        let kinds = ["type", "oneOf", "anyOf"].map(|member| property.get(member).and_then(Value::as_array));
        let may_be_null = kinds.into_iter().flatten().flatten().any(is_null);
        if property.get("default").is_some_and(Value::is_null) && !may_be_null {
            complaints.push(format!("{place}.{name}: its default is null, which it may not be"));
        }
    }
}

fn check_ids(place: &str, schema: &Value, document: &Value, complaints: &mut Vec<String>) {
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if is_id(name) && !is_text(property, document) {
            complaints.push(format!("{place}.{name}: an id that is not a string"));
        }
        check_ids(&format!("{place}.{name}"), property, document, complaints);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            check_ids(place, inner, document, complaints);
        }
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for inner in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            check_ids(place, inner, document, complaints);
        }
    }
}

/// A string, several strings, or null.
fn is_text(schema: &Value, document: &Value) -> bool {
    let is_text_type = |kind: &Value| kind == "string" || kind == "null";
    if let Some(named) = target(schema).and_then(|name| components(document)?.get(name)) {
        return is_text(named, document);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(members) = schema.get(key).and_then(Value::as_array) {
            return members.iter().all(|member| is_text(member, document));
        }
    }
    match schema.get("type") {
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "array") => {
            schema.get("items").is_some_and(|items| is_text(items, document))
        }
        Some(Value::Array(kinds)) => kinds.iter().all(is_text_type),
        Some(kind) if kind == "array" => schema.get("items").is_some_and(|items| is_text(items, document)),
        Some(kind) => is_text_type(kind),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "paths": { "/things/{thing_id}": { "patch": {
                "operationId": "update_thing",
                "tags": ["things"],
                "x-fleet-permission": "things:write",
                "parameters": [{ "name": "thing_id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "requestBody": { "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/ThingChange" } } } },
                "responses": {
                    "200": { "description": "The thing", "content": { "application/json": {
                        "schema": { "$ref": "#/components/schemas/Thing" } } } },
                    "400": { "$ref": "#/components/responses/Problem" },
                },
            } }, "/things": { "get": {
                "operationId": "list_things",
                "tags": ["things"],
                "x-fleet-permission": "things:read",
                "responses": {
                    "200": { "description": "A page", "content": { "application/json": {
                        "schema": { "$ref": "#/components/schemas/ThingPage" } } } },
                    "400": { "$ref": "#/components/responses/Problem" },
                },
            } } },
            "components": {
                "responses": { "Problem": { "description": "Why" } },
                "schemas": {
                    "Thing": { "type": "object", "properties": { "id": { "type": "string" }, "site_id": { "type": ["string", "null"] } } },
                    "ThingChange": { "type": "object", "example": {}, "properties": {} },
                    "ThingPage": { "type": "object", "required": ["items", "next"], "properties": {
                        "items": { "type": "array", "items": { "$ref": "#/components/schemas/Thing" } },
                        "next": { "type": ["string", "null"] } } },
                },
            },
        })
    }

    /// Puts `value` at `pointer` of a good document (or removes what is there) and expects the complaint.
    #[track_caller]
    fn check(pointer: &str, value: Option<Value>, complaint: &str) {
        let mut document = good();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let member = member.replace("~1", "/");
        let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(member, value),
            None => parent.remove(&member),
        };
        assert_eq!(lint(&document), [complaint]);
    }

    const PATCH: &str = "/paths/~1things~1{thing_id}/patch";

    #[test]
    fn a_good_document_has_no_complaints() {
        assert_eq!(lint(&good()), Vec::<String>::new());
    }

    #[test]
    fn operations_have_ids_tags_and_permissions() {
        let at = |member: &str| format!("{PATCH}/{member}");
        check(
            &at("operationId"),
            None,
            "PATCH /things/{thing_id}: has no operation id",
        );
        check(
            &at("operationId"),
            Some(json!("updateThing")),
            "PATCH /things/{thing_id}: operation id updateThing is not verb_noun in snake case",
        );
        check(
            &at("operationId"),
            Some(json!("update")),
            "PATCH /things/{thing_id}: operation id update is not verb_noun in snake case",
        );
        check(
            &at("tags"),
            Some(json!(["a", "b"])),
            "PATCH /things/{thing_id}: wants exactly one tag, in kebab case",
        );
        check(
            &at("x-fleet-permission"),
            None,
            "PATCH /things/{thing_id}: has no x-fleet-permission (public where nobody need sign in)",
        );
        check(
            &at("x-fleet-permision"),
            Some(json!("x")),
            "PATCH /things/{thing_id}: x-fleet-permision is no extension of ours",
        );
        let mut document = good();
        document["paths"]["/things"]["get"]["operationId"] = json!("update_thing");
        let complaints = lint(&document);
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("operation id update_thing is also that of"),
            "{complaints:?}"
        );
    }

    #[test]
    fn responses_are_described_and_errors_are_problems() {
        let at = |member: &str| format!("{PATCH}/responses/{member}");
        check(
            &at("200"),
            Some(json!({ "description": "" })),
            "PATCH /things/{thing_id}: response 200 has no description",
        );
        check(
            &at("404"),
            Some(json!({ "description": "No" })),
            "PATCH /things/{thing_id}: response 404 is no Problem",
        );
        check(&at("400"), None, "PATCH /things/{thing_id}: says no 4xx");
        check(
            &at("201"),
            Some(
                json!({ "description": "New", "content": { "application/json": { "schema": { "type": "object" } } } }),
            ),
            "PATCH /things/{thing_id}: has several schemas for success",
        );
    }

    #[test]
    fn lists_are_pages() {
        check(
            "/paths/~1things/get/responses/200/content/application~1json",
            Some(json!({ "schema": { "$ref": "#/components/schemas/Thing" } })),
            "GET /things: is a list and answers no page",
        );
        check(
            &format!("{PATCH}/responses/200/content/application~1json"),
            Some(json!({ "schema": { "type": "array", "items": {} } })),
            "PATCH /things/{thing_id}: answers a bare array; lists are pages",
        );
        let mut document = good();
        document["components"]["schemas"]["ThingPage"]["required"] = json!(["items"]);
        assert!(lint(&document).contains(&"ThingPage: a page has items and next, both required".to_owned()));
    }

    #[test]
    fn bodies_have_examples() {
        check(
            "/components/schemas/ThingChange/example",
            None,
            "PATCH /things/{thing_id}: its application/json body has no example",
        );
    }

    #[test]
    fn a_default_is_what_may_stand_there() {
        check(
            "/components/schemas/Thing/properties/size",
            Some(json!({ "type": "integer", "default": null })),
            "Thing.size: its default is null, which it may not be",
        );
        let mut document = good();
        document["components"]["schemas"]["Thing"]["properties"]["size"] =
            json!({ "type": ["integer", "null"], "default": null });
        assert!(lint(&document).is_empty());
    }

    #[test]
    fn ids_are_strings() {
        for kind in [json!("number"), json!("integer"), json!(["integer", "null"])] {
            check(
                "/components/schemas/Thing/properties/site_id",
                Some(json!({ "type": kind })),
                "Thing.site_id: an id that is not a string",
            );
        }
        check(
            "/components/schemas/Thing/properties/owner",
            Some(json!({ "type": "object", "properties": { "id": { "type": "number" } } })),
            "Thing.owner.id: an id that is not a string",
        );
        check(
            &format!("{PATCH}/parameters"),
            Some(json!([{ "name": "thing_id", "schema": { "type": "integer" } }])),
            "PATCH /things/{thing_id}: parameter thing_id is an id and not a string",
        );
    }

    #[test]
    fn references_lead_somewhere() {
        check(
            "/components/schemas/Thing/properties/size",
            Some(json!({ "$ref": "#/components/schemas/Size" })),
            "#/components/schemas/Size: referred to and not there",
        );
    }
}
