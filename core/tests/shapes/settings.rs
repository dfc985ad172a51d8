//! What `settings` stores.

use fleet_core::settings::{SettingId, StoredSetting};
use serde_json::json;

use crate::{
    sample::{Sample, document, show},
    values::at,
};

pub fn samples() -> Vec<Sample> {
    let name = "access.session_idle_seconds";
    vec![document(
        "a duration",
        &StoredSetting {
            id: SettingId::of(name),
            name: name.into(),
            value: json!(3_600),
            changed_at: at(0),
        },
    )]
}

#[test]
fn what_is_stored_of_settings() {
    insta::assert_snapshot!(show(&samples()));
}
