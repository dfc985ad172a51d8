//! Servers as they are shipped, on Postgres.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, reason = "tests")]

#[path = "../../../storage-postgres/tests/common/database.rs"]
mod database;
#[path = "processes/moving.rs"]
mod moving;
#[path = "processes/nginx.rs"]
mod nginx;
#[path = "processes/processes.rs"]
mod processes;
#[path = "processes/race.rs"]
mod race;
#[path = "processes/upgrade.rs"]
mod upgrade;
#[path = "processes/world.rs"]
mod world;

use database::Namespace;

#[tokio::test]
async fn postgres_is_backed_up_before_an_upgrade() {
    let (one, other, third) = (Namespace::new(), Namespace::new(), Namespace::new());
    upgrade::check_backed_up_before_an_upgrade(&one.uri(), &other.uri()).await;
    upgrade::check_not_backed_up_when_told_so(&third.uri()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_agents_that_race_for_a_token_at_two_servers_exactly_as_many_win_as_it_has_uses() {
    race::check_as_many_win_as_there_are_uses(&Namespace::new().uri(), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_socket_an_agent_that_moves_between_servers_executes_each_run_once() {
    moving::check_no_run_is_lost_or_repeated(&Namespace::new().uri(), "socket", 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_polling_an_agent_that_moves_between_servers_executes_each_run_once() {
    moving::check_no_run_is_lost_or_repeated(&Namespace::new().uri(), "poll", 12).await;
}
