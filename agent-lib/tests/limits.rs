//! In a program of its own, because it bounds the whole process.

#![expect(clippy::unwrap_used, reason = "all of this is test")]

use std::process::Command;

use fleet_agent_lib::limits::Limits;

/// What a shell says.
fn said(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// How many bytes come through a program that has to hold them all at once.
fn held(megabytes: u32) -> String {
    said(&format!("head -c {megabytes}M /dev/zero | tail -n 1 | wc -c"))
}

#[test]
fn what_is_started_is_bounded_from_its_first_instruction_on() {
    assert_eq!(held(400), (400 << 20).to_string());
    let limits = |megabytes: u64| Limits {
        memory_bytes: Some(megabytes << 20),
        niceness: Some(7),
    };
    limits(200).apply().unwrap();
    assert_eq!(said("nice"), "7");
    assert_eq!(held(50), (50 << 20).to_string());
    assert_eq!(held(400), "0");
    // What is bounded already is not set free again.
    limits(900).apply().unwrap();
    assert_eq!(held(400), "0");
}
