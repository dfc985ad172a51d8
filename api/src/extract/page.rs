//! The parameters that every list has.

use fleet_core::kernel::{PageRequest, PageToken};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::problem::ApiResult;

/// Which page of a list. Handlers take [`super::List`], and name this type in the route's `params(...)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// The most items on the page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u32>,
    /// Continues a list: `next` of the page before. Filter and order must stay as they were.
    pub page_token: Option<String>,
}

impl PageParams {
    /// The page that is asked for, or why there is none.
    pub fn request(&self) -> ApiResult<PageRequest> {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let token = self.page_token.clone().map(PageToken::from_text);
        Ok(PageRequest::new(limit, token)?)
    }
}
