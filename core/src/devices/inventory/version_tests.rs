//! The proof that keys sort like versions: against dpkg's algorithm written directly, and against dpkg itself.

use std::{
    cmp::Ordering,
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{prelude::*, strategy::ValueTree as _};

use super::*;

/// Debian policy §5.6.12 as a comparison, step by step, sharing nothing with the key.
fn compare(a: &str, b: &str) -> Ordering {
    fn split(version: &str) -> (&str, &str, &str) {
        let (epoch, rest) = match version.find(':') {
            Some(at) if at > 0 && version[..at].chars().all(|char| char.is_ascii_digit()) => {
                (&version[..at], &version[at + 1..])
            }
            _ => ("0", version),
        };
        match rest.rfind('-') {
            Some(at) => (epoch, &rest[..at], &rest[at + 1..]),
            None => (epoch, rest, "0"),
        }
    }
    fn weight(byte: Option<&u8>) -> i32 {
        match byte {
            Some(b'~') => -1,
            None => 0,
            Some(byte) if byte.is_ascii_digit() => 0,
            Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
            Some(byte) => i32::from(*byte) + 256,
        }
    }
    fn part(a: &str, b: &str) -> Ordering {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            let text = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_digit());
            while text(a.get(i)) || text(b.get(j)) {
                match weight(a.get(i)).cmp(&weight(b.get(j))) {
                    Ordering::Equal => (i, j) = (i + 1, j + 1),
                    other => return other,
                }
            }
            while a.get(i) == Some(&b'0') {
                i += 1;
            }
            while b.get(j) == Some(&b'0') {
                j += 1;
            }
            let run = |bytes: &[u8], from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (n, m) = (run(a, i), run(b, j));
            match n.cmp(&m).then_with(|| a[i..i + n].cmp(&b[j..j + m])) {
                Ordering::Equal => (i, j) = (i + n, j + m),
                other => return other,
            }
        }
        Ordering::Equal
    }
    let (a, b) = (split(a.trim()), split(b.trim()));
    part(a.0, b.0).then_with(|| part(a.1, b.1)).then_with(|| part(a.2, b.2))
}

fn by_key(a: &str, b: &str) -> Ordering {
    version_key(DPKG, a).cmp(&version_key(DPKG, b))
}

#[track_caller]
fn check(a: &str, expected: Ordering, b: &str) {
    assert_eq!(compare(a, b), expected, "the comparison of {a} and {b}");
    assert_eq!(by_key(a, b), expected, "{a} and {b}");
    assert_eq!(by_key(b, a), expected.reverse(), "{b} and {a}");
}

#[test]
fn the_rules_of_debian_policy_hold() {
    use Ordering::{Equal, Less};
    // §5.6.12's own example.
    for pair in ["~~", "~~a", "~", "", "a"].windows(2) {
        check(pair[0], Less, pair[1]);
    }
    check("1.0~beta1~svn1245", Less, "1.0~beta1");
    check("1.0~beta1", Less, "1.0");
    check("1.9", Less, "1.10");
    check("1.0a", Less, "1.0+");
    check("1.0Z", Less, "1.0a");
    check("9.9-9", Less, "1:0.1-1");
    check("1:1", Less, "10:1");
    check("1.0-1", Less, "1.0-1.1");
    check("1.0", Equal, "1.0-0");
    check("1.0", Equal, "0:1.0");
    check("1.0", Equal, "1.");
    check("1.000", Equal, "1.0");
    check("1.0-1", Less, "1.0-1+b1");
    check("1.0-1~deb12u1", Less, "1.0-1");
    check("2024-01-02-1", Less, "2024-01-10-1");
    check("20230405123456789", Less, "20230405123456790");
    check("999999999999999", Less, "1000000000000000");
    check("", Equal, "0");
    check("1:2:3", Less, "1:2:4");
}

fn real_versions() -> impl Strategy<Value = String> {
    // Digits are likelier than in uniform text, and so are the marks that the rules turn on.
    let part = "([0-9]{1,3}|0|00|[a-zA-Z]{1,2}|[.+~]|~|deb12u|[0-9]{14,18}){1,6}";
    (
        proptest::option::weighted(0.2, 0u32..12),
        part,
        proptest::option::of("[0-9a-z.+~]{1,6}"),
    )
        .prop_map(|(epoch, upstream, revision)| {
            let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
            let revision = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
            format!("{epoch}0{upstream}{revision}")
        })
}

/// Two versions that share most of their text: the cases where a rule decides.
fn neighbours() -> impl Strategy<Value = (String, String)> {
    let tail = "[0-9a-zA-Z.+~-]{0,4}";
    (real_versions(), 0usize..40, tail, tail).prop_map(|(version, at, a, b)| {
        let stem = &version[..at.min(version.len())];
        let stem = if stem.is_empty() { "0" } else { stem };
        (format!("{stem}{a}"), format!("{stem}{b}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_sort_like_versions(a in real_versions(), b in real_versions()) {
        prop_assert_eq!(by_key(&a, &b), compare(&a, &b));
    }

    #[test]
    fn keys_sort_like_versions_that_are_nearly_equal((a, b) in neighbours()) {
        prop_assert_eq!(by_key(&a, &b), compare(&a, &b));
    }

    #[test]
    fn keys_sort_any_text(a in "[ -~é\u{0}]{0,12}", b in "[ -~é\u{0}]{0,12}") {
        prop_assert_eq!(by_key(&a, &b), compare(&a, &b));
    }

    #[test]
    fn a_cut_key_never_turns_the_order((a, b) in neighbours(), stem in "[0-9a-z.~+]{1,8}", times in 60usize..400) {
        let stem = stem.repeat(times);
        let (a, b) = (format!("{stem}{a}"), format!("{stem}{b}"));
        let key = by_key(&a, &b);
        prop_assert!(key == Ordering::Equal || key == compare(&a, &b));
    }

    #[test]
    fn unknown_managers_sort_by_bytes(a in "[ -~é\u{0}]{0,8}", b in "[ -~é\u{0}]{0,8}") {
        prop_assert_eq!(version_key("other", &a).cmp(&version_key("other", &b)), a.as_bytes().cmp(b.as_bytes()));
    }
}

#[test]
fn hostile_versions_have_bounded_printable_keys() {
    for version in [
        "9".repeat(10_000),
        "~".repeat(10_000),
        "é\0\u{1f980}".repeat(3_000),
        format!("{}:{}-{}", "1".repeat(5_000), ".".repeat(5_000), "-".repeat(5_000)),
        "-".into(),
        ":".into(),
        String::new(),
    ] {
        for manager in [DPKG, "other"] {
            let key = version_key(manager, &version);
            assert!(key.len() <= MAX_VERSION_KEY_BYTES);
            assert!(key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key}");
        }
    }
    // The count of digits stands before the cut.
    check(&"9".repeat(9_999), Ordering::Less, &format!("1{}", "0".repeat(9_999)));
}

// These are in indexes on disks: a change here needs a rewrite of every stored key.
#[test]
fn keys_never_change() {
    let keys: Vec<_> = ["5.2.15-2+b8", "1:4.13+dfsg1-1+deb12u1", "0.58~rc1", "20230311"]
        .map(|version| format!("{version}  {}", version_key(DPKG, version)))
        .into();
    insta::assert_snapshot!(keys.join("\n"), @r"
    5.2.15-2+b8  015|12|215/12{2bb18/
    1:4.13+dfsg1-1+deb12u1  1114|213{2bdfsg11/11{2bdeb212u11/
    0.58~rc1  00|258!rc11/0/
    20230311  0820230311/0/
    ");
}

/// What dpkg itself says, for many pairs in one shell.
fn dpkg_says(pairs: &[(String, String)]) -> Vec<Ordering> {
    const SCRIPT: &str = r#"while read -r a b; do
        if dpkg --compare-versions "$a" lt "$b"; then echo lt
        elif dpkg --compare-versions "$a" eq "$b"; then echo eq
        else echo gt; fi; done"#;
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| match line {
            "lt" => Ordering::Less,
            "eq" => Ordering::Equal,
            _ => Ordering::Greater,
        })
        .collect();
    assert_eq!(said.len(), pairs.len());
    said
}

#[test]
fn keys_sort_as_dpkg_itself_says() {
    if Command::new("dpkg").arg("--version").output().is_err() {
        eprintln!("SKIPPED: this machine has no dpkg to compare with");
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut pairs = Vec::new();
    while pairs.len() < 400 {
        let pair = if pairs.len() % 2 == 0 {
            neighbours().new_tree(&mut runner).unwrap().current()
        } else {
            (real_versions(), real_versions())
                .new_tree(&mut runner)
                .unwrap()
                .current()
        };
        // dpkg refuses an empty revision and an empty upstream version; we give those a key all the same.
        if ![&pair.0, &pair.1]
            .iter()
            .any(|version| version.ends_with('-') || version.contains(":-") || version.ends_with(':'))
        {
            pairs.push(pair);
        }
    }
    // Versions that are installed here, each against the next: what the rules meet in life.
    let status = std::fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default();
    let real: Vec<_> = status
        .lines()
        .filter_map(|line| line.strip_prefix("Version: "))
        .take(100)
        .collect();
    pairs.extend(real.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));

    for ((a, b), said) in pairs.iter().zip(dpkg_says(&pairs)) {
        assert_eq!(by_key(a, b), said, "{a} and {b}");
    }
}
