//! A report that unpacks to a gigabyte. Alone in its program, so that the program's memory is that of this.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; clippy.toml allows it only in the tests themselves"
)]

mod support;
#[path = "devices/world.rs"]
mod world;

use support::App;
use world::{packed, refused, repeated};

#[tokio::test]
async fn a_report_that_unpacks_to_a_gigabyte_is_refused_in_little_memory() {
    let (app, admin) = App::with_admin().await;
    let device = app.device(&admin, "web").await;
    let bomb = repeated(8 << 10, 23);
    assert!(bomb.len() < 40_000);
    refused(&app, packed(&app, &device, bomb), 413, "report.too_large").await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .map(|peak| peak.parse().unwrap())
        .unwrap();
    // 64 MiB unpacked, twice that while they grow, and the passwords' hashes.
    assert!(peak < 300_000, "{peak} kB");
}
