//! Wireless networks: NetworkManager's files, and a stand-in for `nmcli`, which writes down what it is asked.

use serde_json::{Value, json};

use super::{CHANGED, SAME, Scratch, absent, is_root};

const FOLDER: &str = "/etc/NetworkManager/system-connections";
const PROFILE: &str = "/etc/NetworkManager/system-connections/fleet-office.nmconnection";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";

/// None where the tests may not give files away.
pub(super) fn device() -> Option<Scratch> {
    is_root().then(|| Scratch::new().with_folder(FOLDER))
}

/// The same, with a NetworkManager that runs: it knows what it was told to load.
fn running() -> Option<Scratch> {
    let nmcli = r#"
echo "$@" >> "$ROOT/../nmcli.log"
case "$*" in
    "connection load "*) touch "$ROOT/../known" ;;
    "connection reload") rm -f "$ROOT/../known" ;;
    *) test -e "$ROOT/../known" ;;
esac"#;
    Some(device()?.with_folder("/run/NetworkManager").with_fake("nmcli", nmcli))
}

fn office() -> Value {
    json!({"name": "office", "ssid": "Office 5", "psk": "correct horse", "priority": 10})
}

pub(super) fn by_certificate() -> Value {
    json!({"name": "office", "ssid": "Office", "identity": "web-1", "ca_certificate": CERTIFICATE,
        "client_certificate": CERTIFICATE, "client_key": KEY, "hidden": true, "auto_connect": false})
}

#[tokio::test]
async fn a_network_is_written_for_root_alone_and_its_key_is_not_said() {
    let Some(device) = device() else { return };
    let done = device.check("wifi", office(), CHANGED).await;
    assert!(!done.output.contains("correct"), "{}", done.output);
    assert_eq!(device.owned(PROFILE), (0o600, 0, 0));
    let text = device.read(PROFILE).unwrap();
    for line in [
        "id=fleet-office",
        "ssid=79;102;102;105;99;101;32;53;",
        "key-mgmt=wpa-psk",
        "psk=correct\\shorse",
        "autoconnect-priority=10",
        "org.fleet.wifi=office",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let mut other = office();
    other["psk"] = json!("another key");
    device.check("wifi", other, CHANGED).await;
    assert!(device.read(PROFILE).unwrap().contains("psk=another\\skey\n"));
    device.check("wifi", absent(&office()), CHANGED).await;
    assert!(!device.path(PROFILE).exists());
    device
        .check("wifi", json!({"name": "office", "state": "absent"}), SAME)
        .await;
}

#[tokio::test]
async fn somebody_who_can_read_the_key_is_shut_out_again() {
    let Some(device) = device() else { return };
    device.check("wifi", office(), CHANGED).await;
    let device = device.with_mode(PROFILE, 0o644);
    device.check("wifi", office(), CHANGED).await;
    assert_eq!(device.owned(PROFILE), (0o600, 0, 0));
}

#[tokio::test]
async fn certificates_lie_beside_the_profile_and_go_with_it() {
    let Some(device) = device() else { return };
    device.check("wifi", by_certificate(), CHANGED).await;
    let key = "/etc/NetworkManager/fleet/office/client.key";
    assert_eq!(device.read(key).as_deref(), Some(KEY));
    assert_eq!(device.owned(key), (0o600, 0, 0));
    let text = device.read(PROFILE).unwrap();
    assert!(
        text.contains(&format!("private-key={key}\n")) && text.contains("hidden=true\n"),
        "{text}"
    );
    // By a key from now on: what let it in before is gone.
    device.check("wifi", office(), CHANGED).await;
    assert!(!device.path(key).exists());
    device.check("wifi", by_certificate(), CHANGED).await;
    device.check("wifi", absent(&by_certificate()), CHANGED).await;
    assert!(!device.path("/etc/NetworkManager/fleet/office").exists() && !device.path(PROFILE).exists());
}

#[tokio::test]
async fn what_somebody_else_has_put_there_stays() {
    let Some(device) = device() else { return };
    let device = device.with(PROFILE, "[connection]\nid=mine\n");
    device.check("wifi", office(), "Failed wifi.not_ours, the same").await;
    device.check("wifi", absent(&office()), "NotApplicable, the same").await;
    assert_eq!(device.read(PROFILE).unwrap(), "[connection]\nid=mine\n");
}

#[tokio::test]
async fn a_device_without_network_manager_is_not_concerned() {
    Scratch::new().check("wifi", office(), "NotApplicable, the same").await;
}

#[tokio::test]
async fn a_manager_that_runs_is_told_and_asked() {
    let Some(device) = running() else { return };
    device.check("wifi", office(), CHANGED).await;
    let asked = std::fs::read_to_string(device.beside("").join("nmcli.log")).unwrap();
    assert!(asked.contains(&format!("connection load {PROFILE}\n")), "{asked}");
    assert!(!asked.contains("correct"), "{asked}");
    // It was there, and the manager does not know it: told again.
    std::fs::remove_file(device.beside("").join("known")).unwrap();
    device.check("wifi", office(), CHANGED).await;
    device.check("wifi", absent(&office()), CHANGED).await;
    let asked = std::fs::read_to_string(device.beside("").join("nmcli.log")).unwrap();
    assert!(asked.ends_with("connection reload\n"), "{asked}");
}

#[tokio::test]
async fn what_the_manager_does_not_take_fails() {
    let Some(device) = device() else { return };
    let device = device.with_folder("/run/NetworkManager");
    let device = device.with_fake("nmcli", "echo 'Could not load file' >&2; exit 10");
    let done = device.run("wifi", &office()).await;
    assert_eq!(done.verdict(), "Failed action.program_failed, changed");
    assert!(done.ending.message.unwrap().contains("Could not load"));
}
