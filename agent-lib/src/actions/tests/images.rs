//! AppImages, from a web server on the loopback interface; and what a download may be.

use serde_json::{Value, json};

use super::{
    CHANGED, SAME, Scratch, absent,
    web::{Reply, Web, digest},
};

const PROGRAM: &[u8] = b"#!/bin/sh\necho hello\n";

fn params(web: &Web, path: &str, content: &[u8]) -> Value {
    json!({"url": web.url(path), "sha256": digest(content)})
}

/// A device that has the folder, so that whatever fails leaves nothing behind.
fn device() -> Scratch {
    Scratch::new().with_folder("/opt/appimages")
}

#[tokio::test]
async fn an_app_image_is_fetched_into_its_folder_and_can_be_started() {
    let web = Web::with([("/a/Tool.AppImage", Reply::File(PROGRAM.to_vec()))]).await;
    let device = Scratch::new();
    let params = params(&web, "/a/Tool.AppImage", PROGRAM);
    device.check("app-image", params.clone(), CHANGED).await;
    assert_eq!(device.read("/opt/appimages/Tool.AppImage").unwrap().as_bytes(), PROGRAM);
    assert_eq!(device.owned("/opt/appimages/Tool.AppImage").0, 0o755);
    assert_eq!(
        web.asked(),
        1,
        "neither a dry run nor what is there is a reason to fetch it"
    );
    device.check("app-image", absent(&params), CHANGED).await;
    assert_eq!(device.read("/opt/appimages/Tool.AppImage"), None);
    device.check("app-image", absent(&params), SAME).await;
}

#[tokio::test]
async fn another_content_is_replaced_and_another_mode_mended() {
    let web = Web::with([("/Tool.AppImage", Reply::File(PROGRAM.to_vec()))]).await;
    let device = device().with("/srv/apps/tool", "an older one");
    let mut params = params(&web, "/Tool.AppImage?token=1", PROGRAM);
    params["folder"] = json!("/srv/apps");
    params["name"] = json!("tool");
    let done = device.check("app-image", params.clone(), CHANGED).await;
    assert!(!done.output.contains("token"), "{}", done.output);
    assert_eq!(device.read("/srv/apps/tool").unwrap().as_bytes(), PROGRAM);
    assert_eq!(web.asked(), 1);
    let device = device.with_mode("/srv/apps/tool", 0o644);
    device.check("app-image", params, CHANGED).await;
    assert_eq!((device.owned("/srv/apps/tool").0, web.asked()), (0o755, 1));
}

#[tokio::test]
async fn without_a_digest_what_is_there_counts() {
    let device = device().with("/opt/appimages/Tool.AppImage", "some version");
    let device = device.with_mode("/opt/appimages/Tool.AppImage", 0o755);
    let params = json!({"url": "https://fleet.invalid/Tool.AppImage"});
    device.check("app-image", params, SAME).await;
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_leaves_nothing_behind() {
    let huge = 3 << 30;
    let web = Web::with([
        ("/other", Reply::File(b"something else".to_vec())),
        ("/huge", Reply::Claims(huge, b"MZ".to_vec())),
        ("/cut", Reply::Claims(100, b"MZ".to_vec())),
        ("/elsewhere", Reply::Elsewhere("/tool")),
        ("/circle", Reply::Elsewhere("/circle")),
        ("/tool", Reply::File(PROGRAM.to_vec())),
    ])
    .await;
    for (path, expected) in [
        ("/other", "Failed download.altered, the same"),
        ("/huge", "Failed download.too_large, the same"),
        ("/cut", "Failed download.failed, the same"),
        ("/missing", "Failed download.failed, the same"),
        ("/circle", "Failed download.failed, the same"),
        ("/elsewhere", CHANGED),
    ] {
        let device = device();
        device.check("app-image", params(&web, path, PROGRAM), expected).await;
    }
}

#[tokio::test]
async fn a_failed_download_leaves_the_old_file_in_its_place() {
    let web = Web::with([("/Tool.AppImage", Reply::File(b"altered".to_vec()))]).await;
    let device = device().with("/opt/appimages/Tool.AppImage", "an older one");
    let altered = "Failed download.altered, the same";
    device
        .check("app-image", params(&web, "/Tool.AppImage", PROGRAM), altered)
        .await;
    assert_eq!(device.read("/opt/appimages/Tool.AppImage").unwrap(), "an older one");
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_no_run_up() {
    let web = Web::with([("/Tool.AppImage", Reply::Silence)]).await;
    let device = device();
    let before = device.tree();
    let params = params(&web, "/Tool.AppImage", PROGRAM);
    let done = device.run_within("app-image", &params, 1, false).await;
    assert_eq!(done.verdict(), "TimedOut, unknown");
    assert_eq!(device.tree(), before);
}

#[tokio::test]
async fn neither_a_link_nor_a_folder_is_written_over() {
    let web = Web::with([]).await;
    let refused = "Failed file.not_a_file, the same";
    let params = params(&web, "/Tool.AppImage", PROGRAM);
    let linked = device().with_link("/opt/appimages/Tool.AppImage", "/etc/passwd");
    linked.check("app-image", params.clone(), refused).await;
    let folder = device().with_folder("/opt/appimages/Tool.AppImage");
    folder.check("app-image", params.clone(), refused).await;
    let elsewhere = Scratch::new().with_link("/opt/appimages", "/var/lib/fleet-agent");
    elsewhere
        .check("app-image", params, "Failed action.path_protected, the same")
        .await;
}
