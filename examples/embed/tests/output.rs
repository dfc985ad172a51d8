//! The example does what it says, and stays as short as it says.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

const DEVICE: &str = "device web-01: never\n";
const RUN: &str = "run of shell on web-01: succeeded\n  Linux web-01\n";
const SETUP: &str = "audit: server_key.create by setup\naudit: certificate_authority.create by setup\n";
const WORK: &str =
    "audit: enrolment_token.create by embed\naudit: device.enrolled by anonymous\naudit: batch.create by embed\n";

fn run(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-example-embed"));
    let output = command.args(arguments).output().unwrap();
    let (printed, problem) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{}", problem.unwrap());
    printed.unwrap()
}

#[test]
fn a_machine_becomes_a_device_and_runs_work() {
    assert_eq!(run(&[]), format!("{DEVICE}{RUN}{SETUP}{WORK}"));
}

#[test]
fn a_file_keeps_the_fleet_for_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let location = format!("sqlite:{}", folder.path().join("fleet.db").display());
    assert_eq!(run(&[&location]), format!("{DEVICE}{RUN}{SETUP}{WORK}"));
    assert_eq!(
        run(&[&location]),
        format!("{DEVICE}{DEVICE}{RUN}{RUN}{SETUP}{WORK}{WORK}")
    );
}

#[test]
fn sixty_lines_are_enough() {
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines <= 60, "{lines} lines");
}
