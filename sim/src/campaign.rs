//! Many seeds, on all cores.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    coverage::Coverage,
    edges,
    judge::{Invariant, Violation},
    plant::Plant,
    world::{Outcome, Plan, Scale, simulate},
};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds that were simulated.
    pub seeds: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Events.
    pub events: u64,
    /// What was visited.
    pub coverage: Coverage,
    /// The simulations that went wrong; at most ten.
    pub failed: Vec<Outcome>,
}

impl Report {
    /// In words: what was visited, what was not and why, and how to repeat what failed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: std::fmt::Arguments<'_>| {
            text.push_str(&what.to_string());
            text.push('\n');
        };
        line(format_args!(
            "{} seeds, {:.0} simulated hours, {} events",
            self.seeds,
            self.simulated.as_secs_f64() / 3_600.0,
            self.events
        ));
        for (name, counts) in [
            ("moves of runs", &self.coverage.run_edges),
            ("moves of devices", &self.coverage.presence_edges),
            ("faults", &self.coverage.faults),
            ("ends of runs", &self.coverage.ends),
        ] {
            line(format_args!("{name}: {}", counts.len()));
            for (what, count) in counts {
                line(format_args!("  {count:>9}  {what}"));
            }
        }
        let excused: BTreeMap<_, _> = edges::all()
            .filter_map(|(from, to)| Some((edges::name(from, to), edges::why_not(from, to)?)))
            .collect();
        line(format_args!("moves that cannot happen: {}", excused.len()));
        for (what, why) in excused {
            line(format_args!("             {what}: {why}"));
        }
        for missing in self.not_visited() {
            line(format_args!("not visited, and should be: {missing}"));
        }
        for excused in self.wrongly_excused() {
            line(format_args!("visited, and should not be possible: {excused}"));
        }
        for outcome in &self.failed {
            for event in &outcome.trace {
                line(format_args!("{event}"));
            }
            if let Some(violation) = &outcome.violation {
                line(format_args!(
                    "seed {}: {:?}: {}",
                    outcome.seed, violation.invariant, violation.why
                ));
            }
            line(format_args!(
                "again: cargo run -p fleet-sim -- --seed {} --trace",
                outcome.seed
            ));
        }
        text
    }

    /// The moves of the table that can be reached and were not.
    pub fn not_visited(&self) -> Vec<String> {
        let reachable = edges::all().filter(|(from, to)| edges::why_not(*from, *to).is_none());
        let names: BTreeSet<_> = reachable.map(|(from, to)| edges::name(from, to)).collect();
        let visited = &self.coverage.run_edges;
        names.into_iter().filter(|name| !visited.contains_key(name)).collect()
    }

    /// The moves that were visited although it is said why they cannot happen.
    pub fn wrongly_excused(&self) -> Vec<String> {
        let excused = edges::all().filter(|(from, to)| edges::why_not(*from, *to).is_some());
        let names: BTreeSet<_> = excused.map(|(from, to)| edges::name(from, to)).collect();
        let visited = &self.coverage.run_edges;
        names.into_iter().filter(|name| visited.contains_key(name)).collect()
    }
}

/// Simulates all seeds of a range.
///
/// # Errors
/// When the machine refuses what a simulation needs.
pub fn campaign(seeds: Range<u64>, scale: Scale) -> anyhow::Result<Report> {
    let report = Mutex::new(Report::default());
    each(seeds, None, scale, |outcome| {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.seeds += 1;
        report.simulated += outcome.simulated;
        report.events += outcome.events;
        report.coverage.add(&outcome.coverage);
        if outcome.violation.is_some() && report.failed.len() < 10 {
            report.failed.push(outcome);
        }
        true
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failed.sort_by_key(|outcome| outcome.seed);
    Ok(report)
}

/// Looks for the first seed of a range at which a planted fault is found.
///
/// # Errors
/// When the machine refuses what a simulation needs.
pub fn hunt(seeds: Range<u64>, plant: Plant, by: &[Invariant]) -> anyhow::Result<Option<Outcome>> {
    let found: Mutex<Option<Outcome>> = Mutex::default();
    each(seeds, Some(plant), Scale::default(), |outcome| {
        // A fault has other consequences as well: it is looked for until one of these invariants finds it.
        let is_found = |violation: &Violation| by.contains(&violation.invariant);
        if !outcome.violation.as_ref().is_some_and(is_found) {
            return true;
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.as_ref().is_none_or(|found| outcome.seed < found.seed) {
            *found = Some(outcome);
        }
        false
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Simulates seeds on all cores, until somebody says no.
fn each(
    seeds: Range<u64>,
    plant: Option<Plant>,
    scale: Scale,
    take: impl Fn(Outcome) -> bool + Sync,
) -> anyhow::Result<()> {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let plan = Plan {
                        plant,
                        ..Plan::of(seed).scaled(scale)
                    };
                    match simulate(plan) {
                        Ok(outcome) => {
                            if !take(outcome) {
                                next.store(seeds.end, Ordering::Relaxed);
                            }
                        }
                        Err(error) => {
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            return;
                        }
                    }
                }
            });
        }
    });
    failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}
