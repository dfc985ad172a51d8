use std::{fmt::Debug, sync::Arc};

use serde_json::{Value as Json, json};

use super::{Override, Overrides, Seconds, SettingKey, SettingSource};
use crate::{
    Fleet,
    access::{Context, Grants, Origin, audit::AuditFilter},
    kernel::{ManualClock, MasterKey, PageRequest, Result, SeededRandom, Timestamp},
    modules::Module,
    store::{Backend, memory::MemoryStore},
};

const EVERY: SettingKey<Seconds> =
    SettingKey::new("test.every_seconds", "How often.", || Seconds(60)).validated(|value| value.within(10, 3600));
const TITLE: SettingKey<String> = SettingKey::new("test.title", "A text.", || "fleet".to_owned());

fn module() -> Module {
    Module {
        name: "test",
        settings: vec![EVERY.definition(), TITLE.definition()],
        ..Module::default()
    }
}

async fn open(backend: &Arc<dyn Backend>, overrides: &[(&str, Override)]) -> Result<Fleet> {
    let mut all = Overrides::new();
    for (name, value) in overrides {
        all.entry((*name).to_owned()).or_default().push(value.clone());
    }
    Fleet::builder(backend.clone(), MasterKey::generate(&SeededRandom::new(1)))
        .clock(Arc::new(ManualClock::new(Timestamp::EPOCH)))
        .random(Arc::new(SeededRandom::new(backend.view().await?.seq())))
        .module(module())
        .settings(all)
        .open()
        .await
}

fn backend() -> Arc<dyn Backend> {
    Arc::new(MemoryStore::new(Arc::new(ManualClock::new(Timestamp::EPOCH))))
}

/// The value of `test.every_seconds` and its source, with `stored` in the store and these values handed in.
async fn check(stored: Option<u64>, overrides: &[Override], expected: (u64, SettingSource)) {
    let backend = backend();
    let system = Context::system("test");
    if let Some(stored) = stored {
        let fleet = open(&backend, &[]).await.unwrap();
        fleet
            .settings()
            .set(&system, EVERY.name(), &json!(stored), None)
            .await
            .unwrap();
    }
    let overrides: Vec<_> = overrides.iter().map(|value| (EVERY.name(), value.clone())).collect();
    let fleet = open(&backend, &overrides).await.unwrap();
    let view = fleet.settings().show(&system, EVERY.name()).await.unwrap();
    assert_eq!((fleet.settings().get(&EVERY).0, view.source), expected);
    assert_eq!((view.value, view.default), (json!(expected.0), json!(60)));
    assert_eq!(view.stored, stored.map(|stored| json!(stored)));
}

#[track_caller]
fn refused<T: Debug>(outcome: Result<T>, code: &str, part: &str) {
    let error = outcome.unwrap_err();
    assert!(
        error.code().name() == code && error.message().contains(part),
        "{error:?}"
    );
}

#[tokio::test]
async fn flag_stands_above_environment_above_file_above_stored_above_default() {
    let flag = Override::Flag("11".to_owned());
    let environment = Override::Environment("12".to_owned());
    let file = Override::File(json!(13));
    check(None, &[], (60, SettingSource::Default)).await;
    check(Some(14), &[], (14, SettingSource::Stored)).await;
    check(Some(14), std::slice::from_ref(&file), (13, SettingSource::File)).await;
    check(
        Some(14),
        &[file.clone(), environment.clone()],
        (12, SettingSource::Environment),
    )
    .await;
    check(Some(14), &[environment, flag, file], (11, SettingSource::Flag)).await;
}

#[tokio::test]
async fn a_mistake_in_flag_environment_or_file_stops_the_start() {
    let backend = backend();
    let flag = |text: &str| Override::Flag(text.to_owned());
    refused(
        open(&backend, &[("test.evry", flag("1"))]).await,
        "setting.not_found",
        "test.evry",
    );
    refused(
        open(&backend, &[(EVERY.name(), flag("9"))]).await,
        "setting.invalid",
        "10 to 3600 seconds",
    );
    let environment = Override::Environment("soon".to_owned());
    refused(
        open(&backend, &[(EVERY.name(), environment)]).await,
        "setting.invalid",
        "the environment",
    );
    // Also when something better stands above it.
    let file = Override::File(json!("60"));
    let both = [(EVERY.name(), flag("60")), (EVERY.name(), file)];
    refused(open(&backend, &both).await, "setting.invalid", "the configuration file");
}

#[tokio::test]
async fn a_text_from_the_environment_stays_what_it_is() {
    for text in ["123", "true", "\"quoted\"", ""] {
        let environment = Override::Environment(text.to_owned());
        let fleet = open(&backend(), &[(TITLE.name(), environment)]).await.unwrap();
        assert_eq!(fleet.settings().get(&TITLE), text);
    }
}

#[tokio::test]
async fn a_change_holds_at_once_is_audited_by_name_and_can_be_taken_back() {
    let fleet = open(&backend(), &[]).await.unwrap();
    let (settings, system) = (fleet.settings(), Context::system("test"));
    let view = settings
        .set(&system, TITLE.name(), &json!("canary"), Some(0))
        .await
        .unwrap();
    assert_eq!((view.revision, view.source), (1, SettingSource::Stored));
    assert_eq!(settings.get(&TITLE), "canary");

    let page = PageRequest::default();
    let audit = || async {
        let mut entries = fleet
            .audit()
            .list(&system, &AuditFilter::default(), &page)
            .await
            .unwrap()
            .items;
        entries.retain(|entry| entry.action.starts_with("setting."));
        entries
    };
    let entry = audit().await.remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.changed.as_slice()),
        ("setting.set", &["test.title".to_owned()][..])
    );
    assert!(!serde_json::to_string(&entry).unwrap().contains("canary"));

    let entries = audit().await.len();
    settings
        .set(&system, TITLE.name(), &json!("canary"), None)
        .await
        .unwrap();
    assert_eq!(audit().await.len(), entries, "nothing changed");

    let stale = settings.set(&system, TITLE.name(), &json!("x"), Some(0)).await;
    refused(stale, "request.precondition_failed", "");
    settings.reset(&system, TITLE.name(), Some(1)).await.unwrap();
    assert_eq!(settings.get(&TITLE), "fleet");
    assert_eq!(audit().await[0].action, "setting.reset");
    settings.reset(&system, TITLE.name(), None).await.unwrap();
    assert_eq!(audit().await.len(), entries + 1, "there was nothing to take back");
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let fleet = open(&backend(), &[]).await.unwrap();
    let (settings, system) = (fleet.settings(), Context::system("test"));
    for value in [json!(9), json!(3601), json!("60"), json!(-1), json!(60.5), Json::Null] {
        refused(
            settings.set(&system, EVERY.name(), &value, None).await,
            "setting.invalid",
            EVERY.name(),
        );
    }
    refused(
        settings.set(&system, "test.other", &json!(1), None).await,
        "setting.not_found",
        "",
    );
    let viewer = Context::new(
        crate::access::Actor::Anonymous,
        Origin::default(),
        Arc::new(Grants::default()),
    );
    refused(
        settings.set(&viewer, EVERY.name(), &json!(60), None).await,
        "access.denied",
        "settings:write",
    );
    refused(
        settings.reset(&viewer, EVERY.name(), None).await,
        "access.denied",
        "settings:write",
    );
    refused(settings.list(&viewer).await, "access.denied", "settings:read");
    refused(
        settings.show(&viewer, EVERY.name()).await,
        "access.denied",
        "settings:read",
    );
}

#[tokio::test]
async fn a_stored_value_that_breaks_a_newer_rule_is_named_and_not_used() {
    const LOOSE: SettingKey<Seconds> = SettingKey::new("test.every_seconds", "How often.", || Seconds(60));
    let backend = backend();
    let system = Context::system("test");
    let older = Fleet::builder(backend.clone(), MasterKey::generate(&SeededRandom::new(1))).module(Module {
        settings: vec![LOOSE.definition()],
        ..Module::default()
    });
    let older = older.open().await.unwrap();
    older
        .settings()
        .set(&system, LOOSE.name(), &json!(5), None)
        .await
        .unwrap();

    let fleet = open(&backend, &[]).await.unwrap();
    assert_eq!(fleet.settings().get(&EVERY).0, 60);
    let view = fleet.settings().show(&system, EVERY.name()).await.unwrap();
    assert_eq!((view.source, view.stored), (SettingSource::Default, Some(json!(5))));
    assert_eq!(view.problem.as_deref(), Some("10 to 3600 seconds"));
}

#[tokio::test]
async fn another_server_sees_a_change_when_it_looks_again() {
    let backend = backend();
    let (one, two) = (open(&backend, &[]).await.unwrap(), open(&backend, &[]).await.unwrap());
    let system = Context::system("test");
    one.settings()
        .set(&system, EVERY.name(), &json!(90), None)
        .await
        .unwrap();
    assert_eq!(two.settings().get(&EVERY).0, 60);
    two.settings().refresh().await.unwrap();
    assert_eq!(two.settings().get(&EVERY).0, 90);
}

#[tokio::test]
async fn all_settings_are_listed_and_a_key_is_declared_once() {
    let fleet = open(&backend(), &[]).await.unwrap();
    let list = fleet.settings().list(&Context::system("test")).await.unwrap();
    let names: Vec<_> = list.iter().map(|view| view.name.as_str()).collect();
    assert!(names.is_sorted() && names.contains(&"access.session_idle_seconds") && names.contains(&"test.title"));
    assert!(list.iter().all(|view| !view.description.is_empty()));

    let twice = Fleet::builder(backend(), MasterKey::generate(&SeededRandom::new(1)))
        .module(module())
        .module(module());
    assert!(twice.open().await.unwrap_err().log().contains("declared twice"));
}
