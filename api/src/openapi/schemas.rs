//! Walking the schemas of a document. Only places where a schema may stand are visited, so that an example or a property
//! that happens to be named `items` is left alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Where schemas with names live.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The named schemas.
pub(super) fn components(document: &Value) -> Option<&Map<String, Value>> {
    document.pointer("/components/schemas")?.as_object()
}

/// The named schemas, to change.
pub(super) fn components_mut(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.pointer_mut("/components/schemas")?.as_object_mut()
}

/// What a reference to a named schema names.
pub(super) fn target(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(SCHEMAS)
}

/// A reference to a named schema.
pub(super) fn reference(name: &str) -> Value {
    serde_json::json!({ "$ref": format!("{SCHEMAS}{name}") })
}

/// One operation of a document.
pub(super) struct Operation<'a> {
    pub path: &'a str,
    pub method: &'a str,
    /// Parameters that stand at the path and hold for all its methods.
    pub shared: &'a [Value],
    pub value: &'a Value,
}

/// All operations, in the document's order.
pub(super) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut out = Vec::new();
    for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        let shared = item
            .get("parameters")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        for (method, value) in item.as_object().into_iter().flatten() {
            if METHODS.contains(&method.as_str()) {
                out.push(Operation {
                    path,
                    method,
                    shared,
                    value,
                });
            }
        }
    }
    out
}

/// Calls `change` with path, method and value of each operation.
pub(super) fn for_each_operation_mut(document: &mut Value, mut change: impl FnMut(&str, &str, &mut Value)) {
    for (path, item) in members_mut(document.get_mut("paths")) {
        for (method, operation) in members_mut(Some(item)) {
            if METHODS.contains(&method.as_str()) {
                change(path, method, operation);
            }
        }
    }
}

pub(super) fn members_mut(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn elements_mut(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

/// Calls `change` with every schema of the document, inner ones first. The flag says whether the schema is the
/// definition of a component.
pub(super) fn for_each_schema_mut(document: &mut Value, change: &mut dyn FnMut(&mut Value, bool)) {
    for (_, schema) in members_mut(document.pointer_mut("/components/schemas")) {
        visit(schema, true, change);
    }
    for (_, response) in members_mut(document.pointer_mut("/components/responses")) {
        visit_response(response, change);
    }
    for (_, body) in members_mut(document.pointer_mut("/components/requestBodies")) {
        visit_content(body, change);
    }
    for_each_parameter_mut(document, |parameter| {
        if let Some(schema) = parameter.get_mut("schema") {
            visit(schema, false, change);
        }
    });
    for_each_operation_mut(document, |_, _, operation| {
        if let Some(body) = operation.get_mut("requestBody") {
            visit_content(body, change);
        }
        for (_, response) in members_mut(operation.get_mut("responses")) {
            visit_response(response, change);
        }
    });
}

/// Calls `change` with every parameter of the document.
pub(super) fn for_each_parameter_mut(document: &mut Value, mut change: impl FnMut(&mut Value)) {
    for (_, parameter) in members_mut(document.pointer_mut("/components/parameters")) {
        change(parameter);
    }
    for (_, item) in members_mut(document.get_mut("paths")) {
        elements_mut(item.get_mut("parameters")).for_each(&mut change);
    }
    for_each_operation_mut(document, |_, _, operation| {
        elements_mut(operation.get_mut("parameters")).for_each(&mut change);
    });
}

fn visit_response(response: &mut Value, change: &mut dyn FnMut(&mut Value, bool)) {
    visit_content(response, change);
    for (_, header) in members_mut(response.get_mut("headers")) {
        if let Some(schema) = header.get_mut("schema") {
            visit(schema, false, change);
        }
    }
}

fn visit_content(holder: &mut Value, change: &mut dyn FnMut(&mut Value, bool)) {
    for (_, media) in members_mut(holder.get_mut("content")) {
        if let Some(schema) = media.get_mut("schema") {
            visit(schema, false, change);
        }
    }
}

/// Calls `change` with `schema` and all schemas in it, inner ones first.
pub(super) fn visit(schema: &mut Value, is_component: bool, change: &mut dyn FnMut(&mut Value, bool)) {
    for key in ["properties", "patternProperties", "dependentSchemas", "$defs"] {
        for (_, inner) in members_mut(schema.get_mut(key)) {
            visit(inner, false, change);
        }
    }
    for key in ["items", "additionalProperties", "propertyNames", "not", "contains"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            visit(inner, false, change);
        }
    }
    for key in ["oneOf", "anyOf", "allOf", "prefixItems"] {
        for inner in elements_mut(schema.get_mut(key)) {
            visit(inner, false, change);
        }
    }
    change(schema, is_component);
}

/// All references in any part of a document, also those of discriminators.
pub(super) fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("$ref", Value::String(reference)) => {
                        out.insert(reference.clone());
                    }
                    ("discriminator", Value::Object(_)) => {
                        let mapping = member.get("mapping").and_then(Value::as_object);
                        out.extend(
                            mapping
                                .into_iter()
                                .flatten()
                                .filter_map(|(_, to)| to.as_str().map(str::to_owned)),
                        );
                    }
                    ("example" | "examples" | "default" | "enum" | "const", _) if is_data(name, member) => {}
                    _ => references(member, out),
                }
            }
        }
        _ => {}
    }
}

/// Whether a member is data and no schema: a property may bear one of these names, and is then a schema.
fn is_data(name: &str, member: &Value) -> bool {
    match name {
        "enum" | "examples" => !member.is_object(),
        _ => !["$ref", "type", "oneOf", "allOf", "anyOf"]
            .iter()
            .any(|key| member.get(key).is_some()),
    }
}

/// The names of all components that `from` reaches, directly and through other components.
pub(super) fn reachable(document: &Value, from: BTreeSet<String>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = from.into_iter().collect();
    while let Some(reference) = waiting.pop() {
        let Some(part) = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer))
        else {
            continue;
        };
        if reached.insert(reference) {
            let mut found = BTreeSet::new();
            references(part, &mut found);
            waiting.extend(found);
        }
    }
    reached
}

/// Renames a component and every reference to it.
pub(super) fn rename(document: &mut Value, from: &str, to: &str) {
    let (old, new) = (format!("{SCHEMAS}{from}"), format!("{SCHEMAS}{to}"));
    fn replace(value: &mut Value, old: &str, new: &str) {
        match value {
            Value::String(text) if text == old => *text = new.to_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
            Value::Object(members) => members.values_mut().for_each(|member| replace(member, old, new)),
            _ => {}
        }
    }
    replace(document, &old, &new);
    if let Some(components) = components_mut(document)
        && let Some(schema) = components.remove(from)
    {
        components.insert(to.to_owned(), schema);
    }
}

/// Whether a value of this schema may be null.
pub(super) fn admits_null(schema: &Value, document: &Value) -> bool {
    fn check(schema: &Value, document: &Value, depth: usize) -> bool {
        let is_null = |kind: &Value| kind == "null";
        let any = |key: &str| {
            let members = schema.get(key).and_then(Value::as_array);
            members.is_some_and(|members| {
                members
                    .iter()
                    .any(|member| depth > 0 && check(member, document, depth - 1))
            })
        };
        schema
            .get("type")
            .is_some_and(|kind| is_null(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(is_null)))
            || any("oneOf")
            || any("anyOf")
            || target(schema)
                .and_then(|name| components(document)?.get(name))
                .is_some_and(|schema| depth > 0 && check(schema, document, depth - 1))
    }
    check(schema, document, 8)
}
