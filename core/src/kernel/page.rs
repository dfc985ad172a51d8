//! Pages and the tokens that continue them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Class, Code, Error, Result};

/// Items on a page when the caller does not say.
pub const DEFAULT_LIMIT: usize = 50;
/// The most items on a page.
pub const MAX_LIMIT: usize = 500;

/// A page token is damaged, of another query or of another version.
pub const PAGE_TOKEN_INVALID: Code = Code::new("page.token_invalid", Class::Invalid);
/// A page size outside 1 to 500.
pub const PAGE_LIMIT_INVALID: Code = Code::new("page.limit_invalid", Class::Invalid);

const VERSION: u8 = 1;
const FINGERPRINT: usize = 8;
/// Longer than any token that we make: a cursor holds at most two index values of at most 1 kB.
const MAX_TOKEN: usize = 8 * 1024;

/// One page of a list and the token of the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the order of the query.
    pub items: Vec<T>,
    /// Continues the list; none at its end.
    pub next: Option<PageToken>,
}

impl<T> Page<T> {
    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }
}

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    limit: usize,
    token: Option<PageToken>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            token: None,
        }
    }
}

impl PageRequest {
    /// A page of at most `limit` items (1 to 500, 50 when none is given) after `token`.
    pub fn new(limit: Option<usize>, token: Option<PageToken>) -> Result<Self> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(PAGE_LIMIT_INVALID
                .error(format!("limit must be between 1 and {MAX_LIMIT}"))
                .with_field("limit", format!("1 to {MAX_LIMIT}")));
        }
        Ok(Self { limit, token })
    }

    /// The most items that the page may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Where to go on, for the query with this fingerprint.
    pub fn cursor<C: DeserializeOwned>(&self, fingerprint: [u8; FINGERPRINT]) -> Result<Option<C>> {
        self.token.as_ref().map(|token| token.open(fingerprint)).transpose()
    }
}

/// What identifies a query: everything but the page. A token made for one query is refused by another.
pub fn query_fingerprint(query: &impl Serialize) -> Result<[u8; FINGERPRINT]> {
    let bytes = super::canonical::to_vec(query).map_err(Error::internal)?;
    let mut fingerprint = [0; FINGERPRINT];
    fingerprint.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..FINGERPRINT]);
    Ok(fingerprint)
}

/// Continues a list. Opaque to callers and parsed as hostile input when it comes back: it carries only a position, so
/// that a forged one shows nothing that the query itself would not.
///
/// ```
/// use fleet_core::kernel::{PageRequest, PageToken, query_fingerprint};
///
/// // A list ends a page with a token that holds a position and the query that it belongs to.
/// let devices = query_fingerprint(&("devices", "by name"))?;
/// let next = PageToken::seal(devices, &"web-50")?;
///
/// // It comes back as hostile input. For its own query it is a position, for another it is an error.
/// let request = PageRequest::new(Some(50), Some(PageToken::from_text(next.as_str())))?;
/// assert_eq!(request.cursor::<String>(devices)?.as_deref(), Some("web-50"));
/// let runs = query_fingerprint(&("runs", "by name"))?;
/// assert_eq!(request.cursor::<String>(runs).unwrap_err().code().name(), "page.token_invalid");
/// # Ok::<(), fleet_core::kernel::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageToken(String);

impl PageToken {
    /// Accepts the text of a token as it came from outside; it is judged when it is used.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text to hand out.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes the token that continues the query with this fingerprint at `cursor`.
    pub fn seal(fingerprint: [u8; FINGERPRINT], cursor: &impl Serialize) -> Result<Self> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&fingerprint);
        serde_json::to_writer(&mut bytes, cursor).map_err(Error::internal)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn open<C: DeserializeOwned>(&self, fingerprint: [u8; FINGERPRINT]) -> Result<C> {
        let refuse = |why| PAGE_TOKEN_INVALID.error(why).with_field("page_token", why);
        if self.0.len() > MAX_TOKEN {
            return Err(refuse("this page token is too long to be ours"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.0)
            .map_err(|_| refuse("this page token is damaged"))?;
        let (&version, rest) = bytes.split_first().ok_or_else(|| refuse("this page token is empty"))?;
        if version != VERSION {
            return Err(refuse(
                "this page token is of another version; start from the first page",
            ));
        }
        let (token_fingerprint, cursor) = rest
            .split_at_checked(FINGERPRINT)
            .ok_or_else(|| refuse("this page token is damaged"))?;
        if token_fingerprint != fingerprint {
            return Err(refuse(
                "this page token belongs to another query; keep filter and order as they were",
            ));
        }
        serde_json::from_slice(cursor).map_err(|_| refuse("this page token is damaged"))
    }
}

impl fmt::Debug for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageToken({} characters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: [u8; 8] = [7; 8];

    #[track_caller]
    fn check(token: PageToken, expected: std::result::Result<u32, &str>) {
        let request = PageRequest::new(None, Some(token)).unwrap();
        let got = request
            .cursor::<u32>(QUERY)
            .map(Option::unwrap)
            .map_err(|error| error.code().name());
        assert_eq!(got, expected);
    }

    #[test]
    fn a_token_continues_its_own_query_only() {
        check(PageToken::seal(QUERY, &42).unwrap(), Ok(42));
        check(PageToken::seal([8; 8], &42).unwrap(), Err("page.token_invalid"));
    }

    #[test]
    fn hostile_tokens_are_refused_without_a_panic() {
        let good = PageToken::seal(QUERY, &42).unwrap();
        for end in 0..good.as_str().len() {
            check(PageToken::from_text(&good.as_str()[..end]), Err("page.token_invalid"));
        }
        for text in ["", "%%%", "AAAA", &"A".repeat(100_000)] {
            check(PageToken::from_text(text), Err("page.token_invalid"));
        }
        check(PageToken::seal(QUERY, &"a text").unwrap(), Err("page.token_invalid"));
    }

    #[test]
    fn limits_are_bounded() {
        for (limit, fits) in [(0, false), (1, true), (500, true), (501, false), (usize::MAX, false)] {
            assert_eq!(PageRequest::new(Some(limit), None).is_ok(), fits, "{limit}");
        }
    }
}
