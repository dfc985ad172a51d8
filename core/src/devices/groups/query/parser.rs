//! Text to tree.
//!
//! ```text
//!   query      = [ or ]
//!   or         = and { OR and }
//!   and        = unary { AND unary }
//!   unary      = NOT unary | "(" or ")" | condition
//!   condition  = field operator [ value ]
//! ```

use super::{
    Attribute, Field, Operator, QueryError, QueryErrorKind,
    syntax::{Argument, Condition, DeviceQuery, Expression, Pattern, Text},
};
use crate::devices::device::check_label;

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4_096;
/// The most conditions of a query.
pub const MAX_CONDITIONS: usize = 128;
/// How deep parentheses and NOT may be nested.
pub const MAX_DEPTH: usize = 100;
/// The most regular expressions of a query.
pub const MAX_PATTERNS: usize = 4;
/// The longest regular expression, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;

/// Reads a query.
pub(super) fn parse(text: &str) -> Result<DeviceQuery, QueryError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        conditions: 0,
        patterns: 0,
    };
    if text.len() > MAX_QUERY_BYTES {
        let mut end = MAX_QUERY_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        return Err(parser.too_large(end, format!("a query is at most {MAX_QUERY_BYTES} bytes")));
    }
    let is_forbidden = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    if let Some(at) = text.find(is_forbidden) {
        return Err(parser.invalid(at, "control characters are not allowed"));
    }
    parser.query()
}

struct Parser<'t> {
    text: &'t str,
    /// Bytes that were read.
    at: usize,
    depth: usize,
    conditions: usize,
    patterns: usize,
}

impl<'t> Parser<'t> {
    fn query(&mut self) -> Result<DeviceQuery, QueryError> {
        self.skip_space();
        if self.rest().is_empty() {
            return Ok(DeviceQuery {
                expression: Expression::All,
            });
        }
        let expression = self.or()?;
        match self.peek() {
            None => Ok(DeviceQuery { expression }),
            Some(')') => Err(self.invalid(self.at, "this ) closes nothing")),
            Some(_) => Err(self.invalid(
                self.at,
                "expected AND, OR or the end; a value with several words or quotes stands in quotes",
            )),
        }
    }

    fn or(&mut self) -> Result<Expression, QueryError> {
        let mut parts = Vec::new();
        loop {
            match self.and()? {
                Expression::Or(more) => parts.extend(more),
                part => parts.push(part),
            }
            if !self.keyword("or") {
                return Ok(one_or(parts, Expression::Or));
            }
        }
    }

    fn and(&mut self) -> Result<Expression, QueryError> {
        let mut parts = Vec::new();
        loop {
            match self.unary()? {
                Expression::And(more) => parts.extend(more),
                part => parts.push(part),
            }
            if !self.keyword("and") {
                return Ok(one_or(parts, Expression::And));
            }
        }
    }

    fn unary(&mut self) -> Result<Expression, QueryError> {
        self.skip_space();
        let start = self.at;
        if self.keyword("not") {
            self.deeper(start)?;
            let part = self.unary()?;
            self.depth -= 1;
            return Ok(Expression::Not(Box::new(part)));
        }
        if !self.take('(') {
            return self.condition().map(Expression::Condition);
        }
        self.deeper(start)?;
        let part = self.or()?;
        self.skip_space();
        if !self.take(')') {
            return Err(self.invalid(self.at, "expected AND, OR or the ) of an earlier ("));
        }
        self.depth -= 1;
        Ok(part)
    }

    fn deeper(&mut self, start: usize) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_large(
                start,
                format!("parentheses and NOT are nested at most {MAX_DEPTH} deep"),
            ));
        }
        Ok(())
    }

    fn condition(&mut self) -> Result<Condition, QueryError> {
        let start = self.at;
        let field = self.field()?;
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(self.too_large(start, format!("a query has at most {MAX_CONDITIONS} conditions")));
        }
        let operator = self.operator(&field)?;
        let argument = self.argument(operator)?;
        Ok(Condition {
            field,
            operator,
            argument,
        })
    }

    fn field(&mut self) -> Result<Field, QueryError> {
        let start = self.at;
        let word = self.word();
        if self.take('[') {
            if !word.eq_ignore_ascii_case("labels") && !word.eq_ignore_ascii_case("device.labels") {
                return Err(self.invalid(start, "only labels has names in [ ]"));
            }
            self.skip_space();
            let at = self.at;
            let Some(name) = self.quoted()? else {
                return Err(self.invalid(at, "expected the name of a label in quotes"));
            };
            self.skip_space();
            if !self.take(']') {
                return Err(self.invalid(self.at, "expected ]"));
            }
            return self.label(at, &name);
        }
        if word.is_empty() {
            return Err(self.invalid(
                start,
                "expected a field, such as labels.env or device.os, NOT or a parenthesis",
            ));
        }
        let Some(name) = after_prefix(word, "device.") else {
            if let Some(name) = after_prefix(word, "labels.") {
                return self.label(start, name);
            }
            return match Attribute::of_name(word) {
                Some(attribute) => Ok(Field::Attribute(attribute)),
                None => self.label(start, word),
            };
        };
        if let Some(name) = after_prefix(name, "labels.") {
            self.label(start, name)
        } else if name.eq_ignore_ascii_case("group") {
            Ok(Field::Group)
        } else if let Some(attribute) = Attribute::of_name(name) {
            Ok(Field::Attribute(attribute))
        } else {
            let names = Attribute::ALL.map(Attribute::name).join(", ");
            Err(self.invalid(
                start,
                format!("a device has no such attribute; there are group, labels, {names}"),
            ))
        }
    }

    fn label(&self, at: usize, name: &str) -> Result<Field, QueryError> {
        // Labels have lower-case names, so that this is without regard to case.
        let name = name.to_ascii_lowercase();
        match check_label(&name, "") {
            Ok(()) => Ok(Field::Label(name)),
            Err(error) => Err(self.invalid(at, format!("no label can have this name: {}", error.message()))),
        }
    }

    fn operator(&mut self, field: &Field) -> Result<Operator, QueryError> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        let operator = Operator::ALL
            .into_iter()
            .find(|operator| operator.name().eq_ignore_ascii_case(word));
        match operator {
            Some(operator) if *field == Field::Group && operator.is_about_place() => {
                let why = format!("{} cannot be asked of device.group", operator.name());
                Err(self.invalid(start, why))
            }
            Some(operator) => Ok(operator),
            None => {
                let names = Operator::ALL.map(Operator::name).join(", ");
                Err(self.invalid(start, format!("expected an operator: {names}")))
            }
        }
    }

    fn argument(&mut self, operator: Operator) -> Result<Argument, QueryError> {
        self.skip_space();
        let start = self.at;
        match operator {
            Operator::Exists | Operator::NotExists => Ok(Argument::Nothing),
            Operator::In | Operator::NotIn => self.values().map(Argument::Many),
            Operator::Matches | Operator::NotMatches => {
                let text = self.value()?;
                self.pattern(start, text)
            }
            _ => Ok(Argument::One(Text::new(self.value()?))),
        }
    }

    fn pattern(&mut self, start: usize, text: String) -> Result<Argument, QueryError> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            let why = format!("a query has at most {MAX_PATTERNS} regular expressions");
            return Err(self.too_large(start, why));
        }
        if text.len() > MAX_PATTERN_BYTES {
            let why = format!("a regular expression is at most {MAX_PATTERN_BYTES} bytes");
            return Err(self.too_large(start, why));
        }
        match Pattern::new(text) {
            Ok(pattern) => Ok(Argument::Pattern(Box::new(pattern))),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(self.too_large(start, "this regular expression stands for too much".to_owned()))
            }
            Err(error) => {
                // Its last line says what is wrong; those before draw it.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                let why = last.trim_start_matches("error: ");
                Err(self.invalid(start, format!("this is no regular expression: {why}")))
            }
        }
    }

    /// One value: in quotes, or without them up to AND, OR or `)`.
    fn value(&mut self) -> Result<String, QueryError> {
        let start = self.at;
        let value = match self.quoted()? {
            Some(value) => value,
            None => self.bare(false)?,
        };
        self.check_value(start, value)
    }

    /// Several values: `("a", b)`, or one with commas.
    fn values(&mut self) -> Result<Vec<Text>, QueryError> {
        let start = self.at;
        if !self.take('(') {
            let value = self.value()?;
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            let mut values = Vec::new();
            for part in parts {
                values.push(Text::new(self.check_value(start, part.to_owned())?));
            }
            if values.is_empty() {
                return Err(self.invalid(start, "expected values"));
            }
            return Ok(values);
        }
        let mut values = Vec::new();
        loop {
            self.skip_space();
            let at = self.at;
            let value = match self.quoted()? {
                Some(value) => value,
                None => self.bare(true)?,
            };
            values.push(Text::new(self.check_value(at, value)?));
            self.skip_space();
            if self.take(')') {
                return Ok(values);
            }
            if !self.take(',') {
                return Err(self.invalid(self.at, "expected , or )"));
            }
        }
    }

    fn check_value(&self, start: usize, value: String) -> Result<String, QueryError> {
        // In quotes it would escape the quote, so that it could not be written again.
        if value.ends_with('\\') {
            return Err(self.invalid(start, "a value cannot end with a backslash"));
        }
        Ok(value)
    }

    /// A text in quotes, if one begins here. A backslash escapes its delimiter and nothing else.
    fn quoted(&mut self) -> Result<Option<String>, QueryError> {
        let start = self.at;
        let delimiter = match self.rest().chars().next() {
            Some(delimiter @ ('"' | '\'')) => delimiter,
            _ => return Ok(None),
        };
        let (mut value, mut escaped) = (String::new(), false);
        for (place, character) in self.rest().char_indices().skip(1) {
            if escaped {
                if character != delimiter {
                    value.push('\\');
                }
                escaped = character == '\\';
                if !escaped {
                    value.push(character);
                }
            } else if character == delimiter {
                self.at += place + 1;
                return Ok(Some(value));
            } else if character == '\\' {
                escaped = true;
            } else {
                value.push(character);
            }
        }
        Err(self.invalid(start, format!("the closing {delimiter} is missing")))
    }

    /// A text without quotes: up to AND, OR or `)`; in a list up to `,` or `)`.
    fn bare(&mut self, in_list: bool) -> Result<String, QueryError> {
        let (start, rest) = (self.at, self.rest());
        let (mut end, mut after_space) = (rest.len(), true);
        for (place, character) in rest.char_indices() {
            let ends = match character {
                ')' => true,
                ',' => in_list,
                '(' => {
                    let why = "unexpected (: a value with a parenthesis stands in quotes; lists are for in and notIn";
                    return Err(self.invalid(start + place, why));
                }
                _ => {
                    let ahead = rest.get(place..).unwrap_or_default();
                    !in_list && after_space && (begins(ahead, "and") || begins(ahead, "or"))
                }
            };
            if ends {
                end = place;
                break;
            }
            after_space = character.is_whitespace();
        }
        let value = rest.get(..end).unwrap_or_default().trim_end();
        if value.is_empty() {
            return Err(self.invalid(start, "expected a value"));
        }
        self.at = start + value.len();
        Ok(value.to_owned())
    }

    /// Up to white space or something that has a meaning of its own.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let is_end = |character: char| character.is_whitespace() || "()[]\"',".contains(character);
        let word = rest.find(is_end).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at += word.len();
        word
    }

    /// Takes a keyword if it stands here: with white space, `(` or the end behind it.
    fn keyword(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let stands = begins(self.rest(), keyword);
        if stands {
            self.at += keyword.len();
        }
        stands
    }

    fn take(&mut self, character: char) -> bool {
        let stands = self.rest().starts_with(character);
        if stands {
            self.at += character.len_utf8();
        }
        stands
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn invalid(&self, at: usize, message: impl Into<String>) -> QueryError {
        self.error(QueryErrorKind::Invalid, at, message.into())
    }

    fn too_large(&self, at: usize, message: String) -> QueryError {
        self.error(QueryErrorKind::TooLarge, at, message)
    }

    fn error(&self, kind: QueryErrorKind, at: usize, message: String) -> QueryError {
        QueryError {
            kind,
            position: self.text.get(..at).unwrap_or(self.text).chars().count(),
            message,
        }
    }
}

fn one_or(mut parts: Vec<Expression>, many: impl Fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            many(parts)
        }
    }
}

/// Whether a text begins with a keyword.
fn begins(text: &str, keyword: &str) -> bool {
    let Some((head, tail)) = text.split_at_checked(keyword.len()) else {
        return false;
    };
    let ends = |character: char| character.is_whitespace() || character == '(';
    head.eq_ignore_ascii_case(keyword) && tail.chars().next().is_none_or(ends)
}

fn after_prefix<'t>(word: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, tail) = word.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}
