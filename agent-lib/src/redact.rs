//! Takes secrets out of texts that people pass on. What might be one goes: a few digests too many are no loss.

/// Names whose values are not for others.
const NAMES: [&str; 6] = ["password", "passwd", "secret", "token", "key", "credential"];
/// The shortest run of letters and digits that may be a secret: 32 bytes have 43 of them in base64. Ids have 36.
const LONG: usize = 40;
/// What stands in its place.
const GONE: &str = "[redacted]";

/// The text without what might be a secret: values beside names such as `password`, enrolment tokens, user and password in
/// URLs, and long runs of letters and digits, in which keys are written.
pub fn redact(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(line).collect();
    lines.join("\n")
}

fn line(line: &str) -> String {
    // A name, and what follows it behind `=` or `:`.
    if let Some(place) = line.find(['=', ':']) {
        let name = line[..place].to_ascii_lowercase();
        let value = &line[place + 1..];
        let word = name
            .rsplit([' ', '\t', '"', '\'', '{', ','])
            .find(|part| !part.is_empty());
        let is_path = value.trim_start().trim_start_matches(['"', '\'']).starts_with('/');
        if word.is_some_and(|word| NAMES.iter().any(|secret| word.contains(secret))) && !is_path {
            return format!("{}{GONE}", &line[..=place]);
        }
    }
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '=' | '.');
        let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        kept.push_str(if is_secret(word) { GONE } else { word });
        let next = after.find(is_of_word).unwrap_or(after.len());
        // A user and a password before the host.
        if let Some(address) = after.strip_prefix("://")
            && let Some(at) = address.find('@')
            && !address[..at].contains(['/', ' '])
        {
            kept.push_str("://");
            kept.push_str(GONE);
            rest = &address[at..];
            continue;
        }
        kept.push_str(&after[..next]);
        rest = &after[next..];
    }
    kept
}

fn is_secret(word: &str) -> bool {
    let longest = word.split(['/', '.']).map(str::len).max().unwrap_or(0);
    word.contains("fle1_") || longest >= LONG || (word.len() >= LONG && !word.contains(['/', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redact(text), expected);
    }

    #[test]
    fn secrets_go_and_what_helps_stays() {
        check("state = \"/var/lib/fleet-agent\"", "state = \"/var/lib/fleet-agent\"");
        check("token_file = \"/etc/fleet/token\"", "token_file = \"/etc/fleet/token\"");
        check("token = \"fle1_AAEC\"", "token =[redacted]");
        check("{\"key\":\"short\"}", "{\"key\":[redacted]");
        check("joined with fle1_AAECAwQF today", "joined with [redacted] today");
        check(
            "run 0199d5a0-7c8e-7cc3-98c4-dc0c0c07398f ended",
            "run 0199d5a0-7c8e-7cc3-98c4-dc0c0c07398f ended",
        );
        let key = "q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng";
        check(&format!("it is {key}."), "it is [redacted]");
        check(&"ab".repeat(32), GONE);
        check("https://me:hush@example.org/x", "https://[redacted]@example.org/x");
        check("https://example.org:8443/x", "https://example.org:8443/x");
        check("Password: hush", "Password:[redacted]");
        check("10:00 ok\n\n11:00 ok", "10:00 ok\n\n11:00 ok");
        check("", "");
        check("ä — ✓ ://@", "ä — ✓ ://@");
    }
}
