//! Risky work on many devices: whoever asks for it says on how many.

use clap::Args;
use serde_json::{Value, json};

use super::secret::line_from_terminal;
use crate::client::{Answer, Failure, Result};

/// What the server says where nobody confirmed.
const NOT_CONFIRMED: &str = "batch.not_confirmed";
/// The member that confirms.
const MEMBER: &str = "confirm_devices";

/// What is confirmed beforehand.
#[derive(Debug, Default, Args)]
pub struct Confirm {
    /// It is meant for so many devices: do it on these, or not at all. Risky work on many devices asks for the number otherwise.
    #[arg(long, value_name = "N", conflicts_with = "yes")]
    confirm: Option<u64>,
    /// Do risky work on however many devices are meant, without being asked.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Sends a request for work, and once more with the number of its devices where the server wants that confirmed and somebody does.
    pub async fn send(
        &self,
        mut body: Value,
        operation: &str,
        send: impl AsyncFn(&Value) -> Result<Answer>,
    ) -> Result<Answer> {
        if let Some(devices) = self.confirm {
            body[MEMBER] = json!(devices);
        }
        let failure = match send(&body).await {
            Err(failure) if failure.code() == NOT_CONFIRMED && self.confirm.is_none() => failure,
            answer => return answer,
        };
        let devices = failure
            .about(&format!("/{MEMBER}"))
            .and_then(|number| number.parse().ok());
        let Some(devices) = devices else {
            return Err(failure);
        };
        if !self.yes {
            let hint = format!("say --confirm {devices} where that is meant, or --yes");
            let question = question(operation, devices);
            let typed = line_from_terminal(&question).await?.ok_or_else(|| failure.hint(hint))?;
            if !is_meant(&typed, devices) {
                return Err(Failure::usage(format!(
                    "{:.20} is not {devices}: nothing was asked for",
                    crate::output::plain(typed.trim())
                )));
            }
        }
        body[MEMBER] = json!(devices);
        send(&body).await
    }
}

fn question(operation: &str, devices: u64) -> String {
    format!(
        "This runs `{operation}` on {} devices. Type {devices} to go on: ",
        grouped(devices)
    )
}

/// A number as people read it: 4,211.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn is_meant(typed: &str, devices: u64) -> bool {
    let typed = typed.trim();
    typed == devices.to_string() || typed == grouped(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_number_that_is_to_be_typed() {
        assert_eq!(
            question("reboot", 4_211),
            "This runs `reboot` on 4,211 devices. Type 4211 to go on: "
        );
        for (number, text) in [
            (0, "0"),
            (12, "12"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn only_the_number_itself_means_it() {
        for (typed, meant) in [
            ("4211", true),
            (" 4211\n", true),
            ("4,211", true),
            ("", false),
            ("y", false),
            ("yes", false),
            ("04211", false),
            ("421", false),
            ("4211 devices", false),
        ] {
            assert_eq!(is_meant(typed, 4_211), meant, "{typed:?}");
        }
    }
}
