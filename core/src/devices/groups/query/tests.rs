use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::{
    syntax::{Argument, Expression, Pattern, Text},
    *,
};
use crate::devices::DeviceSummary;

fn summary(known: &serde_json::Value) -> DeviceSummary {
    let mut summary = json!({
        "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "name": "Web-01", "labels": {}, "groups": [], "disabled": false,
        "addresses": [], "presence": "online", "agent_version": "", "enrolled_at": "2026-01-01T00:00:00Z"
    });
    for (member, value) in known.as_object().unwrap() {
        summary[member] = value.clone();
    }
    serde_json::from_value(summary).unwrap()
}

/// A device of which much is known, in the groups "Web" and "Front row".
fn facts() -> Facts {
    let known = json!({
        "labels": {"env": "Prod", "a.b": "x", "note": "it's \"so\"", "build": "9", "empty": ""},
        "os": "ubuntu", "os_version": "24.04", "os_family": ["ubuntu", "debian"], "memory_total": 8_589_934_592_u64,
        "cpu_cores": 4, "updates": 12, "reboot_required": true, "kernel": "6.8.0-31-generic"
    });
    Facts::of(&summary(&known), ["Web", "Front row"])
}

#[track_caller]
fn check(query: &str, expected: bool) {
    let query: DeviceQuery = query.parse().unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(query.matches(&facts()), expected, "{query}");
}

#[track_caller]
fn check_canonical(query: &str, expected: &str) {
    let parsed: DeviceQuery = query.parse().unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(parsed.to_string(), expected);
    assert_eq!(expected.parse::<DeviceQuery>().unwrap(), parsed, "{query}");
}

#[track_caller]
fn check_refused(query: &str, position: usize, message: &str) {
    let error = query.parse::<DeviceQuery>().unwrap_err();
    assert!(error.message.contains(message), "{query}: {error}");
    assert_eq!(error.position, position, "{query}: {error}");
}

#[test]
fn every_operator_holds_where_it_should() {
    for (condition, expected) in [
        ("labels.env equals prod", true),
        ("labels.env equals prods", false),
        ("labels.env notEquals prod", false),
        ("labels.env contains RO", true),
        ("labels.env notContains ro", false),
        ("labels.env startsWith pr", true),
        ("labels.env startsWith od", false),
        ("labels.env endsWith OD", true),
        ("labels.env in (dev, prod)", true),
        ("labels.env in 'dev, prod'", true),
        ("labels.env in dev,prod", true),
        ("labels.env notIn (dev, prod)", false),
        ("labels.env notIn (dev, 'stage')", true),
        ("labels.env exists", true),
        ("labels.empty exists", true),
        ("labels.empty equals ''", true),
        ("labels.env notExists", false),
        ("labels.env matches '^p.o'", true),
        ("labels.env matches '^r'", false),
        ("labels.env notMatches '^r'", true),
        ("kernel matches '^6\\.(6|8)\\.'", true),
    ] {
        check(condition, expected);
        check(&format!("NOT {condition}"), !expected);
    }
}

#[test]
fn order_is_of_numbers_where_both_are_numbers_and_else_of_bytes() {
    check("labels.build lessThan 10", true);
    check("labels.build lessThan '10 '", false);
    check("labels.build greaterThan 8.5", true);
    check("labels.build greaterThanOrEquals 9.0", true);
    check("labels.build lessThanOrEquals 9", true);
    check("labels.build greaterThan -1", true);
    check("memory_total greaterThanOrEquals 8589934592", true);
    check("memory_total greaterThan 8589934592", false);
    check("labels.env greaterThan dev", true);
    check("labels.env greaterThan PROD", false);
    // What only looks like a number in another language is a word.
    check("labels.build lessThan nan", true);
    check("labels.build lessThan 1e1", false);
}

#[test]
fn a_field_without_a_value_meets_the_negative_operators_and_no_other() {
    for operator in Operator::ALL {
        let value = match operator {
            Operator::Exists | Operator::NotExists => "",
            _ => "x",
        };
        for field in ["labels.missing", "hostname", "device.virtualisation"] {
            check(&format!("{field} {} {value}", operator.name()), operator.is_negative());
        }
    }
}

#[test]
fn groups_are_asked_by_name_and_any_of_them_is_enough() {
    check("device.group equals web", true);
    check("device.group equals 'front row'", true);
    check("device.group notEquals web", false);
    check("device.group notEquals db", true);
    check("device.group contains row", true);
    check("device.group notContains row", false);
    check("device.group in (db, web)", true);
    check("device.group notIn (db, cache)", true);
    check("device.group matches '^front'", true);
    check("device.group exists", true);
    for operator in Operator::ALL.into_iter().filter(|operator| operator.is_about_place()) {
        let query = format!("device.group {} x", operator.name());
        check_refused(&query, 13, "cannot be asked of device.group");
    }
}

#[test]
fn fields_have_several_ways_to_be_written() {
    for field in [
        "env",
        "labels.env",
        "device.labels.env",
        "labels[\"env\"]",
        "device.labels[ 'ENV' ]",
        "Labels.Env",
    ] {
        check(&format!("{field} equals prod"), true);
    }
    check("labels['a.b'] equals x and labels.a.b equals x and a.b equals x", true);
    check(
        "os equals ubuntu and device.os equals ubuntu and DEVICE.OS equals ubuntu",
        true,
    );
    check("labels.os exists", false);
    check("os_major equals 24 and os_minor equals 04", true);
    check("os_family equals debian and os_platform_like equals debian", true);
    check("os_family notEquals fedora", true);
    check("reboot_required equals TRUE", true);
    check("agent_version exists", false);
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    check("env equals x and env equals x or env equals prod", true);
    check("env equals x and (env equals x or env equals prod)", false);
    check("not env equals x and env equals prod", true);
    check("not (env equals x or env equals prod)", false);
    check("not not env exists", true);
    check("", true);
    check(" \n\t", true);
}

#[test]
fn values_stand_in_quotes_or_run_up_to_the_next_word_of_the_language() {
    check("note equals 'it\\'s \"so\"'", true);
    check("note equals \"it's \\\"so\\\"\"", true);
    check_canonical(
        "name equals web 1 and os exists",
        r#"device.name equals "web 1" AND device.os exists"#,
    );
    check_canonical(
        "name equals sandy or or equals andor",
        r#"device.name equals "sandy" OR labels.or equals "andor""#,
    );
    check_canonical("(name equals a b)", r#"device.name equals "a b""#);
    check_canonical(r#"name equals "a\b\"c""#, r#"device.name equals "a\b\"c""#);
    check_canonical("name in (a b , 'c,d')", r#"device.name in ("a b", "c,d")"#);
    check_canonical("name in 'a, b,,'", r#"device.name in ("a", "b")"#);
}

#[test]
fn canonical_text_has_no_more_parentheses_than_it_needs() {
    check_canonical("", "");
    check_canonical(
        "((A EXISTS)) and (b exists AND(c exists)) OR NOT(d exists)",
        "labels.a exists AND labels.b exists AND labels.c exists OR NOT labels.d exists",
    );
    check_canonical(
        "(a exists or b exists) and not (c exists or d exists)",
        "(labels.a exists OR labels.b exists) AND NOT (labels.c exists OR labels.d exists)",
    );
}

#[test]
fn what_is_no_query_is_refused_with_its_place() {
    check_refused("os", 2, "expected an operator");
    check_refused("os is debian", 3, "expected an operator");
    check_refused("os equals", 9, "expected a value");
    check_refused("os equals and os exists", 10, "expected a value");
    check_refused("os in ()", 7, "expected a value");
    check_refused("os in ','", 6, "expected values");
    check_refused("os in (a b", 10, "expected , or )");
    check_refused("os equals 'debian", 10, "closing ' is missing");
    check_refused("os equals \"debian\" x", 19, "expected AND, OR");
    check_refused("os exists)", 9, "closes nothing");
    check_refused("(os exists", 10, "expected AND, OR or the )");
    check_refused("os equals web(1)", 13, "stands in quotes");
    check_refused("and os exists", 4, "expected an operator");
    check_refused("os exists and", 13, "expected a field");
    check_refused("(", 1, "expected a field");
    check_refused("device.presence equals online", 0, "no such attribute");
    check_refused("labels.env/ö exists", 0, "no label can have this name");
    check_refused("labels. exists", 0, "no label can have this name");
    check_refused("labels[env] exists", 7, "in quotes");
    check_refused("group['x'] exists", 0, "only labels");
    check_refused("os equals 'a\\\\' x", 10, "is missing");
    check_refused("os equals a\\", 10, "end with a backslash");
    check_refused("os equals \u{0}", 10, "control characters");
    check_refused("ös exists", 0, "no label can have this name");
    check_refused("name equals ö and ö", 18, "no label can have this name");
    check_refused("os matches '('", 11, "no regular expression");
}

#[test]
fn a_query_that_is_too_much_is_refused_and_harms_nobody() {
    let deep = |depth: usize| format!("{}a exists{}", "(".repeat(depth), ")".repeat(depth));
    check(&deep(MAX_DEPTH), false);
    check_refused(&deep(MAX_DEPTH + 1), MAX_DEPTH, "nested at most 100 deep");
    check_refused(&"(".repeat(MAX_QUERY_BYTES), MAX_DEPTH, "nested at most 100 deep");
    check_refused(&"not ".repeat(500), 4 * MAX_DEPTH, "nested at most 100 deep");
    let many = |count: usize| vec!["a exists"; count].join(" or ");
    check(&many(MAX_CONDITIONS), false);
    check_refused(&many(MAX_CONDITIONS + 1), 12 * MAX_CONDITIONS, "at most 128 conditions");
    check_refused(&"ä".repeat(MAX_QUERY_BYTES), MAX_QUERY_BYTES / 2, "at most 4096 bytes");
    let patterns = |count: usize| vec!["a matches b"; count].join(" or ");
    check(&patterns(MAX_PATTERNS), false);
    check_refused(
        &patterns(MAX_PATTERNS + 1),
        15 * MAX_PATTERNS + 10,
        "at most 4 regular expressions",
    );
    check_refused(&format!("a matches {}", "b".repeat(257)), 10, "at most 256 bytes");
    check_refused("a matches '(\\w{100}){100}'", 10, "stands for too much");
    check_refused(&format!("a matches '{}'", "(".repeat(200)), 10, "no regular expression");
}

#[test]
fn a_query_says_what_it_rests_on() {
    let of = |query: &str| query.parse::<DeviceQuery>().unwrap();
    assert!(of("env exists and os exists").relies_on_reports());
    assert!(!of("env exists and device.group exists").relies_on_reports());
    assert!(of("not device.group exists").asks_for_groups());
    for (query, names) in [
        ("device.group equals WEB", true),
        ("os exists or not device.group in (a, 'Web')", true),
        ("device.group contains web", false),
        ("labels.group equals web", false),
    ] {
        assert_eq!(of(query).names_group("web"), names, "{query}");
    }
}

fn value() -> impl Strategy<Value = Text> {
    r#"[a-zA-Z0-9 "'\\(),.ÄßΣ]{0,12}"#
        .prop_filter("a value cannot end with a backslash", |value| !value.ends_with('\\'))
        .prop_map(Text::new)
}

fn condition() -> impl Strategy<Value = Expression> {
    let field = prop_oneof![
        "[a-z][a-z0-9._/-]{0,8}".prop_map(Field::Label),
        Just(Field::Group),
        select(Attribute::ALL.to_vec()).prop_map(Field::Attribute),
    ];
    let pattern = select(vec!["a", "^web-[0-9]+$", "\"'", "(a|b)\\.c"]);
    let parts = (field, select(Operator::ALL.to_vec()), vec(value(), 1..4), pattern);
    parts.prop_map(|(field, operator, mut values, pattern)| {
        let operator = match (&field, operator.is_about_place()) {
            (Field::Group, true) => Operator::Equals,
            _ => operator,
        };
        let argument = match operator {
            Operator::Exists | Operator::NotExists => Argument::Nothing,
            Operator::In | Operator::NotIn => Argument::Many(values),
            Operator::Matches | Operator::NotMatches => {
                Argument::Pattern(Box::new(Pattern::new(pattern.to_owned()).unwrap()))
            }
            _ => Argument::One(values.remove(0)),
        };
        Expression::Condition(Condition {
            field,
            operator,
            argument,
        })
    })
}

/// With at most as many regular expressions as are allowed.
fn expression() -> impl Strategy<Value = Expression> {
    let many = |parts: Vec<Expression>, and: bool| {
        let flat = parts.into_iter().flat_map(|part| match part {
            Expression::And(parts) if and => parts,
            Expression::Or(parts) if !and => parts,
            part => vec![part],
        });
        let parts = flat.collect();
        if and {
            Expression::And(parts)
        } else {
            Expression::Or(parts)
        }
    };
    let within = condition().prop_recursive(4, 16, 3, move |part| {
        prop_oneof![
            part.clone().prop_map(|part| Expression::Not(Box::new(part))),
            (vec(part, 2..4), any::<bool>()).prop_map(move |(parts, and)| many(parts, and)),
        ]
    });
    within.prop_filter("too many regular expressions", |expression| {
        let query = DeviceQuery {
            expression: expression.clone(),
        };
        let is_pattern = |condition: &&Condition| matches!(condition.argument, Argument::Pattern(_));
        query.conditions().iter().copied().filter(is_pattern).count() <= MAX_PATTERNS
    })
}

proptest! {
    #[test]
    fn canonical_text_is_read_as_the_same_query(expression in expression()) {
        let query = DeviceQuery { expression };
        let text = query.to_string();
        prop_assert_eq!(text.parse::<DeviceQuery>().unwrap(), query, "{}", text);
    }

    #[test]
    fn not_negates(expression in expression()) {
        let query = DeviceQuery { expression };
        let opposite = DeviceQuery { expression: Expression::Not(Box::new(query.expression.clone())) };
        prop_assert_ne!(query.matches(&facts()), opposite.matches(&facts()));
    }

    #[test]
    fn no_text_does_any_harm(text in ".{0,200}") {
        if let Err(error) = text.parse::<DeviceQuery>() {
            prop_assert!(error.position <= text.chars().count());
        }
    }

    #[test]
    fn no_heap_of_words_does_any_harm(words in vec(select(WORDS), 0..40)) {
        let text = words.concat();
        match text.parse::<DeviceQuery>() {
            Ok(query) => prop_assert_eq!(&query.to_string().parse::<DeviceQuery>().unwrap(), &query, "{}", text),
            Err(error) => prop_assert!(error.position <= text.chars().count()),
        }
    }
}

const WORDS: &[&str] = &[
    " ",
    " ",
    " ",
    "and ",
    " or ",
    "not ",
    "NOT(",
    "(",
    ")",
    "os",
    "labels.a",
    "labels[",
    "\"a.b\"",
    "]",
    "device.group",
    " equals ",
    " in ",
    " exists ",
    " matches ",
    "x",
    "'y z'",
    "\"",
    "'",
    "\\",
    ",",
    "ö",
    "9",
];
