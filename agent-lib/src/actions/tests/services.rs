//! Services: `systemctl --root` and `systemd-analyze verify` are the machine's own; the order in which a manager that runs is told of
//! things is seen by a script in its place. One that runs is in `managers.rs`.

use serde_json::json;

use super::{CHANGED, SAME, Scratch, absent, tool};

pub(super) const UNIT: &str =
    "[Unit]\nDescription=Sample\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";

pub(super) fn device() -> Scratch {
    Scratch::new()
        .with_folder("/etc/systemd/system")
        .with_tools(&["systemctl", "systemd-analyze"])
}

#[tokio::test]
async fn a_unit_is_written_enabled_disabled_and_removed() {
    let device = device();
    let params = json!({"unit": "sample.service", "content": UNIT, "enabled": true});
    device.check("service", params.clone(), CHANGED).await;
    assert_eq!(device.read("/etc/systemd/system/sample.service").as_deref(), Some(UNIT));
    let wanted = "/etc/systemd/system/multi-user.target.wants/sample.service";
    assert!(device.path(wanted).is_symlink());
    assert!(!device.path("/etc/systemd/system/.fleet-check").exists());
    device
        .check("service", json!({"unit": "sample.service", "enabled": false}), CHANGED)
        .await;
    assert!(!device.path(wanted).is_symlink());
    device.check("service", params.clone(), CHANGED).await;
    device.check("service", absent(&params), CHANGED).await;
    assert!(!device.path("/etc/systemd/system/sample.service").exists() && !device.path(wanted).is_symlink());
    device.check("service", absent(&params), SAME).await;
}

#[tokio::test]
async fn a_unit_that_systemd_does_not_understand_is_not_put_in_place() {
    let device = device();
    let invalid = "Failed service.unit_invalid, the same";
    for content in ["[Service]\nExecStrt=/bin/true\n", "[Service]\nExecStart=/not/there\n"] {
        let done = device
            .check(
                "service",
                json!({"unit": "sample.service", "content": content}),
                invalid,
            )
            .await;
        assert!(done.ending.message.unwrap().contains("sample.service"));
    }
}

#[tokio::test]
async fn what_cannot_be_enabled_says_why() {
    let device = device().with("/etc/systemd/system/fixed.service", "[Service]\nExecStart=/bin/true\n");
    let fixed = "Failed service.not_enableable, the same";
    device
        .check("service", json!({"unit": "fixed.service", "enabled": true}), fixed)
        .await;
    let unknown = "Failed service.unit_unknown, the same";
    device
        .check("service", json!({"unit": "none.service", "enabled": true}), unknown)
        .await;
    let device = device.with_link("/etc/systemd/system/off.service", "/dev/null");
    let masked = "Failed service.masked, the same";
    device
        .check("service", json!({"unit": "off.service", "enabled": true}), masked)
        .await;
    device
        .check("service", json!({"unit": "off.service", "content": UNIT}), masked)
        .await;
}

#[tokio::test]
async fn nothing_is_started_where_no_manager_runs() {
    let device = device().with("/etc/systemd/system/sample.service", UNIT);
    let params = json!({"unit": "sample.service", "running": "started"});
    device.check("service", params, "NotApplicable, the same").await;
}

/// A manager that runs, by a script that keeps what it is told; what enables is the machine's own.
pub(super) fn running() -> Scratch {
    let systemctl = tool("systemctl").unwrap();
    Scratch::new()
        .with_folder("/etc/systemd/system")
        .with_folder("/run/systemd/system")
        .with_fake(
            "systemctl",
            &format!(
                r#"echo "$3" "$4" >>$ROOT/../told
case "$3" in
    is-enabled | enable | disable) exec {} --root=$ROOT "$@" ;;
    show) echo LoadState=loaded; echo "ActiveState=$(cat $ROOT/active 2>/dev/null || echo inactive)" ;;
    start | restart) echo active >$ROOT/active ;;
    stop) echo inactive >$ROOT/active ;;
esac"#,
                systemctl.display()
            ),
        )
}

#[tokio::test]
async fn a_running_manager_hears_what_has_changed_in_the_right_order() {
    let device = running();
    let params = json!({"unit": "sample.service", "content": UNIT, "enabled": true, "running": "started"});
    device.check("service", params.clone(), CHANGED).await;
    device
        .check(
            "service",
            json!({"unit": "sample.service", "running": "stopped"}),
            CHANGED,
        )
        .await;
    let again = device
        .run("service", &json!({"unit": "sample.service", "running": "restarted"}))
        .await;
    assert_eq!(again.verdict(), CHANGED);
    device.check("service", absent(&params), CHANGED).await;
    let told = std::fs::read_to_string(device.root().join("../told")).unwrap();
    let told: Vec<_> = told
        .lines()
        .filter(|line| !line.starts_with("is-") && !line.starts_with("show"))
        .collect();
    let expected = [
        "daemon-reload ",
        "enable sample.service",
        "start sample.service",
        "stop sample.service",
        "restart sample.service",
        "stop sample.service",
        "disable sample.service",
        "daemon-reload ",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_file_that_the_manager_has_not_read_yet_is_read() {
    // What a run that was interrupted leaves behind: the file is written, and nobody has told the manager.
    let device = Scratch::new()
        .with_folder("/run/systemd/system")
        .with("/etc/systemd/system/sample.service", UNIT)
        .with_fake(
            "systemctl",
            r#"case "$3" in
    is-enabled) echo enabled ;;
    show) echo ActiveState=active; test -e $ROOT/told || echo NeedDaemonReload=yes ;;
    daemon-reload) touch $ROOT/told ;;
esac"#,
        );
    let params = json!({"unit": "sample.service", "content": UNIT, "running": "started"});
    let done = device.check("service", params, CHANGED).await;
    assert_eq!(done.output, "have systemd read its files anew\n");
}

#[tokio::test]
async fn a_unit_that_another_one_enables_counts_as_enabled() {
    let device = device()
        .with(
            "/etc/systemd/system/part.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nAlso=whole.service\n",
        )
        .with("/etc/systemd/system/whole.service", UNIT);
    let params = json!({"unit": "part.service", "enabled": true});
    device.check("service", params, SAME).await;
}
