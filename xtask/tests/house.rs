//! The rules of the house that a compiler does not know: who may import whom, and what may not stand where.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Who of ours may import whom. A new crate needs a line, and thereby a thought.
const IMPORTS: &[(&str, &[&str])] = &[
    ("fleet-core", &["fleet-core-derive"]),
    ("fleet-core-derive", &[]),
    ("fleet-storage-conformance", &["fleet-core"]),
    ("fleet-storage-json", &["fleet-core"]),
    ("fleet-storage-sqlite", &["fleet-core"]),
    ("fleet-storage-postgres", &["fleet-core"]),
    ("fleet-api", &["fleet-core"]),
    ("fleet-agent-lib", &["fleet-core"]),
    (
        "fleet-bins-common",
        &[
            "fleet-core",
            "fleet-storage-json",
            "fleet-storage-postgres",
            "fleet-storage-sqlite",
        ],
    ),
    ("migrate-storage", &["fleet-core", "fleet-bins-common"]),
    ("fleet-server", &["fleet-core", "fleet-api", "fleet-bins-common"]),
    ("fleet-agent", &["fleet-core", "fleet-agent-lib", "fleet-bins-common"]),
    ("fleet", &["fleet-core", "fleet-bins-common"]),
    ("fleet-example-embed", &["fleet-core", "fleet-storage-sqlite"]),
    (
        "fleet-bench",
        &[
            "fleet-core",
            "fleet-api",
            "fleet-agent-lib",
            "fleet-storage-sqlite",
            "fleet-storage-json",
            "fleet-storage-postgres",
            "fleet-bench-dataset",
        ],
    ),
    ("fleet-bench-dataset", &["fleet-core"]),
    // Beside the tests the only one that knows both sides; nothing may import it.
    ("fleet-sim", &["fleet-core", "fleet-api", "fleet-agent-lib"]),
    ("xtask", &[]),
];

/// What their tests may import besides.
const TEST_IMPORTS: &[(&str, &[&str])] = &[
    ("fleet-storage-json", &["fleet-storage-conformance"]),
    (
        "fleet-storage-sqlite",
        &["fleet-storage-conformance", "fleet-storage-json"],
    ),
    (
        "fleet-storage-postgres",
        &[
            "fleet-storage-conformance",
            "fleet-storage-json",
            "fleet-storage-sqlite",
        ],
    ),
    ("fleet-bench-dataset", &["fleet-storage-sqlite"]),
    ("fleet-server", &["fleet-storage-sqlite"]),
    ("fleet", &["fleet-api"]),
    ("migrate-storage", &["fleet-bench-dataset"]),
];

/// Crates whose tests use the whole house; nothing may import them.
const TEST_CRATES: &[&str] = &["fleet-tests"];

/// The only modules of core that a backend knows.
const BACKEND_MODULES: &[&str] = &["store", "kernel"];

/// What core does not do, and who does it.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("std::fs", "files are the edge's"),
    ("tokio::fs", "files are the edge's"),
    ("std::net::Tcp", "sockets are the edge's"),
    ("std::net::Udp", "sockets are the edge's"),
    ("tokio::net", "sockets are the edge's"),
    ("std::process", "processes are the edge's"),
    ("std::env::", "the environment is read by the binaries"),
    ("sqlx", "SQL belongs to backends"),
    ("axum", "HTTP belongs to api"),
    ("reqwest", "HTTP belongs to outbound"),
    ("println!", "a library does not print"),
    ("eprintln!", "a library does not print"),
];

/// Where a detached task is allowed, and who stops it.
const SPAWNS: &[(&str, &str)] = &[];

/// Files that may be longer than the limit, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Lines beyond which a file is two files.
const MAX_LINES: usize = 600;

/// Generated files and the command that makes them. It stands in the file, or in the README beside it where the format has no room.
const GENERATED: &[(&str, &str)] = &[
    ("openapi/openapi.json", "cargo xtask openapi"),
    ("docs/permissions.md", "cargo test -p fleet-core --test handbook"),
    ("docs/errors.md", "cargo test -p xtask --test handbook"),
    ("bench/dataset/data/packages.txt", "data/make.py"),
    ("bench/dataset/data/services.txt", "data/make.py"),
];

/// Crates that no build of ours may contain; `deny.toml` says more.
const BANNED: &[&str] = &["openssl-sys", "openssl", "native-tls", "ring", "serde_yaml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// All Rust sources below a folder, with their path from the root.
fn sources(below: &str) -> BTreeMap<String, String> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    collect(&path, found);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(below), &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// A source without its comments. Good enough for rules: text in quotes is left as it is.
fn code(source: &str) -> String {
    source
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A source without its comments and its tests: tests may use the machine and start what they like.
fn product_code(name: &str, source: &str) -> String {
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/") || name.ends_with("testing.rs");
    if is_test {
        return String::new();
    }
    let code = code(source);
    code.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// Reports all violations at once.
#[track_caller]
fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn crates_import_only_whom_they_may_know() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let mut violations = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        if TEST_CRATES.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(of, _)| *of == name) else {
            violations.push(format!("{name} has no line in IMPORTS"));
            continue;
        };
        let in_tests = TEST_IMPORTS
            .iter()
            .find(|(of, _)| *of == name)
            .map_or(&[][..], |(_, allowed)| allowed);
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let is_test = dependency["kind"] == "dev";
            // A crate may name itself in its tests, to switch its own features on.
            let allowed = allowed.contains(&to) || is_test && (in_tests.contains(&to) || to == name);
            if ours.contains(to) && !allowed {
                violations.push(format!("{name} may not import {to}"));
            }
        }
    }
    none(violations);
}

#[test]
fn backends_know_the_storage_contract_and_nothing_of_the_domain() {
    let mut violations = Vec::new();
    for backend in [
        "storage-json/src",
        "storage-sqlite/src",
        "storage-postgres/src",
        "storage-conformance/src",
    ] {
        for (name, source) in sources(backend) {
            for module in modules_named(&code(&source), "fleet_core::") {
                if !BACKEND_MODULES.contains(&module.as_str()) {
                    violations.push(format!("{name} uses fleet_core::{module}"));
                }
            }
        }
    }
    none(violations);
}

/// The first segments after a prefix, also inside braces.
fn modules_named(code: &str, prefix: &str) -> BTreeSet<String> {
    let identifier = |text: &str| {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(identifier(rest));
            continue;
        };
        found.insert(identifier(group));
        let mut depth = 1;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    found.insert(identifier(&group[at + 1..]));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn groups_of_imports_are_read_to_their_end() {
    let code =
        "use fleet_core::{\n    kernel::{Timestamp, Error},\n    store::Value,\n};\nfn f() { fleet_core::work::x() }";
    let found: Vec<_> = modules_named(code, "fleet_core::").into_iter().collect();
    assert_eq!(found, ["kernel", "store", "work"]);
}

#[test]
fn core_opens_no_sockets_reads_no_files_and_prints_nothing() {
    let mut violations = Vec::new();
    for (name, source) in sources("core/src") {
        for (number, line) in product_code(&name, &source).lines().enumerate() {
            for (word, why) in NOT_IN_CORE {
                if line.contains(word) {
                    violations.push(format!("{name}:{}: {word} ({why})", number + 1));
                }
            }
        }
    }
    none(violations);
}

#[test]
fn no_task_is_detached_without_an_owner() {
    let mut violations = Vec::new();
    for folder in ["core/src", "api/src"] {
        for (name, source) in sources(folder) {
            let code = product_code(&name, &source);
            if code.contains("tokio::spawn") && !SPAWNS.iter().any(|(allowed, _)| *allowed == name) {
                violations.push(format!("{name}: tokio::spawn; say in SPAWNS who stops the task"));
            }
        }
    }
    for (name, _) in SPAWNS {
        let source = fs::read_to_string(root().join(name)).unwrap_or_default();
        if !source.contains("tokio::spawn") {
            violations.push(format!("SPAWNS: {name} spawns nothing any more"));
        }
    }
    none(violations);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut violations = Vec::new();
    let sources = sources("");
    for (name, source) in &sources {
        let lines = source.lines().count();
        let is_listed = LONG_FILES.iter().any(|(allowed, _)| allowed == name);
        if lines > MAX_LINES && !is_listed {
            violations.push(format!("{name} has {lines} lines"));
        }
        if lines <= MAX_LINES && is_listed {
            violations.push(format!("LONG_FILES: {name} is short enough now"));
        }
    }
    assert!(
        sources.len() > 50,
        "the search has lost its way: {} files",
        sources.len()
    );
    none(violations);
}

#[test]
fn every_crate_takes_lints_versions_and_edition_from_the_workspace() {
    let mut violations = Vec::new();
    for package in packages() {
        let path = package["manifest_path"].as_str().unwrap();
        let manifest: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let inherits = |value: Option<&toml::Value>| {
            value
                .and_then(|value| value.get("workspace"))
                .is_some_and(|workspace| workspace.as_bool() == Some(true))
        };
        if !inherits(manifest.get("lints")) {
            violations.push(format!("{path}: [lints] workspace = true"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(manifest["package"].get(key)) {
                violations.push(format!("{path}: {key}.workspace = true"));
            }
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(toml::Value::as_table);
            for (name, dependency) in dependencies.into_iter().flatten() {
                if !inherits(Some(dependency)) {
                    violations.push(format!(
                        "{path}: {table}: {name} does not come from [workspace.dependencies]"
                    ));
                }
            }
        }
    }
    none(violations);
}

#[test]
fn the_library_and_its_backends_document_every_public_item() {
    let violations = ["core", "storage-sqlite", "storage-postgres", "storage-conformance"]
        .into_iter()
        .map(|name| format!("{name}/src/lib.rs"))
        .filter(|name| {
            let source = fs::read_to_string(root().join(name)).unwrap();
            !source.contains("(missing_docs)")
        })
        .map(|name| format!("{name} does not ask for missing_docs"))
        .collect();
    none(violations);
}

#[test]
fn generated_files_say_how_they_are_made() {
    let mut violations = Vec::new();
    for (name, command) in GENERATED {
        let path = root().join(name);
        if !path.exists() {
            // `cargo xtask openapi --check` misses it.
            continue;
        }
        let readme = path.parent().unwrap().join("README.md");
        let says = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(command));
        if !says(&path) && !says(&readme) {
            violations.push(format!("{name} does not name its command, {command}"));
        }
    }
    none(violations);
}

#[test]
fn banned_crates_are_in_no_build() {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--edges",
        "all",
        "--target",
        "all",
        "--prefix",
        "none",
    ]);
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("serde"), "the tree of dependencies cannot be read");
    none(
        BANNED
            .iter()
            .filter(|banned| names.contains(*banned))
            .map(|banned| format!("{banned} is in the tree: cargo tree --invert {banned}"))
            .collect(),
    );
}
