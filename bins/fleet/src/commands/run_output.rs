//! What a run printed.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Context, Paging, live};
use crate::{
    client::{Chunk, Failure, Pages, Query, RUN, Result, follow, id_of},
    output::{Column, Format, Output, Prefixer, note},
};

/// `fleet runs output`
#[derive(Debug, Args)]
pub struct RunOutput {
    /// The run.
    run: String,
    /// Go on until it has ended.
    #[arg(long, short)]
    follow: bool,
    /// As one text on standard output; what the run printed on standard error goes to standard error otherwise.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<OneText>,
    /// Only this stream; may be repeated.
    #[arg(long, value_enum, value_name = "STREAM")]
    stream: Vec<Stream>,
    /// Everything; the table shows everything anyway.
    #[arg(long, hide = true)]
    all: bool,
}

/// All output as one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OneText {
    /// As it came, all streams together.
    Text,
    /// A line of JSON for each piece, with its number and its stream.
    Ndjson,
}

impl OneText {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The agent's own remarks.
    Agent,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Agent => "agent",
        }
    }
}

const CHUNKS: &[Column] = &[
    Column::new("SEQUENCE", "/sequence", crate::output::Show::Text),
    Column::new("STREAM", "/stream", crate::output::Show::Text),
    Column::new("TEXT", "/text", crate::output::Show::Text),
];

/// Prints it.
pub async fn print(context: &mut Context, wanted: RunOutput) -> Result<()> {
    let id = &id_of(&context.client, &RUN, &wanted.run).await?;
    let is_for_programs = context.output.format() != Format::Table;
    if is_for_programs && wanted.follow {
        return Err(Failure::usage(
            "--follow is for people; leave out -o, or say --format ndjson",
        ));
    }
    match wanted.format {
        Some(_) if is_for_programs => Err(Failure::usage(
            "-o and --format say the same thing twice; leave out one",
        )),
        _ if wanted.follow => {
            let stop = format!("fleet runs cancel {id}");
            live::until_ctrl_c(follow_it(context, id, &wanted), &stop).await
        }
        Some(format) => download(context, id, format, &wanted.stream).await,
        None if is_for_programs => {
            if !wanted.stream.is_empty() {
                return Err(Failure::usage("--stream takes --format ndjson instead of -o"));
            }
            let every = Paging { limit: 500, all: true };
            let path = ["runs", id, "output"];
            context.list(&path, Query::new(), every, CHUNKS, "").await
        }
        None => print_streams(context, id, &wanted.stream).await,
    }
}

/// Prints all of it as the run did: each stream where it belongs.
async fn print_streams(context: &mut Context, id: &str, streams: &[Stream]) -> Result<()> {
    let path = ["runs", id, "output"];
    let mut pages = Pages::new(&context.client, &path, Query::new(), usize::MAX);
    let mut lines = Prefixer::new(None, context.output.is_terminal());
    while let Some(items) = pages.next().await? {
        for chunk in items.iter().filter_map(Chunk::from_json) {
            if is_wanted(&chunk, streams) {
                live::write(&mut context.output, &mut lines, &chunk)?;
            }
        }
    }
    Ok(())
}

/// Prints what the server puts together, and says what that lacks.
async fn download(context: &mut Context, id: &str, format: OneText, streams: &[Stream]) -> Result<()> {
    let query: Query = streams
        .iter()
        .map(|stream| ("stream", stream.name().to_owned()))
        .collect();
    let mut lines = Prefixer::new(None, context.output.is_terminal());
    let output = &mut context.output;
    let path = ["runs", id, "output", format.name()];
    let print = |piece: &str| output.text(&lines.push("stdout", piece));
    match context.client.download(&path, &query, print).await?.as_deref() {
        Some("cut") => note("this is not all that it printed"),
        Some("so_far") => note("this is what it printed so far; --follow goes on"),
        _ => {}
    }
    Ok(())
}

/// Prints it as it comes, until the run has ended; fails as that failed.
async fn follow_it(context: &mut Context, id: &str, wanted: &RunOutput) -> Result<()> {
    let mut lines = Prefixer::new(None, context.output.is_terminal());
    let output = &mut context.output;
    let run = follow(&context.client, id, |chunk| match is_wanted(&chunk, &wanted.stream) {
        true => write_as(output, &mut lines, &chunk, wanted.format),
        false => Ok(()),
    })
    .await?;
    live::verdict(&[run])
}

fn write_as(output: &mut Output, lines: &mut Prefixer, chunk: &Chunk, format: Option<OneText>) -> Result<()> {
    match format {
        None => live::write(output, lines, chunk),
        Some(OneText::Text) => output.text(&lines.push("stdout", &chunk.text)),
        Some(OneText::Ndjson) => {
            let line = json!({"sequence": chunk.sequence, "stream": chunk.stream, "text": chunk.text});
            output.text(&format!("{line}\n"))
        }
    }
}

fn is_wanted(chunk: &Chunk, streams: &[Stream]) -> bool {
    streams.is_empty() || streams.iter().any(|stream| stream.name() == chunk.stream)
}
