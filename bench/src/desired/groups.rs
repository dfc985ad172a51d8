//! One device among a thousand dynamic groups.

use std::time::Instant;

use anyhow::Result;
use fleet_core::devices::{
    DeviceSummary,
    groups::query::{DeviceQuery, Facts},
};
use serde_json::json;

use crate::{figures::quantile, machine::Jitter};

const GROUPS: usize = 1_000;
const TIMES: usize = 300;

/// Milliseconds in which it is placed in 99 of a hundred cases.
pub fn measure(jitter: &mut Jitter) -> Result<f64> {
    let summary: DeviceSummary = serde_json::from_value(json!({
        "id": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "name": "web-01", "disabled": false, "groups": [],
        "labels": {"env": "prod", "site": "berlin", "tier": "7", "team": "payments"},
        "addresses": [], "presence": "online", "agent_version": "0.1.0", "enrolled_at": "2026-01-01T00:00:00Z",
        "os": "ubuntu", "os_version": "24.04", "os_family": ["ubuntu", "debian"], "kernel": "6.8.0-31-generic",
        "hostname": "web-01.berlin.example.org", "memory_total": 17_179_869_184_u64, "cpu_threads": 8
    }))?;
    let queries = (0..GROUPS).map(|n| query(n).parse::<DeviceQuery>());
    let queries: Vec<_> = queries.collect::<Result<_, _>>()?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        let facts = Facts::of(&summary, ["front row 7", "rack 12"]);
        let found = queries.iter().filter(|query| query.matches(&facts)).count();
        std::hint::black_box(found);
        times.push(began.elapsed().as_secs_f64() * 1e3);
        jitter.look();
    }
    Ok(quantile(times, 0.99))
}

/// Queries of every sort: equal, one of, by pattern, greater, and the name of a group.
fn query(n: usize) -> String {
    match n % 5 {
        0 => format!(
            "labels.site equals site-{n} or labels.team equals payments and tier greaterThan {}",
            n % 12
        ),
        1 => format!("os_family in (rhel, debian, \"suse\") and not name startsWith db-{n}"),
        2 => format!("hostname matches '^web-[0-9]+\\.(berlin|oslo)\\.x{n}' and env notEquals test"),
        3 => format!(
            "memory_total greaterThan {} and cpu_threads lessThanOrEquals 64",
            n << 24
        ),
        _ => format!("device.group contains 'row {n}' or kernel contains 'generic' and os_major greaterThan 20"),
    }
}
