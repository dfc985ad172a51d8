//! The OpenAPI document: what utoipa collects from the routes, put into the form that every client generator reads.
//!
//! ```text
//! normalise.rs   the steps, in their order
//! unions.rs      step 1: tagged unions with named variants and a discriminator
//! schemas.rs     walking all schemas of a document; references; what reaches what
//! lint.rs        the rules of this house, as a list of complaints
//! render.rs      one text for one document, whatever order the maps are in
//! page.rs        page_schema!: concrete pages
//! ```
//!
//! The served document and the committed file are the same bytes: both are [`document`].

mod lint;
mod normalise;
mod page;
mod render;
mod schemas;
mod unions;

pub use lint::lint;
pub use normalise::{ROOTS, normalise};
pub use render::render;

/// The finished document of the routes that `openapi` was collected from.
pub fn document(openapi: &utoipa::openapi::OpenApi) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(openapi)?;
    normalise(&mut value, ROOTS);
    Ok(render(&value))
}
