use futures::future::join_all;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::{
    devices::{
        DEVICE_CONNECTED, DEVICE_OFFLINE, DEVICE_ONLINE, DEVICES_SEEN, Device, DeviceId, Presence,
        device::{DEVICE_GONE, DEVICE_NOT_FOUND, DeviceFilter},
        testing::{TestFleet, fails},
    },
    protocol::Gauges,
};

fn beat() -> DeviceBeat {
    DeviceBeat {
        epoch: 0,
        agent_version: "1.0.0".into(),
        gauges: Gauges {
            uptime_seconds: Some(17),
            ..Gauges::default()
        },
    }
}

async fn beats(test: &TestFleet, device: DeviceId) {
    test.fleet.presence().beat(device, beat()).await.unwrap();
}

async fn sweep(test: &TestFleet) -> Swept {
    test.fleet.presence().sweep().await.unwrap()
}

/// Lets time pass as it does: with a sweep every five seconds.
async fn pass(test: &TestFleet, seconds: u64) -> Swept {
    let mut all = Swept::default();
    for _ in 0..seconds / 5 {
        test.advance(5);
        let swept = sweep(test).await;
        all.offline += swept.offline;
        all.online += swept.online;
    }
    all
}

async fn presence(test: &TestFleet, device: DeviceId) -> Presence {
    test.fleet
        .devices()
        .show(&test.admin(), device)
        .await
        .unwrap()
        .summary
        .presence
}

async fn events(test: &TestFleet) -> Vec<String> {
    test.events().await.into_iter().map(|event| event.event).collect()
}

async fn count(test: &TestFleet, presence: Presence) -> u64 {
    let filter = DeviceFilter {
        presence: Some(presence),
        ..DeviceFilter::default()
    };
    test.fleet.devices().count(&test.admin(), &filter).await.unwrap()
}

#[tokio::test]
async fn the_first_beat_brings_a_device_online_and_the_next_are_no_commits() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    assert_eq!(presence(&test, device).await, Presence::Never);
    beats(&test, device).await;
    assert_eq!(presence(&test, device).await, Presence::Online);
    let seq = test.seq().await;
    for _ in 0..9 {
        pass(&test, 30).await;
        beats(&test, device).await;
    }
    assert_eq!(test.seq().await, seq);
    let shown = test.fleet.devices().show(&test.admin(), device).await.unwrap();
    let state = shown.state.unwrap();
    assert_eq!((state.seen_at, state.gauges), (test.fleet.clock().now(), beat().gauges));
    assert_eq!(events(&test).await, [DEVICE_ONLINE]);
}

#[tokio::test]
async fn a_silent_device_goes_offline_once_and_comes_back_with_its_next_beat() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    assert_eq!(pass(&test, 75).await, Swept::default());
    assert_eq!(presence(&test, device).await, Presence::Online);
    assert_eq!(pass(&test, 5).await.offline, 1);
    assert_eq!(presence(&test, device).await, Presence::Offline);
    assert!(!test.fleet.presence().is_online(device));
    assert_eq!(pass(&test, 600).await, Swept::default());
    beats(&test, device).await;
    assert_eq!(presence(&test, device).await, Presence::Online);
    assert_eq!(events(&test).await, [DEVICE_ONLINE, DEVICE_OFFLINE, DEVICE_ONLINE]);
}

#[tokio::test]
async fn a_restart_shows_nobody_offline_who_only_could_not_be_heard() {
    let test = TestFleet::new().await;
    let (web, db) = (test.device("web").await, test.device("db").await);
    beats(&test, web).await;
    beats(&test, db).await;
    test.advance(3_600);
    let test = test.restarted().await;
    assert_eq!(pass(&test, 60).await, Swept::default());
    beats(&test, web).await;
    assert_eq!(pass(&test, 20).await.offline, 1);
    assert_eq!(presence(&test, web).await, Presence::Online);
    assert_eq!(presence(&test, db).await, Presence::Offline);
}

#[tokio::test]
async fn a_server_that_slept_begins_to_listen_anew() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    sweep(&test).await;
    test.advance(3_600);
    assert_eq!(sweep(&test).await, Swept::default());
    assert_eq!(pass(&test, 75).await, Swept::default());
    assert_eq!(pass(&test, 5).await.offline, 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nobody_online_for_ever() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    test.clock
        .set(test.fleet.clock().now().minus(std::time::Duration::from_secs(86_400)));
    sweep(&test).await;
    assert_eq!(pass(&test, 80).await.offline, 1);
}

#[tokio::test]
async fn a_fleet_that_falls_silent_costs_a_commit_for_every_200_devices() {
    let test = TestFleet::new().await;
    let devices = test.devices(450).await;
    for device in &devices {
        beats(&test, *device).await;
    }
    pass(&test, 75).await;
    let seq = test.seq().await;
    assert_eq!(pass(&test, 5).await.offline, 450);
    assert_eq!(test.seq().await, seq + 3);
    assert_eq!(count(&test, Presence::Offline).await, 450);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_returns_at_once_is_online_when_its_beats_are_answered() {
    let test = TestFleet::new().await;
    let devices = test.devices(300).await;
    let seq = test.seq().await;
    let beating: Vec<_> = devices
        .iter()
        .map(|device| {
            let (fleet, device) = (test.fleet.clone(), *device);
            tokio::spawn(async move { fleet.presence().beat(device, beat()).await })
        })
        .collect();
    for task in beating {
        task.await.unwrap().unwrap();
    }
    assert_eq!(count(&test, Presence::Online).await, 300);
    assert_eq!(events(&test).await, vec![DEVICE_ONLINE; 300]);
    assert!(test.seq().await - seq <= 300);
    assert_eq!(sweep(&test).await, Swept::default());
}

#[tokio::test]
async fn summaries_note_when_devices_were_seen_at_most_every_five_minutes() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    let seen = |test: &TestFleet| {
        let store = test.fleet.store().clone();
        async move {
            let summary = store.get::<crate::devices::DeviceSummary>(device).await.unwrap();
            summary.unwrap().seen_at.unwrap()
        }
    };
    let first = seen(&test).await;
    let mut notes = 0;
    for _ in 0..60 {
        pass(&test, 30).await;
        beats(&test, device).await;
        notes = events(&test)
            .await
            .iter()
            .filter(|event| *event == DEVICES_SEEN)
            .count();
    }
    // Half an hour of notes that are five to six and a half minutes apart.
    assert!((4..=6).contains(&notes), "{notes}");
    let behind = test.fleet.clock().now().since(seen(&test).await);
    assert!(behind <= NOTE_EVERY * 3 / 2, "{behind:?}");
    assert!(seen(&test).await > first);
}

#[tokio::test]
async fn a_new_version_of_the_agent_is_shown_soon_and_stays() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    let newer = DeviceBeat {
        agent_version: "2.0.0".into(),
        ..beat()
    };
    test.fleet.presence().beat(device, newer).await.unwrap();
    sweep(&test).await;
    let known = test.fleet.store().get::<Device>(device).await.unwrap().unwrap();
    assert_eq!(known.agent_version, "2.0.0");
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let labels = [("a".to_owned(), String::new())].into();
    devices.set_labels(&admin, &[device], &labels).await.unwrap();
    assert_eq!(
        devices.show(&admin, device).await.unwrap().summary.agent_version,
        "2.0.0"
    );
}

#[tokio::test]
async fn the_newest_connection_counts() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let presence = test.fleet.presence();
    let (here, there) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(presence.next_epoch(device, here).await.unwrap(), 1);
    test.advance(1);
    assert_eq!(presence.next_epoch(device, there).await.unwrap(), 2);
    let link = presence.link(device).await.unwrap().unwrap();
    assert_eq!((link.server, link.epoch), (there, 2));
    assert!(presence.check_epoch(device, 2).await.is_ok());
    fails(presence.check_epoch(device, 1).await, LINK_SUPERSEDED);
    let by = |epoch| DeviceBeat { epoch, ..beat() };
    fails(presence.beat(device, by(1)).await, LINK_SUPERSEDED);
    assert!(presence.beat(device, by(2)).await.is_ok());
    let mut events = events(&test).await;
    events.sort_unstable();
    assert_eq!(events, [DEVICE_CONNECTED, DEVICE_CONNECTED, DEVICE_ONLINE]);
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    fails(presence.next_epoch(unknown, here).await, DEVICE_NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_open_at_once_have_different_numbers() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    let opening: Vec<_> = (0..16)
        .map(|server| {
            let fleet = test.fleet.clone();
            tokio::spawn(async move { fleet.presence().next_epoch(device, Uuid::from_u128(server)).await })
        })
        .collect();
    let mut epochs = Vec::new();
    for task in opening {
        epochs.push(task.await.unwrap().unwrap());
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=16).collect::<Vec<_>>());
}

/// Somebody who works off what devices ask.
async fn driver(test: &TestFleet) -> JoinSet<()> {
    let (mut drivers, fleet) = (JoinSet::new(), test.fleet.clone());
    drivers.spawn(async move { fleet.presence().drive().await });
    tokio::task::yield_now().await;
    drivers
}

#[tokio::test]
async fn connections_that_open_at_once_share_a_commit_and_none_spoils_it_for_the_others() {
    let test = TestFleet::new().await;
    let _driver = driver(&test).await;
    let mut devices = test.devices(20).await;
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    devices.extend([devices[3], unknown, devices[3]]);
    let seq = test.seq().await;
    let presence = test.fleet.presence();
    let server = Uuid::from_u128(1);
    let numbers = join_all(devices.iter().map(|device| presence.next_epoch(*device, server))).await;
    assert_eq!(test.seq().await, seq + 1);
    for (place, (device, number)) in devices.iter().zip(numbers).enumerate() {
        match place {
            20 => assert_eq!(number.unwrap(), 2, "the second of one device"),
            21 => fails(number, DEVICE_NOT_FOUND),
            22 => assert_eq!(number.unwrap(), 3),
            _ => assert_eq!(number.unwrap(), 1, "{device}"),
        }
    }
    assert_eq!(presence.link(devices[3]).await.unwrap().unwrap().epoch, 3);
    assert_eq!(events(&test).await, vec![DEVICE_CONNECTED; 22]);
}

#[tokio::test]
async fn devices_that_come_at_once_are_shown_online_by_few_commits() {
    let test = TestFleet::new().await;
    let _driver = driver(&test).await;
    let devices = test.devices(450).await;
    let seq = test.seq().await;
    join_all(devices.iter().map(|device| beats(&test, *device))).await;
    assert_eq!(count(&test, Presence::Online).await, 450);
    assert_eq!(test.seq().await, seq + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_is_answered_although_others_keep_coming() {
    let test = TestFleet::new().await;
    let _driver = driver(&test).await;
    let devices = test.devices(50).await;
    let (mut waiting, mut seq) = (JoinSet::new(), test.seq().await);
    for device in devices {
        let fleet = test.fleet.clone();
        waiting.spawn(async move { fleet.presence().beat(device, beat()).await });
        // The next comes as soon as this one is committed.
        while test.seq().await == seq {
            tokio::task::yield_now().await;
        }
        seq = test.seq().await;
        while waiting.try_join_next().is_some() {}
    }
    assert!(waiting.len() < 25, "{} of 50 are still waiting", waiting.len());
}

#[tokio::test]
async fn what_another_server_heard_is_read_from_the_store() {
    let here = TestFleet::new().await;
    let device = here.device("web").await;
    let there = here.restarted().await;
    sweep(&here).await;
    beats(&there, device).await;
    assert_eq!(sweep(&here).await, Swept::default());
    assert!(here.fleet.presence().is_online(device), "read from the summary");
    for _ in 0..5 {
        assert_eq!(
            pass(&here, 60).await,
            Swept::default(),
            "beats elsewhere keep it online"
        );
        beats(&there, device).await;
    }
    assert_eq!(pass(&here, 80).await.offline, 1);
    beats(&there, device).await;
    assert_eq!(
        presence(&here, device).await,
        Presence::Online,
        "a beat after a silence is an edge anywhere"
    );
}

#[tokio::test]
async fn a_deleted_device_is_forgotten_and_told_so() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    beats(&test, device).await;
    test.fleet
        .presence()
        .next_epoch(device, Uuid::from_u128(1))
        .await
        .unwrap();
    test.fleet.devices().delete(&test.admin(), device, None).await.unwrap();
    let presence = test.fleet.presence();
    fails(presence.beat(device, beat()).await, DEVICE_GONE);
    assert!(presence.link(device).await.unwrap().is_none());
    assert_eq!(pass(&test, 100).await, Swept::default());
    let latest = test
        .fleet
        .store()
        .reader()
        .await
        .unwrap()
        .latest::<DeviceState>(&[device])
        .await
        .unwrap();
    assert_eq!(latest, [None]);
    let unknown = DeviceId::new(crate::kernel::Timestamp::EPOCH, &*test.random);
    fails(presence.beat(unknown, beat()).await, DEVICE_NOT_FOUND);
}

#[tokio::test]
async fn a_device_deleted_by_another_server_is_forgotten_at_the_next_edge() {
    let here = TestFleet::new().await;
    let device = here.device("web").await;
    let there = here.restarted().await;
    beats(&here, device).await;
    there
        .fleet
        .devices()
        .delete(&there.admin(), device, None)
        .await
        .unwrap();
    pass(&here, 100).await;
    assert!(here.fleet.presence().sweep().await.is_ok());
    fails(here.fleet.presence().beat(device, beat()).await, DEVICE_GONE);
}
