//! Runs simulations: one seed with its trace, many with their counts, or the planted faults.

#![allow(clippy::print_stdout, reason = "this is what people read")]

use std::time::Duration;

use clap::Parser;
use fleet_sim::{Plan, Plant, Scale, campaign, hunt, simulate};

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
    #[arg(long, env = "FLEET_SIM_SEEDS", default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Fail when a move of the table that can be reached was not visited.
    #[arg(long)]
    all_moves: bool,
    /// With so many devices each, at most 10,000.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    agents: Option<u16>,
    /// With so many simulated hours of trouble each, at most 1,000.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    hours: Option<u16>,
    /// With this fault planted.
    #[arg(long)]
    plant: Option<Plant>,
    /// With each fault planted in turn, until it is found.
    #[arg(long)]
    plants: bool,
}

impl Flags {
    fn scale(&self) -> Scale {
        Scale {
            agents: self.agents.map(usize::from),
            trouble: self.hours.map(|hours| Duration::from_secs(u64::from(hours) * 3_600)),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        let outcome = simulate(Plan {
            plant: flags.plant,
            whole_trace: flags.trace,
            ..Plan::of(seed).scaled(flags.scale())
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
        return hunt_all(&flags, seeds);
    }
    let began = std::time::Instant::now();
    let report = campaign(seeds, flags.scale())?;
    let took = began.elapsed();
    print!("{}", report.text());
    println!(
        "{:.1} s, {:.1} seeds/s",
        took.as_secs_f64(),
        report.seeds as f64 / took.as_secs_f64()
    );
    if !report.failed.is_empty() {
        anyhow::bail!("{} seeds failed", report.failed.len());
    }
    anyhow::ensure!(
        report.wrongly_excused().is_empty(),
        "moves happened that are said not to be possible"
    );
    if flags.all_moves && !report.not_visited().is_empty() {
        anyhow::bail!("moves that can be reached were not visited");
    }
    Ok(())
}

/// Plants each fault and looks for it.
fn hunt_all(flags: &Flags, seeds: std::ops::Range<u64>) -> anyhow::Result<()> {
    let wanted: Vec<_> = Plant::ALL
        .iter()
        .filter(|(plant, _)| flags.plant.is_none_or(|only| only == *plant))
        .collect();
    let mut found = 0;
    for (plant, by) in &wanted {
        let outcome = hunt(seeds.clone(), *plant, by)?;
        match outcome.and_then(|outcome| Some((outcome.seed, outcome.violation?))) {
            Some((seed, violation)) => {
                found += 1;
                println!("{plant:?}: seed {seed}, {:?}: {}", violation.invariant, violation.why);
            }
            None => println!("{plant:?}: escapes"),
        }
    }
    println!("found {found} of {} planted faults", wanted.len());
    anyhow::ensure!(found == wanted.len(), "planted faults escape");
    Ok(())
}
