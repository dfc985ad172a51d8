//! The conformance suite of all backends, on SQLite.

mod harness;

use harness::Sqlite;

fleet_storage_conformance::conformance_tests!(Sqlite);
fleet_storage_conformance::model_test!(Sqlite);
fleet_storage_conformance::histories_test!(Sqlite);
