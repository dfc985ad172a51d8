//! What an operator does with one device, end to end.

use serde_json::json;

use crate::world::World;

async fn a_script_runs_and_its_output_comes_back(transport: &'static str) {
    let world = World::new(transport).await;
    let run = world.run_script("echo to stdout; echo to stderr >&2; exit 3", 60).await;
    let view = world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(
        (view["state"].as_str(), &view["ending"]["exit_code"]),
        (Some("failed"), &json!(3)),
        "{view}"
    );
    let output = world.output(&run).await;
    assert!(
        output.contains("to stdout\n") && output.contains("to stderr\n"),
        "{output}"
    );
    world.stop().await;
}

#[tokio::test]
async fn by_socket_a_script_runs_and_its_output_comes_back() {
    a_script_runs_and_its_output_comes_back("socket").await;
}

#[tokio::test]
async fn polling_alone_is_enough() {
    a_script_runs_and_its_output_comes_back("poll").await;
}

#[tokio::test]
async fn a_running_script_stops_when_it_is_cancelled_and_its_children_with_it() {
    let world = World::new("socket").await;
    let mark = world.path().join("survivor");
    let run = world
        .run_script(
            &format!("(sleep 4; touch '{}') & echo started; wait", mark.display()),
            60,
        )
        .await;
    world.until(&run, "running", |run| run["state"] == "running").await;
    assert_eq!(world.post(&format!("/api/v1/runs/{run}/cancel")).await, 200);
    let view = world.until(&run, "cancelled", |run| run["terminal"] == true).await;
    assert_eq!(view["state"], "cancelled", "{view}");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(!mark.exists(), "a child of the script lived on");
    world.stop().await;
}

#[tokio::test]
async fn a_script_that_takes_too_long_is_stopped_by_the_agent() {
    let world = World::new("socket").await;
    let run = world.run_script("echo begun; sleep 60", 1).await;
    let view = world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(view["state"], "timed_out", "{view}");
    assert_eq!(world.output(&run).await, "begun\n");
    world.stop().await;
}

#[tokio::test]
async fn an_agent_whose_device_was_deleted_ends_and_says_so() {
    let mut world = World::new("socket").await;
    let run = world.run_script("true", 60).await;
    world.until(&run, "finished", |run| run["terminal"] == true).await;
    assert_eq!(world.delete_device().await, 204);
    assert_eq!(world.agent_ends().await, Some(78));
    assert!(world.logs().contains("removed this device"), "{}", world.logs());
}

#[tokio::test]
async fn the_inventory_of_this_very_machine_is_reported() {
    let world = World::new("socket").await;
    let os = world.section("os").await;
    assert_eq!(
        os["body"]["kernel_running"].as_str().map(str::to_owned),
        kernel(),
        "{os}"
    );
    world.stop().await;
}

/// The release of the running kernel.
fn kernel() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .ok()
        .map(|release| release.trim().to_owned())
}
