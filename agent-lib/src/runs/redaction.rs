//! Takes the secrets of a run out of all that it tells.

use fleet_core::{
    protocol::{OfferBody, OutputStream},
    work::secrets::SecretText,
};

use super::{
    Ending,
    execute::{Hidden, pieces},
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
        ending
    }

    fn learn(&mut self) {
        let new = self.hidden.after(self.known);
        self.known += new.len();
        let values = || new.iter().map(SecretText::reveal);
        self.fresh.add(values());
        for (_, redactor) in &mut self.streams {
            redactor.add(values());
        }
    }
}

fn say(stream: OutputStream, text: &str, said: &mut Vec<(OutputStream, String)>) {
    said.extend(pieces(text).map(|piece| (stream, piece.to_owned())));
}
