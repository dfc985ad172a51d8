//! The conformance suite of all backends, on PostgreSQL.

mod common;
mod harness;

use harness::{Emptied, Postgres};

fleet_storage_conformance::conformance_tests!(Postgres);
fleet_storage_conformance::model_test!(Emptied::default());
fleet_storage_conformance::histories_test!(Postgres);
