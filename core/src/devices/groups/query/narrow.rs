//! What an index can say beforehand: a condition on declared columns that every device meets that a query wants.

use super::{
    Attribute, DeviceQuery, Field, Operator,
    syntax::{Argument, Condition, Expression, Text},
};
use crate::{
    devices::DeviceSummary,
    store::{Entity as _, Filter, Name, Value, check_filter},
};

/// The longest text that an index is asked for, in bytes.
const MAX_TEXT: usize = 255;

impl DeviceQuery {
    /// A filter on the summaries of devices that lets through all that match, and as few others as the indexes know to leave out. Whether one of
    /// those matches is still to be asked.
    pub(crate) fn narrow(&self) -> Filter {
        let narrowed = narrow(&self.expression);
        // A query may be deeper than a filter, and have more parts.
        match check_filter(DeviceSummary::KIND, &DeviceSummary::columns(), &narrowed) {
            Ok(()) => narrowed,
            Err(_) => Filter::All,
        }
    }
}

fn narrow(expression: &Expression) -> Filter {
    match expression {
        Expression::All | Expression::Not(_) => Filter::All,
        Expression::And(parts) => parts.iter().map(narrow).fold(Filter::All, Filter::and),
        Expression::Or(parts) => {
            let parts: Vec<_> = parts.iter().map(narrow).collect();
            match parts.contains(&Filter::All) {
                true => Filter::All,
                false => Filter::Or(parts),
            }
        }
        Expression::Condition(condition) => known(condition).unwrap_or(Filter::All),
    }
}

/// What the columns know of a condition, if anything.
fn known(condition: &Condition) -> Option<Filter> {
    if condition.operator.is_negative() {
        return None;
    }
    match &condition.field {
        // A label that a device does not have meets no positive condition.
        Field::Label(name) => Some(DeviceSummary::LABELS.eq(fit(name)?)),
        Field::Group => None,
        Field::Attribute(attribute) => match attribute {
            Attribute::Name => text(DeviceSummary::NAME_FOLDED.name(), condition),
            // They are kept in lower case.
            Attribute::Os => text(DeviceSummary::OS.name(), condition),
            Attribute::OsVersion => text(DeviceSummary::OS_VERSION.name(), condition),
            Attribute::Architecture => text(DeviceSummary::ARCHITECTURE.name(), condition),
            Attribute::Updates => number(DeviceSummary::UPDATES.name(), condition),
            Attribute::SecurityUpdates => number(DeviceSummary::SECURITY_UPDATES.name(), condition),
            Attribute::RebootRequired => flag(DeviceSummary::REBOOT_REQUIRED.name(), condition),
            _ => None,
        },
    }
}

/// A column of texts in lower case.
fn text(column: Name, condition: &Condition) -> Option<Filter> {
    match (condition.operator, &condition.argument) {
        (Operator::Exists, _) => Some(Filter::Range(column, Some(Value::from("")), None)),
        (Operator::Equals, Argument::One(wanted)) => Some(Filter::Eq(column, fit(&wanted.folded)?.into())),
        (Operator::StartsWith, Argument::One(wanted)) => Some(Filter::Prefix(column, fit(&wanted.folded)?.to_owned())),
        (Operator::In, Argument::Many(wanted)) => {
            let wanted = wanted.iter().map(|wanted| Some(fit(&wanted.folded)?.into()));
            Some(Filter::In(column, wanted.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// A column of numbers from 0 on.
fn number(column: Name, condition: &Condition) -> Option<Filter> {
    let below = |end: i64| Filter::Range(column, Some(Value::Int(i64::MIN)), Some(Value::Int(end)));
    let from = |first: i64| Filter::Range(column, Some(Value::Int(first)), None);
    match (condition.operator, &condition.argument) {
        (Operator::Exists, _) => Some(from(i64::MIN)),
        (Operator::Equals, Argument::One(wanted)) => Some(Filter::Eq(column, Value::Int(whole(wanted)?))),
        (Operator::GreaterThan, Argument::One(wanted)) => Some(from(whole(wanted)? + 1)),
        (Operator::GreaterThanOrEquals, Argument::One(wanted)) => Some(from(whole(wanted)?)),
        (Operator::LessThan, Argument::One(wanted)) => Some(below(whole(wanted)?)),
        (Operator::LessThanOrEquals, Argument::One(wanted)) => Some(below(whole(wanted)? + 1)),
        (Operator::In, Argument::Many(wanted)) => {
            let wanted = wanted.iter().map(|wanted| Some(Value::Int(whole(wanted)?)));
            Some(Filter::In(column, wanted.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// A column of 0 and 1.
fn flag(column: Name, condition: &Condition) -> Option<Filter> {
    match (condition.operator, &condition.argument) {
        (Operator::Exists, _) => Some(Filter::Range(column, Some(Value::Int(0)), None)),
        (Operator::Equals, Argument::One(wanted)) => match wanted.folded.as_str() {
            "true" => Some(Filter::Eq(column, true.into())),
            "false" => Some(Filter::Eq(column, false.into())),
            _ => None,
        },
        _ => None,
    }
}

/// The number that a text is, where that is a plain whole one: of others the order is that of their characters, or there is none.
fn whole(wanted: &Text) -> Option<i64> {
    wanted.text.parse::<u32>().ok().map(i64::from)
}

/// A text that an index can be asked for.
fn fit(text: &str) -> Option<&str> {
    (text.len() <= MAX_TEXT && !text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::json;

    use super::*;
    use crate::{
        devices::groups::query::Facts,
        store::{doc_matches, kind_schema},
    };

    /// A device that a query may be about.
    fn device(known: &serde_json::Value) -> DeviceSummary {
        let mut summary = json!({
            "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "name": "Web-01", "labels": {}, "groups": [], "disabled": false,
            "addresses": [], "presence": "online", "agent_version": "", "enrolled_at": "2026-01-01T00:00:00Z"
        });
        for (member, value) in known.as_object().unwrap() {
            summary[member] = value.clone();
        }
        serde_json::from_value(summary).unwrap()
    }

    /// Whether a device is a member, and whether the indexes leave it in.
    fn asked(query: &DeviceQuery, device: &DeviceSummary) -> (bool, bool) {
        let is_left = doc_matches(&kind_schema::<DeviceSummary>(), &query.narrow(), &device.index());
        (query.matches(&Facts::of(device, [])), is_left)
    }

    /// Which of three devices the indexes leave in.
    #[track_caller]
    fn check(query: &str, expected: [bool; 3]) {
        let devices = [
            json!({"name": "Web-01", "os": "debian", "os_version": "12", "updates": 3, "labels": {"env": "Prod"}}),
            json!({"name": "db-1", "os": "ubuntu", "os_version": "24.04", "updates": 0, "reboot_required": true}),
            json!({"name": "new", "labels": {"env": "stage"}}),
        ];
        let query: DeviceQuery = query.parse().unwrap();
        let left = devices.map(|known| asked(&query, &device(&known)).1);
        assert_eq!(left, expected, "{query}");
    }

    #[test]
    fn indexes_leave_out_what_they_know() {
        check("os equals Debian", [true, false, false]);
        check("os in (debian, ubuntu)", [true, true, false]);
        check("os exists", [true, true, false]);
        check("os_version startsWith 24", [false, true, false]);
        check("name equals WEB-01", [true, false, false]);
        check("updates greaterThan 0", [true, false, false]);
        check("updates lessThanOrEquals 3", [true, true, false]);
        check("updates lessThan 3", [false, true, false]);
        check("reboot_required equals true", [false, true, false]);
        check("labels.env equals prod", [true, false, true]);
        check("os equals debian and labels.env equals prod", [true, false, false]);
        check("os equals debian or name equals new", [true, false, true]);
    }

    #[test]
    fn what_they_do_not_know_they_leave_in() {
        for query in [
            "not os equals debian",
            "os notEquals debian",
            "os matches deb",
            "os contains deb",
            "labels.env notExists",
            "kernel startsWith 6",
            "os equals debian or kernel exists",
            "updates greaterThan 0.5",
            "updates greaterThan many",
        ] {
            check(query, [true; 3]);
        }
        // Deeper than a filter may be.
        let deep = (0..20).fold("name equals a".to_owned(), |deep, n| {
            let word = if n % 2 == 0 { "and" } else { "or" };
            format!("name equals b {word} ({deep})")
        });
        check(&deep, [true; 3]);
    }

    const TEXTS: &[&str] = &[
        "", "a", "A", "Σ", "ας", "1", "2", "2.0", "-1", "007", "true", "False", "12.4", "debian",
    ];

    fn text() -> impl Strategy<Value = String> {
        select(TEXTS).prop_map(str::to_owned)
    }

    fn known() -> impl Strategy<Value = serde_json::Value> {
        let labels = proptest::collection::btree_map(select(vec!["a", "env"]), text(), 0..3);
        let number = || proptest::option::of(0_u32..14);
        let texts = (text(), text(), text(), text());
        (labels, texts, number(), number(), any::<Option<bool>>()).prop_map(
            |(labels, (name, os, version, architecture), updates, security, reboot)| {
                // As inventory stores them.
                let stored = |text: String| Some(text.to_lowercase()).filter(|text| !text.is_empty());
                json!({
                    "name": name, "labels": labels, "os": stored(os), "os_version": stored(version),
                    "architecture": stored(architecture), "updates": updates, "security_updates": security,
                    "reboot_required": reboot,
                })
            },
        )
    }

    fn query() -> impl Strategy<Value = Expression> {
        let field = prop_oneof![
            select(vec!["a", "env"]).prop_map(|name| Field::Label(name.to_owned())),
            select(Attribute::ALL.to_vec()).prop_map(Field::Attribute),
        ];
        let operators: Vec<_> = Operator::ALL
            .into_iter()
            .filter(|operator| !matches!(operator, Operator::Matches | Operator::NotMatches))
            .collect();
        let condition = (field, select(operators), vec(text(), 1..3)).prop_map(|(field, operator, values)| {
            let mut values: Vec<_> = values.into_iter().map(Text::new).collect();
            let argument = match operator {
                Operator::Exists | Operator::NotExists => Argument::Nothing,
                Operator::In | Operator::NotIn => Argument::Many(values),
                _ => Argument::One(values.remove(0)),
            };
            Expression::Condition(Condition {
                field,
                operator,
                argument,
            })
        });
        condition.prop_recursive(4, 16, 3, |part| {
            prop_oneof![
                part.clone().prop_map(|part| Expression::Not(Box::new(part))),
                vec(part.clone(), 2..4).prop_map(Expression::And),
                vec(part, 2..4).prop_map(Expression::Or),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_member_is_ever_left_out(expression in query(), known in known()) {
            let (is_member, is_left) = asked(&DeviceQuery { expression }, &device(&known));
            prop_assert!(is_left || !is_member);
        }
    }
}
