use super::*;

async fn clean(test: &TestFleet) -> Cleaned {
    test.fleet.inventory().clean().await.unwrap()
}

async fn hour(test: &TestFleet) -> Cleaned {
    test.advance(3_600);
    clean(test).await
}

#[tokio::test]
async fn what_no_device_has_any_more_goes_after_it_was_doubted_for_an_hour() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, packages(&["bash 1", "kept 1"])).await;
    assert_eq!(hour(&test).await, Cleaned::default());
    send(&test, device, packages(&["bash 2", "kept 1"])).await;
    assert_eq!(stored(&test).await.1, 2);
    let doubted = Cleaned {
        sets_doubted: 1,
        ..Cleaned::default()
    };
    assert_eq!(hour(&test).await, doubted);
    assert_eq!(clean(&test).await, Cleaned::default());
    let removed = Cleaned {
        sets_removed: 1,
        ..Cleaned::default()
    };
    assert_eq!(hour(&test).await, removed);
    assert_eq!(hour(&test).await.members_removed, 1);
    assert_eq!(stored(&test).await, (vec!["bash 2".into(), "kept 1".into()], 1));
    let seq = test.seq().await;
    assert_eq!(hour(&test).await, Cleaned::default());
    assert_eq!(test.seq().await, seq, "a clean store is left alone");
}

#[tokio::test]
async fn the_packages_of_a_deleted_device_go_but_those_of_others_stay() {
    let test = TestFleet::new().await;
    let devices = test.devices(2).await;
    send(&test, devices[0], packages(&["bash 1", "only 1"])).await;
    send(&test, devices[1], packages(&["bash 1"])).await;
    test.fleet
        .devices()
        .delete(&test.admin(), devices[0], None)
        .await
        .unwrap();
    for _ in 0..4 {
        hour(&test).await;
    }
    assert_eq!(stored(&test).await, (vec!["bash 1".into()], 1));
}

#[tokio::test]
async fn a_doubted_set_that_a_device_has_again_stays() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, packages(&["bash 1"])).await;
    send(&test, device, packages(&["bash 2"])).await;
    clean(&test).await;
    test.advance(3_599);
    send(&test, device, packages(&["bash 1"])).await;
    for _ in 0..4 {
        hour(&test).await;
    }
    assert_eq!(stored(&test).await, (vec!["bash 1".into()], 1));
    let admin = test.admin();
    let page = PageRequest::default();
    let found = test
        .fleet
        .inventory()
        .packages(&admin, device, &PackageFilter::default(), &page)
        .await
        .unwrap();
    assert_eq!(found.items[0].version, "1");
}

#[tokio::test]
async fn doubted_members_that_a_report_relies_on_stay() {
    let test = TestFleet::new().await;
    let device = test.device("web").await;
    send(&test, device, packages(&["bash 1"])).await;
    hour(&test).await;
    send(&test, device, packages(&["bash 2"])).await;
    clean(&test).await;
    hour(&test).await;
    // The set of bash 1 is gone, bash 1 itself is doubted; a new set holds it again.
    assert_eq!(stored(&test).await, (vec!["bash 1".into(), "bash 2".into()], 1));
    test.advance(3_599);
    send(&test, device, packages(&["bash 1", "zlib 1"])).await;
    for _ in 0..5 {
        hour(&test).await;
    }
    assert_eq!(stored(&test).await, (vec!["bash 1".into(), "zlib 1".into()], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleaning_while_reports_come_in_never_takes_what_they_need() {
    let test = TestFleet::new().await;
    let devices = test.devices(4).await;
    for round in 0..12 {
        let reporting: Vec<_> = devices
            .iter()
            .enumerate()
            .map(|(n, device)| {
                // A few versions that come and go, so that sets and members are doubted, removed and needed again.
                let list = [format!("a {}", (round + n) % 3), format!("b {}", round % 2)];
                let list: Vec<_> = list.iter().map(String::as_str).collect();
                let (fleet, device, report) = (test.fleet.clone(), *device, report(&test, packages(&list)));
                tokio::spawn(async move { fleet.inventory().receive(device, &report).await })
            })
            .collect();
        clean(&test).await;
        for task in reporting {
            task.await.unwrap().unwrap();
        }
        test.advance(3_600);
        let (admin, page) = (test.admin(), PageRequest::default());
        for device in &devices {
            let found = test
                .fleet
                .inventory()
                .packages(&admin, *device, &PackageFilter::default(), &page)
                .await;
            assert_eq!(found.unwrap().items.len(), 2);
        }
    }
}
