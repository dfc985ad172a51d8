//! A pooler in transaction mode between the stores and their database.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fleet_core::store::{Backend as _, Relocate as _};
use fleet_storage_postgres::PostgresStore;
use futures::{StreamExt as _, future::join_all};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    common::{
        Namespace, batch,
        cluster::{is_root, pooler},
        database, folder, id, open, schema,
    },
    load::{Acknowledged, check, write},
};

/// A pooler with a socket in a folder; it ends with this.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one that has fewer connections than the stores have, so that they must share.
fn start(folder: &Path) -> Pooler {
    let program = pooler().expect("pgbouncer is not installed; run `cargo xtask setup`");
    let socket = database()
        .split_once("host=")
        .map(|(_, socket)| socket.replace("%2F", "/"));
    let socket = socket.expect("the cluster of the tests has a socket");
    let config = format!(
        "[databases]\n* = host={socket} port=5432 user=fleet\n[pgbouncer]\nlisten_port = 6432\nlisten_addr =\n\
         unix_socket_dir = {folder}\nauth_type = any\npool_mode = transaction\nmax_client_conn = 100\n\
         default_pool_size = 6\nlogfile = {folder}/log\n",
        folder = folder.display()
    );
    let file = folder.join("pgbouncer.ini");
    fs::write(&file, config).unwrap();
    let mut command = if is_root() {
        // It refuses to run as root, too.
        let owned = Command::new("chown").arg("-R").arg("postgres:").arg(folder).status();
        assert!(owned.unwrap().success());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    let quiet = command.arg("-q").arg(file).current_dir("/").stdin(Stdio::null());
    let child = quiet.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Pooler(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_work_through_a_pooler_in_transaction_mode() {
    let namespace = Namespace::new();
    let (_folder, path) = folder();
    let _pooler = start(&path);
    let there = format!(
        "postgres://fleet@localhost:6432/postgres?host={}",
        path.display().to_string().replace('/', "%2F")
    );
    let direct = database().replace('%', "%25").replace(':', "%3A");
    let direct = direct.replace('/', "%2F").replace('?', "%3F");
    let uri = namespace.through(&there);
    let mut first = PostgresStore::open(&uri, Default::default()).await;
    while first.is_err() {
        // Until it takes connections.
        tokio::time::sleep(Duration::from_millis(20)).await;
        first = PostgresStore::open(&uri, Default::default()).await;
    }
    let one = first.unwrap();
    one.prepare(&schema()).await.unwrap();
    let other = open(&format!("{uri}&listen_uri={direct}")).await;

    let (acknowledged, mut tasks) = (Acknowledged::default(), JoinSet::new());
    write(&mut tasks, &one, 0..300, &acknowledged);
    write(&mut tasks, &other, 1_000..1_300, &acknowledged);
    // Views hold connections of the pooler meanwhile, and give them back.
    let reading = join_all((0..40).map(|n| {
        let store = if n % 2 == 0 { &one } else { &other };
        async move {
            let mut view = store.view().await.unwrap();
            view.count("device", &fleet_core::store::Filter::All).await.unwrap()
        }
    }));
    reading.await;
    tasks.join_all().await;
    check(&one, &acknowledged).await;

    let seq = one.view().await.unwrap().seq();
    let mut changes = other.changes(seq).await.unwrap();
    one.commit(batch(900_000)).await.unwrap();
    let change = timeout(Duration::from_secs(60), changes.next()).await;
    assert_eq!(change.unwrap().unwrap().unwrap().seq, seq + 1);
    assert!(
        one.lease("job", id(1), Duration::from_secs(60))
            .await
            .unwrap()
            .is_some()
    );
    // The store that was told of no way past the pooler has made none of its connections listen.
    for n in 0..100 {
        other.commit(batch(910_000 + n)).await.unwrap();
        one.lease("job", id(1), Duration::from_secs(60)).await.unwrap();
        one.view().await.unwrap();
    }
    one.trim("sample", 5).await.unwrap();
    one.compact(seq).await.unwrap();
    one.track(true).await.unwrap();
    one.track(false).await.unwrap();
    assert_eq!(other.check().await.unwrap(), []);
    one.close().await.unwrap();
    other.close().await.unwrap();
}
