//! The syntax tree.

use regex::{Regex, RegexBuilder};

use super::{Field, QueryError, evaluate, parser};

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The same, without regard to case.
    Equals,
    /// Not the same.
    NotEquals,
    /// The value stands somewhere in it.
    Contains,
    /// It stands nowhere in it.
    NotContains,
    /// It begins with the value.
    StartsWith,
    /// It ends with the value.
    EndsWith,
    /// Above, as numbers where both are numbers.
    GreaterThan,
    /// Below.
    LessThan,
    /// Above or the same.
    GreaterThanOrEquals,
    /// Below or the same.
    LessThanOrEquals,
    /// One of several values.
    In,
    /// None of them.
    NotIn,
    /// It is known, or set.
    Exists,
    /// It is not.
    NotExists,
    /// A regular expression is found in it.
    Matches,
    /// It is not found.
    NotMatches,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Equals,
        Self::NotEquals,
        Self::Contains,
        Self::NotContains,
        Self::StartsWith,
        Self::EndsWith,
        Self::GreaterThan,
        Self::LessThan,
        Self::GreaterThanOrEquals,
        Self::LessThanOrEquals,
        Self::In,
        Self::NotIn,
        Self::Exists,
        Self::NotExists,
        Self::Matches,
        Self::NotMatches,
    ];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equals => "equals",
            Self::NotEquals => "notEquals",
            Self::Contains => "contains",
            Self::NotContains => "notContains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::GreaterThan => "greaterThan",
            Self::LessThan => "lessThan",
            Self::GreaterThanOrEquals => "greaterThanOrEquals",
            Self::LessThanOrEquals => "lessThanOrEquals",
            Self::In => "in",
            Self::NotIn => "notIn",
            Self::Exists => "exists",
            Self::NotExists => "notExists",
            Self::Matches => "matches",
            Self::NotMatches => "notMatches",
        }
    }

    /// Whether it looks at the beginning, the end or the order: not for several values that have none.
    pub(super) const fn is_about_place(self) -> bool {
        matches!(
            self,
            Self::StartsWith
                | Self::EndsWith
                | Self::GreaterThan
                | Self::LessThan
                | Self::GreaterThanOrEquals
                | Self::LessThanOrEquals
        )
    }

    /// Whether it says the opposite of another, and so holds where nothing is known.
    pub(super) const fn is_negative(self) -> bool {
        matches!(
            self,
            Self::NotEquals | Self::NotContains | Self::NotIn | Self::NotExists | Self::NotMatches
        )
    }
}

/// A text as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub text: String,
    pub folded: String,
    pub number: Option<f64>,
}

impl Text {
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            folded: text.to_lowercase(),
            number: number(&text),
            text,
        }
    }
}

/// The number that a text is: digits, with a sign and a point at most. `nan`, `inf` and `1e9` are words.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A regular expression; the same as another of the same text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub text: String,
    pub regex: Regex,
}

/// The most bytes that a compiled regular expression takes.
const PATTERN_SIZE: usize = 128 << 10;

impl Pattern {
    pub fn new(text: String) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&text)
            .case_insensitive(true)
            .size_limit(PATTERN_SIZE)
            .nest_limit(32)
            .build()?;
        Ok(Self { text, regex })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Nothing,
    One(Text),
    Many(Vec<Text>),
    Pattern(Box<Pattern>),
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub(super) field: Field,
    pub(super) operator: Operator,
    pub(super) argument: Argument,
}

impl Condition {
    /// What it is about.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }
}

/// A part of a query. *And* and *or* have at least two parts, none of which is of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// Every device.
    All,
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Condition(Condition),
}

impl Expression {
    fn conditions<'e>(&'e self, found: &mut Vec<&'e Condition>) {
        match self {
            Self::All => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.conditions(found)),
            Self::Not(part) => part.conditions(found),
            Self::Condition(condition) => found.push(condition),
        }
    }
}

/// A query that was read: which devices are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceQuery {
    pub(super) expression: Expression,
}

impl DeviceQuery {
    /// Whether a device of these facts is wanted.
    pub fn matches(&self, facts: &super::Facts) -> bool {
        evaluate::holds(&self.expression, facts)
    }

    /// All conditions, from left to right.
    pub fn conditions(&self) -> Vec<&Condition> {
        let mut found = Vec::new();
        self.expression.conditions(&mut found);
        found
    }

    /// Whether it asks for the groups of a device.
    pub fn asks_for_groups(&self) -> bool {
        self.conditions()
            .iter()
            .any(|condition| condition.field == Field::Group)
    }

    /// Whether it asks for something that a device says of itself, so that whoever controls the device decides about its membership.
    pub fn relies_on_reports(&self) -> bool {
        self.conditions()
            .iter()
            .any(|condition| matches!(condition.field, Field::Attribute(_)))
    }

    /// Whether a condition names a group by its whole name, without regard to case.
    pub fn names_group(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.conditions()
            .into_iter()
            .filter(|condition| condition.field == Field::Group)
            .any(|condition| match (condition.operator, &condition.argument) {
                (Operator::Equals | Operator::NotEquals, Argument::One(value)) => value.folded == name,
                (_, Argument::Many(values)) => values.iter().any(|value| value.folded == name),
                _ => false,
            })
    }
}

impl std::str::FromStr for DeviceQuery {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        parser::parse(text)
    }
}
