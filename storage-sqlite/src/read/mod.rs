//! Reading: a few read-only connections, and what is done on them.

mod decode;
mod filter;
mod plan;
mod pool;
mod records;
mod rows;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use self::{
    decode::{chain_row, stored_row},
    pool::Readers,
    view::SqliteView,
};
