//! What becomes of parameters when they are taken in, and when they are shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{GivenParams, MASK, OperationSecretId, SecretText, StoredParams, check_again, pointers, rules::Intake};
use crate::{
    kernel::{EntityId as _, MasterKey, Result, Sealer, SeededRandom, Timestamp},
    modules,
    work::{
        OperationKind,
        operations::{INVALID_PARAMS, shell},
    },
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const KIND: OperationKind = OperationKind {
    secrets: &["/psk", "/map/*", "/outer/inner"],
    ..shell::KIND
};

fn id(number: u128) -> OperationSecretId {
    OperationSecretId::from_uuid(uuid::Uuid::from_u128(number))
}

/// What was stored before: `old` under 1 at `/psk`, 2 at `/map/A`, 3 at `/outer/inner`.
fn before() -> StoredParams {
    let reference = |number| json!({"$secret": id(number).to_string()});
    StoredParams::without_secrets(json!({
        "ssid": "x", "psk": reference(1), "map": {"A": reference(2)}, "outer": {"inner": reference(3), "b": 1},
    }))
}

/// What is stored, with `=N` in the place of a reference that was there before and `+value` in that of a new one, or the code of the
/// refusal.
fn taken(given: Json, before: Option<&StoredParams>) -> Json {
    let random = SeededRandom::new(1);
    let sealer = Sealer::new(MasterKey::generate(&random));
    let known = (1..=3).map(|n| (id(n), SecretText::from(format!("old {n}")))).collect();
    let mut intake = Intake::new(&sealer, &random, NOW, known);
    let stored = match intake.take(&KIND, &given.into(), before, Ok) {
        Ok(stored) => stored,
        Err(error) => return format!("{} {}", error.code().name(), error.fields()[0].pointer).into(),
    };
    let made = intake.into_made();
    let mut shown = stored.shown();
    for (pointer, found) in stored.references() {
        let new = made.iter().find(|secret| secret.id == found);
        let text = match new {
            Some(secret) => {
                let owner = format!("operation_secret/{}", secret.id);
                let opened = sealer.open(&owner, &secret.sealed).unwrap();
                format!("+{}", std::str::from_utf8(&opened).unwrap())
            }
            None => format!("={}", found.uuid().as_u128()),
        };
        *shown.pointer_mut(&pointer).unwrap() = text.into();
    }
    shown
}

#[track_caller]
fn check(given: Json, expected: Json) {
    assert_eq!(taken(given, Some(&before())), expected);
}

#[track_caller]
fn check_new(given: Json, expected: Json) {
    assert_eq!(taken(given, None), expected);
}

#[test]
fn secrets_are_replaced_by_references_and_nothing_else_is() {
    check_new(
        json!({"ssid": "x", "psk": "p", "map": {"A": "a", "B/~": "b"}, "outer": {"inner": "i", "psk": "no"}}),
        json!({"ssid": "x", "psk": "+p", "map": {"A": "+a", "B/~": "+b"}, "outer": {"inner": "+i", "psk": "no"}}),
    );
    check_new(json!({"psk": null, "map": {}}), json!({"psk": null, "map": {}}));
    check_new(json!({"ssid": MASK}), json!({"ssid": MASK}));
}

#[test]
fn what_is_left_out_or_masked_is_kept_and_null_takes_it_away() {
    let kept = json!({"ssid": "y", "psk": "=1", "map": {"A": "=2"}, "outer": {"inner": "=3"}});
    check(json!({"ssid": "y", "outer": {}}), kept.clone());
    check(
        json!({"ssid": "y", "psk": MASK, "map": {"A": MASK}, "outer": {"inner": MASK}}),
        kept,
    );
    check(json!({"psk": null, "map": {}}), json!({"psk": null, "map": {}}));
    // What stood around it is gone as well.
    check(
        json!({"psk": null, "map": {"B": "b"}}),
        json!({"psk": null, "map": {"B": "+b"}}),
    );
    check(json!({"psk": "new"}), json!({"psk": "+new", "map": {"A": "=2"}}));
}

#[test]
fn a_value_that_is_given_again_keeps_its_reference() {
    check(
        json!({"psk": "old 1", "map": {"A": "old 3"}}),
        json!({"psk": "=1", "map": {"A": "+old 3"}}),
    );
}

#[test]
fn references_are_the_servers_own() {
    let reference = |number| json!({"$secret": id(number).to_string()});
    check_new(
        json!({"psk": reference(1)}),
        "operation.secret_reference /params/psk".into(),
    );
    check(
        json!({"psk": reference(2)}),
        "operation.secret_reference /params/psk".into(),
    );
    check(
        json!({"ssid": reference(1)}),
        "operation.secret_reference /params/ssid".into(),
    );
    check(
        json!({"psk": {"$secret": "x", "more": 1}}),
        "operation.secret_reference /params/psk".into(),
    );
    check(
        json!({"list": [reference(1)]}),
        "operation.secret_reference /params/list/0".into(),
    );
    check(
        json!({"$secret": id(1).to_string()}),
        "operation.secret_reference /params".into(),
    );
    // Its own, in its own place, is what it has.
    check(json!({"psk": reference(1), "map": {}}), json!({"psk": "=1", "map": {}}));
}

#[test]
fn a_mask_needs_something_to_keep() {
    check_new(json!({"psk": MASK}), "operation.secret_missing /params/psk".into());
    check(
        json!({"map": {"B": MASK}}),
        "operation.secret_missing /params/map/B".into(),
    );
}

#[test]
fn what_is_stored_is_checked_with_masks_and_keeps_its_references() {
    let seen = |params: Json| -> Result<Json> {
        assert_eq!(params["psk"], MASK);
        Ok(params)
    };
    assert_eq!(check_again(&before(), seen).unwrap(), before());
    // What the kind does not take any more is gone with its reference.
    let without = check_again(&before(), |_| Ok(json!({"map": {"A": MASK}}))).unwrap();
    assert_eq!(without.secret_ids(), [id(2)]);
}

#[test]
fn a_refusal_does_not_quote_a_secret() {
    let random = SeededRandom::new(1);
    let sealer = Sealer::new(MasterKey::generate(&random));
    let refused = |given: Json| {
        let mut intake = Intake::new(&sealer, &random, NOW, BTreeMap::new());
        let quoting = |params: Json| Err(INVALID_PARAMS.error(format!("no: {params}")));
        let error = intake.take(&KIND, &given.into(), None, quoting).unwrap_err();
        error.log()
    };
    assert!(!refused(json!({"psk": "hunter2"})).contains("hunter2"));
    assert!(!refused(json!({"psk": 12_345_678})).contains("12345678"));
    assert!(refused(json!({"ssid": "visible"})).contains("visible"));
}

#[test]
fn equal_requests_have_one_identity_and_other_secrets_another() {
    let random = SeededRandom::new(1);
    let identity = |seed: u64, psk: &str| {
        let sealer = Sealer::new(MasterKey::generate(&SeededRandom::new(seed)));
        let mut intake = Intake::new(&sealer, &random, NOW, BTreeMap::new());
        let stored = intake.take(&KIND, &json!({"psk": psk}).into(), None, Ok).unwrap();
        intake.identity(&stored)
    };
    assert_eq!(identity(1, "a"), identity(1, "a"));
    assert_ne!(identity(1, "a"), identity(1, "b"));
    assert_ne!(
        identity(1, "a"),
        identity(2, "a"),
        "who has no master key cannot try values"
    );
}

#[test]
fn references_are_resolved_all_or_not_at_all() {
    let mut values: BTreeMap<_, _> = (1..=3).map(|n| (id(n), SecretText::from(format!("v{n}")))).collect();
    let resolved = before().resolve(&values).unwrap();
    assert_eq!(
        resolved.params,
        json!({"ssid": "x", "psk": "v1", "map": {"A": "v2"}, "outer": {"inner": "v3", "b": 1}})
    );
    assert_eq!(resolved.secrets, ["/map/A", "/outer/inner", "/psk"]);
    values.remove(&id(2));
    assert_eq!(before().resolve(&values), None);
}

#[test]
fn secrets_are_not_printed() {
    let given = GivenParams::from(json!({"psk": "hunter2"}));
    let text = SecretText::from("hunter2".to_owned());
    assert!(!format!("{given:?} {text:?}").contains("hunter2"));
}

/// Every member that a kind's schema marks as secret is one that it takes out, and the other way round; and every kind takes the mask for
/// a secret.
#[test]
fn every_kind_marks_its_secrets_in_its_schema() {
    for kind in modules::built_in().into_iter().flat_map(|module| module.operations) {
        let schema = (kind.params_schema)();
        let mut marked = BTreeSet::new();
        pointers::walk(&schema, &mut |pointer, value| {
            if value.get("writeOnly").is_some_and(|marked| *marked == true) {
                let pointer = pointer
                    .replace("/properties/", "/")
                    .replace("/additionalProperties", "/*");
                marked.insert(pointer);
            }
        });
        let secrets: BTreeSet<_> = kind.secrets.iter().map(|pattern| (*pattern).to_owned()).collect();
        assert_eq!(marked, secrets, "{}", kind.name);
    }
}
