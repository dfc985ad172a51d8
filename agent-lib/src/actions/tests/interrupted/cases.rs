//! A case for each kind: a device, and what is made on it and taken away again.

use serde_json::{Value, json};

use super::{Made, Stage, check};
use crate::actions::tests::{
    Scratch, absent, accounts, flatpaks, package_files, packages, remote, repositories, services,
    web::{Reply, Web, digest},
    wifi,
};

/// A device, if this machine lets it be made, and what is done on it.
fn stage(device: Option<Scratch>, runs: impl FnOnce(&Scratch) -> Vec<Value>) -> Option<Stage> {
    let device = device?;
    let runs = runs(&device);
    Some(Stage {
        device: device.into(),
        runs,
        web: None,
    })
}

/// It is made, altered where there is something to alter, and taken away.
fn and_back(params: Value, altered: Option<Value>) -> Vec<Value> {
    let gone = absent(&params);
    [Some(params), altered, Some(gone)].into_iter().flatten().collect()
}

macro_rules! cases {
    ($($name:ident: $kind:literal => $stage:expr;)*) => {
        /// The kinds of which there are cases.
        pub(super) const KINDS: &[&str] = &[$($kind),*];

        $(
            #[test]
            fn $name() {
                let made: Made = || Box::pin(async { $stage });
                check($kind, made);
            }
        )*
    };
}

cases! {
    a_file: "file" => stage(Some(Scratch::new()), |_| {
        let file = |content: &str, mode: &str| json!({"path": "/srv/site/motd", "content": content, "mode": mode});
        and_back(file("welcome\n", "0644"), Some(file("good evening\n", "0600")))
    });
    a_block_of_a_file: "file" => stage(Some(Scratch::new().with("/etc/motd", "hello\n")), |_| {
        and_back(json!({"path": "/etc/motd", "content": "welcome\n", "managed_block": true}), None)
    });
    a_directory: "directory" => stage(Some(Scratch::new().with("/srv/old/file", "x")), |_| {
        and_back(json!({"path": "/srv/a/b", "mode": "0700", "recursive": true}), Some(json!({"path": "/srv/a/b", "mode": "0750", "recursive": true})))
    });
    a_service: "service" => stage(Some(services::device()), |_| {
        let unit = |content: &str| json!({"unit": "sample.service", "content": content, "enabled": true});
        and_back(unit(services::UNIT), Some(unit(&services::UNIT.replace("Sample", "Other"))))
    });
    a_service_that_runs: "service" => stage(Some(services::running()), |_| {
        let unit = json!({"unit": "sample.service", "content": services::UNIT, "enabled": true, "running": "started"});
        and_back(unit, None)
    });
    a_package: "package" => stage(packages::device(), |_| {
        and_back(json!({"name": "fleet-sample", "version": "1.0", "pin": true}), None)
    });
    packages_that_are_upgraded: "packages.upgrade" => upgraded().await;
    a_repository: "package.repository" => stage(repositories::device(), |device| {
        let params = repositories::apt(device, json!({"key": {"text": repositories::key(device, "ours")}}));
        and_back(params, None)
    });
    a_package_from_a_file: "package.file" => from_file().await;
    an_app_image: "app-image" => app_image().await;
    a_flatpak: "flatpak" => stage(flatpaks::device(), |_| {
        and_back(json!({"app_id": "org.fleet.Sample", "remote": "local", "pin": true}), None)
    });
    a_user: "user" => stage(accounts::device(), |_| {
        let user = |shell: &str, key: &str| json!({
            "name": "bob", "comment": "Bob", "shell": shell, "ssh_authorized_keys": [key],
        });
        let keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMqm3fl3b0b0Yc9GhFf7gkT8Qm4Jv5m2d3yqg0r1V9ab bob", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMqm3fl3b0b0Yc9GhFf7gkT8Qm4Jv5m2d3yqg0r1V9ac bob"];
        and_back(user("/bin/sh", keys[0]), Some(user("/bin/bash", keys[1])))
    });
    a_home_that_is_missing: "user" => stage(homeless().await, |_| vec![json!({"name": "carl"})]);
    a_user_whose_home_was_there_before: "user" => stage(with_home(), |_| vec![json!({"name": "bob"})]);
    a_user_with_a_password: "user" => stage(accounts::device(), |_| {
        vec![json!({"name": "bob", "password": "a password of bob's"})]
    });
    a_user_who_is_disabled: "user" => stage(accounts::device(), |_| {
        let user = |disabled: bool| json!({"name": "bob", "disabled": disabled});
        vec![user(false), user(true), user(false)]
    });
    a_group: "group" => stage(accounts::device(), |_| {
        and_back(json!({"name": "ops", "members": ["ana"]}), Some(json!({"name": "ops", "members": []})))
    });
    settings_of_the_ssh_server: "sshd.settings" => stage(remote::with_sshd(), |_| {
        let set = |value: &str, priority: u32| json!({
            "name": "base", "priority": priority, "directives": [{"key": "PermitRootLogin", "value": value}],
        });
        and_back(set("no", 500), Some(set("prohibit-password", 20)))
    });
    who_may_come_in: "ssh.access" => stage(remote::with_sshd(), |_| {
        let access = |users: Value| json!({"name": "ops", "users": users, "allow_pubkey": true});
        and_back(access(json!(["ana"])), Some(access(json!(["ana", "root"]))))
    });
    what_they_may_do: "admin.policy" => stage(remote::with_sudo(), |_| {
        and_back(json!({"name": "ops", "users": ["ana"], "access_level": "full"}), None)
    });
    a_network: "wifi" => stage(wifi::device(), |_| and_back(wifi::by_certificate(), None));
}

/// A device where a home stands that is nobody's yet.
fn with_home() -> Option<Scratch> {
    Some(accounts::device()?.with("/home/bob/mail", "x"))
}

/// A device with the user carl, who has no home, and a skeleton of two files.
async fn homeless() -> Option<Scratch> {
    let device = accounts::device()?.with("/etc/skel/.profile", "# skel\n");
    let done = device.run("user", &json!({"name": "carl", "create_home": false})).await;
    assert_eq!(done.verdict(), super::super::CHANGED);
    Some(device)
}

async fn upgraded() -> Option<Stage> {
    let device = packages::device()?;
    let done = device
        .run("package", &json!({"name": "fleet-sample", "version": "1.0"}))
        .await;
    assert_eq!(done.verdict(), super::super::CHANGED);
    stage(Some(device), |_| vec![json!({})])
}

async fn from_file() -> Option<Stage> {
    let (device, web) = package_files::device().await?;
    let first = package_files::deb(&web, "/fleet-sample_1.0_all.deb").await;
    let mut stage = stage(Some(device), |_| and_back(first, None))?;
    stage.web = Some(web);
    Some(stage)
}

async fn app_image() -> Option<Stage> {
    const PROGRAM: &[u8] = b"#!/bin/sh\necho hello\n";
    let web = Web::with([("/Tool.AppImage", Reply::File(PROGRAM.to_vec()))]).await;
    let params = json!({"url": web.url("/Tool.AppImage"), "sha256": digest(PROGRAM)});
    let mut stage = stage(Some(Scratch::new()), |_| and_back(params, None))?;
    stage.web = Some(web);
    Some(stage)
}
