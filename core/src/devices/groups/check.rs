//! Trying a query: what it is in canonical form, and which devices it would hold.

use serde::{Deserialize, Serialize};

use super::{
    DeviceGroupService,
    model::query_refused,
    query::{DeviceQuery, QueryError},
};
use crate::{
    access::{Context, Scope},
    devices::{
        DEVICES_READ, DeviceId, DeviceSummary, GROUPS_READ,
        permissions::{in_scope, require_in_scope},
    },
    kernel::{Error, PageRequest, Result},
    store::Query,
};

/// The most examples.
const MAX_EXAMPLES: usize = 100;
/// Examples when nothing is said.
const EXAMPLES: usize = 5;
/// Devices that are read together.
const PAGE: usize = 500;
/// The most devices that are looked at.
const MAX_DEVICES: u64 = 20_000;

/// A query to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"query": "os equals debian and labels.env in (\"prod\", \"stage\")", "limit": 5})))]
#[serde(deny_unknown_fields)]
pub struct QueryCheck {
    /// The query, as a dynamic group would have it.
    pub query: String,
    /// How many examples are wanted: 0 to 100, 5 when nothing is said.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// What a query that was tried comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckedQuery {
    /// Whether it is a query.
    pub valid: bool,
    /// Why it is none; null when it is one.
    pub problem: Option<QueryProblem>,
    /// The query in its canonical form; null when it is none.
    pub canonical: Option<String>,
    /// Whether it asks for something that devices say of themselves.
    pub relies_on_reports: bool,
    /// How many of the devices that were looked at match.
    pub matching: u64,
    /// How many devices there are to look at; those that an index leaves out are counted.
    pub looked_at: u64,
    /// Whether those are all; of more than 20,000 devices some are left out.
    pub complete: bool,
    /// Some of those that match, for callers who may see devices.
    pub examples: Vec<QueryExample>,
}

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueryProblem {
    /// The code of the error that a group with it would be refused with.
    pub code: String,
    /// What was expected, or what is wrong.
    pub message: String,
    /// How many characters stand before the place where that shows.
    pub position: u64,
}

/// A device that a query matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueryExample {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
}

impl DeviceGroupService<'_> {
    /// Tries a query on the devices, without storing anything. That the text is no query is an answer and no error.
    pub async fn check_query(&self, context: &Context, check: &QueryCheck) -> Result<CheckedQuery> {
        let scope = context.require(GROUPS_READ)?;
        let limit = check.limit.unwrap_or(EXAMPLES);
        if limit > MAX_EXAMPLES {
            return Err(Error::invalid_field("/limit", format!("0 to {MAX_EXAMPLES}")));
        }
        let query: DeviceQuery = match check.query.parse() {
            Ok(query) => query,
            Err(error) => return Ok(refused(&error)),
        };
        let may_see = context.require(DEVICES_READ).ok();
        let devices = Query::<DeviceSummary>::all().filter(in_scope(&scope).and(query.narrow()));
        let mut checked = CheckedQuery {
            valid: true,
            problem: None,
            canonical: Some(query.to_string()),
            relies_on_reports: query.relies_on_reports(),
            matching: 0,
            looked_at: self
                .store
                .reader()
                .await?
                .count::<DeviceSummary>(&in_scope(&scope))
                .await?,
            complete: true,
            examples: Vec::new(),
        };
        let (mut token, mut read) = (None, 0);
        loop {
            // A view for each page: reading all of them takes a while.
            let mut reader = self.store.reader().await?;
            let groups = self.dynamic.read(&mut reader).await?;
            let page = reader.list(&devices, &PageRequest::new(Some(PAGE), token)?).await?;
            for summary in page.items {
                read += 1;
                if !groups.matches(&mut reader, &summary, &query).await? {
                    continue;
                }
                checked.matching += 1;
                let is_seen = |scope: &Scope| require_in_scope(scope, summary.id).is_ok();
                if checked.examples.len() < limit && may_see.as_ref().is_some_and(is_seen) {
                    checked.examples.push(QueryExample {
                        id: summary.id,
                        name: summary.value.name,
                    });
                }
            }
            token = page.next;
            if token.is_none() {
                return Ok(checked);
            }
            if read >= MAX_DEVICES {
                (checked.looked_at, checked.complete) = (read, false);
                return Ok(checked);
            }
        }
    }
}

fn refused(error: &QueryError) -> CheckedQuery {
    CheckedQuery {
        valid: false,
        problem: Some(QueryProblem {
            code: query_refused(error, "/query").code().name().to_owned(),
            message: error.message.clone(),
            position: error.position as u64,
        }),
        canonical: None,
        relies_on_reports: false,
        matching: 0,
        looked_at: 0,
        complete: true,
        examples: Vec::new(),
    }
}
