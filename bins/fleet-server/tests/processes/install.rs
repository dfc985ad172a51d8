//! The installer, with a real server, the real agent and the shells that machines have, in a scratch folder.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fleet_core::devices::enrolment::TokenText;
use serde_json::{Value, json};

use crate::processes::{SERVER, Server};

struct Place {
    folder: tempfile::TempDir,
    server: Server,
    client: reqwest::Client,
    admin: String,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("agents")).unwrap();
        let handed_out = data.join(format!("agents/fleet-agent-linux-{}", std::env::consts::ARCH));
        fs::copy(Path::new(SERVER).with_file_name("fleet-agent"), handed_out).unwrap();
        let server = Server::start(&data, "127.0.0.1:0").await;
        let client = reqwest::Client::new();
        let token = fs::read_to_string(data.join("bootstrap-token")).unwrap();
        let password = "correct horse battery staple";
        let claim = json!({"token": token.trim(), "name": "ada", "password": password});
        let post = |path: &str, body: Value| client.post(format!("{}{path}", server.address)).json(&body).send();
        assert_eq!(post("/api/v1/bootstrap", claim).await.unwrap().status(), 201);
        let signed_in = post("/api/v1/sessions", json!({"name": "ada", "password": password}))
            .await
            .unwrap();
        let signed_in: Value = signed_in.json().await.unwrap();
        let admin = signed_in["token"].as_str().unwrap().to_owned();
        Self {
            folder,
            server,
            client,
            admin,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn token(&self) -> String {
        let made = self
            .client
            .post(format!("{}/api/v1/enrolment-tokens", self.server.address));
        let made = made.bearer_auth(&self.admin).json(&json!({})).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    async fn devices(&self) -> usize {
        let list = self.client.get(format!("{}/api/v1/devices", self.server.address));
        let list: Value = list
            .bearer_auth(&self.admin)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        list["items"].as_array().unwrap().len()
    }

    /// Withdraws what came with the server.
    async fn withdraw_all(&self) {
        let path = format!("{}/api/v1/agent-releases", self.server.address);
        let list = self.client.get(&path).bearer_auth(&self.admin).send().await.unwrap();
        let list: Value = list.json().await.unwrap();
        for release in list["items"].as_array().unwrap() {
            let path = format!("{path}/{}/withdraw", release["id"].as_str().unwrap());
            let done = self.client.post(path).bearer_auth(&self.admin).send().await.unwrap();
            assert_eq!(done.status(), 200);
        }
    }

    /// The script as it is served, in a file.
    async fn script(&self) -> PathBuf {
        let answer = self.client.get(format!("{}/install.sh", self.server.address));
        let text = answer.send().await.unwrap().text().await.unwrap();
        let path = self.path("install.sh");
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, shell: &str, script: &Path, root: &str, environment: &[(&str, &str)]) -> Output {
        Command::new(shell)
            .arg(script)
            .env_remove("FLEET_TOKEN")
            .env("FLEET_ROOT", self.path(root))
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }
}

fn done(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All files below a folder, with the time of their last change.
fn files(root: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            match about.is_dir() {
                true => folders.push(path),
                false => found.push((path, about.modified().unwrap())),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_installer_enrols_a_machine_and_running_it_again_changes_nothing() {
    let place = Place::new().await;
    let script = place.script().await;
    let cases = [
        ("dash", "systemd", "etc/systemd/system/fleet-agent.service"),
        ("bash", "openrc", "etc/init.d/fleet-agent"),
        ("dash", "cron", "etc/cron.d/fleet-agent"),
    ];
    for (n, (shell, init, service)) in cases.into_iter().enumerate() {
        let token = place.token().await;
        let environment = [
            ("FLEET_TOKEN", token.as_str()),
            ("FLEET_ENROL", "now"),
            ("FLEET_INIT", init),
        ];
        let said = done(&place.run(shell, &script, init, &environment));
        assert!(said.contains("done"), "{said}");
        assert_eq!(place.devices().await, n + 1);
        let root = place.path(init);
        assert!(root.join(service).is_file());
        let binary = root.join("usr/local/bin/fleet-agent");
        assert_eq!(binary.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        let before = files(&root);
        // The token is spent, and nobody needs one.
        let said = done(&place.run(shell, &script, init, &environment[1..]));
        assert!(said.contains("nothing to do"), "{said}");
        let lock = root.join("var/lib/fleet-agent/lock");
        let without_lock = |files: Vec<_>| files.into_iter().filter(|(path, _)| *path != lock).collect::<Vec<_>>();
        assert_eq!(without_lock(files(&root)), without_lock(before));
        // An agent of another version is replaced, and the device stays.
        fs::write(&binary, "#!/bin/sh\n").unwrap();
        done(&place.run(shell, &script, init, &environment[1..]));
        assert!(binary.metadata().unwrap().len() > 1_000);
        assert_eq!(place.devices().await, n + 1);
    }
}

#[tokio::test]
async fn an_image_gets_its_token_for_the_first_start_and_no_key() {
    let place = Place::new().await;
    let script = place.script().await;
    let token = place.token().await;
    done(&place.run(
        "dash",
        &script,
        "image",
        &[("FLEET_TOKEN", &token), ("FLEET_INIT", "systemd")],
    ));
    let left = place.path("image/etc/fleet/enrolment-token");
    assert_eq!(left.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(left).unwrap().trim(), token);
    assert!(!place.path("image/var/lib/fleet-agent/identity.json").exists());
    assert_eq!(place.devices().await, 0);
}

#[tokio::test]
async fn what_is_not_what_the_server_promised_is_not_installed() {
    let place = Place::new().await;
    let script = place.script().await;
    let token = place.token().await;
    let good = fs::read_to_string(&script).unwrap();
    // Without a secret: neither the token of anybody nor that of the administrator.
    let secret = TokenText::decode(&token).unwrap().secret.reveal().to_string();
    assert!(!good.contains(&secret) && !good.contains(&place.admin));
    // The script is not the server's: it promises another digest.
    let digest = good
        .lines()
        .find_map(|line| line.split_once(") echo ")?.1.strip_suffix(" ;;"))
        .unwrap();
    let other = place.path("other.sh");
    fs::write(&other, good.replacen(digest, &"0".repeat(64), 1)).unwrap();
    let environment = [
        ("FLEET_TOKEN", token.as_str()),
        ("FLEET_ENROL", "now"),
        ("FLEET_INIT", "none"),
    ];
    let said = refused(&place.run("dash", &other, "other", &environment));
    assert!(said.contains("could not be downloaded"), "{said}");
    // What the server keeps is damaged after the script was made.
    for (path, _) in files(&place.path("data/blobs")) {
        let mut content = fs::read(&path).unwrap();
        let last = content.len() - 1;
        content[last] ^= 1;
        fs::write(&path, content).unwrap();
    }
    let said = refused(&place.run("dash", &script, "other", &environment));
    assert!(said.contains("could not be downloaded"), "{said}");
    // Half a script does nothing.
    let half = place.path("half.sh");
    fs::write(&half, &good[..good.rfind("main\n").unwrap()]).unwrap();
    done(&place.run("bash", &half, "other", &environment));
    assert!(files(&place.path("other")).is_empty());
    // No agent for this machine.
    place.withdraw_all().await;
    let script = place.script().await;
    let said = refused(&place.run("dash", &script, "none", &environment));
    assert!(said.contains("has no agent for"), "{said}");
}
