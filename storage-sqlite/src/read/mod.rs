//! Reading: a few read-only connections, and what is done on them.

mod export;
mod filter;
mod plan;
mod pool;
mod rows;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use self::{
    export::{chain_row, stored_row},
    pool::Readers,
    view::SqliteView,
};
