//! The commands of the handbook, `docs/storage/backup.md`, as they stand there.

use std::process::Command;

use fleet_core::store::Backend as _;
use futures::StreamExt as _;

use crate::common::{Namespace, batch, database, database::program, folder, ingest, open, run_at};

/// The console lines of the handbook that begin with a program.
fn commands(program: &str) -> Vec<String> {
    let page = include_str!("../../../docs/storage/backup.md");
    let prompt = format!("$ {program} ");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&prompt));
    lines.map(str::to_owned).collect()
}

/// Runs one, with paths and names that are this test's.
fn run(name: &str, arguments: &str, changes: &[(&str, &str)], uri: &str) {
    let mut text = arguments.to_owned();
    for (of_the_page, ours) in changes {
        assert!(text.contains(of_the_page), "{of_the_page} is not in: {text}");
        text = text.replace(of_the_page, ours);
    }
    let socket = uri.split("host=").nth(1).unwrap().replace("%2F", "/");
    let mut command: Command = program(name);
    command.args(text.split_whitespace());
    command.env("PGHOST", socket).env("PGUSER", "fleet");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{name} {text}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn contents(uri: &str) -> Vec<String> {
    let store = open(uri).await;
    let records: Vec<_> = store.view().await.unwrap().export().collect().await;
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await.unwrap();
    records
        .into_iter()
        .map(|record| format!("{:?}", record.unwrap()))
        .collect()
}

#[tokio::test]
async fn the_handbooks_dump_and_restore_keep_everything() {
    let (_folder, path) = folder();
    let dump = path.join("fleet.dump");
    let name = format!("dumped_{}", std::process::id());
    run_at(database(), &format!("CREATE DATABASE {name}")).await;
    let uri = database().replace("/postgres?", &format!("/{name}?"));
    let namespace = Namespace::at(&uri);
    let store = open(&namespace.uri()).await;
    for n in 1..20 {
        store.commit(batch(n)).await.unwrap();
        store.ingest(ingest(n, 5)).await.unwrap();
    }
    store.close().await.unwrap();
    let before = contents(&namespace.uri()).await;

    let [dumped] = &commands("pg_dump")[..] else {
        panic!("the page has one pg_dump");
    };
    let [restored] = &commands("pg_restore")[..] else {
        panic!("the page has one pg_restore");
    };
    let file = dump.to_str().unwrap();
    // The database's own name comes last in the line.
    let dumped = dumped.strip_suffix(" fleet").expect("it dumps the database fleet");
    run(
        "pg_dump",
        &format!("{dumped} {name}"),
        &[("/srv/backups/fleet.dump", file)],
        database(),
    );
    run_at(database(), &format!("DROP DATABASE {name}")).await;
    run("pg_restore", restored, &[("/srv/backups/fleet.dump", file)], database());
    assert_eq!(contents(&namespace.uri()).await, before);
    run_at(database(), &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
