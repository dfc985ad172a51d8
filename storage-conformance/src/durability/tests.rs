//! What is a proof and what is none.

use super::{Breach, Proof, Rule, Trace, Writers};

/// What a trace proves, in a word; `ok N` for N acknowledgements.
fn proven(trace: &str, writers: Writers) -> String {
    let trace = match Trace::parse(trace.as_bytes()) {
        Ok(trace) => trace,
        Err(error) => return error,
    };
    let rule = Rule {
        counts: &|file| file.starts_with("/s/"),
        acknowledged: &|line| line.strip_prefix("ok ").map(|n| format!("<{n}>")),
        writers,
    };
    match trace.prove(&rule) {
        Ok(Proof { acknowledged, .. }) => format!("ok {acknowledged}"),
        Err(Breach::NeverWritten { line, .. }) => format!("{line}: never written"),
        Err(Breach::NotSynced { line, file }) => format!("{line}: {file} not synced"),
        Err(Breach::NameNotSynced { line, file }) => format!("{line}: name of {file} not synced"),
    }
}

#[track_caller]
fn check(trace: &str, many: &str, one: &str) {
    assert_eq!(proven(trace, Writers::Many), many, "{trace}");
    assert_eq!(proven(trace, Writers::One), one, "{trace}");
}

#[test]
fn acknowledgement_after_the_synchronisation_is_proven() {
    let trace = r#"
7 openat(AT_FDCWD</x>, "/s/old", O_RDWR|O_CLOEXEC) = 5</s/old>
7 pwrite64(5</s/wal>, "x<1>y", 5, 0) = 5
7 fdatasync(5</s/wal>) = 0
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
7 pwrite64(5</s/wal>, "<2>", 3, 5) = 3
7 fsync(5</s/wal>) = 0
7 write(1<pipe:[9]>, "by the way\nok 2\n", 16) = 16
7 +++ exited with 0 +++
"#;
    check(trace, "ok 2", "ok 2");
}

#[test]
fn two_may_share_a_synchronisation() {
    let trace = r#"
7 write(5</s/wal>, "<1><2>", 6) = 6
7 fdatasync(5</s/wal>) = 0
8 write(1<pipe:[9]>, "ok 2\n", 5) = 5
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
"#;
    check(trace, "ok 2", "ok 2");
}

#[test]
fn acknowledgement_before_the_synchronisation_is_caught() {
    let trace = r#"
7 write(5</s/wal>, "<1>", 3) = 3
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
7 fdatasync(5</s/wal>) = 0
"#;
    check(trace, "ok 1: /s/wal not synced", "ok 1: /s/wal not synced");
}

#[test]
fn acknowledgement_during_the_synchronisation_is_caught() {
    let trace = r#"
7 write(5</s/wal>, "<1>", 3) = 3
7 fdatasync(5</s/wal> <unfinished ...>
8 write(1<pipe:[9]>, "ok 1\n", 5) = 5
7 <... fdatasync resumed>) = 0
"#;
    check(trace, "ok 1: /s/wal not synced", "ok 1: /s/wal not synced");
}

#[test]
fn synchronisation_that_began_before_the_write_ended_is_none() {
    let trace = r#"
8 fdatasync(5</s/wal> <unfinished ...>
7 write(5</s/wal>, "<1>", 3) = 3
8 <... fdatasync resumed>) = 0
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
"#;
    check(trace, "ok 1: /s/wal not synced", "ok 1: /s/wal not synced");
    let trace = r#"
7 write(5</s/wal>, "<1>", 3 <unfinished ...>
8 fdatasync(5</s/wal>) = 0
7 <... write resumed>) = 3
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
"#;
    check(trace, "ok 1: /s/wal not synced", "ok 1: /s/wal not synced");
}

#[test]
fn synchronisation_that_failed_or_of_another_file_is_none() {
    for sync in [
        "7 fdatasync(5</s/wal>) = -1 EIO (Input/output error)",
        "7 fdatasync(6</s/other>) = 0",
        "7 fdatasync(5</s/wal> <unfinished ...>\n7 <... fdatasync resumed>) = -1 ENOSPC (No space left on device)",
        "7 fdatasync(5</s/wal> <unfinished ...>",
        "7 fdatasync(5</s/wal>) = ?",
    ] {
        let trace = format!("7 write(5</s/wal>, \"<1>\", 3) = 3\n{sync}\n8 write(1<pipe:[9]>, \"ok 1\\n\", 5) = 5\n");
        check(&trace, "ok 1: /s/wal not synced", "ok 1: /s/wal not synced");
    }
}

#[test]
fn what_others_have_written_meanwhile_counts_only_for_one_writer() {
    let trace = r#"
7 write(5</s/wal>, "<1>", 3) = 3
7 fdatasync(5</s/wal>) = 0
8 write(5</s/wal>, "<2>", 3) = 3
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
"#;
    check(trace, "ok 1", "ok 1: /s/wal not synced");
}

#[test]
fn what_nobody_wrote_is_not_proven() {
    for write in [
        "",
        "7 write(5</elsewhere/wal>, \"<1>\", 3) = 3",
        "7 write(5</s/wal>, \"<1>\", 3) = -1 ENOSPC (No space left on device)",
        // Cut short before its end.
        "7 write(5</s/wal>, \"<1>\", 3) = 2",
        "7 write(5</s/wal>, \"<1>\", 3 <unfinished ...>\n7 <... write resumed>) = 2",
    ] {
        let trace = format!("{write}\n7 fdatasync(5</s/wal>) = 0\n7 write(1<pipe:[9]>, \"ok 1\\n\", 5) = 5\n");
        check(&trace, "ok 1: never written", "ok 1: never written");
    }
}

#[test]
fn name_of_a_new_file_is_synchronised_with_its_folder() {
    let begin = "7 openat(AT_FDCWD</x>, \"/s/wal\", O_RDWR|O_CREAT, 0644) = 5</s/wal>\n7 write(5</s/wal>, \"<1>\", 3) = 3\n7 fsync(5</s/wal>) = 0\n";
    let end = "7 write(1<pipe:[9]>, \"ok 1\\n\", 5) = 5\n";
    let expected = "ok 1: name of /s/wal not synced";
    check(&format!("{begin}{end}"), expected, expected);
    let folder = "7 fsync(6</s>) = 0\n";
    check(&format!("{folder}{begin}{end}"), expected, expected);
    check(&format!("{begin}{folder}{end}"), "ok 1", "ok 1");
}

#[test]
fn bytes_are_read_as_they_are_written() {
    let trace = r#"
7 pwritev(5</s/a > b>, [{iov_base="\"<", iov_len=2}, {iov_base="\61\76\1771\0\n\\", iov_len=8}], 2, 0) = 10
7 fdatasync(5</s/a > b>) = 0
7 write(1<pipe:[9]>, "ok 1\n", 5) = 5
"#;
    check(trace, "ok 1", "ok 1");
    let Ok(trace) = Trace::parse(trace.as_bytes()) else {
        panic!("it is a trace")
    };
    let super::What::Write { file, bytes, .. } = &trace.calls[0].what else {
        panic!("it is a write")
    };
    assert_eq!(
        (file.as_str(), bytes.as_slice()),
        ("/s/a > b", b"\"<1>\x7f1\0\n\\".as_slice())
    );
}

#[test]
fn trace_that_leaves_something_out_is_refused() {
    for (line, expected) in [
        ("7 write(5</s/wal>, \"<1>\"..., 300) = 300", "left out"),
        ("7 write(5</s/wal>, \"<1>", "no end"),
        ("7 write(5, \"<1>\", 3) = 3", "file is not told"),
        ("7 write(5</s/wal>, \"<1>\", 3)", "no answer"),
        ("hello", "no thread"),
    ] {
        let told = proven(line, Writers::Many);
        let expected = expected.replace("no thread", "does not begin with a thread");
        assert!(
            told.starts_with("line 1 of the trace") && told.contains(&expected),
            "{line}: {told}"
        );
    }
}
