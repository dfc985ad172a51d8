//! Takes the secrets of a run out of all that it tells.

use fleet_core::protocol::{OfferBody, OutputStream};

use super::{Ending, execute::pieces, redactor::Redactor};

/// One run's: each stream of its output is looked at by itself.
#[derive(Debug)]
pub(super) struct Redaction {
    fresh: Redactor,
    streams: Vec<(OutputStream, Redactor)>,
}

impl Redaction {
    /// For a run of this offer.
    pub fn of(offer: &OfferBody) -> Self {
        Self {
            fresh: Redactor::of(offer),
            streams: Vec::new(),
        }
    }

    /// What may go of these pieces of output, and of those before them.
    pub fn take(&mut self, chunks: impl Iterator<Item = (OutputStream, String)>) -> Vec<(OutputStream, String)> {
        let mut said = Vec::new();
        for (stream, text) in chunks {
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
    pub fn ending(&self, mut ending: Ending) -> Ending {
        ending.message = ending.message.map(|message| self.fresh.whole(&message));
        ending
    }
}

fn say(stream: OutputStream, text: &str, said: &mut Vec<(OutputStream, String)>) {
    said.extend(pieces(text).map(|piece| (stream, piece.to_owned())));
}
