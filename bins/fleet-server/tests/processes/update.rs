//! The agent becomes another version of itself, with a real server and real programs, good ones and broken ones.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{processes::agent_binary, world::World};

/// The version of this workspace, and one that is newer and equally long.
const OWN: &str = env!("CARGO_PKG_VERSION");
const NEWER: &str = "9.9.9";
/// How long a version may take to come back, and what the machine takes besides.
const PATIENCE: Duration = Duration::from_secs(120);

/// The agent, without what only debuggers read.
fn agent(folder: &Path) -> Vec<u8> {
    let stripped = folder.join("stripped");
    let done = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(agent_binary())
        .status();
    assert!(done.unwrap().success());
    fs::read(stripped).unwrap()
}

/// The same program with another text of the same length in it.
fn patched(mut program: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = program
        .windows(from.len())
        .enumerate()
        .filter_map(|(place, found)| (found == from.as_bytes()).then_some(place))
        .collect();
    assert!(!places.is_empty(), "{from} is in the program");
    for place in places {
        program[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    program
}

/// A program that says it is the agent, and as the agent does what the C code says.
fn impostor(folder: &Path, code: &str) -> Vec<u8> {
    let (source, program) = (folder.join("impostor.c"), folder.join("impostor"));
    let text = format!(
        r#"#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {{
    if (count == 2 && !strcmp(words[1], "--version")) {{ puts("fleet-agent {NEWER}"); return 0; }}
    {code}
}}"#
    );
    fs::write(&source, text).unwrap();
    let done = Command::new("cc").arg("-o").arg(&program).arg(&source).status();
    assert!(done.unwrap().success());
    fs::read(program).unwrap()
}

async fn update(world: &World, params: Value) -> Value {
    let run = world.run_operation("agent.update", params, 600).await;
    world
        .until_within(PATIENCE, &run, "ended", |run| run["terminal"] == true)
        .await
}

/// The version that the device says it has.
async fn version(world: &World) -> Value {
    world.device().await["agent_version"].clone()
}

#[tokio::test]
async fn an_agent_becomes_the_version_that_it_is_told_and_stays_it() {
    let mut world = World::new("socket").await;
    assert_eq!(version(&world).await, OWN);
    world
        .upload_agent(NEWER, patched(agent(world.path()), OWN, NEWER))
        .await;
    let ended = update(&world, json!({})).await;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", world.logs());
    assert_eq!(version(&world).await, NEWER);
    // Again there is nothing to do, and the installed program gives way to it at its next start.
    assert_eq!(update(&world, json!({})).await["state"], "succeeded");
    world.restart_agent().await;
    let run = world.run_script("echo still here", 60).await;
    world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(version(&world).await, NEWER);
    // Back to the former one, which the slot of the newer does not know.
    world.upload_agent(OWN, agent(world.path())).await;
    let refused = update(&world, json!({"version": OWN})).await;
    assert_eq!(refused["ending"]["code"], "agent_update.older", "{refused}");
    let ended = update(&world, json!({"version": OWN, "allow_downgrade": true})).await;
    assert_eq!(ended["state"], "succeeded", "{ended}\n{}", world.logs());
    assert_eq!(version(&world).await, OWN);
    world.stop().await;
}

/// A broken program is ordered: the agent is what it was, the run says why, and the same is not tried again.
async fn comes_back_from(program: impl FnOnce(&Path) -> Vec<u8>, reason: &str) {
    let world = World::new("socket").await;
    world.upload_agent(NEWER, program(world.path())).await;
    let began = Instant::now();
    let ended = update(&world, json!({})).await;
    let took = began.elapsed();
    assert_eq!(
        ended["ending"]["code"],
        "agent_update.returned",
        "{ended}\n{}",
        world.logs()
    );
    let message = ended["ending"]["message"].as_str().unwrap();
    assert!(message.contains(reason), "{message}");
    println!("back after {:.1} s", took.as_secs_f32());
    assert_eq!(version(&world).await, OWN);
    let again = update(&world, json!({})).await;
    assert_eq!(again["ending"]["code"], "agent_update.failed_before", "{again}");
    let run = world.run_script("echo works on", 60).await;
    let view = world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(view["state"], "succeeded");
    world.stop().await;
}

#[tokio::test]
async fn a_version_that_crashes_gives_way_to_the_former_one() {
    comes_back_from(
        |folder| impostor(folder, "return 3;"),
        "ended by itself: exit status: 3",
    )
    .await;
}

#[tokio::test]
async fn a_version_that_hangs_gives_way_to_the_former_one() {
    // It does not even end when it is asked to.
    let hangs = "signal(SIGTERM, SIG_IGN); while (1) { sleep(1); }";
    comes_back_from(|folder| impostor(folder, hangs), "kept no session").await;
}

#[tokio::test]
async fn a_version_that_does_not_find_its_server_gives_way_to_the_former_one() {
    let lost = |folder: &Path| {
        let program = patched(agent(folder), OWN, NEWER);
        let program = patched(program, "/agent/v1/link", "/agent/v1/lost");
        patched(program, "/agent/v1/exchange", "/agent/v1/lost-too")
    };
    comes_back_from(lost, "kept no session").await;
}
