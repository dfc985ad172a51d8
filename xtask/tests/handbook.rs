//! The page of error codes says what the sources say.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where codes are declared, and who meets them.
const PARTS: &[(&str, &str)] = &[
    ("core/src", "Of the domain"),
    ("api/src", "Of the HTTP face"),
    (
        "agent-lib/src",
        "Of agents: in results and refusals of runs, and in the agent's log",
    ),
];

const COMMAND: &str = "INSTA_UPDATE=always cargo test -p xtask --test handbook";

/// A declared code.
#[derive(Debug, PartialEq, Eq)]
struct Code {
    class: String,
    meaning: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The codes of a source: each `const … = Code::new("name", Class::…)` with the comment above it.
fn codes(source: &str) -> Vec<(String, Code)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("Code = Code::new(") {
        let rest = source[at..].split_once('(').unwrap().1;
        let declared = rest.split_once(");").unwrap().0;
        let name = declared.split('"').nth(1).unwrap();
        let class = declared.split_once("Class::").unwrap().1.trim().trim_end_matches(',');
        let line = source[..at].rfind('\n').map_or(0, |line| line + 1);
        let comment: Vec<_> = source[..line]
            .lines()
            .rev()
            .map_while(|line| line.trim().strip_prefix("///"))
            .map(str::trim)
            .collect();
        let meaning = comment.into_iter().rev().collect::<Vec<_>>().join(" ");
        let code = Code {
            class: class.to_owned(),
            meaning,
        };
        found.push((name.to_owned(), code));
    }
    found
}

/// Comments name items of the code; readers of the page do not.
fn plain(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

#[test]
fn error_codes() {
    let mut page = format!(
        "# Error codes\n\n<!-- Generated from the sources by `{COMMAND}`. -->\n\n\
         A failed request is answered with a problem document (RFC 9457) whose `code` is one of these. A code never changes its \
         meaning; the text\nbeside it may. The class decides the HTTP status: Invalid 400, Unauthenticated 401, Denied 403, \
         NotFound 404, Conflict 409,\nPrecondition 412, TooLarge 413, RateLimited 429, Internal 500, Unavailable 503. Four have \
         another: `route.method_not_allowed` 405,\n`request.content_type_unsupported` 415, `idempotency.key_reused` 422, \
         `request.precondition_required` 428.\n"
    );
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (folder, title) in PARTS {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        files.sort();
        let mut part = BTreeMap::new();
        for file in files {
            for (name, code) in codes(&fs::read_to_string(&file).unwrap()) {
                assert!(!code.meaning.is_empty(), "{name} does not say what it means");
                let declared = file.display().to_string();
                if let Some(before) = all.insert(name.clone(), declared.clone()) {
                    panic!("{name} is declared in {before} and in {declared}");
                }
                part.insert(name, code);
            }
        }
        assert!(!part.is_empty(), "no codes in {folder}: the search has lost its way");
        page += &format!("\n## {title}\n\n| code | class | means |\n|---|---|---|\n");
        for (name, code) in part {
            page += &format!("| `{name}` | {} | {} |\n", code.class, plain(&code.meaning));
        }
    }
    let path = root().join("docs/errors.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        page,
        "docs/errors.md is not what the sources say: {COMMAND}"
    );
}

#[test]
fn a_declaration_is_read_however_it_is_broken() {
    let source = "/// It is not\n/// there.\npub const A: Code = Code::new(\n    \"thing.not_found\",\n    Class::NotFound,\n);\n\
                  pub const B: Code = Code::new(\"thing.taken\", Class::Conflict);\n";
    let code = |class: &str, meaning: &str| Code {
        class: class.into(),
        meaning: meaning.into(),
    };
    let expected = [
        ("thing.not_found".to_owned(), code("NotFound", "It is not there.")),
        ("thing.taken".to_owned(), code("Conflict", "")),
    ];
    assert_eq!(codes(source), expected);
}
