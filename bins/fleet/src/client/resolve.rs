//! Ids from what people type: a name, the last eight digits of an id, or the whole id.

use serde_json::Value;

use super::{Client, Exit, Failure, Pages, Query, Result};

/// A kind of thing that has ids.
#[derive(Debug)]
pub struct Noun {
    word: &'static str,
    path: &'static str,
    /// The member that people call it by.
    name: Option<&'static str>,
    /// Whether the server finds names and last digits.
    search: bool,
    /// What lists them.
    list: &'static str,
}

/// Devices.
pub const DEVICE: Noun = Noun {
    word: "device",
    path: "devices",
    name: Some("name"),
    search: true,
    list: "fleet devices list",
};
/// Groups of devices.
pub const GROUP: Noun = Noun {
    word: "device group",
    path: "device-groups",
    name: Some("name"),
    search: false,
    list: "fleet groups list",
};
/// Actions.
pub const ACTION: Noun = Noun {
    word: "action",
    path: "actions",
    name: Some("name"),
    search: false,
    list: "fleet actions list",
};
/// Action sets.
pub const ACTION_SET: Noun = Noun {
    word: "action set",
    path: "action-sets",
    name: Some("name"),
    search: false,
    list: "fleet action-sets list",
};
/// Definitions.
pub const DEFINITION: Noun = Noun {
    word: "definition",
    path: "definitions",
    name: Some("name"),
    search: false,
    list: "fleet definitions list",
};
/// Assignments.
pub const ASSIGNMENT: Noun = Noun {
    word: "assignment",
    path: "assignments",
    name: None,
    search: false,
    list: "fleet assignments list",
};
/// Windows.
pub const WINDOW: Noun = Noun {
    word: "window",
    path: "windows",
    name: Some("name"),
    search: false,
    list: "fleet windows list",
};
/// Plans.
pub const PLAN: Noun = Noun {
    word: "plan",
    path: "plans",
    name: Some("name"),
    search: false,
    list: "fleet plans list",
};
/// Enrolment tokens.
pub const TOKEN: Noun = Noun {
    word: "enrolment token",
    path: "enrolment-tokens",
    name: Some("name"),
    search: false,
    list: "fleet tokens list",
};
/// Certificate authorities.
pub const AUTHORITY: Noun = Noun {
    word: "certificate authority",
    path: "certificate-authorities",
    name: None,
    search: false,
    list: "fleet authorities list",
};
/// Releases of the agent.
pub const AGENT_RELEASE: Noun = Noun {
    word: "agent release",
    path: "agent-releases",
    name: None,
    search: false,
    list: "fleet agents list",
};
/// Runs.
pub const RUN: Noun = Noun {
    word: "run",
    path: "runs",
    name: None,
    search: false,
    list: "fleet runs list",
};
/// Approvals.
pub const APPROVAL: Noun = Noun {
    word: "approval",
    path: "approvals",
    name: None,
    search: false,
    list: "fleet approvals list",
};
/// Users.
pub const USER: Noun = Noun {
    word: "user",
    path: "users",
    name: Some("name"),
    search: false,
    list: "fleet users list",
};
/// API keys.
pub const KEY: Noun = Noun {
    word: "API key",
    path: "keys",
    name: Some("name"),
    search: false,
    list: "fleet keys list",
};
/// Sessions.
pub const SESSION: Noun = Noun {
    word: "session",
    path: "sessions",
    name: None,
    search: false,
    list: "fleet sessions list",
};

/// How many things are looked through where the server cannot search.
const LOOKED_THROUGH: usize = 5_000;
/// How many candidates are named.
const NAMED: usize = 10;
/// How many digits of an id are enough.
const LAST_DIGITS: usize = 8;

/// The id of what `text` stands for. Several candidates are an error that names them.
pub async fn id_of(client: &Client, noun: &Noun, text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Failure::usage(format!("an empty text names no {}", noun.word)));
    }
    if is_id(text) {
        return Ok(text.to_ascii_lowercase());
    }
    if noun.name.is_none() && !is_last_digits(text) {
        return Err(Failure::usage(format!(
            "{text} is no {}'s id; give the whole id or its last {LAST_DIGITS} digits",
            noun.word
        )));
    }
    let query: Query = if noun.search {
        vec![("search", text.to_owned())]
    } else {
        Vec::new()
    };
    let mut pages = Pages::new(client, &[noun.path], query, LOOKED_THROUGH);
    let mut found = Vec::new();
    while let Some(page) = pages.next().await? {
        found.extend(page.into_iter().filter(|item| is_meant(noun, item, text)));
    }
    match &found[..] {
        [one] => one["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::unexpected(format!("the server's {} has no id", noun.word))),
        [] => {
            let looked = if pages.has_more() {
                format!(" among the first {LOOKED_THROUGH}; give its whole id")
            } else {
                String::new()
            };
            Err(Failure::new(
                Exit::NotFound,
                "name.not_found",
                format!("there is no {} {text}{looked}", noun.word),
            )
            .hint(format!("`{}` shows what there is", noun.list)))
        }
        several => {
            let mut message = format!("{text} may be any of {} {}s:", several.len(), noun.word);
            for item in several.iter().take(NAMED) {
                let name = noun.name.and_then(|name| item[name].as_str()).unwrap_or_default();
                let id = item["id"].as_str().unwrap_or_default();
                message.push_str(&format!("\n  {id}  {}", crate::output::plain(name)));
            }
            if several.len() > NAMED {
                message.push_str("\n  …");
            }
            Err(Failure::new(Exit::Usage, "name.ambiguous", message).hint("give an id, or its last 8 digits"))
        }
    }
}

fn is_meant(noun: &Noun, item: &Value, text: &str) -> bool {
    let by_name = noun
        .name
        .and_then(|name| item[name].as_str())
        .is_some_and(|name| name.to_lowercase() == text.to_lowercase());
    let by_digits = is_last_digits(text)
        && item["id"]
            .as_str()
            .is_some_and(|id| id.ends_with(&text.to_ascii_lowercase()));
    by_name || by_digits
}

fn is_last_digits(text: &str) -> bool {
    text.len() == LAST_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it has the form of a UUID (RFC 9562 §4).
fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41";

    #[test]
    fn a_name_and_the_last_digits_mean_a_thing() {
        let item = json!({"id": ID, "name": "Web-1"});
        for (text, meant) in [
            ("web-1", true),
            ("WEB-1", true),
            ("web", false),
            ("6b7e9a41", true),
            ("6B7E9A41", true),
            ("7e9a41", false),
            ("019aa5b2", false),
        ] {
            assert_eq!(is_meant(&DEVICE, &item, text), meant, "{text}");
        }
    }

    #[test]
    fn whole_ids_are_known_by_their_form() {
        assert!(is_id(ID) && is_id(&ID.to_uppercase()));
        for text in ["", "web-1", &ID[1..], &ID.replace('-', "0"), &ID.replace('a', "g")] {
            assert!(!is_id(text), "{text}");
        }
    }
}
