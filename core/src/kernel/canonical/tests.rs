use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[track_caller]
fn check(input: &str, expected: Option<&str>) {
    let value: Value = serde_json::from_str(input).unwrap();
    let got = to_vec(&value).ok().map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(got.as_deref(), expected, "{input}");
}

#[test]
fn one_value_has_one_form() {
    check(
        r#"{ "b": 1, "a": [1.0, -0.0, 1e2, 0.10] }"#,
        Some(r#"{"a":[1,0,100,0.1],"b":1}"#),
    );
    check(r#""\u0041\u00e9\/""#, Some(r#""Aé/""#));
    check("18446744073709551615", Some("18446744073709551615"));
    check("9007199254740992.0", Some("9007199254740992.0"));
    check(
        r#"{"b":{"d":[{"z":1,"y":{}}],"c":2},"a":{}}"#,
        Some(r#"{"a":{},"b":{"c":2,"d":[{"y":{},"z":1}]}}"#),
    );
}

#[test]
fn names_are_sorted_by_their_bytes_not_by_how_they_are_escaped() {
    // A quote comes before a letter, its escape, a backslash, would come behind capitals.
    check(
        r#"{"A":1,"\"":2,"AA":3,"A!":4}"#,
        Some(r#"{"\"":2,"A":1,"A!":4,"AA":3}"#),
    );
    check(r#"{"\n":1,"!":2}"#, Some(r#"{"\n":1,"!":2}"#));
    check(r#"{"𝄞":1,"\uffee":2}"#, Some("{\"\u{ffee}\":2,\"𝄞\":1}"));
}

#[test]
fn what_an_engine_cannot_hold_is_refused() {
    check(r#"{"a":"x\u0000y"}"#, None);
    check(r#"{"a\u0000":1}"#, None);
    let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
    check(&nested(64, "1"), Some(&nested(64, "1")));
    check(&nested(65, "1"), None);
    check(&nested(70, "1"), None);
    assert!(matches!(to_vec("\0"), Err(CanonicalError::Nul)));
    assert!(matches!(
        to_vec(&(u128::from(u64::MAX) + 1)),
        Err(CanonicalError::Json(_))
    ));
}

#[test]
fn types_are_written_as_their_values_are() {
    #[derive(Serialize)]
    struct Sample {
        zone: Option<f32>,
        inner: BTreeMap<u32, Kind>,
        #[serde(flatten)]
        more: BTreeMap<String, Value>,
        alpha: (u8, char, ()),
    }
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Kind {
        Wide { width: i128, height: u128 },
    }
    let sample = Sample {
        zone: Some(0.1),
        inner: [
            (10, Kind::Wide { width: -1, height: 2 }),
            (9, Kind::Wide { width: 0, height: 0 }),
        ]
        .into(),
        more: [
            ("zone".to_owned(), json!("the later one counts")),
            ("b".to_owned(), json!(f64::NAN)),
        ]
        .into(),
        alpha: (1, '"', ()),
    };
    let by_value = to_vec(&serde_json::to_value(&sample).unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(to_vec(&sample).unwrap()).unwrap(),
        String::from_utf8(by_value).unwrap()
    );
}

#[test]
fn members_are_added_in_their_places() {
    let with = |object: &Value, members: &[(&str, Value)]| {
        let members = members.iter().map(|(name, value)| (*name, value));
        object_with(object, members, 3).map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let added = [("b", json!({"y": 1, "x": [2]})), ("z", json!(null))];
    assert_eq!(with(&json!({}), &[]).unwrap(), r#"{"v":3}"#);
    assert_eq!(
        with(&json!({"a": 1, "y": 2}), &added).unwrap(),
        r#"{"a":1,"b":{"x":[2],"y":1},"v":3,"y":2,"z":null}"#
    );
    assert_eq!(with(&json!({"b": 1}), &added).unwrap(), r#"{"b":1,"v":3,"z":null}"#);
    assert!(matches!(with(&json!([]), &[]), Err(CanonicalError::NotAnObject)));
    let deep = (0..70).fold(json!(1), |value, _| json!([value]));
    assert!(matches!(with(&json!({}), &[("a", deep)]), Err(CanonicalError::Depth)));
}

/// The definition, by a tree.
fn by_definition(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(by_definition).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let sorted: BTreeMap<&[u8], _> = members
                .iter()
                .map(|(name, value)| (name.as_bytes(), (name, value)))
                .collect();
            let members: Vec<_> = sorted
                .values()
                .map(|(name, value)| format!("{}:{}", json!(name), by_definition(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("whole ones lose their point", |f| f.fract() != 0.0)
            .prop_map(Value::from),
        "[^\\x00]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[\"\\\\\n!A-C]{0,3}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_form_is_that_of_the_definition(value in values()) {
        prop_assert_eq!(String::from_utf8(to_vec(&value).unwrap()).unwrap(), by_definition(&value));
    }

    #[test]
    fn members_are_sorted_whatever_order_they_are_written_in(members in prop::collection::vec(("[\"\\\\\n!A-C]{0,3}", 0..9), 0..8)) {
        struct Members<'m>(&'m [(String, i32)]);
        impl Serialize for Members<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }
        let expected: Value = members.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        prop_assert_eq!(String::from_utf8(to_vec(&Members(&members)).unwrap()).unwrap(), by_definition(&expected));
    }
}
