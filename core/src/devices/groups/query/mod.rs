//! The language of dynamic groups: which devices are members. Pure: text in, syntax tree out, facts in, yes or no out.
//!
//! ```text
//!   field      labels, groups and attributes of a device that can be asked for
//!   syntax     the tree; conditions, operators, values
//!   parser     text ─▶ tree, or an error with its place in the text
//!   print      tree ─▶ canonical text, which is parsed to the same tree
//!   facts      what is known of one device, made fit to be compared
//!   evaluate   tree and facts ─▶ yes or no
//!   narrow     tree ─▶ what the indexes of storage can leave out beforehand
//! ```
//!
//! ```
//! use fleet_core::devices::groups::query::DeviceQuery;
//!
//! let query: DeviceQuery = "os equals debian and not labels.env in ('prod', \"stage\")".parse()?;
//! assert_eq!(query.to_string(), r#"device.os equals "debian" AND NOT labels.env in ("prod", "stage")"#);
//! # Ok::<_, fleet_core::devices::groups::query::QueryError>(())
//! ```

mod error;
mod evaluate;
mod facts;
mod field;
mod narrow;
mod parser;
mod print;
mod syntax;
#[cfg(test)]
mod tests;

pub use error::{QueryError, QueryErrorKind};
pub use facts::Facts;
pub use field::{Attribute, Field};
pub use parser::{MAX_CONDITIONS, MAX_DEPTH, MAX_PATTERN_BYTES, MAX_PATTERNS, MAX_QUERY_BYTES};
pub use syntax::{Condition, DeviceQuery, Operator};
