//! What engines like to do to texts.

use fleet_core::store::{IndexedValues, Value};

use crate::Fault;

fn changed(fault: Fault, text: &str) -> Option<String> {
    match fault {
        Fault::NulCutOff => text.split('\0').next().map(str::to_owned),
        Fault::TextsComposed => Some(text.replace("e\u{301}", "é")),
        Fault::SpacesTrimmed => Some(text.trim_end().to_owned()),
        Fault::InvisibleIgnored => Some(text.replace(['\u{200b}', '\u{ad}', '\u{feff}'], "")),
        _ => None,
    }
}

/// Index values as a store with this fault keeps them.
pub fn keep(fault: Fault, index: &mut IndexedValues) {
    for values in index {
        let many = values.len();
        for value in values.iter_mut() {
            if let Value::Text(text) = value {
                if fault == Fault::EmptyIsNull && text.is_empty() && many == 1 {
                    *value = Value::Null;
                } else if let Some(changed) = changed(fault, text) {
                    *text = changed;
                }
            }
        }
    }
}
