//! Occurrences, page by page, and as other programs read them.

use super::*;
use crate::{
    access::{Context, Grants, Scope},
    kernel::PAGE_TOKEN_INVALID,
};

async fn filled() -> TestFleet {
    let test = TestFleet::new().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let freeze = NewWindow {
        kind: WindowKind::Blackout,
        description: "Nobody touches anything; not even you,\nreally".into(),
        when: once("2027-01-15T07:00:00Z", "2027-01-17T02:00:00Z"),
        ..nightly("Freeze")
    };
    for new in [nightly("Nights"), freeze] {
        windows.create(&admin, &new).await.unwrap();
        // Ids that are told apart by their time.
        test.advance(1);
    }
    let disabled = NewWindow {
        enabled: false,
        ..nightly("Off")
    };
    windows.create(&admin, &disabled).await.unwrap();
    test
}

#[tokio::test]
async fn occurrences_come_in_order_page_by_page() {
    let test = filled().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let filter = OccurrenceFilter {
        // In the middle of a night, which is told too.
        from: Some(at("2027-01-15T03:59:59Z")),
        to: Some(at("2027-01-19T02:00:00Z")),
        window: None,
    };
    for limit in 1..=6 {
        let (mut told, mut next) = (Vec::new(), None);
        loop {
            let page = PageRequest::new(Some(limit), next).unwrap();
            let found = windows.occurrences(&admin, &filter, &page).await.unwrap();
            assert!(found.items.len() <= limit);
            told.extend(
                found
                    .items
                    .iter()
                    .map(|item| format!("{} {}", item.name, &item.starts_at.to_string()[8..16])),
            );
            next = found.next;
            if next.is_none() {
                break;
            }
        }
        let expected = [
            "Nights 15T02:00",
            "Freeze 15T07:00",
            "Nights 16T02:00",
            "Nights 17T02:00",
            "Nights 18T02:00",
        ];
        assert_eq!(told, expected, "pages of {limit}");
    }
    let other = OccurrenceFilter {
        window: Some(
            windows
                .list(&admin, Some("fr"), &PageRequest::default())
                .await
                .unwrap()
                .items[0]
                .id,
        ),
        ..filter
    };
    let only = windows
        .occurrences(&admin, &other, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(only.items.len(), 1);
    assert_eq!(only.items[0].ends_at, at("2027-01-17T02:00:00Z"));
    let first = PageRequest::new(Some(1), None).unwrap();
    let token = windows.occurrences(&admin, &filter, &first).await.unwrap().next;
    let foreign = PageRequest::new(Some(1), token).unwrap();
    fails(windows.occurrences(&admin, &other, &foreign).await, PAGE_TOKEN_INVALID);
}

#[tokio::test]
async fn a_calendar_has_bounds() {
    let test = filled().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    for (from, to) in [
        ("2027-01-15T00:00:00Z", "2027-01-15T00:00:00Z"),
        ("2027-01-15T00:00:00Z", "2028-01-16T00:00:01Z"),
    ] {
        let filter = OccurrenceFilter {
            from: Some(at(from)),
            to: Some(at(to)),
            window: None,
        };
        let error = windows.calendar(&admin, &filter).await.unwrap_err();
        assert_eq!((error.code(), &*error.fields()[0].pointer), (INVALID, "to"));
    }
    let minutes = NewWindow {
        when: recurring("* * * * *", "UTC", 60),
        ..nightly("Minutes")
    };
    windows.create(&admin, &minutes).await.unwrap();
    let text = windows.calendar(&admin, &OccurrenceFilter::default()).await.unwrap();
    assert_eq!(text.matches("BEGIN:VEVENT").count(), 1_000);
    assert!(text.contains("DESCRIPTION:The first 1000 occurrences; there are more.\r\n"));
}

#[tokio::test]
async fn other_programs_can_subscribe_to_the_calendar() {
    let test = filled().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let freeze = windows
        .list(&admin, Some("fr"), &PageRequest::default())
        .await
        .unwrap()
        .items
        .remove(0);
    test.advance(9);
    let renamed = WindowChange {
        name: Some("Freeze of the year's end, for all who have devices anywhere at all".into()),
        ..WindowChange::default()
    };
    windows.set(&admin, freeze.id, None, &renamed).await.unwrap();
    let filter = OccurrenceFilter {
        window: Some(freeze.id),
        ..OccurrenceFilter::default()
    };
    let text = windows.calendar(&admin, &filter).await.unwrap();
    let expected = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//fleet//windows//EN\r\nCALSCALE:GREGORIAN\r\nNAME:Windows and plans\r\n\
         X-WR-CALNAME:Windows and plans\r\nREFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n\
         BEGIN:VEVENT\r\nUID:{}-1799996400@fleet\r\nSEQUENCE:2\r\nDTSTAMP:20270115T080011Z\r\n\
         DTSTART:20270115T070000Z\r\nDTEND:20270117T020000Z\r\n\
         SUMMARY:Blackout: Freeze of the year's end\\, for all who have devices anywh\r\n ere at all\r\n\
         DESCRIPTION:Nobody touches anything\\; not even you\\,\\nreally\r\n\
         CATEGORIES:BLACKOUT\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        freeze.id
    );
    assert_eq!(text, expected);
    // It follows from the windows alone: asked again later it is the same.
    test.advance(60);
    assert_eq!(windows.calendar(&admin, &filter).await.unwrap(), expected);
}

#[tokio::test]
async fn plans_stand_beside_windows_for_those_who_may_see_them() {
    let test = filled().await;
    let (windows, admin) = (test.fleet.windows(), test.admin());
    let plan = |name: &str, cron: &str, enabled: bool| -> crate::work::plans::NewPlan {
        let schedule = serde_json::json!({"type": "cron", "cron": cron, "zone": "UTC"});
        let new = serde_json::json!({"name": name, "operation": "inventory.refresh", "targets": {"all": true},
            "schedule": schedule, "enabled": enabled});
        serde_json::from_value(new).unwrap()
    };
    for new in [plan("Morning", "0 6 * * *", true), plan("Never", "0 7 * * *", false)] {
        test.fleet.plans().create(&admin, &new).await.unwrap();
    }
    let filter = OccurrenceFilter {
        from: Some(at("2027-01-15T06:00:00Z")),
        to: Some(at("2027-01-17T06:00:00Z")),
        window: None,
    };
    let shown = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("SUMMARY") || line.starts_with("DTSTART"));
        let lines: Vec<_> = lines.map(|line| line.rsplit(": ").next().unwrap_or(line)).collect();
        lines
            .chunks(2)
            .map(|pair| format!("{} {}", pair[1], &pair[0][14..18]))
            .collect()
    };
    let text = windows.calendar(&admin, &filter).await.unwrap();
    let expected = [
        "Morning 15T0",
        "Freeze 15T0",
        "Nights 16T0",
        "Morning 16T0",
        "Nights 17T0",
    ];
    assert_eq!(shown(&text), expected);
    let no_plans = Grants::of([(WINDOWS_READ, Scope::All)]);
    let other = Context::new(admin.actor().clone(), Default::default(), std::sync::Arc::new(no_plans));
    let text = windows.calendar(&other, &filter).await.unwrap();
    assert_eq!(shown(&text), ["Freeze 15T0", "Nights 16T0", "Nights 17T0"]);

    let minutes = plan("Minutes", "* * * * *", true);
    test.fleet.plans().create(&admin, &minutes).await.unwrap();
    let text = windows.calendar(&admin, &OccurrenceFilter::default()).await.unwrap();
    assert_eq!(text.matches("BEGIN:VEVENT").count(), 1_000);
    assert!(text.contains("there are more."));
}
