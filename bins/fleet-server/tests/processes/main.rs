//! Real processes: server and agent as they are shipped, over a real store and a real shell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod backup;
mod crash;
mod desired;
mod escrow;
mod install;
mod life;
#[allow(dead_code, reason = "the tests with nginx are in a file of their own")]
mod nginx;
mod package;
mod processes;
mod race;
mod races;
mod rollouts;
mod start;
mod tls;
mod update;
mod upgrade;
mod upgrades;
#[allow(dead_code, reason = "the tests on Postgres use more of it")]
mod world;
