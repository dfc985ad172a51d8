//! What changes all the time and travels with each beat.

use fleet_core::protocol::Gauges;

/// Reads the gauges of this device. What cannot be read is left out; nothing here can fail a beat.
///
/// The kernel makes these files from memory as they are read: no thread is needed to wait for them.
pub fn read() -> Gauges {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    parse(&text("/proc/uptime"), &text("/proc/loadavg"), &text("/proc/meminfo"))
}

fn parse(uptime: &str, load: &str, memory: &str) -> Gauges {
    let kibibytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kibibytes| kibibytes.saturating_mul(1024))
    };
    let total = kibibytes("MemTotal:");
    let available = kibibytes("MemAvailable:");
    let load: Option<f64> = load
        .split_whitespace()
        .next()
        .and_then(|load| load.parse().ok())
        .filter(|load: &f64| load.is_finite() && *load >= 0.0);
    Gauges {
        uptime_seconds: uptime.split('.').next().and_then(|seconds| seconds.parse().ok()),
        load_hundredths: load.map(|load| (load * 100.0).round().min(f64::from(u32::MAX)) as u32),
        memory_total_bytes: total,
        memory_used_bytes: total
            .zip(available)
            .map(|(total, available)| total.saturating_sub(available)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_read() {
        let memory = "MemTotal:       24689764 kB\nMemFree:        22000000 kB\nMemAvailable:   23000000 kB\n";
        let gauges = parse("12345.67 98765.43\n", "0.52 0.58 0.59 1/467 12345\n", memory);
        assert_eq!(gauges.uptime_seconds, Some(12_345));
        assert_eq!(gauges.load_hundredths, Some(52));
        assert_eq!(gauges.memory_total_bytes, Some(24_689_764 * 1024));
        assert_eq!(gauges.memory_used_bytes, Some((24_689_764 - 23_000_000) * 1024));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(parse("", "", ""), Gauges::default());
        assert_eq!(parse("x", "nan", "MemTotal: many kB"), Gauges::default());
    }
}
