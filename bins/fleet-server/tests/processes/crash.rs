//! Kills server and agent, again and again, in every state of a run, and looks at what is left.
//!
//! Real processes, a real store, a real shell. The invariant: every batch that was acknowledged is there and ends; no script
//! ran twice; what is called succeeded ran once and its output is whole; what ran in vain is called indeterminate or lost.
//! `CRASH_ROUNDS` sets the rounds; each kills both once.

use std::{collections::BTreeMap, time::Duration};

use fleet_core::kernel::{SeededRandom, random_bytes};

use crate::world::{RunSeen, World};

/// Whom a round kills first; the other one is killed later in the same round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Server,
    Agent,
}

/// The state in which the first victim is to be killed.
const MOMENTS: [&str; 6] = ["queued", "offered", "accepted", "running", "succeeded", "any"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_runs_twice_whoever_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "a test takes its size from the environment")]
    let rounds = std::env::var("CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(30_usize);
    let random = SeededRandom::new(20_261_121);
    let mut world = World::new("socket").await;
    let mut spread: BTreeMap<(Victim, String), u32> = BTreeMap::new();

    for round in 0..rounds {
        let moment = MOMENTS[round % MOMENTS.len()];
        let first = if (round / MOMENTS.len()).is_multiple_of(2) {
            Victim::Server
        } else {
            Victim::Agent
        };
        world.ready().await;

        // A frozen agent holds the run where it is: queued until it is offered, offered until it is confirmed.
        if moment == "queued" {
            world.kill_agent();
        } else if moment == "offered" {
            world.freeze_agent();
        }
        let run = world.ask(round).await;
        let seen = world
            .wait_for(
                run,
                moment,
                Duration::from_millis(u64::from(random_bytes::<1>(&random)[0])),
            )
            .await;
        *spread.entry((first, seen)).or_default() += 1;
        match first {
            Victim::Server => world.restart_server().await,
            Victim::Agent => world.restart_agent().await,
        }

        // The other one falls a moment later, wherever the run is by then.
        tokio::time::sleep(Duration::from_millis(u64::from(random_bytes::<1>(&random)[0]) * 4)).await;
        let second = if first == Victim::Server {
            Victim::Agent
        } else {
            Victim::Server
        };
        *spread.entry((second, world.state(run).await)).or_default() += 1;
        match second {
            Victim::Server => world.restart_server().await,
            Victim::Agent => world.restart_agent().await,
        }
    }

    world.ready().await;
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for run in world.runs() {
        let RunSeen {
            state,
            executions,
            output,
        } = world.settled(run).await;
        *ends.entry(state.clone()).or_default() += 1;
        assert!(
            executions <= 1,
            "run {run} was executed {executions} times and is {state}"
        );
        match state.as_str() {
            "succeeded" => {
                assert_eq!(executions, 1, "run {run} succeeded");
                assert_eq!(output, world.expected_output(run), "run {run} succeeded");
            }
            // The agent was killed while it ran, or before it could say so.
            "indeterminate" => {}
            other => {
                panic!("run {run} ended as {other}, which nothing here should bring about; executed {executions} times")
            }
        }
    }
    println!("killed while the run was (victim, state): {spread:?}");
    println!("ends: {ends:?}");
    world.check_audit(rounds).await;
    for victim in [Victim::Server, Victim::Agent] {
        let kills: u32 = spread
            .iter()
            .filter(|((killed, _), _)| *killed == victim)
            .map(|(_, times)| times)
            .sum();
        assert_eq!(kills as usize, rounds, "{victim:?}");
    }
    for state in ["queued", "offered", "running", "succeeded"] {
        assert!(
            spread.keys().any(|(_, seen)| seen == state),
            "nobody was killed while a run was {state}"
        );
    }
    world.stop().await;
}
