//! The operations of the document, and a request for each that looks valid.

use serde_json::Value;

/// An id of nothing.
pub const NOTHING: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    /// With its parameters filled in.
    pub path: String,
    /// With its parameters as `{name}`.
    pub pattern: String,
    /// Headers that it wants.
    pub headers: Vec<(String, String)>,
    /// The example of its body.
    pub body: Option<Value>,
    pub permission: String,
    pub audit: Option<String>,
    /// The names of its query parameters.
    pub query: Vec<String>,
}

/// All operations of the document, in its order.
pub fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&fleet_api::openapi_document()).unwrap();
    let mut found = Vec::new();
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push(read(&document, pattern, method, operation));
        }
    }
    assert!(found.len() > 30, "the document was not read");
    found
}

fn read(document: &Value, pattern: &str, method: &str, operation: &Value) -> Operation {
    let text = |name: &str| operation[name].as_str().map(str::to_owned);
    let id = text("operationId").unwrap();
    let (mut path, mut headers, mut query) = (pattern.to_owned(), Vec::new(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), &value_of(document, &id, parameter)),
            "header" if name == "If-Match" => headers.push((name.to_owned(), "*".to_owned())),
            "header" if parameter["required"] == false => {}
            "query" => query.push(name.to_owned()),
            place => panic!("{id}: nothing is known of {place} {name}"),
        }
    }
    assert!(!path.contains('{'), "{path}");
    let media = &operation["requestBody"]["content"]["application/json"];
    Operation {
        method: method.to_uppercase(),
        pattern: pattern.to_owned(),
        body: (!media.is_null()).then(|| example(document, media)),
        permission: text("x-fleet-permission").unwrap(),
        audit: text("x-fleet-audit"),
        id,
        path,
        headers,
        query,
    }
}

/// A value that a path parameter may have.
fn value_of(document: &Value, id: &str, parameter: &Value) -> String {
    let schema = resolve(document, &parameter["schema"]);
    if schema["format"] == "uuid" {
        return NOTHING.to_owned();
    }
    if let Some(value) = schema["enum"].get(0).and_then(Value::as_str) {
        return value.to_owned();
    }
    match parameter["name"].as_str().unwrap() {
        "section" => "packages",
        "manager" => "apt",
        "platform" => "linux-x86_64",
        "sha256" | "digest" => "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "name" => "bash",
        "key" => "access.session_idle_seconds",
        name => panic!("{id}: say here which value {name} may have"),
    }
    .to_owned()
}

fn example(document: &Value, media: &Value) -> Value {
    let schema = resolve(document, &media["schema"]);
    let found = [&media["example"], &schema["example"], &schema["examples"][0]];
    found.into_iter().find(|value| !value.is_null()).unwrap().clone()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}
