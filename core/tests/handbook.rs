//! The generated pages of the handbook say what the code says.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, path::Path};

use fleet_core::{
    access::Role,
    modules::{built_in, permissions},
};

/// Compares a page with what it should be, or writes it when that is asked for.
#[track_caller]
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, expected,
        "docs/{page} is not what the code says: INSTA_UPDATE=always cargo test -p fleet-core --test handbook"
    );
}

#[test]
fn permissions_and_roles() {
    let mut page = String::from(
        "# Permissions\n\n\
         <!-- Generated from the modules of fleet-core by `INSTA_UPDATE=always cargo test -p fleet-core --test handbook`. -->\n\n\
         A role has all permissions that name it as their least role, and so do the roles above it. An API key can do no more \
         than its own\nrole and than its owner at that moment. Nobody gives away what they do not have. Every user may see and end \
         their own sessions, set\ntheir own password and manage their own keys without any of these.\n\n\
         | permission | allows to | ",
    );
    let roles: Vec<_> = Role::ALL.iter().map(|role| role.name()).collect();
    page += &format!("{} |\n|---|---|{}\n", roles.join(" | "), ":-:|".repeat(roles.len()));
    for entry in permissions(&built_in()).unwrap() {
        let has = Role::ALL.map(|role| if role <= entry.least { "✓" } else { "" });
        page += &format!(
            "| `{}` | {} | {} |\n",
            entry.permission.name(),
            entry.allows,
            has.join(" | ")
        );
    }
    check("permissions.md", &page);
}
