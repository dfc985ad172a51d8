use super::*;

#[tokio::test]
async fn lists_are_sorted_both_ways_without_regard_to_case() {
    let (test, [web, alpha, db]) = three().await;
    show(&test, web, |summary| summary.updates = Some(7)).await;
    show(&test, alpha, |summary| summary.updates = Some(30)).await;
    show(&test, db, |summary| summary.seen_at = Some(summary.enrolled_at)).await;
    for (by, expected) in [
        (DeviceSort::Name, ["Alpha", "db", "web-01.example.org"]),
        (DeviceSort::EnrolledAt, ["web-01.example.org", "Alpha", "db"]),
        (DeviceSort::Updates, ["db", "web-01.example.org", "Alpha"]),
    ] {
        let mut expected = expected.to_vec();
        for direction in [Direction::Ascending, Direction::Descending] {
            let order = DeviceOrder { by, direction };
            assert_eq!(
                names(&test, DeviceFilter::default(), order).await,
                expected,
                "{order:?}"
            );
            expected.reverse();
        }
    }
    for by in DeviceSort::ALL {
        let order = DeviceOrder {
            by,
            direction: Direction::Descending,
        };
        assert_eq!(names(&test, DeviceFilter::default(), order).await.len(), 3, "{by:?}");
    }
}

#[tokio::test]
async fn every_declared_filter_narrows_the_list() {
    let (test, [web, alpha, db]) = three().await;
    let site = labels(&[("site", "Berlin"), ("prod", "")]);
    test.fleet
        .devices()
        .set_labels(&test.admin(), &[web], &site)
        .await
        .unwrap();
    show(&test, web, |summary| {
        summary.os = Some("debian".into());
        summary.os_version = Some("12".into());
        summary.os_name = Some("Debian GNU/Linux 12 (bookworm)".into());
        summary.architecture = Some("x86_64".into());
        summary.addresses = vec!["192.0.2.17".into()];
        summary.presence = Presence::Online;
        (summary.updates, summary.security_updates) = (Some(3), Some(1));
        summary.reboot_required = Some(true);
    })
    .await;
    show(&test, db, |summary| {
        (summary.updates, summary.security_updates) = (Some(0), Some(0));
        summary.reboot_required = Some(false);
    })
    .await;
    let web_only: &[&str] = &["web-01.example.org"];
    let text = |text: &str| Some(text.to_owned());
    let all = DeviceFilter::default;
    for words in [
        "web",
        "EXAMPLE org",
        "berlin",
        "bookw",
        "192.0.2",
        "web-01.exa",
        &web.to_string()[28..],
    ] {
        check(
            &test,
            DeviceFilter {
                search: text(words),
                ..all()
            },
            web_only,
        )
        .await;
    }
    check(
        &test,
        DeviceFilter {
            search: text("web nothing"),
            ..all()
        },
        &[],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            search: text("  "),
            ..all()
        },
        &["Alpha", "db", "web-01.example.org"],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            name: text("ALPHA"),
            ..all()
        },
        &["Alpha"],
    )
    .await;
    for label in [&["site"][..], &["site=Berlin"], &["site", "prod="], &["prod"]] {
        let label: Vec<_> = label.iter().map(|label| (*label).to_owned()).collect();
        check(&test, DeviceFilter { label, ..all() }, web_only).await;
    }
    check(
        &test,
        DeviceFilter {
            label: vec!["site=Bonn".into()],
            ..all()
        },
        &[],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            presence: Some(Presence::Online),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            presence: Some(Presence::Never),
            ..all()
        },
        &["Alpha", "db"],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            os: text("debian"),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            os_version: text("12"),
            architecture: text("x86_64"),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            agent_version: text("2"),
            ..all()
        },
        &[],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            updates: Some(true),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            updates: Some(false),
            ..all()
        },
        &["db"],
    )
    .await;
    check(
        &test,
        DeviceFilter {
            security_updates: Some(true),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            reboot_required: Some(true),
            ..all()
        },
        web_only,
    )
    .await;
    check(
        &test,
        DeviceFilter {
            reboot_required: Some(false),
            ..all()
        },
        &["db"],
    )
    .await;

    let counts = test.fleet.devices().counts(&test.admin()).await.unwrap();
    assert_eq!(
        (counts.devices, counts.online, counts.offline, counts.never),
        (3, 1, 0, 2)
    );
    assert_eq!(
        (
            counts.with_updates,
            counts.with_security_updates,
            counts.reboot_required
        ),
        (1, 1, 1)
    );
    let os: Vec<_> = counts
        .os
        .iter()
        .map(|count| (count.os.as_deref(), count.devices))
        .collect();
    assert_eq!(os, [(None, 2), (Some("debian"), 1)]);
    let _ = alpha;
}

#[tokio::test]
async fn hostile_filters_and_foreign_page_tokens_are_refused() {
    let (test, _) = three().await;
    let (devices, admin) = (test.fleet.devices(), test.admin());
    let first = PageRequest::new(Some(1), None).unwrap();
    let order = DeviceOrder::default();
    let token = devices
        .list(&admin, &DeviceFilter::default(), order, &first)
        .await
        .unwrap()
        .next;
    let next = PageRequest::new(Some(1), token).unwrap();
    let other = DeviceFilter {
        presence: Some(Presence::Never),
        ..DeviceFilter::default()
    };
    fails(devices.list(&admin, &other, order, &next).await, PAGE_TOKEN_INVALID);
    for label in ["", "=x", "A", "a\0", "a=x\0"] {
        let filter = DeviceFilter {
            label: vec![label.into()],
            ..DeviceFilter::default()
        };
        fails(devices.count(&admin, &filter).await, DEVICE_LABEL_INVALID);
    }
    let filter = DeviceFilter {
        label: vec!["a".into(); 17],
        ..DeviceFilter::default()
    };
    fails(devices.count(&admin, &filter).await, crate::kernel::INVALID);
    let filter = DeviceFilter {
        search: Some(format!("{} a\0b {}", "x ".repeat(10_000), "y".repeat(100_000))),
        name: Some("\0".into()),
        os: Some("z".repeat(100_000)),
        ..DeviceFilter::default()
    };
    assert_eq!(devices.count(&admin, &filter).await.unwrap(), 0);
    assert!(serde_json::from_str::<DeviceFilter>(r#"{"nonsense":1}"#).is_err());
}
