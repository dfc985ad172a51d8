//! Each step with data in and data out.

use serde_json::{Value, json};

use super::*;

/// A document with one route that answers each of `answers` and takes each of `bodies`, and with these components.
fn document(answers: &[&str], bodies: &[&str], schemas: Value) -> Value {
    let reference = |name: &&str| reference(name);
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let mut responses = Map::new();
    for (n, answer) in answers.iter().map(reference).enumerate() {
        responses.insert(
            format!("{}", 200 + n),
            json!({ "description": "Yes", "content": content(answer) }),
        );
    }
    let bodies: Vec<Value> = bodies.iter().map(reference).collect();
    json!({
        "paths": { "/x": { "post": {
            "operationId": "create_x",
            "requestBody": { "content": content(json!({ "oneOf": bodies })) },
            "responses": responses,
        } } },
        "components": { "schemas": schemas },
    })
}

/// Runs one step over components that are all answered, and expects these components.
#[track_caller]
fn check(step: fn(&mut Value), schemas: Value, expected: Value) {
    let names: Vec<String> = schemas.as_object().unwrap().keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut document = document(&names, &[], schemas);
    step(&mut document);
    assert_eq!(document["components"]["schemas"], expected);
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

#[test]
fn step_0_an_inline_copy_becomes_a_reference() {
    let device = object(json!({ "id": { "type": "string" } }));
    check(
        name_inline_copies,
        json!({ "Device": device, "Pair": object(json!({ "left": device, "right": { "type": "array", "items": device } })) }),
        json!({
            "Device": device,
            "Pair": object(json!({ "left": reference("Device"), "right": { "type": "array", "items": reference("Device") } })),
        }),
    );
}

#[test]
fn step_0_copies_within_copies_are_named_too() {
    let disk = object(json!({ "size": { "type": "integer" } }));
    let device = object(json!({ "disk": reference("Disk") }));
    check(
        name_inline_copies,
        json!({ "Disk": disk, "Device": device, "Page_Device": object(json!({ "items": object(json!({ "disk": disk })) })) }),
        json!({ "Disk": disk, "Device": device, "Page_Device": object(json!({ "items": reference("Device") })) }),
    );
}

#[test]
fn step_0_a_copy_of_two_equal_components_stays() {
    let empty = object(json!({ "id": { "type": "string" } }));
    let schemas = json!({ "A": empty, "B": empty, "C": object(json!({ "inner": empty })) });
    check(name_inline_copies, schemas.clone(), schemas);
}

#[test]
fn step_0_pages_are_named_after_their_items_also_in_paths() {
    let mut document = document(&["Page_Device"], &[], json!({ "Page_Device": object(json!({})) }));
    rename_pages(&mut document);
    assert_eq!(
        document["components"]["schemas"],
        json!({ "DevicePage": object(json!({})) })
    );
    assert_eq!(
        document
            .pointer("/paths/~1x/post/responses/200/content/application~1json/schema")
            .unwrap(),
        &reference("DevicePage")
    );
}

#[test]
fn step_1_alternatives_get_names_and_a_discriminator() {
    let tag = |value: &str| json!({ "type": "string", "enum": [value] });
    check(
        unions::name_variants,
        json!({
            "Shell": { "type": "object", "required": ["command"], "properties": { "command": { "type": "string" } } },
            "Job": { "oneOf": [
                { "allOf": [reference("Shell"), { "type": "object", "required": ["type"], "properties": { "type": tag("shell.run") } }] },
                { "type": "object", "description": "Again", "required": ["type"], "properties": { "type": tag("reboot") } },
            ] },
        }),
        json!({
            "Shell": { "type": "object", "required": ["command"], "properties": { "command": { "type": "string" } } },
            "Job": {
                "oneOf": [reference("JobShellRun"), reference("JobReboot")],
                "discriminator": { "propertyName": "type", "mapping": {
                    "shell.run": "#/components/schemas/JobShellRun", "reboot": "#/components/schemas/JobReboot" } },
            },
            "JobShellRun": { "type": "object", "required": ["type", "command"],
                "properties": { "type": tag("shell.run"), "command": { "type": "string" } } },
            "JobReboot": { "type": "object", "description": "Again", "required": ["type"], "properties": { "type": tag("reboot") } },
        }),
    );
}

#[test]
fn step_1_a_variant_struct_of_the_right_name_is_taken_over_unless_others_use_it() {
    let tag = json!({ "type": "string", "enum": ["shell"] });
    let shell = object(json!({ "command": { "type": "string" } }));
    let tagged = json!({ "type": "object", "required": ["type"],
        "properties": { "type": tag, "command": { "type": "string" } } });
    let job = json!({ "oneOf": [{ "allOf": [reference("JobShell"), object(json!({ "type": tag }))] }] });
    let normalised = |name: &str| {
        json!({ "oneOf": [reference(name)], "discriminator": {
        "propertyName": "type", "mapping": { "shell": format!("#/components/schemas/{name}") } } })
    };

    let run = |schemas: Value| {
        let mut document = document(&["Job"], &[], schemas);
        unions::name_variants(&mut document);
        document["components"]["schemas"].take()
    };
    assert_eq!(
        run(json!({ "Job": job, "JobShell": shell })),
        json!({ "Job": normalised("JobShell"), "JobShell": tagged })
    );
    let user = object(json!({ "last": reference("JobShell") }));
    assert_eq!(
        run(json!({ "Job": job, "JobShell": shell, "User": user })),
        json!({ "Job": normalised("JobShellVariant"), "JobShell": shell, "JobShellVariant": tagged, "User": user })
    );
}

#[test]
fn step_1_a_union_without_a_tag_is_left_alone() {
    let schemas = json!({ "Any": { "oneOf": [{ "type": "string" }, { "type": "integer" }] } });
    check(unions::name_variants, schemas.clone(), schemas);
    let tag = json!({ "type": "string", "enum": ["same"] });
    let schemas = json!({ "Twice": { "oneOf": [object(json!({ "type": tag })), object(json!({ "type": tag }))] } });
    check(unions::name_variants, schemas.clone(), schemas);
}

#[test]
fn step_2_plain_objects_are_merged_and_texts_kept() {
    check(
        merge_plain_objects,
        json!({
            "Base": { "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } },
            "Full": { "description": "All of it", "allOf": [
                reference("Base"),
                { "type": "object", "title": "Full", "required": ["name"], "properties": { "name": { "type": "string" } } },
            ] },
        }),
        json!({
            "Base": { "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } },
            "Full": { "type": "object", "description": "All of it", "title": "Full", "required": ["id", "name"],
                "properties": { "id": { "type": "string" }, "name": { "type": "string" } } },
        }),
    );
}

#[test]
fn step_2_one_reference_becomes_that_reference() {
    check(
        merge_plain_objects,
        json!({ "A": { "type": "string" }, "B": object(json!({ "a": { "allOf": [reference("A")], "description": "Ours" } })) }),
        json!({ "A": { "type": "string" }, "B": object(json!({ "a": { "$ref": "#/components/schemas/A", "description": "Ours" } })) }),
    );
}

#[test]
fn step_2_what_is_not_plain_stays() {
    for schemas in [
        json!({ "M": { "allOf": [{ "type": "object", "additionalProperties": { "type": "string" } }, object(json!({}))] } }),
        json!({ "M": { "allOf": [object(json!({ "a": { "type": "string" } })), object(json!({ "a": { "type": "integer" } }))] } }),
        json!({ "M": { "allOf": [reference("M"), object(json!({ "a": { "type": "string" } }))] } }),
    ] {
        check(merge_plain_objects, schemas.clone(), schemas);
    }
}

#[test]
fn step_3_nullable_members_are_required_in_answers_only() {
    let schema = object(json!({
        "a": { "type": ["string", "null"] },
        "b": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Inner" }] },
        "c": { "type": "string" },
    }));
    let mut required = schema.clone();
    required["required"] = json!(["a", "b"]);
    let inner = object(json!({ "d": { "type": ["integer", "null"] } }));

    let mut answered = document(&["Out"], &["In"], json!({ "Out": schema, "In": inner, "Inner": inner }));
    require_nullable_members_of_answers(&mut answered, &[]);
    let mut required_inner = inner.clone();
    required_inner["required"] = json!(["d"]);
    assert_eq!(
        answered["components"]["schemas"],
        json!({ "Out": required, "In": inner, "Inner": required_inner })
    );

    let mut both = document(&["Out"], &["Out"], json!({ "Out": schema, "Inner": inner }));
    require_nullable_members_of_answers(&mut both, &[]);
    assert_eq!(both["components"]["schemas"], json!({ "Out": schema, "Inner": inner }));
}

#[test]
fn step_4_only_what_is_reached_or_named_as_a_root_stays() {
    let mut document = document(
        &["A"],
        &[],
        json!({ "A": object(json!({ "b": reference("B") })), "B": object(json!({})), "Root": reference("C"), "C": object(json!({})),
            "Lost": object(json!({ "b": reference("Lost2") })), "Lost2": object(json!({})) }),
    );
    drop_unreached(&mut document, &["Root"]);
    let left: Vec<&String> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    let mut left: Vec<&str> = left.into_iter().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["A", "B", "C", "Root"]);
}

#[test]
fn step_5_a_response_without_a_description_says_its_reason() {
    let mut document = json!({ "paths": { "/x": { "get": { "responses": {
        "200": {}, "404": { "description": "" }, "410": { "description": "Gone for good" }, "5XX": {}, "default": {},
        "400": { "$ref": "#/components/responses/Problem" } } } } } });
    describe_responses(&mut document);
    assert_eq!(
        document["paths"]["/x"]["get"]["responses"],
        json!({
            "200": { "description": "OK" },
            "404": { "description": "Not Found" },
            "410": { "description": "Gone for good" },
            "5XX": { "description": "The server failed" },
            "default": { "description": "Any other answer" },
            "400": { "$ref": "#/components/responses/Problem" },
        })
    );
}

#[test]
fn step_6_a_parameter_is_never_null() {
    let mut document = json!({ "paths": { "/x": {
        "parameters": [{ "name": "p", "schema": { "type": ["integer", "null"], "minimum": 1 } }],
        "get": { "parameters": [
            { "name": "q", "schema": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/S" }] } },
            { "name": "r", "schema": { "type": ["string", "integer", "null"] } },
            { "name": "s", "schema": { "type": "string", "enum": ["a", null] } },
        ] } } } });
    strip_null_from_parameters(&mut document);
    assert_eq!(
        document["paths"]["/x"],
        json!({
            "parameters": [{ "name": "p", "schema": { "type": "integer", "minimum": 1 } }],
            "get": { "parameters": [
                { "name": "q", "schema": { "$ref": "#/components/schemas/S" } },
                { "name": "r", "schema": { "type": ["string", "integer"] } },
                { "name": "s", "schema": { "type": "string", "enum": ["a"] } },
            ] },
        })
    );
}

/// The statuses of an operation after step 7.
#[track_caller]
fn check_errors(method: &str, operation: Value, expected: &[&str]) {
    let mut document = json!({
        "security": [{ "bearer": [] }],
        "paths": { "/x": { method: operation } },
        "components": { "schemas": { "Problem": object(json!({})) } },
    });
    document["paths"]["/x"][method]["operationId"] = json!("do_it");
    add_common_errors(&mut document);
    let responses = document["paths"]["/x"][method]["responses"].as_object().unwrap();
    let mut statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, expected);
    assert!(document["components"]["responses"]["Problem"]["content"]["application/problem+json"].is_object());
}

#[test]
fn step_7_every_operation_says_the_errors_that_fit_it() {
    check_errors("get", json!({}), &["400", "401", "403", "429", "5XX"]);
    check_errors("get", json!({ "security": [{}] }), &["400", "429", "5XX"]);
    check_errors(
        "get",
        json!({ "parameters": [{ "in": "path", "name": "id" }] }),
        &["400", "401", "403", "404", "429", "5XX"],
    );
    check_errors(
        "patch",
        json!({ "requestBody": {}, "parameters": [{ "in": "header", "name": "If-Match", "required": true }] }),
        &["400", "401", "403", "409", "412", "413", "415", "428", "429", "5XX"],
    );
    check_errors(
        "post",
        json!({ "requestBody": {}, "parameters": [{ "in": "header", "name": "idempotency-key" }] }),
        &["400", "401", "403", "409", "413", "415", "422", "429", "5XX"],
    );
}

#[test]
fn step_7_what_a_route_says_itself_stays() {
    let own = json!({ "description": "Mine" });
    let mut document = json!({
        "paths": { "/x": { "get": { "responses": { "400": own } } } },
        "components": { "schemas": { "Problem": object(json!({})) } },
    });
    add_common_errors(&mut document);
    assert_eq!(document["paths"]["/x"]["get"]["responses"]["400"], own);
}

#[test]
fn step_8_required_members_and_components_are_sorted() {
    check(
        sort,
        json!({ "B": { "type": "object", "required": ["z", "a", "z"] }, "A": { "type": "string" } }),
        json!({ "A": { "type": "string" }, "B": { "type": "object", "required": ["a", "z"] } }),
    );
}

#[test]
fn doing_it_twice_changes_nothing_more() {
    let tag = |value: &str| object(json!({ "type": { "type": "string", "enum": [value] } }));
    let mut document = document(
        &["Page_Device", "Event"],
        &["Device"],
        json!({
            "Device": object(json!({ "id": { "type": "string" }, "site": { "type": ["string", "null"] } })),
            "Page_Device": object(json!({ "items": { "type": "array", "items":
                object(json!({ "id": { "type": "string" }, "site": { "type": ["string", "null"] } })) }, "next": { "type": ["string", "null"] } })),
            "Event": { "oneOf": [{ "allOf": [reference("Device"), tag("made")] }, tag("gone")] },
            "Problem": object(json!({ "code": { "type": "string" } })),
        }),
    );
    normalise(&mut document, ROOTS);
    let once = document.clone();
    normalise(&mut document, ROOTS);
    assert_eq!(document, once);
    assert_eq!(
        once["components"]["schemas"]["DevicePage"],
        json!({ "type": "object", "required": ["next"], "properties": {
            "items": { "type": "array", "items": reference("Device") }, "next": { "type": ["string", "null"] } } })
    );
}

#[test]
fn all_steps_are_taken() {
    let tag = |value: &str| object(json!({ "type": { "type": "string", "enum": [value] } }));
    let mut document = document(
        &["Page_Device", "Event", "Both"],
        &["Device"],
        json!({
            "Device": object(json!({ "id": { "type": "string" } })),
            "Page_Device": object(json!({ "first": object(json!({ "id": { "type": "string" } })) })),
            "Event": { "oneOf": [tag("made"), tag("gone")] },
            "Both": { "allOf": [reference("Device"), object(json!({ "site": { "type": ["string", "null"] } }))] },
            "Lost": object(json!({})),
            "Problem": { "type": "object", "required": ["b", "a"] },
        }),
    );
    let operation = &mut document["paths"]["/x"]["post"];
    operation["responses"]["204"] = json!({});
    operation["parameters"] = json!([{ "in": "query", "name": "q", "schema": { "type": ["string", "null"] } }]);
    normalise(&mut document, ROOTS);

    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["DevicePage"]["properties"]["first"], reference("Device"));
    assert_eq!(
        schemas["Event"]["oneOf"],
        json!([reference("EventMade"), reference("EventGone")])
    );
    assert_eq!(schemas["Both"]["required"], json!(["site"]));
    assert!(schemas["Both"].get("allOf").is_none());
    assert!(schemas.get("Lost").is_none());
    assert_eq!(schemas["Problem"]["required"], json!(["a", "b"]));
    let operation = &document["paths"]["/x"]["post"];
    assert_eq!(operation["responses"]["204"]["description"], "No Content");
    assert_eq!(operation["responses"]["415"], json!({ "$ref": PROBLEM }));
    assert_eq!(operation["parameters"][0]["schema"], json!({ "type": "string" }));
}

#[test]
fn data_that_looks_like_a_schema_is_left_alone() {
    let thing = object(json!({ "id": { "type": "string" } }));
    let mut with_example = thing.clone();
    with_example["example"] = json!({ "items": thing, "$ref": "#/components/schemas/Nowhere" });
    let schemas = json!({ "Thing": thing, "Other": with_example, "Odd": object(json!({ "items": { "type": "string" }, "enum": { "type": "string" } })) });
    check(name_inline_copies, schemas.clone(), schemas);
}
