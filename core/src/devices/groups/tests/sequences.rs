//! Any sequence of changes ends in the membership that a plain model has: what is static is exact after every step, what is
//! dynamic as soon as the group says that it has settled.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::{
    dynamic::{label, set_query, summary},
    *,
};
use crate::devices::{Device, DeviceId};

/// Groups are called `g0`, `g1` and so on, in the order in which they are made.
const NAMES: usize = 3;

#[derive(Clone, Debug)]
enum Wanted {
    Label(u8),
    Group(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Make(Option<Wanted>),
    Become(usize, Option<Wanted>),
    Label(usize, u8),
    Add(usize, usize),
    Remove(usize, usize),
    DeleteGroup(usize),
    DeleteDevice(usize),
    Enrol,
    /// One page of the pass over all devices.
    Page(usize),
    Evaluate(usize),
    Restart,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![3 => (0..2_u8).prop_map(Wanted::Label), 1 => (0..NAMES).prop_map(Wanted::Group)]
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..8_usize;
    prop_oneof![
        2 => proptest::option::of(wanted()).prop_map(Step::Make),
        6 => (at.clone(), proptest::option::of(wanted())).prop_map(|(group, query)| Step::Become(group, query)),
        4 => (at.clone(), 0..2_u8).prop_map(|(device, value)| Step::Label(device, value)),
        4 => (at.clone(), at.clone()).prop_map(|(group, device)| Step::Add(group, device)),
        3 => (at.clone(), at.clone()).prop_map(|(group, device)| Step::Remove(group, device)),
        1 => at.clone().prop_map(Step::DeleteGroup),
        1 => at.clone().prop_map(Step::DeleteDevice),
        1 => Just(Step::Enrol),
        5 => (1..4_usize).prop_map(Step::Page),
        1 => at.prop_map(Step::Evaluate),
        1 => Just(Step::Restart),
    ]
}

impl Wanted {
    fn text(&self) -> String {
        match self {
            Self::Label(value) => format!("labels.n equals {value}"),
            Self::Group(name) => format!("device.group equals g{name}"),
        }
    }
}

struct Group {
    id: DeviceGroupId,
    name: usize,
    query: Option<Wanted>,
    /// Of a static group.
    members: BTreeSet<DeviceId>,
    is_deleted: bool,
}

struct Model {
    test: TestFleet,
    former: Vec<TestFleet>,
    groups: Vec<Group>,
    devices: Vec<DeviceId>,
    labels: BTreeMap<DeviceId, u8>,
}

impl Model {
    async fn new() -> Self {
        let test = TestFleet::new().await;
        let devices = test.devices(5).await;
        Self {
            test,
            former: Vec::new(),
            groups: Vec::new(),
            devices,
            labels: BTreeMap::new(),
        }
    }

    fn group(&self, at: usize) -> Option<usize> {
        let alive: Vec<_> = (0..self.groups.len())
            .filter(|at| !self.groups[*at].is_deleted)
            .collect();
        (!alive.is_empty()).then(|| alive[at % alive.len()])
    }

    fn device(&self, at: usize) -> Option<DeviceId> {
        (!self.devices.is_empty()).then(|| self.devices[at % self.devices.len()])
    }

    async fn listed(&self, group: DeviceGroupId) -> BTreeSet<DeviceId> {
        let mut listed = BTreeSet::new();
        for device in &self.devices {
            if summary(&self.test, *device).await.groups.contains(&group) {
                listed.insert(*device);
            }
        }
        listed
    }

    async fn take(&mut self, step: &Step) {
        let (groups, admin) = (self.test.fleet.device_groups(), self.test.admin());
        match step {
            Step::Make(query) => {
                let name = self.groups.len();
                let query = query
                    .clone()
                    .filter(|query| !matches!(query, Wanted::Group(own) if *own == name));
                let new = NewDeviceGroup {
                    query: query.as_ref().map(Wanted::text),
                    ..new(&format!("g{name}"))
                };
                let id = groups.create(&admin, &new).await.unwrap().id;
                self.groups.push(Group {
                    id,
                    name,
                    query,
                    members: BTreeSet::new(),
                    is_deleted: false,
                });
            }
            Step::Become(at, query) => {
                let Some(at) = self.group(*at) else { return };
                let (id, name) = (self.groups[at].id, self.groups[at].name);
                match query {
                    Some(Wanted::Group(own)) if *own == name => {
                        fails(
                            set_query(&self.test, id, &format!("device.group equals G{own}")).await,
                            GROUP_QUERY_NAMES_ITSELF,
                        );
                        return;
                    }
                    Some(query) => drop(set_query(&self.test, id, &query.text()).await.unwrap()),
                    None => {
                        if self.groups[at].query.is_some() {
                            self.groups[at].members = self.listed(id).await;
                        }
                        let change = DeviceGroupChange {
                            query: Some(None),
                            ..DeviceGroupChange::default()
                        };
                        groups.set(&admin, id, None, &change).await.unwrap();
                    }
                }
                self.groups[at].query.clone_from(query);
            }
            Step::Label(at, value) => {
                let Some(device) = self.device(*at) else { return };
                label(&self.test, device, "n", &value.to_string()).await;
                self.labels.insert(device, *value);
            }
            Step::Add(group, device) | Step::Remove(group, device) => {
                let (Some(at), Some(device)) = (self.group(*group), self.device(*device)) else {
                    return;
                };
                let (group, is_added) = (&mut self.groups[at], matches!(step, Step::Add(..)));
                let outcome = match is_added {
                    true => groups.add_members(&admin, group.id, &[device]).await,
                    false => groups.remove_members(&admin, group.id, &[device]).await,
                };
                if group.query.is_some() {
                    fails(outcome, GROUP_DYNAMIC);
                    return;
                }
                let is_changed = match is_added {
                    true => group.members.insert(device),
                    false => group.members.remove(&device),
                };
                assert_eq!(outcome.unwrap().changed, u64::from(is_changed));
            }
            Step::DeleteGroup(at) => {
                let Some(at) = self.group(*at) else { return };
                groups.delete(&admin, self.groups[at].id, None).await.unwrap();
                self.groups[at].is_deleted = true;
            }
            Step::DeleteDevice(at) => {
                let Some(device) = self.device(*at) else { return };
                self.test.fleet.devices().delete(&admin, device, None).await.unwrap();
                self.devices.retain(|id| *id != device);
                for group in &mut self.groups {
                    group.members.remove(&device);
                }
            }
            Step::Enrol => {
                if self.devices.len() < 8 {
                    self.devices.push(self.test.device("late").await);
                }
            }
            Step::Page(devices) => {
                groups.evaluate_page(&mut Evaluated::default(), *devices).await.unwrap();
            }
            Step::Evaluate(at) => {
                let Some(at) = self.group(*at) else { return };
                let before = self.listed(self.groups[at].id).await;
                let outcome = groups.evaluate_group(&admin, self.groups[at].id).await;
                if self.groups[at].query.is_none() {
                    fails(outcome, GROUP_STATIC);
                    return;
                }
                let (after, outcome) = (self.listed(self.groups[at].id).await, outcome.unwrap());
                let moved = (after.difference(&before).count(), before.difference(&after).count());
                assert_eq!((outcome.added, outcome.removed), (moved.0 as u64, moved.1 as u64));
            }
            Step::Restart => {
                // The former ones stay: each is random in another way than those that are there.
                let next = self.test.restarted().await;
                self.former.push(std::mem::replace(&mut self.test, next));
            }
        }
    }

    fn described(&self, query: &Wanted) -> BTreeSet<DeviceId> {
        let is_described = |device: &&DeviceId| match query {
            Wanted::Label(value) => self.labels.get(*device) == Some(value),
            Wanted::Group(name) => self.groups.iter().any(|group| {
                let is_asked_for = group.name == *name && !group.is_deleted && group.query.is_none();
                is_asked_for && group.members.contains(*device)
            }),
        };
        self.devices.iter().filter(is_described).copied().collect()
    }

    async fn check(&self) {
        let admin = self.test.admin();
        let mut shown = Vec::new();
        for group in self.groups.iter().filter(|group| !group.is_deleted) {
            shown.push((
                group,
                self.test.fleet.device_groups().show(&admin, group.id).await.unwrap(),
            ));
        }
        let is_settled = shown.iter().all(|(_, view)| !view.settling);
        for (group, view) in &shown {
            let listed = self.listed(group.id).await;
            assert_eq!(view.members, listed.len() as u64);
            match &group.query {
                None => assert_eq!(listed, group.members, "g{} is static", group.name),
                // Which groups others are in is asked for: then all of them have to have settled.
                Some(query @ Wanted::Group(_)) if is_settled => {
                    assert_eq!(listed, self.described(query), "g{}", group.name)
                }
                Some(query @ Wanted::Label(_)) if !view.settling => {
                    assert_eq!(listed, self.described(query), "g{}", group.name)
                }
                Some(_) => {}
            }
        }
        for group in self.groups.iter().filter(|group| group.is_deleted) {
            assert_eq!(
                self.listed(group.id).await,
                BTreeSet::new(),
                "g{} is deleted",
                group.name
            );
        }
    }

    /// Nothing is left of how groups were before.
    async fn check_settled(&self) {
        assert!(self.test.fleet.device_groups().evaluate().await.unwrap().complete);
        self.check().await;
        for id in &self.devices {
            let device = self.test.fleet.store().get::<Device>(*id).await.unwrap().unwrap();
            let is_put_into = |group: &&Group| !group.is_deleted && group.query.is_none() && group.members.contains(id);
            let put_into: BTreeSet<_> = self.groups.iter().filter(is_put_into).map(|group| group.id).collect();
            assert_eq!(device.groups, put_into);
            let shown = summary(&self.test, *id).await;
            assert_eq!(shown.hand_made_groups().collect::<BTreeSet<_>>(), put_into);
        }
        let (groups, admin) = (self.test.fleet.device_groups(), self.test.admin());
        let shown = groups.list(&admin, None, &PageRequest::default()).await.unwrap();
        assert!(shown.items.iter().all(|group| !group.settling));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn membership_is_that_of_a_plain_model(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new().await;
            for step in &steps {
                model.take(step).await;
                model.check().await;
            }
            model.check_settled().await;
        });
    }
}
