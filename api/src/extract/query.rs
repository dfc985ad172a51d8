//! Query parameters.

use std::fmt;

use axum::{extract::FromRequestParts, http::request::Parts};
use fleet_core::kernel::PageRequest;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};
use serde_path_to_error::Segment;

use super::{
    PageParams,
    serde_text::{named_member, plain},
};
use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// More parameters than a form of ours can send.
const MAX_PARAMETERS: usize = 256;

/// The query parameters of a route that is no list. `T` is a struct of plain members; a list is a repeated parameter
/// (`?state=a&state=b`). A name that `T` does not have is refused with those that it has.
///
/// `T` must not use `#[serde(flatten)]`: its names would not be known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

/// The query parameters of a list: those of `T`, and those that every list has ([`PageParams`]).
#[derive(Clone, Debug, Default)]
pub struct List<T> {
    /// What is asked for.
    pub filter: T,
    /// Which page.
    pub page: PageRequest,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        check_names(query, &[names_of::<T>()])?;
        read(query).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for List<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        check_names(query, &[names_of::<T>(), names_of::<PageParams>()])?;
        let page: PageParams = read(query)?;
        Ok(Self {
            filter: read(query)?,
            page: page.request()?,
        })
    }
}

fn check_names(query: &str, allowed: &[Option<&[&str]>]) -> ApiResult<()> {
    // A type that does not tell its names takes any.
    let Some(allowed) = allowed.iter().copied().collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let allowed = allowed.concat();
    for (n, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
        if n >= MAX_PARAMETERS {
            return Err(ApiError::new(
                codes::PARAMETER_UNKNOWN,
                format!("at most {MAX_PARAMETERS} parameters are read"),
            ));
        }
        if !allowed.contains(&&*name) {
            let message = match allowed.is_empty() {
                true => "this route takes no query parameters".to_owned(),
                false => format!("no such parameter; allowed are {}", allowed.join(", ")),
            };
            return Err(ApiError::at(codes::PARAMETER_UNKNOWN, shown(&name), message));
        }
        if value.contains('\0') {
            return Err(ApiError::at(codes::NUL_CHARACTER, name, "texts must not hold U+0000"));
        }
    }
    Ok(())
}

/// A foreign name, short enough to repeat.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn read<T: DeserializeOwned>(query: &str) -> ApiResult<T> {
    let reader = serde_html_form::Deserializer::from_bytes(query.as_bytes());
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let name = error.path().iter().find_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            _ => None,
        });
        let message = error.into_inner().to_string();
        let name = name
            .or_else(|| named_member(&message).map(str::to_owned))
            .unwrap_or_default();
        ApiError::invalid(name, plain(&message))
    })
}

/// The names of the members of `T`, if it is a struct.
fn names_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = None;
    // It always fails: the probe has no data, it only listens to what `T` asks for.
    let _ = T::deserialize(Probe(&mut names));
    names
}

/// Hears which members a type asks for.
struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

#[derive(Debug)]
struct Heard;

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("heard")
    }
}

impl std::error::Error for Heard {}

impl serde::de::Error for Heard {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Heard;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Heard> {
        Err(Heard)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Heard> {
        *self.0 = Some(fields);
        Err(Heard)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Filter {
        #[serde(default)]
        state: Vec<State>,
        #[serde(default)]
        online: Option<bool>,
        #[serde(rename = "q", default)]
        text: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum State {
        Queued,
        Running,
    }

    async fn list(query: &str) -> ApiResult<List<Filter>> {
        let (mut parts, ()) = Request::builder()
            .uri(format!("/x?{query}"))
            .body(())
            .unwrap()
            .into_parts();
        List::from_request_parts(&mut parts, &()).await
    }

    #[track_caller]
    fn check(got: ApiResult<List<Filter>>, code: &str, pointer: &str) {
        let error = got.unwrap_err();
        assert_eq!(
            (error.code(), error.errors()[0].pointer.as_str()),
            (code, pointer),
            "{error}"
        );
    }

    #[tokio::test]
    async fn repeated_parameters_are_a_list() {
        let got = list("state=queued&state=running&online=true&q=a%20b&limit=7")
            .await
            .unwrap();
        assert_eq!(
            got.filter,
            Filter {
                state: vec![State::Queued, State::Running],
                online: Some(true),
                text: "a b".to_owned()
            }
        );
        assert_eq!(got.page.limit(), 7);
        assert_eq!(list("state=queued").await.unwrap().filter.state, [State::Queued]);
        assert_eq!(list("").await.unwrap().page, PageRequest::default());
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = list("stat=queued").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no such parameter; allowed are state, online, q, limit, page_token"
        );
        check(Err(error), "request.parameter_unknown", "stat");
        check(list("text=x").await, "request.parameter_unknown", "text");
        check(
            list(&format!("{}=1", "x".repeat(5_000))).await,
            "request.parameter_unknown",
            &"x".repeat(64),
        );
    }

    #[tokio::test]
    async fn wrong_values_are_refused_by_name() {
        check(list("online=maybe").await, "request.invalid", "online");
        check(list("online=true&online=false").await, "request.invalid", "online");
        check(list("state=queued&state=gone").await, "request.invalid", "state");
        check(list("limit=many").await, "request.invalid", "limit");
        check(list("limit=0").await, "page.limit_invalid", "limit");
        check(list("limit=501").await, "page.limit_invalid", "limit");
        check(list("q=a%00b").await, "request.nul_character", "q");
        assert_eq!(
            list(&"q=x&".repeat(300)).await.unwrap_err().code(),
            "request.parameter_unknown"
        );
    }

    #[tokio::test]
    async fn page_parameters_belong_to_lists() {
        let (mut parts, ()) = Request::builder().uri("/x?limit=5").body(()).unwrap().into_parts();
        let error = Query::<Filter>::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(error.code(), "request.parameter_unknown");
    }
}
