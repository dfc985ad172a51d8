//! What follows a dry run.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, Result};

/// How often it is looked whether a dry run was counted whose runs have ended.
const LOOK: Duration = Duration::from_millis(200);

/// Waits until it is decided what follows the dry run of a batch; the batch.
pub async fn looked(client: &Client, batch: &str) -> Result<Value> {
    loop {
        let batch = client.get(&["batches", batch], &[]).await?.body;
        if batch["promotion"]["standing"] != "looking" {
            return Ok(batch);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What people are told of what a dry run came to, and of what follows it; nothing of a batch without one.
pub fn told(batch: &Value) -> Vec<String> {
    let promotion = &batch["promotion"];
    let mut lines: Vec<_> = counts(&promotion["outcome"]).into_iter().collect();
    match promotion["standing"].as_str() {
        Some("awaiting_approval") => {
            let approval = promotion["approval"].as_str().unwrap_or("?");
            let who = match promotion["terms"]["approvals"].as_u64() {
                Some(0) => "somebody agrees",
                _ => "somebody else agrees",
            };
            let on = devices(&promotion["outcome"]["would_change"]);
            lines.push(format!(
                "done for real on {on} when {who}: fleet approvals approve {approval}"
            ));
        }
        Some("nothing_to_promote") => lines.push("no device would be changed: nothing follows".to_owned()),
        Some("promoted") => {
            let real = promotion["promoted_to"].as_str().unwrap_or("?");
            lines.push(format!("done for real by batch {real}"));
        }
        Some(ended) => lines.push(format!("nothing follows: {}", ended.replace('_', " "))),
        None => {}
    }
    lines
}

/// What a dry run came to, on one line.
pub fn counts(outcome: &Value) -> Option<String> {
    let would_change = devices(outcome.get("would_change")?);
    let rest = [
        ("unchanged", "nothing to do on"),
        ("unknown", "cannot tell on"),
        ("not_concerned", "not concerned"),
        ("failed", "failed on"),
    ];
    let rest = rest.iter().filter_map(|(name, words)| {
        let count = outcome[name].as_u64().filter(|count| *count > 0)?;
        Some(format!(", {words} {count}"))
    });
    Some(format!(
        "dry run: would change {would_change}{}",
        rest.collect::<String>()
    ))
}

fn devices(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "1 device".to_owned(),
        count => format!("{} devices", count.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(promotion: Value, expected: &[&str]) {
        assert_eq!(told(&json!({"promotion": promotion})), expected);
    }

    #[test]
    fn it_is_told_what_would_change_and_who_decides() {
        let outcome = json!({"would_change": 3, "unchanged": 2, "unknown": 0, "not_concerned": 1, "failed": 1});
        let counts = "dry run: would change 3 devices, nothing to do on 2, not concerned 1, failed on 1";
        for (approvals, who) in [(0, "somebody agrees"), (2, "somebody else agrees")] {
            let asks = format!("done for real on 3 devices when {who}: fleet approvals approve 7e9a41c0");
            check(
                json!({"standing": "awaiting_approval", "approval": "7e9a41c0", "outcome": outcome, "terms": {"approvals": approvals}}),
                &[counts, &asks],
            );
        }
        let nothing = json!({"would_change": 0, "unchanged": 1, "unknown": 0, "not_concerned": 0, "failed": 0});
        check(
            json!({"standing": "nothing_to_promote", "outcome": nothing}),
            &[
                "dry run: would change 0 devices, nothing to do on 1",
                "no device would be changed: nothing follows",
            ],
        );
        check(
            json!({"standing": "stopped", "outcome": null}),
            &["nothing follows: stopped"],
        );
        check(json!(null), &[]);
    }
}
