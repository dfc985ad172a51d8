//! What a commit touched, as something to tell, and who may be told.

use std::collections::BTreeSet;

use fleet_core::{
    access::{
        Context, Permission, Scope,
        keys::{ApiKey, KEYS_READ},
        sessions::Session,
        users::{USERS_READ, User},
    },
    devices::{
        DEVICES_READ, Device, DeviceEvent, DeviceGroup, DeviceSummary, EnrolmentToken, GROUPS_READ, TOKENS_READ,
    },
    settings::{SETTINGS_READ, StoredSetting},
    store::{Entity, LaneRow, Touched},
    work::{
        Approval, Batch, RUNS_READ, Rollout, Run,
        desired::{
            ACTIONS_READ, ASSIGNMENTS_READ, ActionSet, Assignment, Definition, DesiredAction, Manifest,
            manifest::ManifestEvent,
        },
        plans::{PLANS_READ, Plan, PlanProgress},
        run::RunEvent,
        windows::{WINDOWS_READ, Window},
    },
};
use uuid::Uuid;

use super::{LiveEvent, Told};

/// Something that a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveItem {
    /// Something to tell to those who have the permission.
    Event(Permission, LiveEvent),
    /// What this user, session or key may do may have changed: its streams end, and it comes back with what it may do now.
    Access(Uuid),
}

/// Kinds that are resources of their own: their name in paths, and who may see them.
const RESOURCES: [(&str, &str, Permission); 19] = [
    (Device::KIND, "devices", DEVICES_READ),
    (DeviceSummary::KIND, "devices", DEVICES_READ),
    (DeviceGroup::KIND, "device-groups", GROUPS_READ),
    (EnrolmentToken::KIND, "enrolment-tokens", TOKENS_READ),
    (Run::KIND, "runs", RUNS_READ),
    (Batch::KIND, "batches", RUNS_READ),
    (Approval::KIND, "approvals", RUNS_READ),
    (Rollout::KIND, "rollouts", RUNS_READ),
    (Plan::KIND, "plans", PLANS_READ),
    (PlanProgress::KIND, "plans", PLANS_READ),
    (Window::KIND, "windows", WINDOWS_READ),
    (DesiredAction::KIND, "actions", ACTIONS_READ),
    (ActionSet::KIND, "action-sets", ACTIONS_READ),
    (Definition::KIND, "definitions", ACTIONS_READ),
    (Assignment::KIND, "assignments", ASSIGNMENTS_READ),
    // Its id is that of its device.
    (Manifest::KIND, "manifests", ASSIGNMENTS_READ),
    (User::KIND, "users", USERS_READ),
    (ApiKey::KIND, "keys", KEYS_READ),
    (StoredSetting::KIND, "settings", SETTINGS_READ),
];

/// Lanes whose streams belong to a resource: its name in paths, that of the rows, and who may see them.
const ROWS: [(&str, &str, &str, Permission); 3] = [
    (DeviceEvent::LANE, "devices", "events", DEVICES_READ),
    (RunEvent::LANE, "runs", "events", RUNS_READ),
    (ManifestEvent::LANE, "manifests", "events", ASSIGNMENTS_READ),
];

impl LiveItem {
    /// All that there is to tell of one commit.
    pub fn of_commit(commit: &[Touched]) -> Vec<Self> {
        let devices: BTreeSet<Uuid> = documents(commit)
            .filter(|(kind, ..)| *kind == Device::KIND)
            .map(|(_, id, ..)| id)
            .collect();
        // A summary that goes with its device is told with it.
        let told = |touched: &&Touched| match touched {
            Touched::Document { key, .. } => key.kind != DeviceSummary::KIND || !devices.contains(&key.id),
            Touched::Stream { .. } => true,
        };
        let access = documents(commit)
            .filter(|(kind, ..)| [User::KIND, Session::KIND, ApiKey::KIND].contains(kind))
            // A new user, session or key has no streams yet.
            .filter(|(.., rev, removed)| *removed || *rev > 1)
            .map(|(_, id, ..)| Self::Access(id));
        // First what is told, then the ends: who may not be told any more is told the commit that said so, and no more.
        commit.iter().filter(told).filter_map(Self::of).chain(access).collect()
    }

    fn of(touched: &Touched) -> Option<Self> {
        match touched {
            Touched::Document { key, rev, deleted } => {
                let (kind, resource, permission) = RESOURCES.into_iter().find(|(kind, ..)| *kind == key.kind)?;
                let (resource, id) = (resource.to_owned(), key.id);
                let event = match deleted {
                    true => LiveEvent::Removed { resource, id },
                    false => LiveEvent::Changed {
                        resource,
                        id,
                        revision: (kind != DeviceSummary::KIND).then_some(*rev),
                    },
                };
                Some(Self::Event(permission, event))
            }
            // Rows of the nil stream are of the fleet as a whole, and belong to no resource.
            Touched::Stream { stream, .. } if stream.is_nil() => None,
            Touched::Stream { lane, stream } => {
                let (_, resource, rows, permission) = ROWS.into_iter().find(|(name, ..)| name == lane)?;
                let event = LiveEvent::Appended {
                    resource: resource.to_owned(),
                    id: *stream,
                    rows: rows.to_owned(),
                };
                Some(Self::Event(permission, event))
            }
        }
    }

    /// What it means for a subscriber.
    pub fn told_to(&self, caller: &Context) -> Told {
        match self {
            // An event names one thing, so a narrower scope would have to be asked whether that thing is in it.
            Self::Event(permission, event) if matches!(caller.require(*permission), Ok(Scope::All)) => {
                Told::Event(event.clone())
            }
            Self::Event(..) => Told::Nothing,
            Self::Access(id) => {
                let own = [caller.user(), caller.session(), caller.actor().id()];
                if own.contains(&Some(*id)) {
                    Told::End
                } else {
                    Told::Nothing
                }
            }
        }
    }
}

fn documents(commit: &[Touched]) -> impl Iterator<Item = (&'static str, Uuid, u64, bool)> {
    commit.iter().filter_map(|touched| match touched {
        Touched::Document { key, rev, deleted } => Some((key.kind, key.id, *rev, *deleted)),
        Touched::Stream { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use fleet_core::{access::Role, store::Key};
    use uuid::uuid;

    use super::*;

    const ID: Uuid = uuid!("019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41");

    fn document(kind: &'static str, rev: u64, deleted: bool) -> Touched {
        Touched::Document {
            key: Key::new(kind, ID),
            rev,
            deleted,
        }
    }

    fn rows(lane: &'static str, stream: Uuid) -> Touched {
        Touched::Stream { lane, stream }
    }

    #[track_caller]
    fn check(commit: &[Touched], expected: &[&str]) {
        let told: Vec<_> = LiveItem::of_commit(commit)
            .into_iter()
            .map(|item| match item {
                LiveItem::Event(permission, event) => match event {
                    LiveEvent::Changed { resource, revision, .. } => {
                        format!("{}: {resource} at {revision:?}", permission.name())
                    }
                    LiveEvent::Removed { resource, .. } => format!("{}: no {resource}", permission.name()),
                    LiveEvent::Appended { resource, rows, .. } => format!("{}: {resource} {rows}", permission.name()),
                    other => format!("{other:?}"),
                },
                LiveItem::Access(_) => "access".to_owned(),
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_device_and_its_summary_are_one_thing() {
        check(
            &[document("device", 3, false), document("device_summary", 9, false)],
            &["devices:read: devices at Some(3)"],
        );
        check(
            &[document("device_summary", 9, false)],
            &["devices:read: devices at None"],
        );
        check(
            &[document("device", 3, true), document("device_summary", 9, true)],
            &["devices:read: no devices"],
        );
    }

    #[test]
    fn rows_are_told_of_the_resource_that_they_belong_to() {
        check(
            &[
                document("run", 2, false),
                rows("run_event", ID),
                rows("device_event", ID),
            ],
            &[
                "runs:read: runs at Some(2)",
                "runs:read: runs events",
                "devices:read: devices events",
            ],
        );
        check(&[rows("device_event", Uuid::nil()), rows("audit", ID)], &[]);
    }

    #[test]
    fn what_devices_shall_be_is_told_to_those_who_may_list_it() {
        check(
            &[
                document("action", 2, false),
                document("action_set", 1, false),
                document("definition", 7, true),
                document("assignment", 1, false),
                document("assignment", 2, true),
                document("manifest", 4, false),
                rows("manifest_event", ID),
            ],
            &[
                "actions:read: actions at Some(2)",
                "actions:read: action-sets at Some(1)",
                "actions:read: no definitions",
                "assignments:read: assignments at Some(1)",
                "assignments:read: no assignments",
                "assignments:read: manifests at Some(4)",
                "assignments:read: manifests events",
            ],
        );
    }

    #[test]
    fn inner_documents_are_not_told() {
        check(
            &[
                document("package_set", 1, false),
                document("server_key", 1, false),
                document("desired_change", 1, false),
                document("manifest_content", 1, false),
                rows("manifest_event", Uuid::nil()),
            ],
            &[],
        );
    }

    #[test]
    fn who_may_have_lost_something_comes_back() {
        check(&[document("user", 1, false)], &["users:read: users at Some(1)"]);
        check(
            &[document("user", 2, false)],
            &["users:read: users at Some(2)", "access"],
        );
        check(&[document("session", 1, false)], &[]);
        check(&[document("session", 1, true)], &["access"]);
        check(&[document("api_key", 1, true)], &["keys:read: no keys", "access"]);
    }

    #[test]
    fn only_who_may_see_a_thing_is_told() {
        use fleet_core::access::{Actor, Grants, Origin};
        let caller = |grants: Grants| {
            let actor = Actor::User {
                id: ID,
                name: "ann".to_owned(),
            };
            Context::new(actor, Origin::default(), std::sync::Arc::new(grants))
        };
        let items = LiveItem::of_commit(&[document("user", 2, false)]);
        let told = |grants: Grants| -> Vec<Told> {
            let caller = caller(grants);
            items.iter().map(|item| item.told_to(&caller)).collect()
        };
        let table = [fleet_core::access::PermissionEntry {
            permission: USERS_READ,
            allows: "",
            least: Role::Admin,
        }];
        assert!(matches!(
            told(Role::Admin.grants(&table))[..],
            [Told::Event(_), Told::End]
        ));
        assert!(matches!(
            told(Role::Viewer.grants(&table))[..],
            [Told::Nothing, Told::End]
        ));
    }
}
