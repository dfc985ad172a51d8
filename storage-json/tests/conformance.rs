//! The conformance suite of all backends, on a folder of JSON.

mod harness;

use harness::Json;

fleet_storage_conformance::conformance_tests!(Json);
fleet_storage_conformance::model_test!(Json);
fleet_storage_conformance::histories_test!(Json);
