//! Secrets of devices, from the deposit to the one who reads them.

use futures::TryStreamExt as _;

use super::*;
use crate::{
    access::{Origin, Role, audit::AuditFilter},
    devices::{DeviceId, testing::TestFleet},
    kernel::{EntityId as _, PageRequest, Result},
    protocol::EscrowDeposit,
    store::{Evidence, Record},
    work::RunId,
};
use uuid::Uuid;

const ANA: (EscrowKind, &str) = (EscrowKind::LocalPassword, "ana");

/// A fleet with two devices.
struct World {
    test: TestFleet,
    web: DeviceId,
    mail: DeviceId,
    origin: Origin,
}

fn id(number: u128) -> EscrowedSecretId {
    EscrowedSecretId::from_uuid(Uuid::from_u128(number))
}

fn deposit_of(number: u128, (kind, subject): (EscrowKind, &str), secret: &str) -> EscrowDeposit {
    EscrowDeposit {
        nonce: "n".into(),
        id: id(number),
        kind,
        subject: subject.into(),
        source: RunId::from_uuid(Uuid::from_u128(99)),
        reason: EscrowReason::Scheduled,
        secret: secret.to_owned().into(),
    }
}

impl World {
    async fn new() -> Self {
        let test = TestFleet::new().await;
        Self {
            web: test.device("web-1").await,
            mail: test.device("mail-1").await,
            test,
            origin: Origin::default(),
        }
    }

    fn as_device(&self, id: DeviceId) -> Depositor<'_> {
        Depositor {
            id,
            name: "web-1",
            origin: &self.origin,
        }
    }

    async fn deposit(&self, deposit: &EscrowDeposit) -> Result<EscrowState> {
        let escrow = self.test.fleet.escrow();
        escrow.deposit(&self.as_device(self.web), deposit).await
    }

    /// Deposits a password of ana's that tells its number.
    async fn password(&self, number: u128) -> EscrowState {
        let secret = format!("password {number}");
        self.deposit(&deposit_of(number, ANA, &secret)).await.unwrap()
    }

    async fn conclude_as(&self, device: DeviceId, number: u128, conclusion: Conclusion) -> Result<EscrowState> {
        let escrow = self.test.fleet.escrow();
        escrow.conclude(&self.as_device(device), id(number), conclusion).await
    }

    async fn in_use(&self, number: u128) -> EscrowState {
        self.conclude_as(self.web, number, Conclusion::InUse).await.unwrap()
    }

    /// What a device is told of a subject of its own.
    async fn held(&self, device: DeviceId, (kind, subject): (EscrowKind, &str)) -> Vec<String> {
        let escrow = self.test.fleet.escrow();
        let held = escrow.held(&self.as_device(device), kind, subject).await.unwrap();
        held.iter()
            .map(|held| format!("{} {}", held.state.name(), held.secret.reveal()))
            .collect()
    }

    /// What people see of ana, the newest first.
    async fn listed(&self) -> Vec<String> {
        let filter = EscrowFilter {
            kind: Some(ANA.0),
            subject: Some(ANA.1.into()),
        };
        let escrow = self.test.fleet.escrow();
        let page = escrow
            .list(&self.test.admin(), self.web, &filter, &PageRequest::default())
            .await;
        let mut found = page.unwrap().items;
        found.sort_by_key(|secret| std::cmp::Reverse(secret.id));
        found
            .iter()
            .map(|secret| format!("{} {}", secret.id.uuid().as_u128(), secret.state.name()))
            .collect()
    }

    async fn reveal(&self, number: u128) -> Result<RevealedSecret> {
        self.test.fleet.escrow().reveal(&self.test.admin(), id(number)).await
    }

    async fn audited(&self) -> Vec<String> {
        let (audit, page) = (self.test.fleet.audit(), PageRequest::default());
        let found = audit
            .list(&self.test.admin(), &AuditFilter::default(), &page)
            .await
            .unwrap();
        let entries = found
            .items
            .iter()
            .filter(|entry| entry.action.starts_with("escrowed_secret."));
        entries.map(|entry| serde_json::to_string(entry).unwrap()).collect()
    }

    async fn all_that_is_stored(&self) -> String {
        let view = self.test.fleet.store().backend().view().await.unwrap();
        let records: Vec<Record> = view.export().try_collect().await.unwrap();
        let bodies = records.iter().map(|record| match record {
            Record::Doc(doc) => String::from_utf8_lossy(&doc.body),
            Record::Latest(latest) => String::from_utf8_lossy(&latest.body),
            Record::Row(_, row) => String::from_utf8_lossy(&row.row.body),
            Record::End { .. } => "".into(),
        });
        bodies.collect()
    }

    /// Alters a stored secret behind the service's back.
    async fn alter(&self, number: u128, change: impl Fn(&mut EscrowedSecret) + Send + Sync) {
        let system = crate::access::Context::system("test");
        let change = &change;
        let altered = self
            .test
            .fleet
            .store()
            .change(&system, Evidence::Audit(ESCROW_CLEAN), |mut tx| async move {
                let before = tx.get::<EscrowedSecret>(id(number)).await?.unwrap();
                let mut after = before.value.clone();
                change(&mut after);
                tx.update(&before, &after)?;
                tx.commit().await
            });
        altered.await.unwrap();
    }

    async fn clean(&self) {
        let job = self
            .test
            .fleet
            .jobs()
            .iter()
            .find(|job| job.name == "escrow.devices_gone");
        (job.unwrap().tick)(self.test.fleet.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_secret_is_offered_then_current_then_superseded_by_the_next() {
    let world = World::new().await;
    assert_eq!(world.password(1).await, EscrowState::Offered);
    assert_eq!(world.in_use(1).await, EscrowState::Current);
    assert_eq!(world.password(2).await, EscrowState::Offered);
    assert_eq!(
        world.listed().await,
        ["2 offered", "1 current"],
        "until the device says so, both"
    );
    assert_eq!(world.in_use(2).await, EscrowState::Current);
    assert_eq!(world.listed().await, ["2 current", "1 superseded"]);
    assert_eq!(world.reveal(2).await.unwrap().secret.reveal(), "password 2");
    let former = world.reveal(1).await.unwrap();
    assert_eq!(former.secret.reveal(), "password 1");
    assert!(former.about.superseded_at.is_some());
}

#[tokio::test]
async fn what_did_not_come_into_use_leaves_the_current_one_alone() {
    let world = World::new().await;
    world.password(1).await;
    world.in_use(1).await;
    world.password(2).await;
    let concluded = world.conclude_as(world.web, 2, Conclusion::Abandoned).await;
    assert_eq!(concluded.unwrap(), EscrowState::Abandoned);
    assert_eq!(world.listed().await, ["2 abandoned", "1 current"]);
    assert_eq!(world.held(world.web, ANA).await, ["current password 1"]);
}

#[tokio::test]
async fn repeats_change_nothing_and_contradictions_are_refused() {
    let world = World::new().await;
    world.password(1).await;
    world.in_use(1).await;
    let before = world.all_that_is_stored().await;
    assert_eq!(world.password(1).await, EscrowState::Current, "the same again");
    assert_eq!(world.in_use(1).await, EscrowState::Current);
    assert_eq!(world.all_that_is_stored().await, before);

    for other in [
        deposit_of(1, ANA, "another"),
        deposit_of(1, (EscrowKind::LocalPassword, "bob"), "password 1"),
        deposit_of(1, (EscrowKind::DiskPassphrase, "ana"), "password 1"),
    ] {
        assert_eq!(world.deposit(&other).await.unwrap_err().code(), ESCROW_CONTRADICTED);
    }
    let refused = world.conclude_as(world.web, 1, Conclusion::Abandoned).await;
    assert_eq!(refused.unwrap_err().code(), ESCROW_CONTRADICTED);
    assert_eq!(world.all_that_is_stored().await, before);
}

#[tokio::test]
async fn what_is_confirmed_late_does_not_take_the_place_of_a_later_one() {
    let world = World::new().await;
    world.password(1).await;
    // The clock is no witness of the order.
    world.test.set_back(3_600);
    world.password(2).await;
    world.in_use(2).await;
    assert_eq!(world.in_use(1).await, EscrowState::Superseded);
    assert_eq!(world.listed().await, ["2 current", "1 superseded"]);
    assert_eq!(world.in_use(1).await, EscrowState::Superseded, "and again");
}

#[tokio::test]
async fn a_device_touches_its_own_secrets_only() {
    let world = World::new().await;
    world.password(1).await;
    let before = world.all_that_is_stored().await;
    for conclusion in [Conclusion::InUse, Conclusion::Abandoned] {
        let refused = world.conclude_as(world.mail, 1, conclusion).await.unwrap_err();
        assert_eq!(refused.code(), ESCROW_NOT_FOUND);
    }
    assert!(world.held(world.mail, ANA).await.is_empty());
    let escrow = world.test.fleet.escrow();
    let taken = escrow
        .deposit(&world.as_device(world.mail), &deposit_of(1, ANA, "password 1"))
        .await;
    assert_eq!(taken.unwrap_err().code(), ESCROW_CONTRADICTED);
    assert_eq!(world.all_that_is_stored().await, before);
}

#[tokio::test]
async fn a_device_reads_back_what_is_or_may_be_in_use_the_newest_first() {
    let world = World::new().await;
    assert!(world.held(world.web, ANA).await.is_empty());
    for number in 1..=3 {
        world.password(number).await;
        world.in_use(number).await;
    }
    world.password(4).await;
    assert_eq!(
        world.held(world.web, ANA).await,
        ["offered password 4", "current password 3"]
    );
    assert!(
        world
            .held(world.web, (EscrowKind::DiskPassphrase, "ana"))
            .await
            .is_empty()
    );
    let read = world.audited().await;
    let read: Vec<_> = read.iter().filter(|entry| entry.contains("read_by_device")).collect();
    assert_eq!(read.len(), 1, "what is not there was not read: {read:?}");
}

#[tokio::test]
async fn secrets_are_sealed_and_stand_in_no_audit_row() {
    let world = World::new().await;
    world.deposit(&deposit_of(1, ANA, "hunter2hunter2")).await.unwrap();
    world.in_use(1).await;
    world.held(world.web, ANA).await;
    assert_eq!(world.reveal(1).await.unwrap().secret.reveal(), "hunter2hunter2");
    let stored = world.all_that_is_stored().await;
    assert!(stored.contains("web-1"), "what is looked through is text");
    assert!(!stored.contains("hunter2"));

    let audited = world.audited().await;
    assert_eq!(audited.len(), 4);
    let revealed = audited.iter().find(|entry| entry.contains("escrowed_secret.reveal"));
    let revealed = revealed.unwrap();
    for told in [
        "escrowed_secret.reveal",
        "local_password",
        "ana",
        "current",
        &world.web.to_string(),
    ] {
        assert!(revealed.contains(told), "{told}: {revealed}");
    }
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_secret_does_not_open() {
    let world = World::new().await;
    world.password(1).await;
    world
        .deposit(&deposit_of(2, (EscrowKind::LocalPassword, "bob"), "bob's"))
        .await
        .unwrap();
    let reader = world
        .test
        .fleet
        .store()
        .get::<EscrowedSecret>(id(2))
        .await
        .unwrap()
        .unwrap();
    let original = world
        .test
        .fleet
        .store()
        .get::<EscrowedSecret>(id(1))
        .await
        .unwrap()
        .unwrap();
    world.alter(1, |secret| secret.sealed = reader.sealed.clone()).await;
    assert_eq!(world.reveal(1).await.unwrap_err().code(), ESCROW_UNREADABLE);
    let mail = world.mail;
    let moved: [fn(&mut EscrowedSecret, DeviceId); 3] = [
        |secret, device| secret.device = device,
        |secret, _| secret.kind = EscrowKind::DiskPassphrase,
        |secret, _| secret.subject = "bob".into(),
    ];
    for change in moved {
        let original = &original.value;
        world
            .alter(1, |secret| {
                *secret = original.clone();
                change(secret, mail);
            })
            .await;
        assert_eq!(world.reveal(1).await.unwrap_err().code(), ESCROW_UNREADABLE);
    }
}

#[tokio::test]
async fn reading_needs_a_permission_of_its_own() {
    let world = World::new().await;
    world.password(1).await;
    let escrow = world.test.fleet.escrow();
    let (everything, page) = (EscrowFilter::default(), PageRequest::default());
    for (role, lists, reveals) in [
        (Role::Admin, true, true),
        (Role::Operator, true, false),
        (Role::Viewer, false, false),
    ] {
        let context = world.test.role(role);
        assert_eq!(
            escrow.list(&context, world.web, &everything, &page).await.is_ok(),
            lists,
            "{role:?}"
        );
        assert_eq!(escrow.reveal(&context, id(1)).await.is_ok(), reveals, "{role:?}");
    }
    let audited = world.audited().await;
    assert_eq!(audited.iter().filter(|entry| entry.contains(".reveal")).count(), 1);
}

#[tokio::test]
async fn of_each_subject_little_is_kept_and_always_what_may_be_in_use() {
    let world = World::new().await;
    for number in 1..=6 {
        world.password(number).await;
        world.in_use(number).await;
    }
    assert_eq!(
        world.listed().await,
        ["6 current", "5 superseded", "4 superseded", "3 superseded"]
    );
    for number in 7..=17 {
        world.password(number).await;
    }
    let listed = world.listed().await;
    assert_eq!(listed.len(), 12);
    assert_eq!(listed[0], "17 offered");
    assert_eq!(listed[7], "10 offered");
    assert!(listed.contains(&"6 current".to_owned()));
}

#[tokio::test]
async fn a_device_has_so_many_subjects_and_no_more() {
    let world = World::new().await;
    for number in 0..MAX_SUBJECTS as u128 {
        world.test.advance(60);
        let user = format!("user{number}");
        let deposit = deposit_of(100 + number, (EscrowKind::LocalPassword, &user), "x");
        world.deposit(&deposit).await.unwrap();
    }
    let one_more = deposit_of(1, ANA, "x");
    world.test.advance(60);
    assert_eq!(world.deposit(&one_more).await.unwrap_err().code(), ESCROW_FULL);
    // Those that are there go on.
    let again = deposit_of(2, (EscrowKind::LocalPassword, "user0"), "x");
    world.test.advance(60);
    world.deposit(&again).await.unwrap();
    // And another device has its own.
    let escrow = world.test.fleet.escrow();
    escrow.deposit(&world.as_device(world.mail), &one_more).await.unwrap();
}

#[tokio::test]
async fn a_device_that_deposits_without_end_is_told_when_to_come_again() {
    let world = World::new().await;
    for number in 1..=128 {
        world.password(number).await;
    }
    let refused = world.deposit(&deposit_of(129, ANA, "x")).await.unwrap_err();
    assert_eq!(refused.code(), ESCROW_TOO_OFTEN);
    assert_eq!(refused.retry_after_seconds(), Some(60));
    world.test.advance(60);
    world.password(129).await;
}

#[tokio::test]
async fn secrets_outlive_their_device_for_ninety_days() {
    let world = World::new().await;
    world.password(1).await;
    world.in_use(1).await;
    let devices = world.test.fleet.devices();
    devices.delete(&world.test.admin(), world.web, None).await.unwrap();
    assert_eq!(world.listed().await, ["1 current"]);
    world.clean().await;
    let about = world.reveal(1).await.unwrap().about;
    assert!(about.device_gone_since.is_some());
    assert_eq!(about.device_name, "web-1");
    world.test.advance(GONE_LIFE.as_secs() - 1);
    world.clean().await;
    world.reveal(1).await.unwrap();
    world.test.advance(1);
    world.clean().await;
    assert_eq!(world.reveal(1).await.unwrap_err().code(), ESCROW_NOT_FOUND);
    let escrow = world.test.fleet.escrow();
    let (everything, page) = (EscrowFilter::default(), PageRequest::default());
    let gone = escrow.list(&world.test.admin(), world.web, &everything, &page).await;
    assert_eq!(gone.unwrap_err().code().name(), "device.not_found");
}
