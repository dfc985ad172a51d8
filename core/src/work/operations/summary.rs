//! What a run reports beside how it ended: an object whose members its kind decides.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kernel::canonical;

/// The most bytes that the summary of a run may have as JSON.
pub const MAX_SUMMARY: usize = 16 * 1024;
/// The most steps that the summary of an action names.
const MAX_STEPS: usize = 20;
/// The most bytes of a step's name.
const MAX_STEP: usize = 300;

/// The summary of an action: what it did, or would do in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ActionSummary {
    /// Each step as it reads in the output, in order; none where nothing was to be done.
    pub steps: Vec<String>,
    /// How many further steps there were.
    pub more: u32,
}

impl ActionSummary {
    /// The summary of these steps. Names that are too long are cut.
    pub fn of<S: ToString>(steps: &[S]) -> Self {
        let named = steps.iter().take(MAX_STEPS).map(|step| {
            let mut name = step.to_string();
            name.truncate(name.floor_char_boundary(MAX_STEP));
            name
        });
        Self {
            steps: named.collect(),
            more: u32::try_from(steps.len().saturating_sub(MAX_STEPS)).unwrap_or(u32::MAX),
        }
    }
}

impl From<ActionSummary> for Value {
    fn from(summary: ActionSummary) -> Self {
        serde_json::json!({"steps": summary.steps, "more": summary.more})
    }
}

/// Whether what a device reports as a summary is one: an object that fits, and that every engine can store.
pub(in crate::work) fn is_storable(summary: &Value) -> bool {
    summary.is_object() && canonical::to_vec(summary).is_ok_and(|bytes| bytes.len() <= MAX_SUMMARY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(steps: &[&str], expected: Value) {
        assert_eq!(Value::from(ActionSummary::of(steps)), expected);
    }

    #[test]
    fn a_summary_names_a_bounded_number_of_steps_by_bounded_names() {
        check(&[], json!({"steps": [], "more": 0}));
        check(&["write /etc/motd"], json!({"steps": ["write /etc/motd"], "more": 0}));
        check(&["a"; 22], json!({"steps": vec!["a"; 20], "more": 2}));
        let long = "ü".repeat(200);
        check(&[&long], json!({"steps": ["ü".repeat(150)], "more": 0}));
    }

    #[test]
    fn only_objects_that_fit_are_stored() {
        let check = |summary: Value, expected| assert_eq!(is_storable(&summary), expected, "{summary:.40}");
        check(json!({}), true);
        check(json!({"upgraded": 3, "names": ["a"]}), true);
        check(json!([1]), false);
        check(json!("done"), false);
        check(json!({"text": "a\u{0}b"}), false);
        check(json!({"text": "a".repeat(MAX_SUMMARY)}), false);
    }
}
