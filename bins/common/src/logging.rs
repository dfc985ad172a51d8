//! Where words go: the log to standard error, answers to standard output.

use std::{
    fmt,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter, prelude::*};

use crate::log_file::LogFile;

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Starts the log. `RUST_LOG` narrows or widens it; `level` holds where it says nothing.
pub fn start_at(format: LogFormat, level: &str) {
    begin(format, level, None);
}

fn begin(format: LogFormat, level: &str, file: Option<LogFile>) {
    // Notices of Postgres are talk between engine and backend: what goes wrong comes back as an error.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},sqlx::postgres::notice=error")));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = file.is_none();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Arc::new(file)),
        None => BoxMakeWriter::new(io::stderr),
    };
    let layer = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Text => {
            let layer = layer.with_writer(writer).with_target(false);
            // Colours only where nobody has switched them off (NO_COLOR), and never in files.
            match colours {
                true => registry.with(layer).init(),
                false => registry.with(layer.with_ansi(false)).init(),
            }
        }
        LogFormat::Json => registry.with(layer.json().with_writer(writer)).init(),
    }
}

/// Starts the log of a service.
pub fn start(format: LogFormat) {
    start_at(format, "info");
}

/// Starts the log of a service in a file that is turned over when it is long, or on standard error where none is named.
///
/// # Errors
/// When the file cannot be opened.
pub fn start_in(format: LogFormat, file: Option<&Path>) -> io::Result<()> {
    begin(format, "info", file.map(LogFile::open).transpose()?);
    Ok(())
}

/// Prints a line for whoever started the program. That nobody reads it is no reason to stop.
pub fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Says why the program ends, or what somebody should know.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
