//! Plans: what the engine does for the main shapes of a list, and for every fixed statement.

use std::sync::Arc;

use fleet_core::{
    kernel::SystemClock,
    store::{
        Backend as _, Column, ColumnType, Cursor, Direction, Filter, Find, KindSchema, LaneSchema, LatestSchema,
        ReadRows, RowCursor, Schema, Term, Value, check_find,
        plan::{RowWay, Way, choose_row_way, row_ways},
    },
};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions, sqlite::SqliteConnection};
use uuid::Uuid;

use super::{plan::List, rows::Rows};
use crate::{SqliteOptions, SqliteStore, sql::explain, tables::Tables, writer::Changed};

fn schema() -> Schema {
    use ColumnType::{Int, Text};
    Schema::default()
        .with_kind(KindSchema {
            name: "device",
            columns: vec![
                Column::one("name", Text),
                Column::one("seen", Int),
                Column::unique("serial", Text),
                Column::many("tag", Text),
            ],
            indexes: vec![vec!["name", "seen"]],
            indexer: Arc::new(|_| Err("not used".into())),
        })
        .and_then(|schema| {
            schema.with_lane(LaneSchema {
                name: "audit",
                columns: vec![Column::one("actor", Text), Column::one("action", Text)],
                chained: true,
                indexer: Arc::new(|_| Err("not used".into())),
            })
        })
        .and_then(|schema| schema.with_latest(LatestSchema { name: "state" }))
        .unwrap()
}

struct Bed {
    _folder: tempfile::TempDir,
    store: SqliteStore,
    conn: SqliteConnection,
    tables: Tables,
}

async fn bed() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store = SqliteStore::open(&path, SqliteOptions::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    store.prepare(&schema()).await.unwrap();
    let conn = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    Bed {
        _folder: folder,
        store,
        conn,
        tables: Tables::new(&schema()),
    }
}

fn find(filter: Filter, order: Option<(&'static str, Direction)>, after: Option<Value>) -> Find {
    Find {
        kind: "device",
        filter,
        order: order.map(|(column, direction)| Term { column, direction }),
        after: after.map(|value| Cursor { value, id: Uuid::max() }),
        limit: 50,
    }
}

/// The plans of all the statements of a list, with the way that is chosen without numbers, or with the narrowest part.
async fn plans(bed: &mut Bed, find: &Find, few: bool) -> Vec<String> {
    let (_, order) = check_find(&bed.tables.schema, find).unwrap();
    let list = List::new(bed.tables.kind("device").unwrap(), find, order);
    let mut plans = Vec::new();
    let way = match list.plan.choose() {
        Ok(way) => way,
        Err((walk, candidates)) => {
            plans.extend(explain(&mut bed.conn, list.probe(&candidates).written()).await);
            if few { Way::From(candidates[0]) } else { walk }
        }
    };
    for page in list.plan.stretches() {
        plans.extend(explain(&mut bed.conn, list.statement(way, &page, 51).written()).await);
    }
    plans
}

/// Checks that the plan of a list has a step that begins so, sorts or not, and never goes through a whole table.
#[track_caller]
fn check(plans: &[String], step: &str, sorts: bool) {
    assert!(plans.iter().any(|line| line.contains(step)), "no {step} in {plans:#?}");
    assert_eq!(
        plans.iter().any(|line| line.contains("TEMP B-TREE FOR ORDER BY")),
        sorts,
        "{plans:#?}"
    );
    for line in plans {
        let whole =
            line.starts_with("SCAN t") && !line.contains("USING INDEX") && !line.contains("USING COVERING INDEX");
        assert!(!whole, "{line} in {plans:#?}");
    }
}

fn tag(value: &str) -> Filter {
    Filter::Eq("tag", value.into())
}

#[tokio::test]
async fn a_page_by_an_ordered_column_is_a_range_of_its_index_both_ways() {
    let mut bed = bed().await;
    for direction in [Direction::Ascending, Direction::Descending] {
        let first = plans(&mut bed, &find(Filter::All, Some(("seen", direction)), None), false).await;
        check(&first, "SCAN t USING INDEX kind.device.seen", false);
        let next = plans(
            &mut bed,
            &find(Filter::All, Some(("seen", direction)), Some(Value::Int(5))),
            false,
        )
        .await;
        check(&next, "USING INDEX kind.device.seen ((seen,id)", false);
        let null = plans(
            &mut bed,
            &find(Filter::All, Some(("seen", direction)), Some(Value::Null)),
            false,
        )
        .await;
        check(&null, "USING INDEX kind.device.seen (seen=? AND id", false);
    }
    let by_id = plans(&mut bed, &find(Filter::All, None, Some(Value::Null)), false).await;
    check(
        &by_id,
        "SEARCH t USING INDEX sqlite_autoindex_kind.device_1 (id>?)",
        false,
    );
    bed.store.close().await.unwrap();
}

#[tokio::test]
async fn a_cursor_bounds_a_walk_that_is_also_a_range() {
    let mut bed = bed().await;
    let range = Filter::Range("seen", Some(Value::Int(1)), Some(Value::Int(9)));
    let next = plans(
        &mut bed,
        &find(range, Some(("seen", Direction::Ascending)), Some(Value::Int(5))),
        false,
    )
    .await;
    check(
        &next,
        "USING INDEX kind.device.seen ((seen,id)>(?,?) AND seen<?)",
        false,
    );
    bed.store.close().await.unwrap();
}

#[tokio::test]
async fn few_documents_of_one_tag_are_found_by_the_tag_and_sorted() {
    let mut bed = bed().await;
    let rare = plans(
        &mut bed,
        &find(tag("a"), Some(("seen", Direction::Descending)), None),
        true,
    )
    .await;
    check(
        &rare,
        "SEARCH m USING COVERING INDEX many.device.tag.value (value=?)",
        true,
    );
    let wanted = Filter::In("tag", vec!["a".into(), "b".into()]);
    let rare = plans(
        &mut bed,
        &find(wanted, Some(("seen", Direction::Ascending)), None),
        true,
    )
    .await;
    check(
        &rare,
        "SEARCH m USING COVERING INDEX many.device.tag.value (value=?)",
        true,
    );
    let either = Filter::Or(vec![tag("a"), Filter::Eq("name", "x".into())]);
    let rare = plans(
        &mut bed,
        &find(either, Some(("seen", Direction::Ascending)), None),
        true,
    )
    .await;
    check(&rare, "SEARCH o USING COVERING INDEX kind.device.name (name=?)", true);
    bed.store.close().await.unwrap();
}

#[tokio::test]
async fn a_document_that_was_found_is_looked_up_once_however_many_values_another_part_has() {
    let mut bed = bed().await;
    let named = |column, count: i64| Filter::In(column, (0..count).map(|n| Value::from(n.to_string())).collect());
    for other in [named("name", 3), named("name", 300)] {
        for part in [named("tag", 2), other.clone()] {
            let both = Filter::And(vec![part, other.clone()]);
            let plans = plans(&mut bed, &find(both, Some(("seen", Direction::Ascending)), None), true).await;
            check(
                &plans,
                "SEARCH t USING INDEX sqlite_autoindex_kind.device_1 (id=?)",
                true,
            );
        }
    }
    bed.store.close().await.unwrap();
}

#[tokio::test]
async fn many_documents_of_one_tag_are_met_on_the_walk() {
    let mut bed = bed().await;
    let common = plans(
        &mut bed,
        &find(tag("a"), Some(("seen", Direction::Descending)), None),
        false,
    )
    .await;
    check(&common, "SCAN t USING INDEX kind.device.seen", false);
    check(&common, "SEARCH m USING PRIMARY KEY (id=? AND value=?)", false);
    let by_id = plans(&mut bed, &find(tag("a"), None, Some(Value::Null)), false).await;
    check(
        &by_id,
        "SEARCH m USING COVERING INDEX many.device.tag.value (value=? AND id>?)",
        false,
    );
    bed.store.close().await.unwrap();
}

#[tokio::test]
async fn equality_with_order_uses_a_composite_index_and_a_unique_value_needs_no_walk() {
    let mut bed = bed().await;
    let named = Filter::Eq("name", "x".into());
    let page = find(
        named.clone(),
        Some(("seen", Direction::Descending)),
        Some(Value::Int(5)),
    );
    check(
        &plans(&mut bed, &page, false).await,
        "USING INDEX kind.device.name.seen (name=? AND (seen,id)<(?,?))",
        false,
    );
    let by_id = plans(&mut bed, &find(named, None, Some(Value::Null)), false).await;
    check(&by_id, "USING INDEX kind.device.name (name=? AND id>?)", false);
    let serial = Filter::Eq("serial", "x".into());
    let one = plans(
        &mut bed,
        &find(serial, Some(("seen", Direction::Ascending)), None),
        false,
    )
    .await;
    check(
        &one,
        "SEARCH o USING COVERING INDEX kind.device.serial (serial=?)",
        true,
    );
    bed.store.close().await.unwrap();
}

fn read(filter: Filter, stream: Option<Uuid>, after: bool) -> ReadRows {
    ReadRows {
        lane: "audit",
        stream,
        filter,
        from: Some(1),
        to: Some(9),
        direction: Direction::Descending,
        after: after.then(|| RowCursor {
            at: 5,
            stream: Uuid::nil(),
            n: 0,
        }),
        limit: 50,
    }
}

async fn row_plans(bed: &mut Bed, read: &ReadRows, way: usize) -> Vec<String> {
    let rows = Rows::new(bed.tables.lane("audit").unwrap(), read);
    let ways = row_ways(read);
    let mut plans = explain(&mut bed.conn, rows.probe(&ways).written()).await;
    plans.extend(explain(&mut bed.conn, rows.statement(ways[way], 51).written()).await);
    plans
}

#[tokio::test]
async fn rows_are_read_along_their_stream_their_time_or_one_value_newest_first() {
    let mut bed = bed().await;
    let time = row_plans(&mut bed, &read(Filter::All, None, true), 0).await;
    check(
        &time,
        "USING INDEX lane.audit.at (at>? AND (at,stream,n)<(?,?,?))",
        false,
    );
    let stream = row_plans(&mut bed, &read(Filter::All, Some(Uuid::max()), true), 0).await;
    check(&stream, "USING PRIMARY KEY (stream=? AND at>? AND (at,n)<(?,?))", false);
    let actor = Filter::Eq("actor", "x".into());
    let column = row_plans(&mut bed, &read(actor.clone(), None, true), 1).await;
    check(
        &column,
        "USING INDEX lane.audit.actor (actor=? AND at>? AND (at,stream,n)<(?,?,?))",
        false,
    );
    let both = Filter::And(vec![actor, Filter::Eq("action", "y".into())]);
    let column = row_plans(&mut bed, &read(both, None, false), 2).await;
    check(
        &column,
        "USING INDEX lane.audit.action (action=? AND at>? AND at<?)",
        false,
    );
    bed.store.close().await.unwrap();
}

#[test]
fn the_narrowest_way_through_a_lane_is_chosen() {
    let (equal, list) = (Filter::Eq("actor", "x".into()), Filter::In("actor", vec![]));
    let choose = |ways: &[RowWay<'_>], counts: &[i64]| format!("{:?}", choose_row_way(ways, counts));
    let narrow = |way: RowWay<'_>| format!("{way:?}");
    let (column, several) = (RowWay::Column("actor", &equal), RowWay::Column("actor", &list));
    assert_eq!(choose(&[RowWay::Stream, column], &[2_001, 7]), narrow(column));
    assert_eq!(
        choose(&[RowWay::Stream, column], &[2_001, 2_001]),
        narrow(RowWay::Stream)
    );
    assert_eq!(choose(&[RowWay::Time, several], &[2_001, 2_001]), narrow(RowWay::Time));
    assert_eq!(choose(&[RowWay::Time, several], &[2_001, 3]), narrow(several));
}

#[tokio::test]
async fn no_fixed_statement_goes_through_a_whole_table_but_those_that_read_it_all() {
    let mut bed = bed().await;
    let tables = Tables::new(&schema());
    let (kind, lane) = (tables.kind("device").unwrap(), tables.lane("audit").unwrap());
    let (latest, many) = (tables.latest("state").unwrap(), &kind.many[0]);
    let replaces = [Changed::default(), Changed::ALL].map(|changed| kind.replace(changed));
    let mut statements = vec![
        &kind.get,
        &kind.get_one,
        &kind.facts,
        &kind.insert,
        &replaces[0],
        &replaces[1],
        &kind.delete,
        &kind.fill,
        &kind.walk,
        &kind.pages.lengths,
        &kind.pages.page,
        &many.insert,
        &many.keep,
        &many.delete,
        &many.walk,
        &lane.places,
        &lane.insert,
        &lane.replace,
        &lane.remove,
        &lane.trim,
        &lane.fill,
        &lane.walk,
        &lane.pages.lengths,
        &lane.pages.page,
        &latest.present,
        &latest.get,
        &latest.page,
        &latest.pages.lengths,
        &latest.pages.page,
        &latest.upsert,
        &latest.delete,
    ];
    statements.extend(&kind.free);
    statements.extend(kind.holders.iter().map(|(_, _, sql)| sql));
    for sql in statements {
        for line in explain(&mut bed.conn, sql.text()).await {
            // `j` is the array of parameters, and a subquery is a page.
            let bounded = ["SCAN j", "SCAN (subquery"].iter().any(|scan| line.starts_with(scan));
            assert!(!line.starts_with("SCAN") || bounded, "{line} in {}", sql.text());
        }
    }
    bed.store.close().await.unwrap();
}
