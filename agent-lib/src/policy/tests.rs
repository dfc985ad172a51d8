use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use fleet_core::kernel::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;

/// A Wednesday, noon by UTC.
const NOON: Timestamp = Timestamp::from_seconds(1_799_841_600);

fn parse(text: &str) -> fleet_core::kernel::Result<Policy> {
    Policy::parse(text, "root", TimeZone::UTC)
}

#[track_caller]
fn check(policy: &str, kind: &str, params: Value, refused: Option<&str>) {
    let refusal = parse(policy).unwrap().permits(kind, &params, NOON).err();
    let got = refusal.map(|refusal| {
        assert!(refusal.to_string().contains(refusal.rule()), "{refusal}");
        match refusal {
            Refusal::KindForbidden { pattern } => format!("forbids {pattern}"),
            Refusal::KindNotAllowed => "not allowed".to_owned(),
            Refusal::UserForbidden { user } => format!("not as {user}"),
            Refusal::UserNotAllowed { user } => format!("{user} is not allowed"),
            Refusal::UserUnreadable => "as whom".to_owned(),
            Refusal::PathForbidden { path } => format!("not in {path}"),
            Refusal::PathUnreadable => "where".to_owned(),
            Refusal::OutsideWindows => "not now".to_owned(),
        }
    });
    assert_eq!(got.as_deref(), refused, "{kind} {params}");
}

#[test]
fn an_empty_policy_allows_everything() {
    check("", "shell", json!({}), None);
    check("# nothing", "a.b.c", json!(null), None);
}

#[test]
fn kinds_are_forbidden_by_name_or_by_prefix() {
    let policy = r#"forbid_kinds = ["shell", "packages.*"]"#;
    check(policy, "shell", json!({}), Some("forbids shell"));
    check(policy, "shell.more", json!({}), None);
    check(policy, "packages.upgrade", json!({}), Some("forbids packages.*"));
    check(policy, "packages.a.b", json!({}), Some("forbids packages.*"));
    check(policy, "packages", json!({}), None);
    check(policy, "packages.", json!({}), None);
    check(policy, "packagesx.upgrade", json!({}), None);
    check(policy, "inventory.refresh", json!({}), None);
    check(r#"forbid_kinds = ["*"]"#, "x", json!({}), Some("forbids *"));
}

#[test]
fn actions_are_forbidden_by_name_and_by_the_paths_that_they_touch() {
    for kind in crate::actions::KINDS.into_iter().chain(["app-image"]) {
        let named = format!("forbid_kinds = [\"{kind}\"]");
        check(&named, kind, json!({}), Some(&format!("forbids {kind}")));
        check(&named, &format!("{kind}.more"), json!({}), None);
    }
    let policy = r#"forbid_paths = ["/srv"]"#;
    check(policy, "file", json!({"path": "/srv/x"}), Some("not in /srv"));
    check(
        policy,
        "user",
        json!({"name": "ana", "home": "/srv/ana"}),
        Some("not in /srv"),
    );
    check(policy, "file", json!({"path": "/etc/motd"}), None);
}

#[test]
fn an_app_image_is_judged_by_the_file_that_it_becomes() {
    let policy = r#"forbid_paths = ["/usr/local/bin/kubectl", "/opt/appimages"]"#;
    let image = |more: Value| {
        let mut params = json!({"url": "https://example.org/kubectl"});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        params
    };
    let into = |folder: &str| image(json!({ "folder": folder }));
    check(policy, "app-image", into("/srv"), None);
    check(
        policy,
        "app-image",
        into("/usr/local/bin"),
        Some("not in /usr/local/bin/kubectl"),
    );
    let named = image(json!({"folder": "/usr/local/bin", "name": "other"}));
    check(policy, "app-image", named, None);
    // Also where nobody names the usual folder.
    check(policy, "app-image", image(json!({})), Some("not in /opt/appimages"));
    check(
        r#"forbid_kinds = ["app-image"]"#,
        "app-image",
        into("/srv"),
        Some("forbids app-image"),
    );
    let repository = r#"forbid_kinds = ["package.*"]"#;
    check(
        repository,
        "package.repository",
        json!({"name": "a"}),
        Some("forbids package.*"),
    );
}

#[test]
fn with_a_list_of_allowed_kinds_all_others_are_refused() {
    let policy = r#"allow_kinds = ["inventory.*", "packages.*"]
                    forbid_kinds = ["packages.remove"]"#;
    check(policy, "inventory.refresh", json!({}), None);
    check(policy, "packages.remove", json!({}), Some("forbids packages.remove"));
    check(policy, "shell", json!({}), Some("not allowed"));
    check("allow_kinds = []", "inventory.refresh", json!({}), Some("not allowed"));
    check(r#"allow_kinds = ["*"]"#, "shell", json!({}), None);
}

#[test]
fn users_are_forbidden_also_when_the_run_names_nobody() {
    let policy = r#"forbid_users = ["root", "postgres"]"#;
    let as_user = |user: Value| json!({ "run_as": user });
    check(policy, "shell", as_user("postgres".into()), Some("not as postgres"));
    check(policy, "shell", as_user("web".into()), None);
    check(policy, "shell", json!({}), Some("not as root"));
    check(policy, "shell", as_user(Value::Null), Some("not as root"));
    check(policy, "shell", as_user(0.into()), Some("as whom"));
    check("", "shell", as_user(0.into()), None);
}

#[test]
fn with_a_list_of_allowed_users_nothing_runs_as_anybody_else() {
    let policy = r#"allow_users = ["web", "deploy"]
                    forbid_users = ["web"]"#;
    check(policy, "shell", json!({ "run_as": "deploy" }), None);
    check(policy, "shell", json!({ "run_as": "web" }), Some("not as web"));
    check(policy, "shell", json!({}), Some("root is not allowed"));
    check("allow_users = []", "shell", json!({}), Some("root is not allowed"));
    // Each of those who are signed in is judged then.
    check("allow_users = []", "shell", json!({"scope": "users"}), None);
    let system = json!({"scope": "system"});
    check("allow_users = []", "shell", system, Some("root is not allowed"));
    let flatpak = json!({"scope": "users"});
    check("allow_users = []", "flatpak", flatpak, Some("root is not allowed"));
}

#[test]
fn paths_are_forbidden_with_all_that_is_below_them() {
    let policy = r#"forbid_paths = ["/boot", "/etc/shadow"]"#;
    let at = |path: &str| json!({ "working_directory": path });
    check(policy, "shell", at("/boot"), Some("not in /boot"));
    check(policy, "shell", at("/boot/efi"), Some("not in /boot"));
    check(policy, "shell", at("//boot/./efi/"), Some("not in /boot"));
    check(policy, "shell", at("/bootleg"), None);
    check(policy, "shell", at("/"), None);
    check(
        policy,
        "shell",
        json!({ "interpreter": "/boot/sh" }),
        Some("not in /boot"),
    );
    check(
        policy,
        "files.put",
        json!({ "paths": ["/tmp/a", "/etc/shadow"] }),
        Some("not in /etc/shadow"),
    );
    check(policy, "shell", json!({ "working_directory": null }), None);
    check(policy, "shell", json!({}), None);
    // Where these end cannot be told.
    for path in ["boot", "", "/srv/../boot", "~"] {
        check(policy, "shell", at(path), Some("where"));
        check("", "shell", at(path), None);
    }
    check(policy, "shell", json!({ "path": 1 }), Some("where"));
    check(policy, "shell", json!({ "paths": [["/boot"]] }), Some("where"));
}

#[test]
fn a_kind_that_windows_name_begins_within_one_of_them_only() {
    let policy = r#"
        [[windows]]
        kinds = ["packages.*"]
        from = "11:00"
        until = "12:00"
        [[windows]]
        kinds = ["packages.upgrade", "reboot"]
        days = ["wednesday"]
        from = "12:00"
        until = "12:01""#;
    check(policy, "packages.upgrade", json!({}), None);
    check(policy, "reboot", json!({}), None);
    check(policy, "packages.install", json!({}), Some("not now"));
    check(policy, "shell", json!({}), None);
}

/// Whether a window contains these times of the week that begins with Monday, 11 January 2027.
#[track_caller]
fn check_window(window: &str, zone: &str, times: &[(&str, bool)]) {
    let zone = TimeZone::get(zone).unwrap_or_else(|_| TimeZone::posix(zone).unwrap());
    let text = format!("[[windows]]\nkinds = ['*']\n{window}");
    let policy = Policy::parse(&text, "root", zone.clone()).unwrap();
    for (time, expected) in times {
        let at: jiff::civil::DateTime = format!("2027-{time}").parse().unwrap();
        let at = at.to_zoned(zone.clone()).unwrap().timestamp();
        let at = Timestamp::from_micros(at.as_microsecond());
        assert_eq!(
            policy.permits("x", &json!({}), at).is_ok(),
            *expected,
            "{window} {time}"
        );
    }
}

#[test]
fn windows_cross_midnight_and_belong_to_the_day_on_which_they_begin() {
    let nights = "days = ['friday']\nfrom = '22:00'\nuntil = '05:00'";
    let times = [
        ("01-15T21:59", false),
        ("01-15T22:00", true),
        ("01-16T04:59", true),
        ("01-16T05:00", false),
        ("01-15T04:00", false),
        ("01-16T22:30", false),
    ];
    check_window(nights, "UTC", &times);
    // By the device's own time zone, without a database too.
    check_window(nights, "EST5EDT,M3.2.0,M11.1.0", &times);
    let all_day = "days = ['sunday']\nfrom = '00:00'\nuntil = '00:00'";
    check_window(
        all_day,
        "UTC",
        &[("01-17T00:00", true), ("01-17T23:59", true), ("01-18T00:00", false)],
    );
    check_window(
        "from = '09:00'\nuntil = '17:00'",
        "UTC",
        &[("01-12T08:59", false), ("01-12T09:00", true), ("01-12T17:00", false)],
    );
}

#[track_caller]
fn check_invalid(policy: &str, about: &str) {
    let error = parse(policy).unwrap_err();
    assert_eq!(error.code(), POLICY_INVALID);
    assert!(error.message().contains(about), "{}", error.message());
}

#[test]
fn what_is_not_understood_is_an_error_and_never_ignored() {
    check_invalid(r#"forbid_kind = ["shell"]"#, "forbid_kind");
    check_invalid(r#"forbid_kinds = "shell""#, "forbid_kinds");
    check_invalid(r#"forbid_kinds = ["Shell"]"#, "Shell");
    check_invalid(r#"forbid_kinds = ["pack*"]"#, "pack*");
    check_invalid(r#"forbid_kinds = [""]"#, "operation kind");
    check_invalid(r#"allow_kinds = ["a..b"]"#, "a..b");
    check_invalid(r#"forbid_users = [" root"]"#, "root");
    check_invalid(r#"allow_users = [""]"#, "user");
    check_invalid("forbid_users = [1]", "forbid_users");
    check_invalid(r#"forbid_paths = ["boot"]"#, "boot");
    check_invalid(r#"forbid_paths = ["/a/../b"]"#, "..");
    let window = |rest: &str| format!("[[windows]]\nkinds = ['*']\n{rest}");
    check_invalid(&window("from = '22:00'"), "until");
    for time in ["24:00", "7:00", "07:60", "07", "+7:00", "22:00:00"] {
        check_invalid(&window(&format!("from = '{time}'\nuntil = '05:00'")), time);
    }
    check_invalid(&window("days = []\nfrom = '22:00'\nuntil = '05:00'"), "days");
    check_invalid(
        &window("days = ['someday']\nfrom = '22:00'\nuntil = '05:00'"),
        "someday",
    );
    check_invalid("[[[", "");
}

#[test]
fn a_missing_file_allows_everything_and_a_broken_one_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent-policy.toml");
    let load = || Policy::load(&path, "root", TimeZone::UTC);
    assert_eq!(load().unwrap(), Policy::permissive("root"));
    std::fs::write(&path, "forbid_kinds = ['shell']").unwrap();
    assert!(load().unwrap().permits("shell", &json!({}), NOON).is_err());
    for broken in [b"surprise = 1".to_vec(), b"\xff\xfe".to_vec(), vec![b'#'; 70_000]] {
        std::fs::write(&path, broken).unwrap();
        assert_eq!(load().unwrap_err().code(), POLICY_INVALID);
    }
    let folder_as_file = Policy::load(folder.path(), "root", TimeZone::UTC);
    assert_eq!(folder_as_file.unwrap_err().code(), POLICY_INVALID);
}

#[test]
fn a_file_that_others_could_have_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent-policy.toml");
    std::fs::write(&path, "").unwrap();
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let check = |file, directory, refused: Option<&str>| {
        set(&path, file);
        set(folder.path(), directory);
        let got = Policy::load(&path, "root", TimeZone::UTC);
        let got = got.err().map(|error| error.message().to_owned());
        assert_eq!(got.is_some(), refused.is_some(), "{got:?}");
        let (got, about) = (got.unwrap_or_default(), refused.unwrap_or_default());
        assert!(got.contains(about), "{got}");
    };
    check(0o644, 0o755, None);
    check(0o600, 0o700, None);
    check(0o664, 0o755, Some("the file can be written by others"));
    check(0o646, 0o755, Some("the file can be written by others"));
    check(0o644, 0o775, Some("its folder can be written by others"));
    set(folder.path(), 0o700);
    set(&path, 0o644);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1_000), None).unwrap();
        let error = Policy::load(&path, "root", TimeZone::UTC).unwrap_err();
        assert!(error.message().contains("must belong to root"), "{error}");
    }
}
