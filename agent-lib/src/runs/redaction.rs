//! Takes the secrets of a run out of all that it tells.

use fleet_core::protocol::{OfferBody, OutputStream};
use serde_json::Value;

use super::{
    Ending,
    execute::{Hidden, Secret, pieces},
    redactor::Redactor,
};

/// One run's: each stream of its output is looked at by itself.
#[derive(Debug)]
pub(super) struct Redaction {
    fresh: Redactor,
    /// What the run makes, and how much of it is known here.
    hidden: Hidden,
    known: usize,
    streams: Vec<(OutputStream, Redactor)>,
}

impl Redaction {
    /// For a run of this offer, which may make or read more secrets.
    pub fn of(offer: &OfferBody, hidden: Hidden) -> Self {
        Self {
            fresh: Redactor::of(offer),
            hidden,
            known: 0,
            streams: Vec::new(),
        }
    }

    /// What may go of these pieces of output, and of those before them.
    pub fn take(&mut self, chunks: impl Iterator<Item = (OutputStream, String)>) -> Vec<(OutputStream, String)> {
        let mut said = Vec::new();
        for (stream, text) in chunks {
            // Each time: what is hidden is hidden before it is written.
            self.learn();
            let place = self.streams.iter().position(|(known, _)| *known == stream);
            let place = place.unwrap_or_else(|| {
                self.streams.push((stream, self.fresh.clone()));
                self.streams.len() - 1
            });
            say(stream, &self.streams[place].1.push(&text), &mut said);
        }
        said
    }

    /// The rest: the run has ended.
    pub fn rest(&mut self) -> Vec<(OutputStream, String)> {
        let mut said = Vec::new();
        for (stream, redactor) in &mut self.streams {
            say(*stream, &redactor.finish(), &mut said);
        }
        said
    }

    /// How the run ended, as it is told.
    pub fn ending(&mut self, mut ending: Ending) -> Ending {
        self.learn();
        ending.message = ending.message.map(|message| self.fresh.whole(&message));
        if let Some(summary) = &mut ending.summary {
            self.hide_in(summary);
        }
        ending
    }

    /// Takes secrets out of all texts of a summary; its members have names that the kind knows.
    fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.fresh.whole(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.hide_in(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn learn(&mut self) {
        let new = self.hidden.after(self.known);
        self.known += new.len();
        let streams = self.streams.iter_mut().map(|(_, redactor)| redactor);
        for redactor in streams.chain([&mut self.fresh]) {
            for secret in &new {
                match secret {
                    Secret::Lines(secret) => redactor.add([secret.reveal()].into_iter()),
                    Secret::Whole(secret) => redactor.add_whole(secret.reveal()),
                }
            }
        }
    }
}

fn say(stream: OutputStream, text: &str, said: &mut Vec<(OutputStream, String)>) {
    said.extend(pieces(text).map(|piece| (stream, piece.to_owned())));
}

#[cfg(test)]
mod tests {
    use fleet_core::work::secrets::SecretText;

    use super::*;
    use fleet_core::{protocol::RunResult, work::secrets::MASK};
    use tokio::sync::mpsc;

    use crate::runs::OutputSink;

    fn offer() -> OfferBody {
        let offer = serde_json::json!({
            "run": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "device": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a42", "epoch": 1,
            "kind": "x", "params": {}, "expires_at": "2027-01-15T08:00:00Z", "timeout_seconds": 1, "output_limit_bytes": 1,
            "idempotent": true, "exclusive": true,
        });
        serde_json::from_value(offer).unwrap()
    }

    /// What a run of no secrets tells that makes some while it prints.
    #[tokio::test]
    async fn what_a_run_makes_is_taken_out_of_what_it_tells_from_there_on() {
        let hidden = Hidden::default();
        let mut redaction = Redaction::of(&offer(), hidden.clone());
        let (sender, mut chunks) = mpsc::channel(16);
        let sink = OutputSink::new(sender).hiding(hidden);
        sink.write(OutputStream::Stdout, "begun; ").await;
        for (secret, text) in [("hunter2hunter2", "a hunter2hun"), ("correct horse", "ter2 b correct ")] {
            sink.hide(&SecretText::from(secret.to_owned()));
            sink.write(OutputStream::Stdout, text).await;
        }
        sink.write(OutputStream::Stdout, "horse c").await;
        drop(sink);
        let mut said = String::new();
        while let Some(chunk) = chunks.recv().await {
            said.extend(redaction.take([chunk].into_iter()).into_iter().map(|(_, text)| text));
        }
        said.extend(redaction.rest().into_iter().map(|(_, text)| text));
        assert_eq!(said, format!("begun; a {MASK} b {MASK} c"));
        let mut ending = Ending::of(RunResult::Failed);
        ending.message = Some("no: correct horse".into());
        ending.summary = Some(serde_json::json!({"steps": ["write correct horse"], "more": 0}));
        let told = redaction.ending(ending);
        assert_eq!(told.message.unwrap(), format!("no: {MASK}"));
        let steps = format!("write {MASK}");
        assert_eq!(told.summary.unwrap(), serde_json::json!({"steps": [steps], "more": 0}));
    }

    #[tokio::test]
    async fn what_is_made_last_is_not_in_the_end_either() {
        let hidden = Hidden::default();
        let mut redaction = Redaction::of(&offer(), hidden.clone());
        let (sender, _chunks) = mpsc::channel(1);
        let sink = OutputSink::new(sender).hiding(hidden);
        sink.hide(&SecretText::from("hunter2hunter2".to_owned()));
        let ending = Ending::failed("x", "hunter2hunter2");
        assert_eq!(redaction.ending(ending).message.unwrap(), MASK);
    }
}
