//! Packages from files, with the machine's own apt and dpkg, fetched from a web server on the loopback interface.

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{
    CHANGED, SAME, Scratch, absent,
    packages::{self, version},
    web::{Reply, Web, digest},
};

/// A device with apt, and a server that has its packages as files, and one that needs another.
pub(super) async fn device() -> Option<(Scratch, Web)> {
    let device = packages::device()?.with_tools(&["dpkg-deb"]);
    let file = |version: &str| {
        let path = device
            .beside("repository")
            .join(format!("fleet-sample_{version}_all.deb"));
        Reply::File(fs::read(path).unwrap())
    };
    let web = Web::with([
        ("/fleet-sample_1.0_all.deb", file("1.0")),
        ("/fleet-sample_2.0_all.deb", file("2.0")),
        ("/sample.deb", file("2.0")),
        ("/needy_1_all.deb", Reply::File(needy(&device))),
        ("/text.deb", Reply::File(b"no package".to_vec())),
    ])
    .await;
    Some((device, web))
}

/// A package that needs `fleet-sample`.
fn needy(device: &Scratch) -> Vec<u8> {
    let tree = device.beside("needy");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = "Package: needy\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDepends: fleet-sample\n\
                   Description: needs another\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = device.beside("files").join("needy.deb");
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&tree, &file])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    fs::read(file).unwrap()
}

/// The parameters for a file of the server, whatever is in it.
pub(super) async fn deb(web: &Web, path: &str) -> Value {
    let bytes = reqwest::get(web.url(path)).await.unwrap().bytes().await.unwrap();
    json!({"deb": {"url": web.url(path), "sha256": digest(&bytes)}})
}

#[tokio::test]
async fn a_package_is_installed_from_a_file_and_removed_by_its_name() {
    let Some((device, web)) = device().await else { return };
    let params = deb(&web, "/fleet-sample_1.0_all.deb").await;
    let done = device.check("package.file", params.clone(), CHANGED).await;
    assert!(
        done.output.contains("install fleet-sample 1.0 from http://"),
        "{}",
        done.output
    );
    assert_eq!(version(&device).as_deref(), Some("1.0"));
    let left = fs::read_dir(device.beside("scripts")).unwrap().count();
    assert_eq!(left, 0, "what was fetched is gone");
    let asked = web.asked();
    device.check("package.file", absent(&params), CHANGED).await;
    assert_eq!(version(&device), None);
    device.check("package.file", absent(&params), SAME).await;
    assert_eq!(web.asked(), asked, "its name is enough to remove it");
}

#[tokio::test]
async fn another_version_than_the_files_is_no_match() {
    let Some((device, web)) = device().await else { return };
    device
        .check("package.file", deb(&web, "/fleet-sample_1.0_all.deb").await, CHANGED)
        .await;
    device
        .check("package.file", deb(&web, "/sample.deb").await, CHANGED)
        .await;
    assert_eq!(version(&device).as_deref(), Some("2.0"));
    let mut down = deb(&web, "/fleet-sample_1.0_all.deb").await;
    let done = device
        .check("package.file", down.clone(), "Failed package.downgrade, the same")
        .await;
    assert!(done.ending.message.unwrap().contains("say allow_downgrade"));
    assert_eq!(version(&device).as_deref(), Some("2.0"));
    down["allow_downgrade"] = json!(true);
    device.check("package.file", down, CHANGED).await;
    assert_eq!(version(&device).as_deref(), Some("1.0"));
}

#[tokio::test]
async fn a_pin_is_there_again_after_another_version() {
    let Some((device, web)) = device().await else { return };
    let old = json!({"name": "fleet-sample", "version": "1.0", "pin": true});
    device.check("package", old, CHANGED).await;
    let done = device
        .check("package.file", deb(&web, "/sample.deb").await, CHANGED)
        .await;
    assert!(done.output.contains("pin fleet-sample again"), "{}", done.output);
    assert_eq!(version(&device).as_deref(), Some("2.0"));
    let status = device.read("/var/lib/dpkg/status").unwrap();
    assert!(status.contains("Status: hold ok installed"));
}

#[tokio::test]
async fn what_a_package_needs_comes_from_the_repositories() {
    let Some((device, web)) = device().await else { return };
    device
        .check("package.file", deb(&web, "/needy_1_all.deb").await, CHANGED)
        .await;
    assert_eq!(version(&device).as_deref(), Some("2.0"));
}

#[tokio::test]
async fn where_name_and_version_are_said_a_file_is_fetched_only_when_it_is_needed() {
    let Some((device, web)) = device().await else { return };
    let mut params = deb(&web, "/sample.deb").await;
    let asked = web.asked();
    params["deb"]["name"] = json!("fleet-sample");
    params["deb"]["version"] = json!("2.0");
    device.check("package.file", params.clone(), CHANGED).await;
    assert_eq!(web.asked(), asked + 1);
    params["deb"]["version"] = json!("3.0");
    let other = "Failed package_file.other_package, the same";
    let done = device.check("package.file", params.clone(), other).await;
    assert!(
        done.ending
            .message
            .unwrap()
            .ends_with("holds fleet-sample 2.0, and not fleet-sample 3.0")
    );
    params["deb"] = json!({"url": web.url("/sample.deb"), "sha256": params["deb"]["sha256"], "name": "nginx"});
    device.check("package.file", params, other).await;
    assert_eq!(version(&device).as_deref(), Some("2.0"));
}

#[tokio::test]
async fn what_is_no_package_or_another_file_is_not_installed() {
    let Some((device, web)) = device().await else { return };
    let unreadable = "Failed package_file.unreadable, the same";
    device
        .check("package.file", deb(&web, "/text.deb").await, unreadable)
        .await;
    let mut altered = deb(&web, "/sample.deb").await;
    altered["deb"]["url"] = json!(web.url("/fleet-sample_1.0_all.deb"));
    device
        .check("package.file", altered, "Failed download.altered, the same")
        .await;
    assert_eq!(version(&device), None);
    assert_eq!(fs::read_dir(device.beside("scripts")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_for_other_devices_does_not_concern_this_one() {
    let Some((device, _)) = device().await else { return };
    let params = json!({"rpm": {"url": "https://fleet.invalid/a-1-1.noarch.rpm"}});
    device.check("package.file", params, "NotApplicable, the same").await;
}

#[tokio::test]
async fn an_rpm_is_asked_what_is_in_it_and_installed_by_the_devices_manager() {
    let web = Web::with([("/tool.rpm", Reply::File(b"rpm".to_vec()))]).await;
    let device = Scratch::new()
        .with_fake(
            "rpm",
            "case \"$*\" in *--package*) echo tool 1:2.0-3 ;; *) cat $ROOT/installed 2>/dev/null ;; esac",
        )
        .with_fake(
            "dnf",
            "case \"$*\" in *install*.rpm) echo 1:2.0-3 >$ROOT/installed ;; *remove*) rm $ROOT/installed ;; esac",
        );
    let params = json!({"rpm": {"url": web.url("/tool.rpm"), "sha256": digest(b"rpm"), "name": "tool"}});
    device.check("package.file", params.clone(), CHANGED).await;
    device.check("package.file", absent(&params), CHANGED).await;
}
