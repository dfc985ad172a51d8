//! Lists, page by page.

use serde_json::Value;

use super::{Client, Failure, Query, Result};

/// The most items that a server puts on a page.
const MAX_PAGE: usize = 500;

/// A list that is read page by page.
#[derive(Debug)]
pub struct Pages<'a> {
    client: &'a Client,
    path: Vec<String>,
    query: Query,
    left: usize,
    token: Option<String>,
    begun: bool,
}

impl<'a> Pages<'a> {
    /// At most `limit` items of a list.
    pub fn new(client: &'a Client, path: &[&str], query: Query, limit: usize) -> Self {
        Self {
            client,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query,
            left: limit,
            token: None,
            begun: false,
        }
    }

    /// The next page; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        if self.left == 0 || self.begun && self.token.is_none() {
            return Ok(None);
        }
        self.begun = true;
        let mut query = self.query.clone();
        query.push(("limit", self.left.min(MAX_PAGE).to_string()));
        if let Some(token) = &self.token {
            query.push(("page_token", token.clone()));
        }
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut body = self.client.get(&path, &query).await?.body;
        let Some(Value::Array(mut items)) = body.get_mut("items").map(Value::take) else {
            return Err(Failure::unexpected("the server's answer is no list"));
        };
        let next = body["next"].as_str().map(str::to_owned);
        if next.is_some() && (next == self.token || items.is_empty()) {
            return Err(Failure::unexpected("the server's list does not end"));
        }
        self.token = next;
        items.truncate(self.left);
        self.left -= items.len();
        Ok(Some(items))
    }

    /// Whether there is more than was asked for.
    pub fn has_more(&self) -> bool {
        self.token.is_some()
    }
}

/// All items of a list, but no more than `most`.
pub async fn all(client: &Client, path: &[&str], query: Query, most: usize) -> Result<Vec<Value>> {
    let mut pages = Pages::new(client, path, query, most);
    let mut items = Vec::new();
    while let Some(page) = pages.next().await? {
        items.extend(page);
    }
    if pages.has_more() {
        return Err(Failure::usage(format!(
            "there are more than {most}; please narrow it down"
        )));
    }
    Ok(items)
}
