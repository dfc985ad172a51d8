//! What halts a rollout, and what becomes of it then.

use super::*;

#[tokio::test]
async fn too_many_failures_halt_it_and_are_forgiven_when_it_goes_on() {
    for (limit, waves, borne) in [
        (
            json!({"type": "count", "failures": 1}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 20}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 39}),
            json!([{"type": "count", "devices": 5}]),
            1,
        ),
        (
            json!({"type": "percent", "percent": 40}),
            json!([{"type": "count", "devices": 5}]),
            2,
        ),
    ] {
        for failed in [borne, borne + 1] {
            let it = Rolling::new(10, json!({"waves": waves, "max_failures": limit})).await;
            it.work_off(failed).await;
            if failed == borne {
                assert_eq!(
                    (it.shown().await.phase, it.shown().await.wave),
                    (Phase::Rolling, 2),
                    "{limit}"
                );
                continue;
            }
            let halted = it.shown().await;
            assert_eq!((halted.phase.name(), halted.wave), ("halted", 1), "{limit}");
            let first = &halted.failures[0];
            assert_eq!((halted.failures.len(), first.state), (failed, State::Failed));
            assert!(
                halted.in_words.contains(&format!("{} (failed)", first.device_name)),
                "{}",
                halted.in_words
            );
            it.tick().await;
            assert_eq!(it.shown().await.phase.name(), "halted");
            let gone_on = it.resume().await;
            assert_eq!(
                (gone_on.phase.name(), gone_on.wave),
                ("rolling", 2),
                "{}",
                gone_on.in_words
            );
        }
    }
}

#[tokio::test]
async fn what_was_let_go_waits_while_it_is_halted() {
    let it = Rolling::new(3, json!({"max_failures": {"type": "count", "failures": 0}})).await;
    let runs = it.runs_in(State::Queued).await;
    it.begin(&runs[0]).await;
    let failed = it.work.finished(runs[0].id, RunResult::Failed);
    it.work
        .test
        .fleet
        .delivery()
        .finished(runs[0].device, failed)
        .await
        .unwrap();
    it.tick().await;
    it.check("halted", 1, &["failed 1", "queued 2"]).await;
    let offered = |run: RunView| {
        let (fleet, dispatch) = (&it.work.test.fleet, &it.work.dispatch);
        async move {
            fleet
                .delivery()
                .pending(run.device, 1, dispatch)
                .await
                .unwrap()
                .offers
                .len()
        }
    };
    assert_eq!(offered(runs[1].clone()).await, 0);
    // However long that takes, nothing expires meanwhile.
    it.work.advance(2 * 3_600);
    it.work.sweep().await;
    it.resume().await;
    assert_eq!(offered(runs[1].clone()).await, 1);
    assert_eq!(it.work.show(runs[2].id).await.expires_at, it.work.now().plus(HOUR));
}

#[tokio::test]
async fn a_wave_of_which_nothing_succeeds_halts_it_whatever_is_borne() {
    let it = Rolling::new(10, waves()).await;
    it.work_off(1).await;
    let halted = it.shown().await;
    assert!(
        halted
            .in_words
            .starts_with("halted in wave 1 of 3: no run of this wave succeeded: "),
        "{}",
        halted.in_words
    );
    it.resume().await;
    it.check("rolling", 2, &["failed 1", "queued 3", "scheduled 6"]).await;
}

#[tokio::test]
async fn a_run_that_nobody_came_for_is_a_failure_unless_offline_devices_are_passed_over() {
    let limit = json!({"type": "count", "failures": 0});
    let waves = json!([{"type": "count", "devices": 2}]);
    let it = Rolling::new(4, json!({"waves": waves, "max_failures": limit})).await;
    let first = it.runs_in(State::Queued).await.remove(0);
    it.begin(&first).await;
    it.work.advance(10);
    let done = it.work.finished(first.id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(first.device, done)
        .await
        .unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 1", "scheduled 2", "succeeded 1"])
        .await;
    it.work.advance(3_600);
    it.work.sweep().await;
    it.tick().await;
    it.check("halted", 1, &["expired 1", "scheduled 2", "succeeded 1"])
        .await;

    let it = Rolling::new(
        4,
        json!({"waves": waves, "max_failures": limit, "ignore_offline": true, "max_parallel": 2}),
    )
    .await;
    let [first, silent]: [RunView; 2] = it.runs_in(State::Queued).await.try_into().unwrap();
    it.begin(&first).await;
    let done = it.work.finished(first.id, RunResult::Succeeded);
    it.work
        .test
        .fleet
        .delivery()
        .finished(first.device, done)
        .await
        .unwrap();
    it.tick().await;
    it.check("rolling", 1, &["queued 1", "scheduled 2", "succeeded 1"])
        .await;
    // The other one falls silent: it keeps its run, and nobody waits for it.
    for _ in 0..12 {
        it.work.advance(10);
        for device in it.devices.iter().filter(|device| **device != silent.device) {
            beat(&it.work, *device, "1.0.0").await;
        }
        it.work.test.fleet.presence().sweep().await.unwrap();
    }
    it.tick().await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
    it.work.advance(3_600);
    it.work.sweep().await;
    it.tick().await;
    assert_eq!(it.shown().await.failed, 0);
}

#[tokio::test]
async fn devices_have_to_be_well_after_their_wave() {
    let asked = json!({"waves": [{"type": "count", "devices": 2}], "watch_seconds": 90});
    for (is_silent, phase, wave) in [(false, "rolling", 2), (true, "halted", 1)] {
        let it = Rolling::new(6, asked.clone()).await;
        let first = it.work_off(0).await;
        it.check("watching", 1, &["scheduled 4", "succeeded 2"]).await;
        for _ in 0..9 {
            it.work.advance(10);
            for device in it.devices.iter().filter(|device| !is_silent || **device != first[0]) {
                beat(&it.work, *device, "1.0.0").await;
            }
            it.work.test.fleet.presence().sweep().await.unwrap();
            assert_eq!(it.shown().await.phase.name(), "watching");
            it.tick().await;
        }
        let shown = it.shown().await;
        assert_eq!((shown.phase.name(), shown.wave), (phase, wave), "{}", shown.in_words);
        if is_silent {
            let words = "halted in wave 1 of 2: one device is not well 90 seconds after the wave: ";
            assert!(shown.in_words.starts_with(words), "{}", shown.in_words);
            assert!(shown.in_words.ends_with("(not connected)"), "{}", shown.in_words);
            // Whoever lets it go on bears that, and is not asked to wait once more.
            let gone_on = it.resume().await;
            assert_eq!((gone_on.phase.name(), gone_on.wave, gone_on.unwell), ("rolling", 2, 1));
        }
    }
}

#[tokio::test]
async fn an_agent_that_was_updated_has_to_be_the_version_that_was_meant() {
    for (becomes, phase) in [("1.1.0", "rolling"), ("1.0.0", "halted")] {
        let asked = json!({"waves": [{"type": "count", "devices": 1}], "watch_seconds": 60});
        let it = Rolling::of(3, asked, |request, _| {
            request.operation = agent_update::NAME.into();
            request.params = json!({"version": "1.1.0"}).into();
        })
        .await;
        let first = it.work_off(0).await;
        it.work.advance(60);
        beat(&it.work, first[0], becomes).await;
        it.tick().await;
        let shown = it.shown().await;
        assert_eq!(shown.phase.name(), phase, "{}", shown.in_words);
        assert_eq!(
            shown.in_words.ends_with("(its agent is 1.0.0, not 1.1.0)"),
            becomes == "1.0.0",
            "{}",
            shown.in_words
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_make_it_watch_for_as_long() {
    let it = Rolling::new(
        4,
        json!({"waves": [{"type": "count", "devices": 1}], "watch_seconds": 60}),
    )
    .await;
    it.work_off(0).await;
    it.work.test.set_back(86_400);
    it.tick().await;
    it.pass(59).await;
    assert_eq!(it.shown().await.phase.name(), "watching");
    it.pass(1).await;
    it.check("rolling", 2, &["queued 3", "succeeded 1"]).await;
}
