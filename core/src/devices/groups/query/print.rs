//! Canonical text: one way to write each query.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::syntax::{Argument, Condition, DeviceQuery, Expression, Text};
use super::{Field, field::Attribute};

impl Display for DeviceQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.expression.fmt(f)
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::All => Ok(()),
            Self::Or(parts) => joined(f, parts, " OR ", |_| false),
            Self::And(parts) => joined(f, parts, " AND ", |part| matches!(part, Self::Or(_))),
            Self::Not(part) => {
                f.write_str("NOT ")?;
                within(f, part, matches!(**part, Self::And(_) | Self::Or(_)))
            }
            Self::Condition(condition) => condition.fmt(f),
        }
    }
}

fn joined(
    f: &mut Formatter<'_>,
    parts: &[Expression],
    between: &str,
    is_within: impl Fn(&Expression) -> bool,
) -> Result {
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            f.write_str(between)?;
        }
        within(f, part, is_within(part))?;
    }
    Ok(())
}

fn within(f: &mut Formatter<'_>, part: &Expression, is_within: bool) -> Result {
    if is_within { write!(f, "({part})") } else { part.fmt(f) }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.field, self.operator.name())?;
        match &self.argument {
            Argument::Nothing => Ok(()),
            Argument::One(value) => {
                f.write_char(' ')?;
                quoted(f, &value.text)
            }
            Argument::Pattern(pattern) => {
                f.write_char(' ')?;
                quoted(f, &pattern.text)
            }
            Argument::Many(values) => list(f, values),
        }
    }
}

fn list(f: &mut Formatter<'_>, values: &[Text]) -> Result {
    f.write_str(" (")?;
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        quoted(f, &value.text)?;
    }
    f.write_char(')')
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> Result {
    // Nothing but the delimiter is escaped; that no value ends with a backslash makes this exact.
    write!(f, "\"{}\"", text.replace('"', "\\\""))
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Label(name) => write!(f, "labels.{name}"),
            Self::Group => f.write_str("device.group"),
            Self::Attribute(attribute) => write!(f, "device.{}", Attribute::name(*attribute)),
        }
    }
}
