//! The list of modules is complete, and what its modules declare fits together.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use fleet_core::modules::{Module, built_in, schema};

fn source_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All sources of core with their paths, tests left out.
fn sources() -> BTreeMap<String, String> {
    fn collect(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(source_folder()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                collect(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&source_folder(), &mut found);
    found
}

/// What stands in quotes behind each `constructor(`, comments left out.
fn names_made_by(constructor: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (file, source) in sources() {
        let code: Vec<_> = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let code = code.join("\n");
        for (at, _) in code.match_indices(constructor) {
            let rest = code[at + constructor.len()..].trim_start();
            if let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                names.push((name.to_owned(), file.clone()));
            }
        }
    }
    names
}

/// Reports each name that stands twice, whoever declares it.
#[track_caller]
fn unique<'a>(what: &str, names: impl IntoIterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = names.into_iter().filter(|name| !seen.insert(*name)).collect();
    assert!(!seen.is_empty(), "no {what} at all: the search has lost its way");
    assert!(twice.is_empty(), "{what} declared twice: {twice:?}");
}

/// Words of lower-case letters, digits and `inner`, which begin with a letter, separated by `separator`.
fn is_path(name: &str, separator: char, inner: char, words: std::ops::RangeInclusive<usize>) -> bool {
    let fits = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && !word.ends_with(inner)
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == inner)
    };
    let parts: Vec<_> = name.split(separator).collect();
    words.contains(&parts.len()) && parts.into_iter().all(fits)
}

#[track_caller]
fn grammar<'a>(what: &str, names: impl IntoIterator<Item = &'a str>, fits: impl Fn(&str) -> bool) {
    let wrong: Vec<_> = names.into_iter().filter(|name| !fits(name)).collect();
    assert!(wrong.is_empty(), "{what} outside the grammar: {wrong:?}");
}

/// All names of one sort, over all modules.
fn of<T>(modules: &[Module], list: impl Fn(&Module) -> &[T], name: impl Fn(&T) -> &'static str) -> Vec<&'static str> {
    modules
        .iter()
        .flat_map(|module| list(module).iter().map(&name).collect::<Vec<_>>())
        .collect()
}

#[test]
fn every_folder_with_a_module_is_in_the_list() {
    let folders: BTreeSet<String> = sources()
        .keys()
        .filter_map(|file| file.strip_suffix("/module.rs"))
        .map(str::to_owned)
        .collect();
    let listed: BTreeSet<String> = built_in().iter().map(|module| module.name.to_owned()).collect();
    assert_eq!(listed, folders);
}

#[test]
fn every_action_and_setting_that_is_declared_is_in_its_module() {
    let modules = built_in();
    let check = |constructor, listed: Vec<&str>| {
        let listed: BTreeSet<_> = listed.into_iter().map(str::to_owned).collect();
        let declared: BTreeSet<_> = names_made_by(constructor).into_iter().map(|(name, _)| name).collect();
        assert_eq!(listed, declared, "{constructor}…)");
    };
    check("Action::new(", of(&modules, |m| &m.actions, |action| action.name()));
    check(
        "SettingKey::new(",
        of(&modules, |m| &m.settings, |setting| setting.name),
    );
}

#[test]
fn every_permission_that_is_declared_is_in_the_table() {
    let modules = built_in();
    let listed: BTreeSet<_> = of(&modules, |m| &m.permissions, |entry| entry.permission.name())
        .into_iter()
        .map(str::to_owned)
        .collect();
    let declared: BTreeSet<_> = names_made_by("Permission::new(")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, declared);
    for kind in modules.iter().flat_map(|module| &module.operations) {
        assert!(listed.contains(kind.permission.name()), "{}", kind.name);
    }
}

#[test]
fn names_are_declared_once() {
    let modules = built_in();
    unique("modules", modules.iter().map(|module| module.name));
    // Kinds, lanes and latest values are tables of one store: one name, one meaning.
    let mut stored = of(&modules, |m| &m.kinds, |kind| kind.name);
    stored.extend(of(&modules, |m| &m.lanes, |lane| lane.name));
    stored.extend(of(&modules, |m| &m.latest, |latest| latest.name));
    unique("kinds, lanes and latest values", stored);
    unique(
        "permissions",
        of(&modules, |m| &m.permissions, |entry| entry.permission.name()),
    );
    unique("actions", of(&modules, |m| &m.actions, |action| action.name()));
    unique("operations", of(&modules, |m| &m.operations, |kind| kind.name));
    unique("settings", of(&modules, |m| &m.settings, |setting| setting.name));
    unique("jobs", of(&modules, |m| &m.jobs, |job| job.name));
}

#[test]
fn error_codes_are_declared_once() {
    let codes = names_made_by("Code::new(");
    unique("error codes", codes.iter().map(|(name, _)| name.as_str()));
}

#[test]
fn names_follow_the_grammar() {
    let modules = built_in();
    // resource:verb; the resource of an operation's permission is `operations.<kind>`.
    let permission = |name: &str| {
        name.split_once(':').is_some_and(|(resource, verb)| {
            resource.split('.').all(|part| is_path(part, '.', '-', 1..=1)) && is_path(verb, '.', '-', 1..=1)
        })
    };
    grammar(
        "permissions",
        of(&modules, |m| &m.permissions, |entry| entry.permission.name()),
        permission,
    );
    grammar(
        "actions",
        of(&modules, |m| &m.actions, |action| action.name()),
        |name| is_path(name, '.', '_', 2..=3),
    );
    grammar(
        "operations",
        of(&modules, |m| &m.operations, |kind| kind.name),
        // Part of its permission's name: written as those are.
        |name| is_path(name, '.', '-', 1..=2),
    );
    grammar(
        "settings",
        of(&modules, |m| &m.settings, |setting| setting.name),
        |name| is_path(name, '.', '_', 2..=2),
    );
    grammar("jobs", of(&modules, |m| &m.jobs, |job| job.name), |name| {
        is_path(name, '.', '_', 2..=2)
    });
    let codes = names_made_by("Code::new(");
    grammar("error codes", codes.iter().map(|(name, _)| name.as_str()), |name| {
        name == "internal" || is_path(name, '.', '_', 2..=2)
    });
}

#[test]
fn the_name_of_a_module_stands_before_its_settings_and_jobs() {
    for module in built_in() {
        let names = module.settings.iter().map(|setting| setting.name);
        for name in names.chain(module.jobs.iter().map(|job| job.name)) {
            assert!(
                name.starts_with(&format!("{}.", module.name)),
                "{} of {}",
                name,
                module.name
            );
        }
    }
}

#[test]
fn descriptions_are_written_for_people() {
    for module in built_in() {
        for entry in &module.permissions {
            let fits = !entry.allows.is_empty() && !entry.allows.ends_with('.');
            assert!(fits, "{}: {:?}", entry.permission.name(), entry.allows);
        }
        for setting in &module.settings {
            assert!(
                setting.description.ends_with('.'),
                "{}: {:?}",
                setting.name,
                setting.description
            );
        }
        for kind in &module.operations {
            assert!(!kind.title.is_empty(), "{}", kind.name);
            assert!(kind.timeout_seconds <= kind.max_timeout_seconds, "{}", kind.name);
        }
    }
}

#[test]
fn the_grammar_tells_names_from_others() {
    for (name, fits) in [
        ("device.label.set", true),
        ("api_key.create", true),
        ("device", false),
        ("a.b.c.d", false),
        ("Device.set", false),
        ("device.", false),
        ("device.1st", false),
        ("device-group.set", false),
    ] {
        assert_eq!(is_path(name, '.', '_', 2..=3), fits, "{name}");
    }
}

#[test]
fn what_all_modules_declare_is_one_schema() {
    schema(&built_in()).unwrap();
}
