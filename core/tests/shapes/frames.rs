//! Frames as they travel, and what a newer version may add to them.

use std::collections::BTreeMap;

use fleet_core::{
    kernel::Timestamp,
    protocol::{
        Accepted, AgentFrame, Announce, Applied, Beat, Bye, Cancel, Exchange, ExchangeAnswer, Failing, Finished,
        Gauges, Hello, MAX_CHUNK, MAX_FRAME, ManifestMark, Originated, Output, OutputChunk, OutputStream, Recorded,
        Refused, Reverted, RunResult, ServerFrame, Started, Want,
    },
    work::{RunId, operations::MAX_PARAMS},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};

use crate::{
    sample::{with_unknown_members, without_unknown_members},
    signed::{key_agreement, offer, welcome},
    values::{at, id, uuid},
};

fn run() -> RunId {
    id(20)
}

fn agent_frames() -> Vec<AgentFrame> {
    let finished = |result, exit_code, signal| Finished {
        run: run(),
        result,
        exit_code,
        signal,
        code: None,
        message: None,
        changed: Some(true),
        summary: None,
        started_at: Some(at(1)),
        finished_at: at(2),
        chunks: 3,
        truncated_bytes: 0,
    };
    vec![
        AgentFrame::Hello(Hello {
            nonce: "AAECAwQFBgcICQoLDA0ODw".into(),
            protocol_min: 1,
            protocol_max: 1,
            agent_version: "0.1.0".into(),
            operations: vec!["inventory.refresh".into(), "shell".into()],
            manifest: Some("a".repeat(64)),
        }),
        AgentFrame::Beat(Beat {
            gauges: Gauges {
                uptime_seconds: Some(86_400),
                load_hundredths: Some(25),
                memory_total_bytes: Some(8 << 30),
                memory_used_bytes: Some(1 << 30),
            },
        }),
        AgentFrame::Beat(Beat::default()),
        AgentFrame::Announce(Announce {
            sections: BTreeMap::from([("os".into(), "0".repeat(64)), ("packages".into(), "f".repeat(64))]),
        }),
        AgentFrame::Accepted(Accepted { run: run() }),
        AgentFrame::Refused(Refused {
            run: run(),
            code: "offer.expired".into(),
            message: "the offer has expired".into(),
        }),
        AgentFrame::Started(Started { run: run(), at: at(1) }),
        AgentFrame::Output(Output {
            run: run(),
            chunks: vec![
                OutputChunk {
                    sequence: 0,
                    stream: OutputStream::Stdout,
                    text: "Linux\n".into(),
                },
                OutputChunk {
                    sequence: 1,
                    stream: OutputStream::Stderr,
                    text: "\u{1b}[1mwarn\u{1b}[0m „Größe“\t\u{fffd}\n".into(),
                },
                OutputChunk {
                    sequence: 2,
                    stream: OutputStream::Agent,
                    text: "12 bytes were left out".into(),
                },
            ],
        }),
        AgentFrame::Originated(Originated {
            run: run(),
            occurrence: uuid(7),
            version: 3,
            at: at(1),
        }),
        AgentFrame::Applied(Applied {
            version: 3,
            digest: "a".repeat(64),
            kept: 4,
            failed: 1,
            not_applicable: 1,
            waiting: 2,
            reverting: 1,
            held: 2,
            failing: vec![Failing {
                occurrence: uuid(7),
                since: at(1),
                code: Some("action.not_reached".into()),
            }],
            unreported: 0,
        }),
        AgentFrame::Reverted(Reverted {
            occurrences: vec![uuid(8)],
        }),
        AgentFrame::Finished(finished(RunResult::Succeeded, Some(0), None)),
        AgentFrame::Finished(finished(RunResult::Failed, Some(2), None)),
        AgentFrame::Finished(finished(RunResult::TimedOut, None, Some(9))),
        AgentFrame::Finished(finished(RunResult::Cancelled, None, Some(15))),
        AgentFrame::Finished(Finished {
            code: Some("run.interrupted".into()),
            message: Some("the agent was stopped while it ran".into()),
            changed: None,
            summary: None,
            started_at: None,
            truncated_bytes: 12,
            ..finished(RunResult::Indeterminate, None, None)
        }),
    ]
}

fn server_frames() -> Vec<ServerFrame> {
    vec![
        ServerFrame::Welcome(Box::new(welcome())),
        ServerFrame::Beat { time: at(0) },
        ServerFrame::Offer(Box::new(offer())),
        ServerFrame::Cancel(Cancel { run: run() }),
        ServerFrame::Recorded(Recorded {
            run: run(),
            chunks: 3,
            accepted: true,
            finished: false,
        }),
        ServerFrame::Want(Want {
            sections: vec!["os".into(), "packages".into()],
            refresh: false,
        }),
        ServerFrame::Manifest(ManifestMark {
            version: 3,
            digest: "a".repeat(64),
        }),
        ServerFrame::Bye(Bye {
            code: "link.superseded".into(),
            message: "a newer connection took over".into(),
            retry_after_seconds: None,
        }),
        ServerFrame::Bye(Bye {
            code: "link.restarting".into(),
            message: "the server restarts".into(),
            retry_after_seconds: Some(5),
        }),
    ]
}

fn exchange() -> Exchange {
    Exchange {
        epoch: Some(7),
        frames: agent_frames(),
        wait_seconds: 30,
        key: None,
    }
}

fn answer() -> ExchangeAnswer {
    ExchangeAnswer {
        frames: server_frames(),
        key: None,
    }
}

/// One frame to a line, as it is sent.
fn lines<T: Serialize>(frames: &[T]) -> String {
    let lines: Vec<_> = frames
        .iter()
        .map(|frame| serde_json::to_string(frame).unwrap())
        .collect();
    lines.join("\n")
}

#[test]
fn frames_of_the_agent() {
    insta::assert_snapshot!(lines(&agent_frames()));
}

#[test]
fn frames_of_the_server() {
    insta::assert_snapshot!(lines(&server_frames()));
}

#[test]
fn an_exchange_and_its_answer() {
    let first = Exchange {
        epoch: None,
        frames: agent_frames().drain(..1).collect(),
        wait_seconds: 0,
        key: None,
    };
    let later = Exchange {
        frames: agent_frames().drain(1..2).collect(),
        ..exchange()
    };
    let asking = Exchange {
        frames: Vec::new(),
        key: Some(key_agreement().0),
        ..exchange()
    };
    let answer = ExchangeAnswer {
        frames: server_frames().drain(1..2).collect(),
        key: None,
    };
    let empty = ExchangeAnswer {
        frames: Vec::new(),
        key: None,
    };
    let agreed = ExchangeAnswer {
        frames: Vec::new(),
        key: Some(key_agreement().1),
    };
    let lines = [lines(&[first, later, asking]), lines(&[answer, empty, agreed])];
    insta::assert_snapshot!(lines.join("\n"));
}

#[track_caller]
fn check_reading<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&text).unwrap();
    assert_eq!(read, *value, "read back");

    let mut later: Json = serde_json::from_str(&text).unwrap();
    with_unknown_members(&mut later);
    let read: T = serde_json::from_value(later.clone()).unwrap_or_else(|error| panic!("{later}: {error}"));
    let mut again = serde_json::to_value(&read).unwrap();
    without_unknown_members(&mut again);
    assert_eq!(
        again,
        serde_json::from_str::<Json>(&text).unwrap(),
        "with members of a later version"
    );
}

#[test]
fn frames_are_read_back_and_members_of_a_later_version_do_no_harm() {
    agent_frames().iter().for_each(check_reading);
    server_frames().iter().for_each(check_reading);
    check_reading(&exchange());
    check_reading(&answer());
}

#[test]
fn a_kind_of_frame_that_is_not_known_is_told_apart_from_damage() {
    let frame = json!({"type": "screenshot", "run": 1, "text": ["x"]});
    assert_eq!(
        serde_json::from_value::<AgentFrame>(frame.clone()).unwrap(),
        AgentFrame::Unknown
    );
    assert_eq!(
        serde_json::from_value::<ServerFrame>(frame).unwrap(),
        ServerFrame::Unknown
    );
    for damaged in [
        json!({"type": "accepted"}),
        json!({"run": run()}),
        json!([]),
        json!({"type": 7}),
    ] {
        assert!(
            serde_json::from_value::<AgentFrame>(damaged.clone()).is_err(),
            "{damaged}"
        );
    }
    let exchange =
        json!({"epoch": 1, "frames": [{"type": "screenshot"}, {"type": "beat", "gauges": {}}], "wait_seconds": 0});
    let exchange: Exchange = serde_json::from_value(exchange).unwrap();
    assert_eq!(
        exchange.frames,
        [AgentFrame::Unknown, AgentFrame::Beat(Beat::default())]
    );
}

#[test]
fn a_full_chunk_fits_a_frame_however_it_is_escaped() {
    for character in ["a", "\"", "\u{1}", "\u{fffd}", "💾"] {
        let frame = AgentFrame::Output(Output {
            run: run(),
            chunks: vec![OutputChunk {
                sequence: u32::MAX,
                stream: OutputStream::Stdout,
                text: character.repeat(MAX_CHUNK / character.len()),
            }],
        });
        assert!(
            serde_json::to_string(&frame).unwrap().len() <= MAX_FRAME,
            "{character:?}"
        );
    }
}

#[test]
fn an_offer_with_the_largest_parameters_fits_a_frame() {
    let mut offer = offer();
    offer.body.kind = "k".repeat(64);
    offer.body.epoch = u64::MAX;
    offer.body.params = Json::String("x".repeat(MAX_PARAMS - 2)).into();
    assert_eq!(serde_json::to_string(&offer.body.params).unwrap().len(), MAX_PARAMS);
    assert!(
        serde_json::to_string(&ServerFrame::Offer(Box::new(offer)))
            .unwrap()
            .len()
            <= MAX_FRAME
    );
}

#[test]
fn times_travel_to_the_microsecond() {
    let time = Timestamp::from_micros(1_800_000_000_123_456);
    let text = serde_json::to_string(&ServerFrame::Beat { time }).unwrap();
    assert_eq!(text, r#"{"type":"beat","time":"2027-01-15T08:00:00.123456Z"}"#);
}
