//! Desired state through its services, over the memory backend; how it is decided is tested beside the decision.

mod authors;
mod keeping;
mod manifests;
mod once;
mod origin;
mod selections;
mod windows;

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{
    actions::{ActionView, NewAction},
    assignments::{AssignmentView, NewAssignment},
    definitions::{DefinitionView, NewDefinition},
    manifest::{ManifestView, WhyFilter},
    resolve::Member,
    sets::{ActionSetView, NewActionSet},
    *,
};
use crate::{
    Fleet,
    access::Permission,
    devices::{DeviceGroupId, DeviceId, groups::NewDeviceGroup, testing::TestFleet},
    kernel::{Class, EntityId as _, MAX_LIMIT, MasterKey, PageRequest, Result, SeededRandom, Timestamp},
    modules::Module,
    work::{
        OperationKind,
        operations::{Lane, Risk, Subject, Upkeep, named, shell::SHELL_RUN},
    },
};

/// A kind whose effect is taken back when the device is to have it no longer.
const REVERTED_KIND: &str = "test_user";

/// Kinds that know absence, with parameters that are easily told apart: `test_file` stays where it is, the other is taken back.
fn kinds() -> Module {
    fn schema() -> Json {
        json!({"type": "object", "properties": {"state": {}, "name": {}}})
    }
    fn check(params: Json) -> std::result::Result<Json, String> {
        match params.get("name") {
            Some(Json::String(_)) => Ok(params),
            _ => Err("a name is missing".into()),
        }
    }
    let kind = |name, upkeep| OperationKind {
        name,
        title: "keep something",
        permission: SHELL_RUN,
        risk: Risk::Medium,
        lane: Lane::Exclusive,
        idempotent: true,
        upkeep,
        knows_absence: true,
        subject: Some(Subject::new(name, |params| named(params, "name"))),
        dry_run_runs_code: false,
        timeout_seconds: 60,
        waits_seconds: |_| 0,
        max_timeout_seconds: 600,
        expiry_seconds: 600,
        streams: false,
        params_schema: schema,
        summary_schema: None,
        secrets: &[],
        check,
    };
    Module {
        name: "test",
        operations: vec![kind("test_file", Upkeep::Kept), kind(REVERTED_KIND, Upkeep::Reverted)],
        ..Module::default()
    }
}

/// A fleet with devices.
struct Desired {
    test: TestFleet,
    devices: Vec<DeviceId>,
}

impl Desired {
    async fn new(devices: usize) -> Self {
        let mut test = TestFleet::new().await;
        test.fleet = Self::open(&test).await;
        let devices = test.devices(devices).await;
        let desired = Self { test, devices };
        desired.keep().await;
        desired
    }

    /// Another fleet over the same store, as after a restart: what was in memory is gone.
    async fn open(test: &TestFleet) -> Fleet {
        let key = MasterKey::generate(&SeededRandom::new(7));
        let random = Arc::new(SeededRandom::new(Arc::strong_count(&test.backend) as u64 + 90));
        let builder = Fleet::builder(test.backend.clone(), key).module(kinds());
        builder.clock(test.clock.clone()).random(random).open().await.unwrap()
    }

    fn desired(&self) -> DesiredService<'_> {
        self.test.fleet.desired()
    }

    async fn action_of(&self, operation: &str, name: &str) -> Result<ActionView> {
        // Where nothing else says what comes first, what was made first does.
        self.test.advance(1);
        let params = match operation {
            "shell" => json!({"script": name}),
            _ => json!({"name": name}),
        };
        let new = NewAction {
            name: name.into(),
            description: String::new(),
            operation: operation.into(),
            params: params.into(),
            state: DesiredState::Present,
            timeout_seconds: None,
            rhythm: None,
        };
        self.desired().actions().create(&self.test.admin(), &new).await
    }

    async fn action(&self, name: &str) -> ActionId {
        self.action_of("test_file", name).await.unwrap().id
    }

    async fn set(&self, name: &str, members: &[ActionId]) -> ActionSetView {
        let new = NewActionSet {
            name: name.into(),
            description: String::new(),
            members: members.to_vec(),
            rhythm: None,
            on_failure: OnFailure::Continue,
        };
        self.desired()
            .action_sets()
            .create(&self.test.admin(), &new)
            .await
            .unwrap()
    }

    async fn definition(&self, name: &str, members: &[Member]) -> DefinitionView {
        let new = NewDefinition {
            name: name.into(),
            description: String::new(),
            members: members.to_vec(),
            rhythm: None,
            on_failure: OnFailure::Stop,
        };
        self.desired()
            .definitions()
            .create(&self.test.admin(), &new)
            .await
            .unwrap()
    }

    async fn assign(&self, source: impl Into<Source>, target: Target, mode: Mode) -> AssignmentView {
        let new = NewAssignment {
            source: source.into(),
            target,
            mode,
            order: 0,
        };
        let made = self.desired().assignments().create(&self.test.admin(), &[new]).await;
        made.unwrap().remove(0)
    }

    /// A group that these devices are put into.
    async fn group(&self, name: &str, devices: &[DeviceId]) -> DeviceGroupId {
        let (groups, admin) = (self.test.fleet.device_groups(), self.test.admin());
        let new = NewDeviceGroup {
            name: name.into(),
            ..NewDeviceGroup::default()
        };
        let group = groups.create(&admin, &new).await.unwrap().id;
        for devices in devices.chunks(500) {
            groups.add_members(&admin, group, devices).await.unwrap();
        }
        group
    }

    /// Does what there is to do, as the bell would have it done.
    async fn keep(&self) -> manifest::Kept {
        self.desired().manifests().keep_current().await.unwrap()
    }

    async fn manifest(&self, device: DeviceId) -> Option<ManifestView> {
        match self.desired().manifests().show(&self.test.admin(), device).await {
            Err(error) if error.class() == Class::NotFound => None,
            shown => Some(shown.unwrap()),
        }
    }

    /// The version of a device's manifest and what it applies, such as `1: set[a b-] c`, `~` before what is to be taken back.
    async fn shown(&self, device: usize) -> String {
        let Some(manifest) = self.manifest(self.devices[device]).await else {
            return "none".into();
        };
        let name = |params: &Json| {
            let name = params.get("name").or(params.get("script"));
            let absent = params.get("state").is_some_and(|state| state == "absent");
            format!("{}{}", name.unwrap().as_str().unwrap(), if absent { "-" } else { "" })
        };
        let group = |group: &manifest::ManifestGroup| {
            let names: Vec<_> = group.occurrences.iter().map(|one| name(&one.params.shown())).collect();
            match group.label.split_once(':').unwrap().0 {
                "action" => names.join(" "),
                kind => format!("{kind}[{}]", names.join(" ")),
            }
        };
        let groups = manifest.groups.iter().map(group);
        let reverts = manifest
            .reverts
            .iter()
            .map(|one| format!("~{}", name(&one.params.shown())));
        let words: Vec<_> = groups.chain(reverts).collect();
        let problem = manifest.problem.map(|problem| format!(" !{}", problem.code));
        format!(
            "{}: {}{}",
            manifest.version,
            words.join(" "),
            problem.unwrap_or_default()
        )
    }

    /// What the devices have, one after the other.
    async fn check(&self, expected: &[&str]) {
        self.keep().await;
        let mut shown = Vec::new();
        for device in 0..expected.len() {
            shown.push(self.shown(device).await);
        }
        assert_eq!(shown, expected);
    }

    /// Why an action is applied on the first device or not, in words.
    async fn why(&self, action: ActionId) -> String {
        let filter = WhyFilter { action: Some(action) };
        let manifests = self.desired().manifests();
        let found = manifests
            .why(&self.test.admin(), self.devices[0], &filter, &PageRequest::default())
            .await;
        found.unwrap().items.remove(0).in_words
    }
}

fn device(id: DeviceId) -> Target {
    Target::Device(id)
}

/// Somebody who has these permissions and no others.
fn with(test: &TestFleet, permissions: &[Permission]) -> crate::access::Context {
    let grants = crate::access::Grants::of(permissions.iter().map(|one| (*one, crate::access::Scope::All)));
    let actor = crate::access::Actor::User {
        id: crate::access::users::UserId::new(test.clock_now(), &*test.random).uuid(),
        name: "ann".into(),
    };
    crate::access::Context::new(actor, crate::access::Origin::default(), Arc::new(grants))
}
