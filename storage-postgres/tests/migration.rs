//! Data moves into PostgreSQL, out of it, and from database to database.

mod common;
mod harness;
#[path = "../../storage-json/tests/harness/mod.rs"]
mod json;
#[path = "../../storage-sqlite/tests/harness/mod.rs"]
mod sqlite;

use harness::Postgres;
use json::Json;
use sqlite::Sqlite;

mod json_to_postgres {
    fleet_storage_conformance::migration_tests!(super::Json, super::Postgres);
}

mod postgres_to_json {
    fleet_storage_conformance::migration_tests!(super::Postgres, super::Json);
}

mod sqlite_to_postgres {
    fleet_storage_conformance::migration_tests!(super::Sqlite, super::Postgres);
}

mod postgres_to_sqlite {
    fleet_storage_conformance::migration_tests!(super::Postgres, super::Sqlite);
}

mod postgres_to_postgres {
    fleet_storage_conformance::migration_tests!(super::Postgres, super::Postgres);
}
