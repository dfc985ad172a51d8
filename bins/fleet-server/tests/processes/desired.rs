//! A device keeps what was assigned to it: once no window holds it, with the server and without, after whoever changed it, until it is
//! taken back.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{package::Package, world::World};

/// A device looks once a minute here; whatever is waited for comes within that, and a little.
const PATIENCE: Duration = Duration::from_secs(100);

/// What the device told of its manifest last; null while nothing is compiled for it.
async fn state(world: &World) -> Value {
    let manifest = world.find(&world.of_device("/manifest")).await.unwrap_or_default();
    manifest["state"].clone()
}

async fn until<F: Future<Output = bool>>(world: &World, what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not {what}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The runs that the device began by itself and that have ended, the newest first, such as `file succeeded`.
async fn own_runs(world: &World) -> Vec<String> {
    let runs = world.get("/api/v1/runs").await;
    let runs = runs["items"].as_array().unwrap().iter();
    let own = runs.filter(|run| run["batch"].is_null() && !run["ending"].is_null());
    let show = |run: &Value| {
        assert_eq!(run["ending"]["changed"], true, "{run}");
        format!(
            "{} {}",
            run["operation"].as_str().unwrap(),
            run["state"].as_str().unwrap()
        )
    };
    own.map(show).collect()
}

async fn action(world: &World, name: &str, operation: &str, params: Value) -> Value {
    let body = json!({"name": name, "operation": operation, "params": params});
    world.create("/api/v1/actions", &body).await["id"].clone()
}

/// Accounts and packages are made by root alone. Whoever runs the tests as somebody else does without, and is told.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        println!("not root: no account is made, and no package installed");
    }
    is_root
}

fn has_user(name: &str) -> bool {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    users.lines().any(|line| line.starts_with(&format!("{name}:")))
}

#[tokio::test]
async fn a_definition_is_kept_without_the_server_and_put_right_and_taken_back() {
    let mut world = World::new("socket").await;
    let folder = world.path().join("kept");
    std::fs::create_dir(&folder).unwrap();
    let (file, mark) = (folder.join("motd"), folder.join("checked"));
    let user = format!("fleet{}", std::process::id());
    let mut actions = vec![
        action(&world, "Motd", "file", json!({"path": file, "content": "welcome\n"})).await,
        action(
            &world,
            "Check",
            "shell",
            json!({"check_script": format!("test -f {}", mark.display()), "script": format!("touch {}", mark.display())}),
        )
        .await,
    ];
    let mut package = None;
    if is_root() {
        actions.push(action(&world, "Ann", "user", json!({"name": user, "create_home": false})).await);
        let made = Package::make(&folder).await;
        actions.push(action(&world, "Tool", "package.file", made.params()).await);
        package = Some(made);
    }
    let is_installed = || package.as_ref().is_none_or(Package::is_installed);
    let every_minute = json!({"when": {"type": "interval", "every_seconds": 60}});
    let set = json!({"name": "Base", "members": actions, "rhythm": every_minute});
    let set = world.create("/api/v1/action-sets", &set).await["id"].clone();
    let members = json!([{"type": "action_set", "id": set}]);
    let definition = json!({"name": "Web server", "members": members, "rhythm": every_minute});
    let definition = world.create("/api/v1/definitions", &definition).await["id"].clone();
    let device = world.device().await["id"].clone();
    let assignment = json!({"assignments": [{
        "source": {"type": "definition", "id": definition},
        "target": {"type": "device", "id": device},
        "mode": "required",
    }]});
    let freeze = json!({
        "name": "Freeze",
        "kind": "blackout",
        "scope": {"all": true},
        "when": {"type": "recurring", "cron": "0 * * * *", "duration_seconds": 7_200},
        "outside": {"policy": "gate"},
    });
    let freeze = world.create("/api/v1/windows", &freeze).await["id"].clone();
    let assigned = world.create("/api/v1/assignments", &assignment).await;
    until(&world, "held", || async {
        state(&world).await["held"] == actions.len()
    })
    .await;
    assert!(!file.exists() && own_runs(&world).await.is_empty());
    let freeze = format!("/api/v1/windows/{}", freeze.as_str().unwrap());
    assert_eq!(world.delete(&freeze).await, 204);
    until(&world, "applied", || async {
        file.exists() && mark.exists() && (!is_root() || has_user(&user)) && is_installed()
    })
    .await;
    until(&world, "told of", || async {
        state(&world).await["kept"] == actions.len()
    })
    .await;
    let first = actions.len();
    assert_eq!(own_runs(&world).await.len(), first);

    // Nobody is there but the device, whose agent is killed, too.
    world.kill_server().await;
    world.kill_agent();
    std::fs::write(&file, "by hand").unwrap();
    std::fs::remove_file(&mark).unwrap();
    package.iter().for_each(Package::remove_by_hand);
    world.restart_agent().await;
    let is_right = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text == "welcome\n");
    until(&world, "put right", || async {
        is_right(&file) && mark.exists() && is_installed()
    })
    .await;
    world.restart_server().await;
    let put_right = match package {
        Some(_) => vec!["package.file succeeded", "shell succeeded", "file succeeded"],
        None => vec!["shell succeeded", "file succeeded"],
    };
    let repaired = first + put_right.len();
    until(&world, "told of", || async { own_runs(&world).await.len() == repaired }).await;
    assert_eq!(own_runs(&world).await[..put_right.len()], put_right);

    let id = assigned["items"][0]["id"].as_str().unwrap();
    assert_eq!(world.delete(&format!("/api/v1/assignments/{id}")).await, 204);
    until(&world, "taken back", || async {
        let state = state(&world).await;
        state["reverting"] == 0 && state["kept"] == 0 && !has_user(&user)
    })
    .await;
    assert!(
        is_right(&file) && is_installed(),
        "files and packages are not taken back"
    );
    let last = if is_root() { 1 } else { 0 };
    until(&world, "told of", || async {
        own_runs(&world).await.len() == repaired + last
    })
    .await;
    world.stop().await;
}
