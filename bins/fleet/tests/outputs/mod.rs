//! What runs print: as it comes, and as one text.

use axum::{body::Body, http::Response};

use super::{
    RUN, chunk, ended,
    fake::{Fake, problem, stream},
    run,
};

#[test]
fn output_that_breaks_off_is_continued_where_it_broke() {
    let server = Fake::start(|seen, _| match (&*seen.target, seen.header("last-event-id")) {
        (_, "") => stream(
            &(chunk(0, "stdout", "one\n") + &chunk(1, "stdout", "two\n") + "event: chunk\ndata: {\"seq"),
            true,
        ),
        // A server may repeat what we have.
        (_, "1") => stream(&(chunk(1, "stdout", "two\n") + &chunk(2, "stderr", "three\n")), false),
        (_, _) => stream(
            &(chunk(3, "stdout", "four\n") + &ended(&run(RUN, "web", "succeeded"))),
            false,
        ),
    });
    let done = server.fleet(&["runs", "output", "--follow", RUN]);
    assert_eq!(
        (done.code, done.out.as_str(), done.err.as_str()),
        (0, "one\ntwo\nfour\n", "three\n"),
        "{done:?}"
    );
    let continued: Vec<_> = server
        .requests()
        .iter()
        .map(|seen| seen.header("last-event-id").to_owned())
        .collect();
    assert_eq!(continued, ["", "1", "2"]);
}

#[test]
fn a_stream_of_a_run_that_is_gone_is_not_asked_for_again() {
    let server = Fake::start(|_, _| problem(404, "run.not_found", "there is no such run"));
    assert_eq!(server.fleet(&["runs", "output", "--follow", RUN]).code, 3);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn output_is_downloaded_as_one_text() {
    let lines = "{\"sequence\":0,\"stream\":\"stdout\",\"text\":\"a\"}\n";
    let server = Fake::start(move |seen, _| {
        let (extent, text) = match seen.target.contains("ndjson") {
            true => ("so_far", lines),
            false => ("cut", "one\nGröße\n"),
        };
        Response::builder()
            .header("x-fleet-output", extent)
            .body(Body::from(text))
            .unwrap()
    });
    let done = server.fleet(&["runs", "output", RUN, "--format", "text"]);
    assert_eq!((done.code, done.out.as_str()), (0, "one\nGröße\n"), "{done:?}");
    assert_eq!(done.err, "this is not all that it printed\n");
    let done = server.fleet(&[
        "runs", "output", RUN, "--format", "ndjson", "--stream", "stdout", "--stream", "agent",
    ]);
    assert_eq!((done.code, done.out.as_str()), (0, lines), "{done:?}");
    assert_eq!(done.err, "this is what it printed so far; --follow goes on\n");
    assert_eq!(
        server.asked(),
        [
            format!("GET /api/v1/runs/{RUN}/output/text"),
            format!("GET /api/v1/runs/{RUN}/output/ndjson?stream=stdout&stream=agent"),
        ]
    );
    let done = server.fleet(&["-o", "json", "runs", "output", RUN, "--format", "ndjson"]);
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn output_that_is_followed_has_the_form_that_was_asked_for() {
    let server = Fake::start(|_, _| {
        let chunks = chunk(0, "stdout", "one\n") + &chunk(1, "stderr", "two\n") + &chunk(2, "agent", "three\n");
        stream(&(chunks + &ended(&run(RUN, "web", "succeeded"))), false)
    });
    let check = |more: &[&str], out: &str, err: &str| {
        let done = server.fleet(&[&["runs", "output", "--follow", RUN], more].concat());
        assert_eq!(
            (done.code, done.out.as_str(), done.err.as_str()),
            (0, out, err),
            "{more:?}"
        );
    };
    check(&[], "one\n", "two\nthree\n");
    check(&["--stream", "stderr"], "", "two\n");
    check(&["--format", "text"], "one\ntwo\nthree\n", "");
    check(
        &["--format", "ndjson", "--stream", "stderr"],
        "{\"sequence\":1,\"stream\":\"stderr\",\"text\":\"two\\n\"}\n",
        "",
    );
}

#[test]
fn a_download_that_breaks_off_is_a_failure() {
    let server = Fake::start(|_, _| stream("half of it", true));
    let done = server.fleet(&["runs", "output", RUN, "--format", "text"]);
    assert_eq!((done.code, done.out.as_str()), (5, "half of it"), "{done:?}");
}
