//! Sending files.

use std::{path::Path, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, BufReader},
};

use super::{Answer, CONNECT_TIMEOUT, Client, Failure, Result, builder};

/// How long sending a file may take.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Bytes that are read and sent at once.
const PART: usize = 256 << 10;

impl Client {
    /// Sends a file as the body of a creation, piece by piece, and shows how far it is where somebody looks.
    pub async fn upload(&self, path: &[&str], query: &[(&str, String)], file: &Path) -> Result<Answer> {
        let unreadable = |error: std::io::Error| Failure::usage(format!("{} cannot be read: {error}", file.display()));
        let opened = File::open(file).await.map_err(unreadable)?;
        let about = opened.metadata().await.map_err(unreadable)?;
        if !about.is_file() {
            return Err(Failure::usage(format!("{} is no file", file.display())));
        }
        let bar = bar(about.len());
        let shown = bar.clone();
        let reader = BufReader::with_capacity(PART, opened);
        let parts = futures::stream::try_unfold(reader, move |mut reader| {
            let shown = shown.clone();
            async move {
                let mut part = vec![0; PART];
                let read = reader.read(&mut part).await?;
                part.truncate(read);
                shown.inc(read as u64);
                Ok::<_, std::io::Error>((read > 0).then_some((part, reader)))
            }
        });
        let request = self.request(Method::POST, path, query, false);
        // The server is silent until it has all of it: the silence that other requests allow would be too short.
        let http = builder(&self.base)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(LONGEST)
            .build()
            .map_err(|error| Failure::unexpected(format!("no HTTP client: {error}")))?;
        let sent = self
            .authorised(http.post(request.url))?
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(reqwest::Body::wrap_stream(parts))
            .send()
            .await;
        bar.finish_and_clear();
        self.answer_of(sent.map_err(|error| self.unreachable(&error))?).await
    }
}

/// On standard error, and only where that is a terminal.
fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}") {
        bar.set_style(style);
    }
    bar
}
