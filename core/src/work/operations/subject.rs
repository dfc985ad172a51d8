//! What of a device parameters are about.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::OperationKind;

/// What of a device the parameters of a kind are about. Two assigned actions that are about the same with other parameters contradict
/// each other: they would undo each other's work at every look.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// What it is, such as `user` or `path`: kinds of the same are about the same.
    pub of: &'static str,
    /// Which ones, by their names; an empty name is what a device has one of.
    pub own: fn(&Json) -> Vec<String>,
    /// Which ones it alters without having them for itself: it contradicts only who has.
    pub shared: fn(&Json) -> Vec<String>,
    /// Of those that contradict each other the one with the highest applies; of equals the one that comes first.
    pub rank: fn(&Json) -> u64,
}

/// What parameters are about, such as `user:ann`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// What they say all of.
    pub own: BTreeSet<String>,
    /// What others may alter as well, as long as nobody says all of it.
    pub shared: BTreeSet<String>,
    /// Which of those that contradict each other applies: the highest.
    pub rank: u64,
}

impl Subject {
    /// What parameters have for themselves; of those that contradict each other the first applies.
    pub const fn new(of: &'static str, own: fn(&Json) -> Vec<String>) -> Self {
        Self {
            of,
            own,
            shared: |_| Vec::new(),
            rank: |_| 0,
        }
    }
}

/// The names in a member of parameters: a text, or a list of them. Without the member it is what a device has one of.
pub(crate) fn named(params: &Json, member: &str) -> Vec<String> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    match params.get(member) {
        Some(Json::Array(several)) => several.iter().map(text).collect(),
        Some(one) => vec![text(one)],
        None => vec![String::new()],
    }
}

impl OperationKind {
    /// What of a device parameters are about; nothing where the kind does not say.
    pub fn subjects_of(&self, params: &Json) -> Subjects {
        let Some(subject) = self.subject else {
            return Subjects::default();
        };
        let full = |names: Vec<String>| names.into_iter().map(|name| format!("{}:{name}", subject.of)).collect();
        Subjects {
            own: full((subject.own)(params)),
            shared: full((subject.shared)(params)),
            rank: (subject.rank)(params),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        modules,
        work::operations::{
            Upkeep,
            actions::{
                app_image, directory, disk_encryption, file, flatpak, group, package, package_file, package_repository,
                password_rotation, service, user, wifi,
            },
        },
    };

    /// Kinds that keep something and are about nothing of their own.
    const ABOUT_NOTHING: [(&str, &str); 2] = [
        ("shell", "nobody knows what a script is about"),
        (
            "packages.upgrade",
            "it is about all packages, and two of them only upgrade more",
        ),
    ];

    #[test]
    fn whatever_is_kept_says_what_it_is_about_or_why_not() {
        let all = modules::built_in().into_iter().flat_map(|module| module.operations);
        for kind in all {
            let says_nothing = ABOUT_NOTHING.iter().any(|(name, _)| *name == kind.name);
            let is_kept = kind.upkeep != Upkeep::None && !says_nothing;
            assert_eq!(kind.subject.is_some(), is_kept, "{}", kind.name);
        }
    }

    /// What normal parameters have for themselves, and what they share.
    #[track_caller]
    fn check(kind: &OperationKind, params: Json, own: &[&str], shared: &[&str]) {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        let params = kind.check_params(params).unwrap();
        let subjects = kind.subjects_of(&params);
        assert_eq!((subjects.own, subjects.shared), (texts(own), texts(shared)), "{params}");
    }

    #[test]
    fn parameters_are_about_one_thing_or_several_or_what_a_device_has_one_of() {
        check(
            &user::KIND,
            json!({"name": "ann", "shell": "/bin/sh"}),
            &["user:ann"],
            &[],
        );
        check(&group::KIND, json!({"name": "ann"}), &["group:ann"], &[]);
        check(
            &password_rotation::KIND,
            json!({"users": ["bob", "ann"]}),
            &["password.rotation:ann", "password.rotation:bob"],
            &[],
        );
        check(
            &disk_encryption::KIND,
            json!({"volume": "/dev/sda2"}),
            &["disk.encryption:/dev/sda2"],
            &[],
        );
        check(&disk_encryption::KIND, json!({}), &["disk.encryption:"], &[]);
        check(
            &service::KIND,
            json!({"unit": "a.timer", "enabled": true}),
            &["service:a.timer"],
            &[],
        );
        check(
            &wifi::KIND,
            json!({"name": "guests", "state": "absent"}),
            &["wifi:guests"],
            &[],
        );
    }

    #[test]
    fn files_folders_and_programs_in_one_file_are_about_their_paths() {
        check(
            &file::KIND,
            json!({"path": "/etc/motd", "content": ""}),
            &["path:/etc/motd"],
            &[],
        );
        check(&directory::KIND, json!({"path": "/etc/motd"}), &["path:/etc/motd"], &[]);
        let url = "https://example.org/download/tool.AppImage?version=1";
        check(
            &app_image::KIND,
            json!({"url": url}),
            &["path:/opt/appimages/tool.AppImage"],
            &[],
        );
        check(
            &app_image::KIND,
            json!({"url": url, "folder": "/srv/apps", "name": "tool"}),
            &["path:/srv/apps/tool"],
            &[],
        );
    }

    #[test]
    fn a_block_is_about_itself_and_shares_its_file() {
        let block = |content: &str, state: &str| {
            let params = json!({"path": "/etc/issue", "content": content, "managed_block": true, "state": state});
            file::KIND.subjects_of(&file::KIND.check_params(params).unwrap())
        };
        let first = block("a\nb\n", "present");
        assert_eq!(first.shared, ["path:/etc/issue".to_owned()].into());
        assert_eq!(first.own.len(), 1);
        assert_eq!(
            first,
            block("\na\nb", "absent"),
            "empty lines around it are not part of it"
        );
        assert_ne!(first.own, block("a\nc\n", "present").own);
    }

    #[test]
    fn packages_and_repositories_are_what_each_manager_knows_by_the_name() {
        check(
            &package::KIND,
            json!({"name": "apache2", "dnf_name": "httpd"}),
            &[
                "package:apk/apache2",
                "package:apt/apache2",
                "package:dnf/httpd",
                "package:pacman/apache2",
                "package:zypper/apache2",
            ],
            &[],
        );
        check(
            &package::KIND,
            json!({"apt_name": "nginx"}),
            &["package:apt/nginx"],
            &[],
        );
        let file = |url: &str| json!({"url": url});
        check(
            &package_file::KIND,
            json!({"deb": file("https://example.org/nginx_1.2_amd64.deb"), "rpm": {"url": "https://example.org/x", "name": "web"}}),
            &["package:apt/nginx", "package:dnf/web", "package:zypper/web"],
            &[],
        );
        check(
            &package_file::KIND,
            json!({"deb": file("https://example.org/latest.deb")}),
            &[],
            &[],
        );
        check(
            &package_repository::KIND,
            json!({
                "name": "own",
                "zypper": {"url": "https://example.org/"},
                "pacman": {"server": "https://example.org/", "disabled": true},
            }),
            &["package.repository:zypper/own"],
            &[],
        );
        check(
            &package_repository::KIND,
            json!({"name": "own", "state": "absent"}),
            &[
                "package.repository:apt/own",
                "package.repository:dnf/own",
                "package.repository:pacman/own",
                "package.repository:zypper/own",
            ],
            &[],
        );
        check(
            &flatpak::KIND,
            json!({"app_id": "org.gimp.GIMP"}),
            &["flatpak:system/org.gimp.GIMP"],
            &[],
        );
        check(
            &flatpak::KIND,
            json!({"app_id": "org.gimp.GIMP", "scope": "users"}),
            &["flatpak:users/org.gimp.GIMP"],
            &[],
        );
    }
}
