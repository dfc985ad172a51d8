//! Output as one text: what there is of it, in which form, and what is said of the rest.

use super::{Work, chunk, output};
use crate::{
    kernel::EntityId as _,
    protocol::{MAX_CHUNK, OutputChunk, OutputStream, RunResult},
    work::{
        RunId,
        output::{OutputExtent, OutputFormat},
        run::RUN_NOT_FOUND,
    },
};

fn from(stream: OutputStream, sequence: u32, text: &str) -> OutputChunk {
    OutputChunk {
        stream,
        ..chunk(sequence, text)
    }
}

/// What somebody gets who downloads it: the text, how much of it that is, and the name of its file after the run's.
async fn download(
    work: &Work,
    run: RunId,
    format: OutputFormat,
    streams: &[OutputStream],
) -> (String, OutputExtent, String) {
    let service = work.test.fleet.output();
    let begun = service.download(&work.test.admin(), run, format, streams).await;
    let mut download = begun.unwrap();
    let name = download.file_name().replace(&run.to_string(), "RUN");
    let mut text = String::new();
    while let Some(piece) = download.next().await.unwrap() {
        assert!(!piece.is_empty(), "a piece holds something");
        text.push_str(&piece);
    }
    (text, download.extent(), name)
}

/// A run that printed these chunks; it has ended when it says how many it sent, and how many bytes it cut.
async fn printed(work: &Work, chunks: Vec<OutputChunk>, ended: Option<(u32, u64)>) -> RunId {
    let run = work.run_in(crate::work::State::Running).await;
    let delivery = work.test.fleet.delivery();
    delivery.output(work.device, &output(run, chunks)).await.unwrap();
    if let Some((chunks, truncated_bytes)) = ended {
        let mut finished = work.finished(run, RunResult::Succeeded);
        (finished.chunks, finished.truncated_bytes) = (chunks, truncated_bytes);
        delivery.finished(work.device, finished).await.unwrap();
    }
    run
}

fn interleaved() -> Vec<OutputChunk> {
    vec![
        from(OutputStream::Stdout, 0, "one\n"),
        from(OutputStream::Stderr, 1, "careful\n"),
        from(OutputStream::Stdout, 2, "\"two\"\n"),
        from(OutputStream::Agent, 3, "that is all\n"),
    ]
}

#[tokio::test]
async fn output_is_downloaded_as_it_came_or_by_stream() {
    use OutputFormat::{Ndjson, Text};
    use OutputStream::{Stderr, Stdout};
    let work = Work::new().await;
    let run = printed(&work, interleaved(), Some((4, 0))).await;
    for (format, streams, expected, name) in [
        (Text, &[][..], "one\ncareful\n\"two\"\nthat is all\n", "RUN.txt"),
        (Text, &[Stdout], "one\n\"two\"\n", "RUN-stdout.txt"),
        (
            Text,
            &[Stdout, Stderr],
            "one\ncareful\n\"two\"\n",
            "RUN-stdout-stderr.txt",
        ),
        (
            Ndjson,
            &[Stdout],
            "{\"sequence\":0,\"stream\":\"stdout\",\"text\":\"one\\n\"}\n\
             {\"sequence\":2,\"stream\":\"stdout\",\"text\":\"\\\"two\\\"\\n\"}\n",
            "RUN-stdout.ndjson",
        ),
    ] {
        let expected = (expected.to_owned(), OutputExtent::Complete, name.to_owned());
        assert_eq!(download(&work, run, format, streams).await, expected);
    }
    let (lines, ..) = download(&work, run, Ndjson, &[]).await;
    assert_eq!(lines.lines().count(), 4);
}

#[tokio::test]
async fn a_download_says_how_much_of_the_output_it_is() {
    use OutputExtent::{Complete, Cut, SoFar};
    let numbered = |numbers: &[u32]| numbers.iter().map(|number| chunk(*number, "x\n")).collect::<Vec<_>>();
    for (chunks, ended, expected, text) in [
        (&[0, 1][..], None, SoFar, "x\nx\n"),
        (&[], None, SoFar, ""),
        (&[0, 1], Some((2, 0)), Complete, "x\nx\n"),
        (&[], Some((0, 0)), Complete, ""),
        (&[0, 1], Some((2, 9)), Cut, "x\nx\n"),
        (&[0], Some((3, 0)), Cut, "x\n[2 chunks of output are not kept]\n"),
        (&[1], Some((2, 0)), Cut, "[1 chunks of output are not kept]\nx\n"),
        (&[], Some((2, 0)), Cut, "[2 chunks of output are not kept]\n"),
    ] {
        let work = Work::new().await;
        let run = printed(&work, numbered(chunks), ended).await;
        let (found, extent, _) = download(&work, run, OutputFormat::Text, &[]).await;
        assert_eq!((found.as_str(), extent), (text, expected), "{chunks:?} {ended:?}");
    }
}

#[tokio::test]
async fn of_a_run_that_was_lost_nobody_knows_whether_it_printed_more() {
    for (chunks, expected) in [(vec![chunk(0, "x\n")], "x\n"), (Vec::new(), "")] {
        let work = Work::new().await;
        let run = printed(&work, chunks, None).await;
        work.advance(3_600);
        work.sweep().await;
        assert_eq!(work.state(run).await, crate::work::State::Lost);
        let (text, extent, _) = download(&work, run, OutputFormat::Text, &[]).await;
        assert_eq!((text.as_str(), extent), (expected, OutputExtent::Cut));
    }
}

#[tokio::test]
async fn a_long_output_comes_in_pieces_of_a_bounded_size() {
    let work = Work::new().await;
    let long = "y".repeat(MAX_CHUNK);
    let chunks = (0..200).map(|sequence| chunk(sequence, &long)).collect();
    let run = printed(&work, chunks, Some((200, 0))).await;
    let service = work.test.fleet.output();
    let begun = service.download(&work.test.admin(), run, OutputFormat::Text, &[]).await;
    let (mut download, mut sizes) = (begun.unwrap(), Vec::new());
    while let Some(piece) = download.next().await.unwrap() {
        sizes.push(piece.len() / MAX_CHUNK);
    }
    assert_eq!(sizes, [64, 64, 64, 8]);
}

#[tokio::test]
async fn a_run_that_is_not_there_has_no_output() {
    let work = Work::new().await;
    let service = work.test.fleet.output();
    let nobody = RunId::from_uuid(uuid::Uuid::from_u128(7));
    let refused = service
        .download(&work.test.admin(), nobody, OutputFormat::Text, &[])
        .await;
    assert_eq!(refused.unwrap_err().code(), RUN_NOT_FOUND);
}
