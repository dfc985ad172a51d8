//! What is declared to backends. A column that goes, or changes its type, is a column that filled stores have.

use fleet_core::{
    modules::{built_in, schema},
    store::Column,
};

fn show(columns: &[Column]) -> String {
    let lines = columns.iter().map(|column| {
        let many = if column.many { " many" } else { "" };
        let unique = if column.unique { " unique" } else { "" };
        format!("    {} {:?}{many}{unique}\n", column.name, column.r#type)
    });
    lines.collect()
}

#[test]
fn kinds_lanes_and_latest_values() {
    let schema = schema(&built_in()).unwrap();
    let mut text = String::new();
    for kind in schema.kinds() {
        text += &format!("kind {}\n{}", kind.name, show(&kind.columns));
        for index in &kind.indexes {
            text += &format!("    index {}\n", index.join(", "));
        }
    }
    for lane in schema.lanes() {
        let chained = if lane.chained { " chained" } else { "" };
        text += &format!("lane {}{chained}\n{}", lane.name, show(&lane.columns));
    }
    for latest in schema.latests() {
        text += &format!("latest {}\n", latest.name);
    }
    insta::assert_snapshot!(text);
}
