//! Reading: a few connections, and what is done on them.

mod decode;
mod filter;
mod plan;
mod pool;
mod records;
mod rows;
mod sizes;
mod view;

pub(crate) use self::{
    decode::{chain_row, stored_row},
    pool::{Lent, Readers},
    records::FIRST,
    sizes::Sizes,
    view::PostgresView,
};
