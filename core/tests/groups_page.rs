//! The page on groups says what the code does: its fields and operators are all there are, and its examples hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path};

use fleet_core::devices::{
    DeviceSummary,
    groups::query::{
        Attribute, DeviceQuery, Facts, MAX_CONDITIONS, MAX_DEPTH, MAX_PATTERN_BYTES, MAX_PATTERNS, MAX_QUERY_BYTES,
        Operator,
    },
};
use serde_json::{Value, json};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/groups.md")).unwrap()
}

/// The rows of the table below a heading, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = page();
    let below = page.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = below.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cell = |cell: &str| cell.trim().to_owned();
    rows.skip(1)
        .map(|row| row.trim_matches('|').split(" | ").map(cell).collect())
        .collect()
}

/// The texts between backticks in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn all_attributes_and_operators_are_on_the_page() {
    let attributes: Vec<_> = table("Fields")
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .filter_map(|field| field.strip_prefix("device.").map(str::to_owned))
        .filter(|name| !name.starts_with("labels.") && name != "group")
        .collect();
    assert_eq!(attributes, Attribute::ALL.map(Attribute::name));
    let operators: Vec<_> = table("Operators").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(operators, Operator::ALL.map(Operator::name));
}

#[test]
fn the_bounds_on_the_page_are_those_of_the_code() {
    let bounds: Vec<_> = table("Bounds").iter().map(|row| row[1].replace(',', "")).collect();
    let expected = [
        MAX_QUERY_BYTES,
        MAX_CONDITIONS,
        MAX_DEPTH,
        MAX_PATTERNS,
        MAX_PATTERN_BYTES,
        1_000,
    ];
    assert_eq!(bounds, expected.map(|bound| bound.to_string()));
}

/// The devices of the examples: a summary as it is stored, and the groups that it was put into.
fn devices() -> Vec<(String, Facts)> {
    let page = page();
    let block = page.split_once("```json\n").unwrap().1.split("```").next().unwrap();
    let devices: Value = serde_json::from_str(block).unwrap();
    let facts = |(name, known): (&String, &Value)| {
        let mut summary = json!({
            "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "name": name, "labels": {}, "groups": [], "disabled": false,
            "addresses": [], "presence": "online", "agent_version": "", "enrolled_at": "2026-01-01T00:00:00Z"
        });
        let mut groups = Vec::new();
        for (member, value) in known.as_object().unwrap() {
            match member.as_str() {
                "group" => groups.push(value.as_str().unwrap()),
                _ => summary[member] = value.clone(),
            }
        }
        let summary: DeviceSummary = serde_json::from_value(summary).unwrap();
        (name.clone(), Facts::of(&summary, groups))
    };
    devices.as_object().unwrap().iter().map(facts).collect()
}

#[test]
fn the_examples_on_the_page_hold() {
    let (examples, devices) = (table("Examples"), devices());
    assert!(examples.len() >= 10, "the table was not found");
    for row in examples {
        // A table's own bars are escaped in it.
        let query = quoted(&row[0])[0].replace("\\|", "|");
        let parsed: DeviceQuery = query.parse().unwrap_or_else(|error| panic!("{query}: {error}"));
        let found: Vec<_> = devices
            .iter()
            .filter(|(_, facts)| parsed.matches(facts))
            .map(|(name, _)| name.as_str())
            .collect();
        let found = if found.is_empty() {
            "–".to_owned()
        } else {
            found.join(", ")
        };
        assert_eq!(found, row[1], "{query}");
    }
}
