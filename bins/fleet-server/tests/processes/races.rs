//! The same race on the stores that one process owns.

use crate::race::check_as_many_win_as_there_are_uses;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_agents_that_race_for_a_token_exactly_as_many_win_as_it_has_uses() {
    let folder = tempfile::tempdir().unwrap();
    for uri in ["json:json", "sqlite:fleet.db"] {
        let (kind, name) = uri.split_once(':').unwrap();
        let uri = format!("{kind}:{}", folder.path().join(name).display());
        check_as_many_win_as_there_are_uses(&uri, 1).await;
    }
}
