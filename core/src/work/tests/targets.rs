//! Which devices a request means.

use super::*;
use crate::{
    devices::{
        DeviceGroupId,
        groups::{GROUP_NOT_FOUND, GROUP_QUERY_INVALID, GROUP_QUERY_TOO_LARGE, NewDeviceGroup},
        testing::fails,
    },
    kernel::EntityId as _,
    store::Query,
    work::batch::{MAX_TARGETS, NO_TARGETS},
};

/// Six devices: the first two in group A, the second and third in group B, the third and fourth with labels, the fifth disabled.
struct Park {
    work: Work,
    devices: Vec<DeviceId>,
    groups: [DeviceGroupId; 2],
}

impl Park {
    async fn new() -> Self {
        let work = Work::new().await;
        let (fleet, admin) = (&work.test.fleet, work.test.admin());
        let mut devices = work.test.devices(5).await;
        devices.push(work.device);
        let mut groups = Vec::new();
        for (name, members) in [("A", &devices[0..2]), ("B", &devices[1..3])] {
            let new = NewDeviceGroup {
                name: name.into(),
                ..NewDeviceGroup::default()
            };
            let group = fleet.device_groups().create(&admin, &new).await.unwrap().id;
            fleet.device_groups().add_members(&admin, group, members).await.unwrap();
            groups.push(group);
        }
        for (device, labels) in [(2, &[("env", "prod")][..]), (3, &[("env", "prod"), ("role", "db")])] {
            let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            fleet
                .devices()
                .set_labels(&admin, &[devices[device]], &labels.collect())
                .await
                .unwrap();
        }
        let off = crate::devices::device::DeviceChange {
            disabled: Some(true),
            ..Default::default()
        };
        fleet.devices().set(&admin, devices[4], None, &off).await.unwrap();
        work.advance(1);
        Self {
            groups: [groups[0], groups[1]],
            work,
            devices,
        }
    }

    /// The places of the devices that get a run.
    async fn meant(&self, targets: Targets) -> Result<Vec<usize>> {
        let request = BatchRequest {
            targets,
            ..self.work.request("true")
        };
        let batch = self.work.create(&request).await?.id;
        let query = Query::<Run>::all().filter(Run::BATCH.eq(batch.uuid()));
        let mut reader = self.work.test.fleet.store().reader().await?;
        let runs = reader.list(&query, &PageRequest::default()).await?.items;
        let place = |run: &crate::store::Versioned<Run>| self.devices.iter().position(|device| *device == run.device);
        let mut places: Vec<_> = runs.iter().filter_map(place).collect();
        places.sort_unstable();
        Ok(places)
    }

    async fn check(&self, targets: Targets, expected: &[usize]) {
        assert_eq!(self.meant(targets.clone()).await.unwrap(), expected, "{targets:?}");
    }
}

#[tokio::test]
async fn groups_and_labels_are_looked_up_when_the_work_is_asked_for() {
    let park = Park::new().await;
    let [a, b] = park.groups;
    let groups = |groups: &[DeviceGroupId]| Targets {
        groups: groups.to_vec(),
        ..Targets::default()
    };
    let labels = |labels: &[&str]| Targets {
        labels: labels.iter().map(ToString::to_string).collect(),
        ..Targets::default()
    };
    park.check(groups(&[a]), &[0, 1]).await;
    park.check(groups(&[a, b]), &[0, 1, 2]).await;
    park.check(labels(&["env=prod"]), &[2, 3]).await;
    park.check(labels(&["env", "role=db"]), &[3]).await;
    let both = Targets {
        devices: vec![park.devices[5]],
        labels: vec!["role".into()],
        ..groups(&[a])
    };
    park.check(both, &[0, 1, 3, 5]).await;
    let all = Targets {
        all: true,
        ..Targets::default()
    };
    // The fifth is kept out: it is meant only by name.
    park.check(all, &[0, 1, 2, 3, 5]).await;
    park.check(Targets::devices(vec![park.devices[4]]), &[4]).await;
}

fn query(query: &str) -> Targets {
    Targets {
        query: Some(query.into()),
        ..Targets::default()
    }
}

#[tokio::test]
async fn a_query_means_the_devices_that_it_describes_as_they_are_now() {
    let park = Park::new().await;
    for (text, expected) in [
        ("labels.env equals prod", &[2, 3][..]),
        ("env equals PROD and not role exists", &[2]),
        ("device.group in (\"A\", \"B\")", &[0, 1, 2]),
        // The fifth is kept out: it is meant only by name.
        ("not labels.env exists", &[0, 1, 5]),
        ("name equals web-1", &[5]),
    ] {
        park.check(query(text), expected).await;
    }
    let both = Targets {
        devices: vec![park.devices[4]],
        groups: vec![park.groups[0]],
        ..query("role equals db")
    };
    park.check(both, &[0, 1, 3, 4]).await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    let labels = [("role".to_owned(), "db".to_owned())].into();
    let devices = fleet.devices();
    devices.set_labels(&admin, &[park.devices[0]], &labels).await.unwrap();
    park.check(query("role equals db"), &[0, 3]).await;
}

#[tokio::test]
async fn a_batch_says_the_query_that_it_was_asked_for_with() {
    let work = Work::new().await;
    let request = BatchRequest {
        targets: query("name startsWith 'web'"),
        ..work.request("true")
    };
    let asked = work.create(&request).await.unwrap().targets;
    assert_eq!(
        (asked.query.as_deref(), asked.named, asked.all),
        (Some("name startsWith 'web'"), 0, false)
    );
}

#[tokio::test]
async fn a_text_that_is_no_query_is_refused_with_its_place() {
    let park = Park::new().await;
    let check = async |text: &str, code: crate::kernel::Code, why: &str| {
        let refused = park.meant(query(text)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{text}");
        let field = &refused.fields()[0];
        assert_eq!(field.pointer, "/targets/query");
        assert!(field.message.contains(why), "{}", field.message);
    };
    let invalid = crate::kernel::INVALID;
    check("os equals", GROUP_QUERY_INVALID, "at character").await;
    check(&"os equals a and ".repeat(200), GROUP_QUERY_TOO_LARGE, "at character").await;
    check("", invalid, "no condition").await;
    check("  ", invalid, "no condition").await;
    fails(park.meant(query("labels.env equals test")).await, NO_TARGETS);
    let too_much = Targets {
        all: true,
        ..query("os exists")
    };
    fails(park.meant(too_much).await, invalid);
}

#[tokio::test]
async fn what_means_nothing_or_contradicts_itself_is_refused() {
    let park = Park::new().await;
    let labels = |labels: &[&str]| Targets {
        labels: labels.iter().map(ToString::to_string).collect(),
        ..Targets::default()
    };
    fails(park.meant(labels(&["env=test"])).await, NO_TARGETS);
    let stranger = DeviceGroupId::new(park.work.now(), &crate::kernel::SeededRandom::new(7));
    let unknown = Targets {
        groups: vec![park.groups[0], stranger],
        ..Targets::default()
    };
    fails(park.meant(unknown).await, GROUP_NOT_FOUND);
    let invalid = crate::kernel::INVALID;
    fails(park.meant(Targets::default()).await, invalid);
    let too_much = Targets {
        all: true,
        ..labels(&["env"])
    };
    fails(park.meant(too_much).await, invalid);
    fails(
        park.meant(labels(&["no label, this"])).await,
        crate::devices::device::DEVICE_LABEL_INVALID,
    );
    let many = vec!["env".to_string(); 17];
    let many = Targets {
        labels: many,
        ..Targets::default()
    };
    fails(park.meant(many).await, invalid);
}

#[tokio::test]
async fn the_same_request_is_the_same_batch_although_the_group_has_changed() {
    let park = Park::new().await;
    let (fleet, admin) = (&park.work.test.fleet, park.work.test.admin());
    let request = BatchRequest {
        targets: Targets {
            groups: vec![park.groups[0]],
            ..Targets::default()
        },
        ..park.work.request("true")
    };
    let key = Some(BatchId::new(park.work.now(), &crate::kernel::SeededRandom::new(8)));
    let first = fleet.batches().create(&admin, &request, key).await.unwrap();
    let added = [park.devices[3]];
    fleet
        .device_groups()
        .add_members(&admin, park.groups[0], &added)
        .await
        .unwrap();
    let again = fleet.batches().create(&admin, &request, key).await.unwrap();
    assert_eq!((first.id, first.runs), (again.id, again.runs));
    assert!(first.runs < MAX_TARGETS as u64);
}
