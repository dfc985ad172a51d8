//! The one list of the parts of `cargo xtask test`.

use std::process::Command;

use super::Settings;
use crate::{openapi, postgres::Cluster, setup, workspace::Workspace};

/// A part: commands that run one after another until one fails.
pub struct Part {
    pub name: &'static str,
    pub what: &'static str,
    pub steps: fn(&Workspace, &Settings) -> Vec<Step>,
}

/// A step of a part.
pub enum Step {
    Run(Command),
    /// A command that works on a database of its own, which is removed afterwards.
    RunOn(Cluster, Command),
    /// The part cannot be run here, and that is a failure.
    Fail(String),
    /// The part cannot be run here, and that is no failure.
    LeaveOut(String),
}

/// The part that needs the Python tools.
pub const OPENAPI: &str = "openapi";

/// The part that needs PostgreSQL.
pub const POSTGRES: &str = "postgres";

/// The crate whose tests need it.
const POSTGRES_CRATE: &str = "fleet-storage-postgres";

/// The tests that need it: those of that crate, and of other crates those in files of this name.
const NEEDS_POSTGRES: &str = "package(fleet-storage-postgres) | binary(=postgres)";

/// The other tests.
const NEEDS_NO_POSTGRES: &str = "not (package(fleet-storage-postgres) | binary(=postgres) | binary(=nginx))";

/// The tests with nginx between server and agent.
const NEEDS_NGINX: &str = "package(fleet-server) & binary(=nginx)";

/// The cases of moves that every pair of stores with Postgres goes through each time. The others are for the long mode, between
/// these pairs: each makes stores of a hundred tables, some of them dozens. The pairs without Postgres go through all cases each time.
const BASIC_MOVES: &str = "package(fleet-storage-postgres) & binary(=migration) & test(/::(everything_is_moved\
    |target_goes_on_where_the_source_stood|chains_go_on|adversarial_text_survives|extreme_keys_survive|target_that_is_not_empty\
    |reopened_stores_go_on|there_and_back_and_there_again|two_moves_are_taken_back_one_after_the_other\
    |writers_wait_and_lose_nothing|way_back_is_online_too)$/)";

/// The tests that draw or interrupt as often as they are told to, where they are, and how often it is in the long mode. Numbers that
/// the environment says already stand above these.
const DRAWN: &str = "test(=answers_like_the_model) | test(=answers_are_explained_by_one_order) \
    | test(=killed_at_any_moment_nothing_acknowledged_is_lost) | test(=killed_again_and_again) \
    | test(=breaks::killed_database_loses_nothing_that_was_acknowledged) \
    | test(=crash::nothing_acknowledged_is_lost_and_nothing_runs_twice_whoever_is_killed) \
    | test(=a_loss_of_power_at_any_moment_loses_nothing_that_was_acknowledged) | test(/^a_killed_move_goes_on/)";
const DRAWN_IN: [&str; 6] = [
    "fleet-storage-conformance",
    "fleet-storage-json",
    "fleet-storage-sqlite",
    POSTGRES_CRATE,
    "migrate-storage",
    "fleet-server",
];
const LONG: [(&str, &str); 6] = [
    ("CONFORMANCE_SEQUENCES", "10000"),
    ("CONFORMANCE_ROUNDS", "500"),
    ("CRASH_KILLS", "500"),
    ("CRASH_POINTS", "10000"),
    ("CRASH_ROUNDS", "500"),
    ("MOVE_KILLS", "200"),
];

/// Seeds of the simulation in the long mode.
const LONG_SEEDS: &str = "100000";

/// The parts, in the order in which they run: what fails fastest comes first.
pub const PARTS: &[Part] = &[
    Part {
        name: "fmt",
        what: "the sources are formatted",
        steps: |workspace, settings| vec![cargo(workspace, settings, &["fmt", "--all", "--check"])],
    },
    Part {
        name: "clippy",
        what: "no warnings",
        steps: |workspace, settings| {
            vec![cargo(
                workspace,
                settings,
                &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
            )]
        },
    },
    Part {
        name: "build",
        what: "everything builds, as the other parts use it",
        steps: |workspace, settings| {
            // With the tests: they need other features of some crates, and one build is enough. Not `--all-targets`: it names the
            // derive macros as a target too, and cargo then builds all that leans on them apart from what the tests are linked with.
            vec![cargo(
                workspace,
                settings,
                &["build", "--workspace", "--bins", "--tests", "--examples"],
            )]
        },
    },
    Part {
        name: "rust",
        what: "tests and documentation examples",
        steps: |workspace, settings| {
            let tests: &[&str] = if settings.nextest {
                &[
                    "nextest",
                    "run",
                    "--workspace",
                    "-E",
                    NEEDS_NO_POSTGRES,
                    "--no-fail-fast",
                ]
            } else {
                // Tests that need Postgres start one of their own here.
                &[
                    "test",
                    "--workspace",
                    "--exclude",
                    POSTGRES_CRATE,
                    "--all-targets",
                    "--no-fail-fast",
                ]
            };
            vec![
                cargo(workspace, settings, tests),
                cargo(workspace, settings, &["test", "--workspace", "--doc"]),
            ]
        },
    },
    Part {
        name: POSTGRES,
        what: "the backend for several servers on a cluster of its own, and moves from and to it: the basic cases, all with --long",
        steps: |workspace, settings| vec![on_postgres(workspace, settings)],
    },
    Part {
        name: "nginx",
        what: "server and agent with a real nginx between",
        steps: |workspace, settings| {
            if !setup::works("nginx", &["-v"]) {
                return vec![Step::LeaveOut(
                    "nginx is not installed; `cargo xtask setup` installs it".into(),
                )];
            }
            if !settings.nextest {
                let tests = ["test", "--package", "fleet-server", "--test", "nginx"];
                return vec![cargo(workspace, settings, &tests)];
            }
            vec![cargo(
                workspace,
                settings,
                &["nextest", "run", "--workspace", "-E", NEEDS_NGINX, "--no-fail-fast"],
            )]
        },
    },
    Part {
        name: "simulation",
        what: "server and agents over a faulty network, clock and disk: a thousand seeds, and the faults that are planted",
        steps: |workspace, settings| {
            let simulate = |arguments: &[&str]| {
                let mut command = workspace.command(workspace.binary("fleet-sim", false));
                command.args(arguments);
                if settings.long && std::env::var_os("FLEET_SIM_SEEDS").is_none() {
                    command.env("FLEET_SIM_SEEDS", LONG_SEEDS);
                }
                Step::Run(command)
            };
            vec![simulate(&["--all-moves"]), simulate(&["--plants"])]
        },
    },
    Part {
        name: "long",
        what: "ten thousand drawn sequences for each backend, hundreds of kills of stores and moves; each says its counts",
        steps: |workspace, settings| {
            if settings.long {
                vec![drawn(workspace, settings)]
            } else {
                vec![Step::LeaveOut("it takes hours; ask for it with --long".into())]
            }
        },
    },
    Part {
        name: OPENAPI,
        what: "the committed document is what the server says, and valid",
        steps: |workspace, settings| {
            let mut validate = workspace.command(workspace.venv().join("bin/openapi-spec-validator"));
            validate.arg(openapi::DOCUMENT);
            vec![
                xtask(workspace, settings, &["openapi", "--check", "--no-build"]),
                Step::Run(validate),
            ]
        },
    },
    Part {
        name: "deny",
        what: "licences, banned crates, sources",
        steps: |workspace, settings| {
            if setup::succeeds(workspace.cargo().args(["deny", "--version"])) {
                // Advisories are fetched from the network: continuous integration has none.
                vec![cargo(
                    workspace,
                    settings,
                    &["deny", "check", "bans", "licenses", "sources"],
                )]
            } else {
                vec![Step::LeaveOut("cargo-deny is not installed".into())]
            }
        },
    },
    Part {
        name: "docs",
        what: "the documentation of the library, its backends and the API",
        steps: |workspace, settings| {
            let mut command = prepare(workspace.cargo(), settings);
            command.env("RUSTDOCFLAGS", "-D warnings").args([
                "doc",
                "--no-deps",
                "--package",
                "fleet-core",
                "--package",
                "fleet-storage-json",
                "--package",
                "fleet-storage-sqlite",
                "--package",
                "fleet-storage-postgres",
                "--package",
                "fleet-storage-conformance",
                "--package",
                "fleet-api",
            ]);
            vec![Step::Run(command)]
        },
    },
    Part {
        name: "examples",
        what: "every example runs to its end",
        steps: |workspace, _| {
            vec![Step::Run(
                workspace.command(workspace.binary("fleet-example-embed", false)),
            )]
        },
    },
    Part {
        name: "up",
        what: "this machine enrolled, seen and commanded",
        steps: |workspace, settings| vec![xtask(workspace, settings, &["up", "--check", "--json", "--no-build"])],
    },
];

/// The tests that need a database, with a cluster that is started for them. They wait for the disk rather than for a processor, so more
/// of them run at one time.
fn on_postgres(workspace: &Workspace, settings: &Settings) -> Step {
    let folder = std::env::temp_dir().join(format!("fleet-postgres-{}", std::process::id()));
    let cluster = match Cluster::start(&folder) {
        Ok(cluster) => cluster,
        Err(problem) => return Step::Fail(problem),
    };
    let mut command = prepare(workspace.cargo(), settings);
    command.env("FLEET_TEST_POSTGRES", cluster.uri("postgres"));
    if settings.nextest {
        let tests = if settings.long {
            NEEDS_POSTGRES.to_owned()
        } else {
            let moves = "package(fleet-storage-postgres) & binary(=migration)";
            format!("(({NEEDS_POSTGRES}) & not ({moves})) | ({BASIC_MOVES})")
        };
        command.args([
            "nextest",
            "run",
            "--workspace",
            "-E",
            &tests,
            "--no-fail-fast",
            "--test-threads",
            "6",
        ]);
    } else {
        command.args(["test", "--package", POSTGRES_CRATE, "--all-targets", "--no-fail-fast"]);
    }
    Step::RunOn(cluster, command)
}

/// The tests that are told how often, told to do it often.
fn drawn(workspace: &Workspace, settings: &Settings) -> Step {
    if !settings.nextest {
        return Step::Fail("the long mode needs cargo-nextest: `cargo xtask setup`".into());
    }
    let folder = std::env::temp_dir().join(format!("fleet-long-{}", std::process::id()));
    let cluster = match Cluster::start(&folder) {
        Ok(cluster) => cluster,
        Err(problem) => return Step::Fail(problem),
    };
    let mut command = prepare(workspace.cargo(), settings);
    command.env("FLEET_TEST_POSTGRES", cluster.uri("postgres"));
    let is_said = |name: &str| std::env::var_os(name).is_some();
    command.envs(LONG.into_iter().filter(|(name, _)| !is_said(name)));
    command.args([
        "nextest",
        "run",
        "-E",
        DRAWN,
        "--no-fail-fast",
        "--success-output",
        "immediate",
    ]);
    command.args(DRAWN_IN.iter().flat_map(|package| ["--package", package]));
    Step::RunOn(cluster, command)
}

fn cargo(workspace: &Workspace, settings: &Settings, arguments: &[&str]) -> Step {
    let mut command = prepare(workspace.cargo(), settings);
    command.args(arguments);
    Step::Run(command)
}

fn xtask(workspace: &Workspace, settings: &Settings, arguments: &[&str]) -> Step {
    // Not `current_exe`: the part `build` may have replaced this very binary, whose path then no longer exists.
    let program = workspace.binary("xtask", false);
    let mut command = prepare(workspace.command(program), settings);
    command.args(arguments);
    Step::Run(command)
}

fn prepare(mut command: Command, settings: &Settings) -> Command {
    command.env("CARGO_TERM_COLOR", settings.color());
    command.env("FLEET_TESTS_NOT_RUN", &settings.not_run);
    if settings.long {
        command.env("FLEET_TEST_LONG", "1").env("PROPTEST_CASES", "4096");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basic_moves_are_cases_of_the_suite() {
        let suite = include_str!("../../../storage-conformance/src/moves/mod.rs");
        let (_, names) = BASIC_MOVES.split_once("::(").unwrap();
        let (names, _) = names.split_once(')').unwrap();
        for name in names.split('|') {
            assert!(suite.lines().any(|line| line.trim() == name), "{name}");
        }
    }

    #[test]
    fn names_are_said_once() {
        for (at, part) in PARTS.iter().enumerate() {
            assert!(
                !PARTS[..at].iter().any(|other| other.name == part.name),
                "{}",
                part.name
            );
        }
    }
}
