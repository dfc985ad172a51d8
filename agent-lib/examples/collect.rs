//! Collects this device's inventory once and prints the report; `--memory` prints how much memory that took instead, and
//! `--root FOLDER` reads the system below a folder.

use std::sync::Arc;

use fleet_agent_lib::collect::{CollectContext, collect_all, report};
use fleet_core::kernel::SystemClock;

#[expect(clippy::print_stdout, reason = "an example prints what it shows")]
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut root = std::env::args().skip_while(|arg| arg != "--root").skip(1);
    let context = match root.next() {
        Some(root) => CollectContext::below(root, Arc::new(SystemClock)),
        None => CollectContext::device(Arc::new(SystemClock)),
    };
    let outcomes = collect_all(&context, &[]).await;
    let report = report(outcomes);
    if std::env::args().any(|arg| arg == "--memory") {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for line in status
            .lines()
            .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
        {
            println!("{line}");
        }
    } else {
        println!("{report:#}");
    }
}
