//! Runs simulations: one seed with its trace, many with their counts, or the planted faults.

#![allow(clippy::print_stdout, reason = "this is what people read")]

use clap::Parser;
use fleet_sim::{Plan, Plant, campaign, hunt, simulate};

/// Simulates server and agents over a faulty network, clock and disk.
#[derive(Debug, Parser)]
struct Flags {
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Show all events of it.
    #[arg(long)]
    trace: bool,
    /// So many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// With this fault planted.
    #[arg(long)]
    plant: Option<Plant>,
    /// With each fault planted in turn, until it is found.
    #[arg(long)]
    plants: bool,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        let outcome = simulate(Plan {
            plant: flags.plant,
            whole_trace: flags.trace,
            ..Plan::of(seed)
        })?;
        for line in &outcome.trace {
            println!("{line}");
        }
        println!("seed {seed}: {} events, digest {}", outcome.events, outcome.digest);
        return match outcome.violation {
            Some(violation) => Err(anyhow::anyhow!("{:?}: {}", violation.invariant, violation.why)),
            None => Ok(()),
        };
    }
    let seeds = flags.from..flags.from + flags.seeds;
    if flags.plants || flags.plant.is_some() {
        let wanted = Plant::ALL
            .iter()
            .filter(|(plant, _)| flags.plant.is_none_or(|only| only == *plant));
        for (plant, by) in wanted {
            match hunt(seeds.clone(), *plant)?.and_then(|found| Some((found.seed, found.violation?))) {
                Some((seed, violation)) => {
                    let right = if by.contains(&violation.invariant) {
                        ""
                    } else {
                        " (unexpected)"
                    };
                    println!(
                        "{plant:?}: seed {seed}, {:?}{right}: {}",
                        violation.invariant, violation.why
                    );
                }
                None => println!("{plant:?}: not found"),
            }
        }
        return Ok(());
    }
    let began = std::time::Instant::now();
    let report = campaign(seeds)?;
    let took = began.elapsed();
    print!("{}", report.text());
    println!(
        "{:.1} s, {:.1} seeds/s",
        took.as_secs_f64(),
        report.seeds as f64 / took.as_secs_f64()
    );
    if report.failed.is_empty() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("{} seeds failed", report.failed.len()))
    }
}
