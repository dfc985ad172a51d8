//! Receiving texts of any length.

use super::{Client, Failure, Method, Query, Result};

/// How much of what was asked for a text is, as its server says.
const EXTENT: &str = "x-fleet-output";

impl Client {
    /// Hands a text to `sink` piece by piece, and gives back how much of what was asked for it is, where the server says so. What breaks
    /// off is an error.
    pub async fn download(
        &self,
        path: &[&str],
        query: &Query,
        mut sink: impl FnMut(&str) -> Result<()>,
    ) -> Result<Option<String>> {
        let mut response = self.send(&self.request(Method::GET, path, query, true)).await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        let extent = response.headers().get(EXTENT).and_then(|value| value.to_str().ok());
        let extent = extent.map(str::to_owned);
        let mut text = Characters::default();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            let piece = text.push(&bytes);
            let piece = piece.ok_or_else(|| Failure::unexpected(format!("what {} sends is no text", self.url())))?;
            sink(&piece)?;
        }
        match text.held.is_empty() {
            true => Ok(extent),
            false => Err(Failure::unexpected(format!(
                "what {} sends ends within a character",
                self.url()
            ))),
        }
    }
}

/// Puts characters together that came in two pieces.
#[derive(Default)]
struct Characters {
    held: Vec<u8>,
}

impl Characters {
    /// What is whole by now; none where it is no UTF-8.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.held.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.held) {
            Ok(_) => self.held.len(),
            // Not wrong, only not over yet.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return None,
        };
        let rest = self.held.split_off(whole);
        String::from_utf8(std::mem::replace(&mut self.held, rest)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Characters;

    #[track_caller]
    fn check(pieces: &[&[u8]], expected: &[Option<&str>], held: usize) {
        let mut characters = Characters::default();
        let found: Vec<_> = pieces.iter().map(|piece| characters.push(piece)).collect();
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, expected);
        assert_eq!(characters.held.len(), held);
    }

    #[test]
    fn a_character_in_two_pieces_is_one() {
        check(&[b"Gr\xc3", b"\xb6\xc3\x9fe"], &[Some("Gr"), Some("öße")], 0);
        check(&[b"\xf0\x9f", b"\x9a", b"\x80!"], &[Some(""), Some(""), Some("🚀!")], 0);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        check(&[b"a\xff"], &[None], 2);
        check(&[b"a\xc3"], &[Some("a")], 1);
    }
}
