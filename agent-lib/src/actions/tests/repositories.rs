//! Package repositories: with the machine's own apt, gpg and a signed repository made on the spot; dnf, zypper and pacman by what is
//! written for them.

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{
    CHANGED, SAME, Scratch, absent, packages, tool,
    web::{Reply, Web, digest},
};

const SOURCE: &str = "/etc/apt/sources.list.d/fleet-ours.sources";
const KEY: &str = "/etc/apt/keyrings/fleet-ours.asc";

/// A device that knows no repository, beside one that is signed by a key of its own.
pub(super) fn device() -> Option<Scratch> {
    if ["gpg", "gpgv"].iter().any(|name| tool(name).is_none()) {
        return None;
    }
    let device = packages::device()?.with("/etc/apt/sources.list", "");
    make_key(&device, "ours");
    make_key(&device, "theirs");
    sign(&device, "ours");
    Some(device)
}

fn gpg(device: &Scratch, name: &str, arguments: &[&str]) -> Vec<u8> {
    let home = device.beside(&format!("gpg-{name}"));
    let done = Command::new("gpg")
        .args(["--batch", "--quiet", "--yes", "--no-permission-warning", "--homedir"])
        .arg(&home)
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    // Its agent ends when its folder is gone, and not before.
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(home)
        .args(["--kill", "gpg-agent"])
        .status();
    done.stdout
}

fn make_key(device: &Scratch, name: &str) {
    let user = format!("{name} <nobody@example.org>");
    let options = [
        "--passphrase",
        "",
        "--quick-generate-key",
        &user,
        "ed25519",
        "sign",
        "never",
    ];
    gpg(device, name, &options);
}

fn sign(device: &Scratch, name: &str) {
    let release = device.beside("repository").join("Release");
    let signed = gpg(
        device,
        name,
        &["--clearsign", "--output", "-", release.to_str().unwrap()],
    );
    fs::write(release.with_file_name("InRelease"), signed).unwrap();
}

pub(super) fn key(device: &Scratch, name: &str) -> String {
    String::from_utf8(gpg(device, name, &["--armor", "--export"])).unwrap()
}

pub(super) fn apt(device: &Scratch, more: Value) -> Value {
    let url = format!("file:{}", device.beside("repository").display());
    let mut apt = json!({"url": url, "distribution": "./"});
    apt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "ours", "apt": apt})
}

/// Whether apt now offers the sample.
async fn offers(device: &Scratch) -> bool {
    let done = device
        .run("package", &json!({"name": "fleet-sample", "dry_run": true}))
        .await;
    assert_eq!(done.verdict(), CHANGED);
    device.run("package", &json!({"name": "fleet-sample"})).await.verdict() == CHANGED
}

#[tokio::test]
async fn a_repository_is_known_by_its_key_until_it_is_forgotten() {
    let Some(device) = device() else { return };
    let params = apt(&device, json!({"key": {"text": key(&device, "ours")}}));
    device.check("package.repository", params.clone(), CHANGED).await;
    assert!(device.read(SOURCE).unwrap().contains("Signed-By: "));
    assert_eq!((device.owned(SOURCE).0, device.owned(KEY).0), (0o644, 0o644));
    assert!(offers(&device).await);
    device
        .check("package", json!({"name": "fleet-sample", "state": "absent"}), CHANGED)
        .await;
    let name = json!({"name": "ours", "state": "absent"});
    device.check("package.repository", name.clone(), CHANGED).await;
    assert_eq!((device.read(SOURCE), device.read(KEY)), (None, None));
    assert!(!offers(&device).await, "its lists are gone, too");
    device.check("package.repository", name, SAME).await;
}

#[tokio::test]
async fn a_key_is_fetched_once_as_bytes_or_text() {
    let Some(device) = device() else { return };
    let (text, bytes) = (key(&device, "ours"), gpg(&device, "ours", &["--export"]));
    let web = Web::with([
        ("/text", Reply::File(text.clone().into_bytes())),
        ("/bytes", Reply::File(bytes.clone())),
        ("/no-key", Reply::File(b"hello".to_vec())),
        ("/endless", Reply::Unmeasured(vec![0x98; (10 << 20) + 1])),
    ])
    .await;
    let with = |path: &str, content: &[u8]| {
        apt(
            &device,
            json!({"key": {"url": web.url(path), "sha256": digest(content)}}),
        )
    };
    device
        .check("package.repository", with("/bytes", &bytes), CHANGED)
        .await;
    assert!(offers(&device).await);
    assert_eq!(web.asked(), 1, "what is there is not fetched again");
    // gpg writes the same text for these bytes as is made of them here.
    device
        .check("package.repository", with("/text", text.as_bytes()), SAME)
        .await;
    fs::remove_file(device.path(KEY)).unwrap();
    device
        .check("package.repository", with("/text", text.as_bytes()), CHANGED)
        .await;
    for (path, content, expected) in [
        ("/text", &b"other"[..], "Failed download.altered, the same"),
        ("/no-key", b"hello", "Failed package_repository.key_invalid, the same"),
        ("/endless", b"", "Failed download.too_large, the same"),
    ] {
        device.check("package.repository", with(path, content), expected).await;
    }
    assert_eq!(device.read(KEY).unwrap(), text);
}

#[tokio::test]
async fn a_repository_that_another_key_has_signed_is_an_issue_and_offers_nothing() {
    let Some(device) = device() else { return };
    let params = apt(&device, json!({"key": {"text": key(&device, "theirs")}}));
    let done = device
        .check("package.repository", params, "SucceededWithIssues, changed")
        .await;
    assert!(
        done.ending
            .message
            .unwrap()
            .contains("what the repository has could not be read")
    );
    assert!(!offers(&device).await);
}

#[tokio::test]
async fn a_change_of_key_or_address_is_carried_out() {
    let Some(device) = device() else { return };
    let theirs = apt(&device, json!({"key": {"text": key(&device, "theirs")}}));
    device.run("package.repository", &theirs).await;
    let ours = apt(&device, json!({"key": {"text": key(&device, "ours")}}));
    let done = device.check("package.repository", ours, CHANGED).await;
    assert!(done.output.starts_with("write the key"), "{}", done.output);
    assert!(offers(&device).await);
    let trusted = apt(&device, json!({"trusted": true}));
    let done = device.run("package.repository", &trusted).await;
    // apt keeps to what was signed before, and says so.
    assert_eq!(done.verdict(), "SucceededWithIssues, changed", "{}", done.output);
    assert_eq!(device.read(KEY), None);
}

#[tokio::test]
async fn what_is_installed_without_a_signature_is_said() {
    let Some(device) = device() else { return };
    fs::remove_file(device.beside("repository").join("InRelease")).unwrap();
    let params = apt(&device, json!({"trusted": true}));
    let done = device.check("package.repository", params, CHANGED).await;
    assert!(done.output.contains("without a signature"), "{}", done.output);
    assert!(offers(&device).await);
}

#[tokio::test]
async fn another_file_that_names_the_same_goes_and_one_that_names_more_is_a_conflict() {
    let Some(device) = device() else { return };
    let line = format!("deb [trusted=yes] file:{}/ ./\n", device.beside("repository").display());
    let device = device.with("/etc/apt/sources.list.d/old.list", &line);
    let params = apt(&device, json!({"key": {"text": key(&device, "ours")}}));
    device.check("package.repository", params.clone(), CHANGED).await;
    assert_eq!(device.read("/etc/apt/sources.list.d/old.list"), None);
    let conflict = "Failed package_repository.conflict, the same";
    let more = format!("{line}deb https://fleet.invalid stable main\n");
    for (path, text) in [
        ("/etc/apt/sources.list.d/more.list", &more),
        ("/etc/apt/sources.list.d/fleet-other.list", &line),
        ("/etc/apt/sources.list", &line),
    ] {
        let device = Scratch::new().with_fake("apt-get", "true").with(path, text);
        let done = device.check("package.repository", params.clone(), conflict).await;
        assert!(done.ending.message.unwrap().starts_with(path));
    }
}

#[tokio::test]
async fn a_device_of_another_manager_or_a_disabled_section_is_not_concerned() {
    let apt = json!({"url": "https://fleet.invalid", "distribution": "./", "disabled": true});
    let device = Scratch::new().with_fake("apt-get", "true");
    for params in [
        json!({"name": "a", "dnf": {"baseurl": "https://fleet.invalid"}}),
        json!({"name": "a", "apt": apt}),
    ] {
        device
            .check("package.repository", params, "NotApplicable, the same")
            .await;
    }
    Scratch::new()
        .check(
            "package.repository",
            json!({"name": "a", "apt": apt}),
            "NotApplicable, the same",
        )
        .await;
}

/// What a program was told, with the root folder left out.
fn told(device: &Scratch, name: &str) -> Vec<String> {
    let root = device.root().display().to_string();
    let told = device.read(&format!("/told-{name}")).unwrap_or_default();
    told.lines().map(|line| line.replace(&root, "")).collect()
}

fn with_fakes(names: &[&str]) -> Scratch {
    names.iter().fold(Scratch::new(), |device, name| {
        device.with_fake(
            name,
            &format!("case \"$*\" in *makecache*|*refresh*|*--import*) echo \"$@\" >>$ROOT/told-{name} ;; esac"),
        )
    })
}

#[tokio::test]
async fn dnf_is_told_by_a_file_and_rpm_takes_the_key() {
    let device = with_fakes(&["dnf", "rpm"]);
    let text = SAMPLE_KEY;
    let params =
        json!({"name": "ours", "dnf": {"baseurl": "https://fleet.invalid/$releasever", "key": {"text": text}}});
    device.check("package.repository", params.clone(), CHANGED).await;
    assert!(
        device
            .read("/etc/yum.repos.d/fleet-ours.repo")
            .unwrap()
            .contains("gpgcheck=1\ngpgkey=file:///")
    );
    assert_eq!(
        told(&device, "rpm"),
        ["--root= --import /etc/pki/rpm-gpg/fleet-ours.asc"]
    );
    assert_eq!(
        told(&device, "dnf"),
        ["--installroot= --assumeyes --repo=ours makecache"]
    );
    // dnf itself writes this.
    let text = device.read("/etc/yum.repos.d/fleet-ours.repo").unwrap() + "priority=10\n";
    let device = device.with("/etc/yum.repos.d/fleet-ours.repo", &text);
    device.check("package.repository", params.clone(), SAME).await;
    device.check("package.repository", absent(&params), CHANGED).await;
    assert_eq!(device.read("/etc/yum.repos.d/fleet-ours.repo"), None);
    assert_eq!(device.read("/etc/pki/rpm-gpg/fleet-ours.asc"), None);
    let device = device.with("/etc/yum.repos.d/mine.repo", "[ours]\nbaseurl=https://x\n");
    let conflict = "Failed package_repository.conflict, the same";
    device.check("package.repository", params, conflict).await;
}

#[tokio::test]
async fn a_key_that_rpm_does_not_take_is_not_left_there() {
    let device = Scratch::new()
        .with_folder("/etc/pki/rpm-gpg")
        .with_folder("/etc/yum.repos.d")
        .with_fake("dnf", "true")
        .with_fake("rpm", "exit 1");
    let params = json!({"name": "ours", "dnf": {"baseurl": "https://fleet.invalid", "key": {"text": SAMPLE_KEY}}});
    let failed = device.run("package.repository", &params).await;
    assert_eq!(failed.verdict(), "Failed action.program_failed, the same");
    let device = device.with_fake("rpm", "true");
    device.check("package.repository", params, CHANGED).await;
}

#[tokio::test]
async fn zypper_is_told_by_a_file_and_may_add_to_it() {
    let device = with_fakes(&["zypper", "rpm"]);
    let params = json!({"name": "ours", "zypper": {"url": "https://fleet.invalid", "autorefresh": false}});
    device.check("package.repository", params.clone(), CHANGED).await;
    assert_eq!(told(&device, "zypper"), ["--root= --non-interactive refresh ours"]);
    let file = "/etc/zypp/repos.d/fleet-ours.repo";
    let text = device.read(file).unwrap() + "type=rpm-md\n";
    let device = device.with(file, &text);
    device.check("package.repository", params.clone(), SAME).await;
    let device = device.with(file, &text.replace("autorefresh=0", "autorefresh=1"));
    device.check("package.repository", params.clone(), CHANGED).await;
    device.check("package.repository", absent(&params), CHANGED).await;
    assert_eq!(device.read(file), None);
}

#[tokio::test]
async fn a_repository_that_is_not_enabled_is_not_read() {
    let device = with_fakes(&["zypper"]);
    let params = json!({"name": "ours", "zypper": {"url": "https://fleet.invalid", "enabled": false}});
    device.check("package.repository", params, CHANGED).await;
    assert_eq!(told(&device, "zypper"), [""; 0]);
}

#[tokio::test]
async fn pacman_is_told_in_its_own_settings() {
    let text = "[options]\nHoldPkg = pacman\n\n[core]\nInclude = /etc/pacman.d/mirrorlist";
    let device = with_fakes(&["pacman"]).with("/etc/pacman.conf", text);
    let params = json!({"name": "ours", "pacman": {"server": "https://fleet.invalid/$arch", "sig_level": "TrustAll"}});
    let done = device.check("package.repository", params.clone(), CHANGED).await;
    assert!(done.output.contains("without a signature"), "{}", done.output);
    assert_eq!(told(&device, "pacman"), ["--sysroot= --noconfirm --sync --refresh"]);
    device.check("package.repository", absent(&params), CHANGED).await;
    assert_eq!(device.read("/etc/pacman.conf").unwrap(), format!("{text}\n"));
    let core = json!({"name": "core", "pacman": {"server": "https://fleet.invalid"}});
    let conflict = "Failed package_repository.conflict, the same";
    device.check("package.repository", core.clone(), conflict).await;
    device.check("package.repository", absent(&core), SAME).await;
}

/// A key that gpg made.
const SAMPLE_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n\
mDMEawPIEBYJKwYBBAHaRw8BAQdAx2/YHqr8tZBb6t/T0nxhyjVAhKYc7zub+QjP\n\
dWwgOA+0IWZsZWV0IHNhbXBsZSA8bm9ib2R5QGV4YW1wbGUub3JnPoiQBBMWCAA4\n\
FiEEJZQJTcppkj1Tn+/0zF5ceLj6AA8FAmsDyBACGwMFCwkIBwIGFQoJCAsCBBYC\n\
AwECHgECF4AACgkQzF5ceLj6AA+IqQEAmEkTrWxVa5SmQuJEw2G4XpQyaxzReeEm\n\
DYORVx48fT4A+wSuv6LRFRUFmxdAWEPMNYkBjxJS2TkKRBnb+2Z+SLsE\n\
=jsMj\n\
-----END PGP PUBLIC KEY BLOCK-----\n";
