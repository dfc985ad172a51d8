//! Real processes.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use fleet_core::{
    kernel::{Clock, Code, Error, SystemClock, SystemRandom, random_uuid},
    protocol::{MAX_CHUNK, OutputChunk, OutputStream, RunResult},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use uuid::Uuid;

use super::*;

/// Long enough for any machine; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    folder: tempfile::TempDir,
    executor: Executor,
}

struct Running {
    id: Uuid,
    task: JoinHandle<Result<Outcome, Error>>,
    chunks: mpsc::Receiver<OutputChunk>,
    cancel: watch::Sender<bool>,
    text: String,
    errors: String,
    remarks: Vec<String>,
    next: u32,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users must be able to pass, as they can in /run.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let config = ExecutorConfig {
            scripts: folder.path().join("scripts"),
            shared_scripts: folder.path().join("shared"),
            environment: [
                ("PATH", "/usr/bin:/bin"),
                ("HOME", "/"),
                ("SECRET", "x"),
                ("LANG", "C.UTF-8"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        };
        Self {
            folder,
            executor: Executor::new(config, Arc::new(SystemClock)),
        }
    }

    fn start(&self, spec: ShellSpec) -> Running {
        let (sender, chunks) = mpsc::channel(4);
        let (cancel, cancelled) = watch::channel(false);
        let executor = self.executor.clone();
        // Processes are found by this id: it must be nobody else's, in no other test and no other program.
        let id = random_uuid(SystemClock.now(), &SystemRandom);
        let task = tokio::spawn(async move { executor.run(id, &spec, 0, sender, cancelled).await });
        Running {
            id,
            task,
            chunks,
            cancel,
            text: String::new(),
            errors: String::new(),
            remarks: Vec::new(),
            next: 0,
        }
    }

    async fn run(&self, spec: ShellSpec) -> (Outcome, Running) {
        let mut running = self.start(spec);
        let outcome = running.finish().await.unwrap();
        let left: Vec<_> = fs::read_dir(self.folder.path().join("scripts"))
            .into_iter()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        (outcome, running)
    }

    async fn fails(&self, spec: ShellSpec) -> Code {
        self.start(spec).finish().await.unwrap_err().code()
    }
}

impl Running {
    fn take(&mut self, chunk: OutputChunk) {
        assert_eq!(chunk.sequence, self.next);
        assert!(chunk.text.len() <= MAX_CHUNK && !chunk.text.is_empty());
        self.next += 1;
        match chunk.stream {
            OutputStream::Stdout => self.text.push_str(&chunk.text),
            OutputStream::Stderr => self.errors.push_str(&chunk.text),
            OutputStream::Agent => self.remarks.push(chunk.text),
        }
    }

    /// Reads until standard output holds a text.
    async fn until(&mut self, text: &str) {
        while !self.text.contains(text) {
            let chunk = timeout(PATIENCE, self.chunks.recv()).await.unwrap().unwrap();
            self.take(chunk);
        }
    }

    async fn cancel(&mut self) -> Outcome {
        self.cancel.send(true).unwrap();
        self.finish().await.unwrap()
    }

    async fn finish(&mut self) -> Result<Outcome, Error> {
        while let Some(chunk) = timeout(PATIENCE, self.chunks.recv()).await.unwrap() {
            self.take(chunk);
        }
        let outcome = timeout(PATIENCE, &mut self.task).await.unwrap().unwrap();
        if let Ok(outcome) = &outcome {
            assert_eq!(outcome.next_sequence, self.next);
            assert!(outcome.started_at <= outcome.finished_at);
        }
        outcome
    }
}

fn seconds(timeout: u64, grace: u64, script: &str) -> ShellSpec {
    ShellSpec {
        timeout: Duration::from_secs(timeout),
        grace: Duration::from_secs(grace),
        ..ShellSpec::script(script)
    }
}

/// Whether a process runs. One that is dead may stay in the table until its new parent looks.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a process has gone: the kernel may take a moment after the signal.
async fn gone(pid: &str) {
    assert!(pid.trim().parse::<u32>().is_ok(), "{pid:?}");
    let waiting = async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

#[track_caller]
fn check_end(outcome: &Outcome, exit_code: Option<i32>, signal: Option<i32>, result: RunResult) {
    assert_eq!(
        (outcome.exit_code, outcome.signal, outcome.result()),
        (exit_code, signal, result)
    );
    assert_eq!(outcome.timed_out, result == RunResult::TimedOut);
    assert_eq!(outcome.cancelled, result == RunResult::Cancelled);
}

#[tokio::test]
async fn the_exit_code_and_the_signal_of_the_leader_are_the_outcome() {
    let fixture = Fixture::new();
    let (outcome, _) = fixture.run(ShellSpec::script("exit 0")).await;
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    let (outcome, _) = fixture.run(ShellSpec::script("exit 42")).await;
    check_end(&outcome, Some(42), None, RunResult::Failed);
    let (outcome, _) = fixture.run(ShellSpec::script("kill -9 $$")).await;
    check_end(&outcome, None, Some(9), RunResult::Failed);
}

#[tokio::test]
async fn a_script_sees_its_arguments_environment_directory_and_an_empty_input() {
    let fixture = Fixture::new();
    let mut spec = ShellSpec::script("echo \"$1|$2\"; pwd; cat; env | sort");
    let Program::Script { arguments, .. } = &mut spec.program else {
        panic!()
    };
    arguments.extend(["a b".to_owned(), "$HOME".to_owned()]);
    spec.working_directory = Some("/usr".into());
    spec.environment.insert("ADDED".into(), "1".into());
    spec.environment.insert("LANG".into(), "C".into());
    let (_, running) = fixture.run(spec).await;
    let lines: Vec<_> = running
        .text
        .lines()
        .filter(|line| !line.starts_with("_=") && !line.starts_with("OLDPWD="))
        .collect();
    assert_eq!(
        lines,
        [
            "a b|$HOME",
            "/usr",
            "ADDED=1",
            &format!("FLEET_RUN_ID={}", running.id),
            "HOME=/",
            "LANG=C",
            "PATH=/usr/bin:/bin",
            "PWD=/usr",
        ]
    );
}

#[tokio::test]
async fn a_script_does_not_show_in_the_list_of_processes() {
    let fixture = Fixture::new();
    let (_, running) = fixture
        .run(ShellSpec::script("hidden=word; tr '\\0' ' ' < /proc/$$/cmdline"))
        .await;
    assert!(running.text.starts_with("/bin/sh /"), "{}", running.text);
    assert!(!running.text.contains("hidden"));
}

#[tokio::test]
async fn a_program_runs_without_a_shell() {
    let fixture = Fixture::new();
    let spec = ShellSpec {
        program: Program::Command {
            program: "printf".into(),
            arguments: vec!["%s;".into(), "$PATH *".into(), "b".into()],
        },
        nice: 7,
        ..ShellSpec::script("")
    };
    let (outcome, running) = fixture.run(spec).await;
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert_eq!(running.text, "$PATH *;b;");
}

#[tokio::test]
async fn niceness_holds_from_the_first_moment_and_does_not_stay_with_the_agent() {
    let fixture = Fixture::new();
    let spec = ShellSpec {
        nice: 7,
        ..ShellSpec::script("nice")
    };
    let (_, running) = fixture.run(spec).await;
    let (_, after) = fixture.run(ShellSpec::script("nice")).await;
    let own: i32 = after.text.trim().parse().unwrap();
    assert_eq!(running.text.trim(), (own + 7).min(19).to_string());
}

#[tokio::test]
async fn what_cannot_be_started_is_a_coded_error() {
    let fixture = Fixture::new();
    let script = || ShellSpec::script("true");
    let interpreter = |name: &str| ShellSpec {
        program: Program::Script {
            text: "true".into(),
            interpreter: name.into(),
            arguments: Vec::new(),
        },
        ..script()
    };
    assert_eq!(fixture.fails(interpreter("/no/such/program")).await, PROGRAM_NOT_FOUND);
    assert_eq!(fixture.fails(interpreter("/etc/passwd")).await, START_DENIED);
    assert_eq!(fixture.fails(interpreter("")).await, SPEC_INVALID);
    let spec = ShellSpec {
        working_directory: Some("/no/such/directory".into()),
        ..script()
    };
    assert_eq!(fixture.fails(spec).await, DIRECTORY_NOT_FOUND);
    let spec = ShellSpec {
        working_directory: Some("/etc/passwd".into()),
        ..script()
    };
    assert_eq!(fixture.fails(spec).await, DIRECTORY_NOT_FOUND);
    let spec = ShellSpec {
        run_as: Some(RunAs::Name("no-such-user".into())),
        ..script()
    };
    assert_eq!(fixture.fails(spec).await, USER_UNKNOWN);
    let spec = ShellSpec {
        environment: [("A=B".to_owned(), "c".to_owned())].into(),
        ..script()
    };
    assert_eq!(fixture.fails(spec).await, SPEC_INVALID);
}

#[tokio::test]
async fn another_user_reads_its_script_and_has_its_own_identity_or_the_agent_says_that_it_may_not() {
    let fixture = Fixture::new();
    let spec = ShellSpec {
        run_as: Some(RunAs::Name("nobody".into())),
        ..ShellSpec::script("id -un; id -G; echo $USER; test -w $0 && echo mine; ls ${0%/*} || echo closed")
    };
    if rustix::process::geteuid().is_root() {
        let (outcome, running) = fixture.run(spec).await;
        check_end(&outcome, Some(0), None, RunResult::Succeeded);
        let lines: Vec<_> = running.text.lines().collect();
        let [name, groups, user, mine, closed] = lines[..] else {
            panic!("{lines:?} {}", running.errors)
        };
        assert_eq!((name, user, mine, closed), ("nobody", "nobody", "mine", "closed"));
        assert!(!groups.split(' ').any(|group| group == "0"), "{groups}");
        assert_eq!(fs::read_dir(fixture.folder.path().join("shared")).unwrap().count(), 0);
    } else {
        assert_eq!(fixture.fails(spec).await, USER_DENIED);
    }
}

#[tokio::test]
async fn a_timeout_kills_also_the_grandchild_that_ignores_sigterm() {
    let fixture = Fixture::new();
    let script = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done' & wait";
    let (outcome, running) = fixture.run(seconds(3, 1, script)).await;
    check_end(&outcome, None, Some(15), RunResult::TimedOut);
    gone(&running.text).await;
}

#[tokio::test]
async fn a_process_may_clean_up_within_its_grace() {
    let fixture = Fixture::new();
    let script = "trap 'echo cleaning; sleep 0.3; echo clean; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = fixture.start(seconds(600, 600, script));
    running.until("up").await;
    let outcome = running.cancel().await;
    check_end(&outcome, Some(3), None, RunResult::Cancelled);
    assert_eq!(running.text, "up\ncleaning\nclean\n");
}

#[tokio::test]
async fn the_grace_is_also_for_children_whose_leader_ended_at_once() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("cleaned");
    let child =
        "trap \"sleep 0.3; echo done > $FILE; exit\" TERM; echo up; exec >/dev/null; while :; do sleep 0.05; done";
    let mut spec = seconds(600, 600, &format!("sh -c '{child}' 2>/dev/null & wait"));
    spec.environment.insert("FILE".to_owned(), file.display().to_string());
    let mut running = fixture.start(spec);
    running.until("up").await;
    let outcome = running.cancel().await;
    check_end(&outcome, None, Some(15), RunResult::Cancelled);
    assert_eq!(fs::read_to_string(file).unwrap(), "done\n");
}

#[tokio::test]
async fn stopping_a_run_kills_what_left_its_group_too() {
    let fixture = Fixture::new();
    let script =
        "setsid sh -c 'trap \"\" TERM; echo $$; exec >/dev/null 2>&1; while :; do sleep 0.05; done' & sleep 600";
    let mut running = fixture.start(seconds(600, 0, script));
    running.until("\n").await;
    assert!(running.cancel().await.cancelled);
    gone(&running.text).await;
}

#[tokio::test]
async fn cancelling_stops_all_of_it_even_when_it_is_suspended() {
    let fixture = Fixture::new();
    let mut running = fixture.start(seconds(600, 30, "sleep 600 & echo $! up; kill -STOP $$; wait"));
    running.until("up").await;
    let outcome = running.cancel().await;
    check_end(&outcome, None, Some(15), RunResult::Cancelled);
    gone(running.text.trim().trim_end_matches(" up")).await;
}

#[tokio::test]
async fn a_run_that_nobody_can_cancel_any_more_goes_on() {
    let fixture = Fixture::new();
    let mut running = fixture.start(ShellSpec::script("sleep 0.2; echo end"));
    running.cancel = watch::channel(false).0;
    let outcome = running.finish().await.unwrap();
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert_eq!(running.text, "end\n");
}

#[tokio::test]
async fn an_aborted_task_leaves_no_process() {
    let fixture = Fixture::new();
    let mut running = fixture.start(ShellSpec::script("trap '' TERM; echo $$; while :; do sleep 0.05; done"));
    running.until("\n").await;
    running.task.abort();
    gone(&running.text).await;
}

#[tokio::test]
async fn a_consumer_that_goes_away_does_not_stop_the_run() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("end");
    let script = format!("head -c 1000000 /dev/zero; echo end > {}", file.display());
    let Running {
        task, chunks, cancel, ..
    } = fixture.start(ShellSpec::script(script));
    drop(chunks);
    let outcome = timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert!(file.exists());
    drop(cancel);
}

#[tokio::test]
async fn a_child_that_outlives_the_leader_is_killed_but_may_finish_its_sentence() {
    let fixture = Fixture::new();
    let (outcome, running) = fixture
        .run(ShellSpec::script(
            "(sleep 0.1; echo late) & sleep 600 >/dev/null 2>&1 & echo $!",
        ))
        .await;
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert!(running.text.ends_with("late\n"), "{}", running.text);
    gone(running.text.trim_end_matches("late\n")).await;
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_open_is_found_and_killed() {
    let fixture = Fixture::new();
    // One keeps the run's mark, one has thrown it away; both have left the group and keep the pipes.
    let script = "cd \"$FOLDER\"
        setsid sh -c 'echo $$; touch a; sleep 600' &
        setsid env -i sh -c 'echo $$; touch b; sleep 600' &
        until [ -e a ] && [ -e b ]; do sleep 0.05; done
        exit 5";
    let mut spec = ShellSpec::script(script);
    spec.environment
        .insert("FOLDER".to_owned(), fixture.folder.path().display().to_string());
    let (outcome, running) = fixture.run(spec).await;
    check_end(&outcome, Some(5), None, RunResult::Failed);
    let pids: Vec<_> = running.text.lines().collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_daemon_that_let_go_of_everything_stays() {
    let fixture = Fixture::new();
    // Field 6 is the session: once it is its own, it has left.
    let script = "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!
        until [ \"$(cut -d' ' -f6 /proc/$!/stat)\" = $! ]; do sleep 0.05; done";
    let (_, running) = fixture.run(ShellSpec::script(script)).await;
    assert!(is_running(&running.text));
    let pid = rustix::process::Pid::from_raw(running.text.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_megabyte_over_both_streams_arrives_byte_for_byte_and_in_order() {
    let fixture = Fixture::new();
    let script = "i=0; while [ $i -lt 9000 ]; do echo \"out $i äöü xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; \
                  echo \"err $i € xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" >&2; i=$((i+1)); done";
    let (outcome, running) = fixture.run(ShellSpec::script(script)).await;
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    let expected = |make: fn(u32) -> String| (0..9000).map(make).collect::<String>();
    assert!(running.text == expected(|i| format!("out {i} äöü {}\n", "x".repeat(46))));
    assert!(running.errors == expected(|i| format!("err {i} € {}\n", "x".repeat(52))));
    assert!(running.text.len() + running.errors.len() > 1 << 20);
    assert!(running.remarks.is_empty() && outcome.truncated_bytes == 0);
}

#[tokio::test]
async fn what_is_written_first_comes_first_over_both_streams() {
    let fixture = Fixture::new();
    // Each line waits until the one before has arrived, so that the order is certain.
    let script = "cd \"$FOLDER\"; wait_for() { until [ -e $1 ]; do sleep 0.05; done; }
        for i in 1 2 3; do echo $i; wait_for $i; echo e$i >&2; wait_for e$i; done";
    let mut spec = ShellSpec::script(script);
    spec.environment
        .insert("FOLDER".to_owned(), fixture.folder.path().display().to_string());
    let mut running = fixture.start(spec);
    let mut order = Vec::new();
    while let Some(chunk) = timeout(PATIENCE, running.chunks.recv()).await.unwrap() {
        let line = chunk.text.trim().to_owned();
        fs::write(fixture.folder.path().join(&line), "").unwrap();
        order.push(line);
    }
    assert_eq!(order, ["1", "e1", "2", "e2", "3", "e3"]);
}

#[tokio::test]
async fn output_is_live_while_the_run_goes_on() {
    let fixture = Fixture::new();
    let mut running = fixture.start(ShellSpec::script("echo first; sleep 600"));
    running.until("first").await;
    assert!(running.cancel().await.cancelled);
}

#[tokio::test]
async fn beyond_the_limit_one_marker_comes_and_the_rest_is_counted() {
    let fixture = Fixture::new();
    let spec = ShellSpec {
        output_limit_bytes: 100_000,
        ..ShellSpec::script("head -c 300000 /dev/zero | tr '\\0' a; head -c 50000 /dev/zero | tr '\\0' b >&2; exit 3")
    };
    let (outcome, running) = fixture.run(spec).await;
    check_end(&outcome, Some(3), None, RunResult::Failed);
    assert_eq!(running.text.len() + running.errors.len(), 100_000);
    assert_eq!(outcome.truncated_bytes, 250_000);
    assert_eq!(running.remarks, ["output beyond 100000 bytes is not kept\n"]);
}

#[tokio::test]
async fn binary_output_becomes_text_that_every_store_takes() {
    let fixture = Fixture::new();
    let (outcome, running) = fixture
        .run(ShellSpec::script(
            "printf 'a\\0b\\377\\376c\\342\\202\\n'; head -c 100000 /dev/urandom",
        ))
        .await;
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert!(
        running.text.starts_with("a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\n"),
        "{:.20}",
        running.text
    );
    assert!(!running.text.contains('\0'));
    assert!(running.text.len() > 100_000);
}

#[tokio::test]
async fn a_flood_is_stopped_in_time_and_cut() {
    let fixture = Fixture::new();
    let spec = ShellSpec {
        output_limit_bytes: 64 << 10,
        ..seconds(3, 1, "yes & yes >&2")
    };
    let (outcome, running) = fixture.run(spec).await;
    assert!(outcome.timed_out && outcome.truncated_bytes > 0);
    assert_eq!(running.text.len() + running.errors.len(), 64 << 10);
    assert_eq!(running.remarks.len(), 1);
}

#[tokio::test]
async fn a_consumer_that_waits_stops_the_process_instead_of_filling_memory() {
    let fixture = Fixture::new();
    let progress = fixture.folder.path().join("progress");
    let script = format!(
        "i=0; while [ $i -lt 64 ]; do head -c 65536 /dev/zero | tr '\\0' a; i=$((i+1)); echo $i > {}; done",
        progress.display()
    );
    let mut running = fixture.start(ShellSpec {
        output_limit_bytes: u64::MAX,
        ..ShellSpec::script(script)
    });
    running.until("a").await;
    // Nothing is taken any more. Wait until the script stands still.
    let read = || fs::read_to_string(&progress).unwrap_or_default();
    let mut before = read();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = read();
        if now == before && !now.is_empty() {
            break;
        }
        before = now;
    }
    // A pipe holds 64 KiB, the channel four chunks of 8 KiB: it cannot be past its third block.
    assert!(before.trim().parse::<u32>().unwrap() <= 3, "{before}");
    let outcome = running.finish().await.unwrap();
    check_end(&outcome, Some(0), None, RunResult::Succeeded);
    assert_eq!(running.text.len(), 64 * 65_536);
}

#[tokio::test]
async fn a_timeout_comes_also_while_the_consumer_waits() {
    let fixture = Fixture::new();
    let mut running = fixture.start(seconds(3, 1, "echo $$; yes"));
    running.until("\n").await;
    let pid = running.text.lines().next().unwrap().to_owned();
    gone(&pid).await;
    assert!(running.finish().await.unwrap().timed_out);
}

#[tokio::test]
async fn scripts_that_a_crash_left_behind_are_removed_at_start() {
    let fixture = Fixture::new();
    let scripts = fixture.folder.path().join("scripts");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(scripts.join("run-1.script"), "secret").unwrap();
    fs::write(scripts.join("other"), "").unwrap();
    let config = ExecutorConfig {
        scripts: scripts.clone(),
        shared_scripts: fixture.folder.path().join("shared"),
        environment: Vec::new(),
    };
    Executor::new(config, Arc::new(SystemClock));
    let left: Vec<_> = fs::read_dir(&scripts)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["other"]);
}
