//! Several statements as one, so that a group costs one journey to the engine and not one for each table.
//!
//! They become the parts of a `WITH`: each sees the store as it was before all of them, and the order in which they run is the
//! engine's affair (<https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING>). So each part changes a
//! table of its own.

use fleet_core::store::{Error, Name};
use sqlx::{
    Arguments as _, Encode, Postgres, Row as _, Type,
    postgres::{PgArguments, PgConnection},
};

use super::Failure;
use crate::sql::{Array, Sql};

/// Statements with what is bound to them.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    parts: Vec<Part>,
    arguments: PgArguments,
}

#[derive(Debug)]
struct Part {
    text: String,
    /// The documents of a kind that have to be there.
    wanted: Option<(Name, usize)>,
}

impl Bundle {
    /// Begins a part; what is bound next is its own.
    pub(super) fn part(&mut self, sql: &Sql) -> &mut Self {
        self.parts.push(Part {
            text: renumbered(sql.as_str(), self.arguments.len()),
            wanted: None,
        });
        self
    }

    pub(super) fn bind<'v, T>(&mut self, value: T) -> Result<&mut Self, sqlx::Error>
    where
        T: Encode<'v, Postgres> + Type<Postgres>,
    {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    pub(super) fn bind_array(&mut self, array: Array<'_>) -> Result<&mut Self, sqlx::Error> {
        match array {
            Array::Int(values) => self.bind(values),
            Array::Text(values) => self.bind(values),
            Array::Id(values) => self.bind(values),
        }
    }

    /// The part replaces so many documents of a kind, or all fails.
    pub(super) fn wants(&mut self, kind: Name, documents: usize) {
        if let Some(part) = self.parts.last_mut() {
            part.wanted = Some((kind, documents));
        }
    }

    /// Runs all parts.
    pub(crate) async fn send(self, conn: &mut PgConnection) -> Result<(), Failure> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let (mut with, mut counts) = (String::from("WITH "), String::from("SELECT 1"));
        for (n, part) in self.parts.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let counted = if part.wanted.is_some() { " RETURNING 1" } else { "" };
            with += &format!("{comma}p{n} AS ({}{counted})", part.text);
            if part.wanted.is_some() {
                counts += &format!(", (SELECT count(*) FROM p{n})");
            }
        }
        let sql = Sql::new(format!("{with} {counts}"));
        let row = sql.query_with(self.arguments).fetch_one(conn).await?;
        let wanted = self.parts.iter().filter_map(|part| part.wanted);
        for (n, (kind, documents)) in wanted.enumerate() {
            let replaced: i64 = row.try_get(n + 1)?;
            if usize::try_from(replaced) != Ok(documents) {
                let text =
                    format!("of {documents} documents of kind {kind} that were there {replaced} could be replaced");
                return Err(Error::Corrupt(text).into());
            }
        }
        Ok(())
    }
}

/// A statement whose places for values begin after so many others. No name and no literal of this crate holds a `$`.
fn renumbered(text: &str, after: usize) -> String {
    let mut pieces = text.split('$');
    let mut renumbered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (place, rest) = piece.split_at(end);
        let place = place.parse::<usize>().unwrap_or(0) + after;
        renumbered += &format!("${place}{rest}");
    }
    renumbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, after: usize, expected: &str) {
        assert_eq!(renumbered(text, after), expected);
    }

    #[test]
    fn places_for_values_follow_those_of_the_parts_before() {
        check("SELECT 1", 3, "SELECT 1");
        check("SELECT $1::uuid[], $2", 0, "SELECT $1::uuid[], $2");
        check(
            "SELECT $1::uuid[], $12, c1 = $2",
            9,
            "SELECT $10::uuid[], $21, c1 = $11",
        );
    }
}
