//! Whether a device is wanted.

use std::cmp::Ordering;

use super::{
    Facts, Operator,
    syntax::{Argument, Condition, Expression, Text},
};

pub(super) fn holds(expression: &Expression, facts: &Facts) -> bool {
    match expression {
        Expression::All => true,
        Expression::And(parts) => parts.iter().all(|part| holds(part, facts)),
        Expression::Or(parts) => parts.iter().any(|part| holds(part, facts)),
        Expression::Not(part) => !holds(part, facts),
        Expression::Condition(condition) => is_met(condition, facts),
    }
}

/// A field without a value meets the negative operators and no other; of several values one is enough, and for the negative
/// operators none may be.
fn is_met(condition: &Condition, facts: &Facts) -> bool {
    let values = facts.values(&condition.field);
    let found = values.iter().any(|value| compares(condition, value));
    found != condition.operator.is_negative()
}

/// What the operator, or the one that it is the opposite of, says of a value.
fn compares(condition: &Condition, value: &Text) -> bool {
    match (&condition.argument, condition.operator) {
        (Argument::Nothing, _) => true,
        (Argument::Many(wanted), _) => wanted.iter().any(|wanted| wanted.folded == value.folded),
        (Argument::Pattern(pattern), _) => pattern.regex.is_match(&value.text),
        (Argument::One(wanted), Operator::Contains | Operator::NotContains) => value.folded.contains(&wanted.folded),
        (Argument::One(wanted), Operator::StartsWith) => value.folded.starts_with(&wanted.folded),
        (Argument::One(wanted), Operator::EndsWith) => value.folded.ends_with(&wanted.folded),
        (Argument::One(wanted), Operator::GreaterThan) => order(value, wanted).is_gt(),
        (Argument::One(wanted), Operator::LessThan) => order(value, wanted).is_lt(),
        (Argument::One(wanted), Operator::GreaterThanOrEquals) => order(value, wanted).is_ge(),
        (Argument::One(wanted), Operator::LessThanOrEquals) => order(value, wanted).is_le(),
        (Argument::One(wanted), _) => value.folded == wanted.folded,
    }
}

/// As numbers where both are numbers, else byte by byte in lower case.
fn order(value: &Text, wanted: &Text) -> Ordering {
    match (value.number, wanted.number) {
        (Some(value), Some(wanted)) => value.total_cmp(&wanted),
        _ => value.folded.as_bytes().cmp(wanted.folded.as_bytes()),
    }
}
