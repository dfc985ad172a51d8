//! A script for each user who is signed in to a desktop, one after the other.

use fleet_core::protocol::RunResult;

use super::{Run, Session};
use crate::{
    actions::{device::Device, driver},
    runs::Ending,
};

/// Runs it for all of them. What goes wrong for one does not keep it from the others.
pub(super) async fn run(run: &Run<'_>, device: &Device) -> Ending {
    let users = match device.desktop_users().await {
        Ok(users) => users,
        Err(problem) => return driver::ending(problem, Some(false)),
    };
    if users.is_empty() {
        let why = "skipped: nobody is signed in to a desktop";
        device.say(&format!("{why}\n")).await;
        return Ending {
            changed: Some(false),
            message: Some(why.to_owned()),
            ..Ending::of(RunResult::Succeeded)
        };
    }
    let mut ended = Vec::new();
    for user in &users {
        if let Err(refusal) = device.policy().permits_running_as(&user.name) {
            device.warn(format!("{} is passed over: {refusal}", user.name)).await;
            continue;
        }
        hide_lines(run, &user.name);
        let session = Session::new(device, user);
        let ending = Run {
            session: Some(&session),
            ..*run
        }
        .to_its_end()
        .await;
        session.end().await;
        let is_stopped = is_stopped(&ending);
        ended.push((user.name.clone(), ending));
        if is_stopped {
            break;
        }
    }
    let ending = together(ended);
    let ending = Ending {
        truncated_bytes: ending.truncated_bytes + device.truncated_bytes(),
        ..ending
    };
    driver::with_warnings(ending, device)
}

/// Hides secrets of several lines as they are told.
fn hide_lines(run: &Run<'_>, user: &str) {
    let secrets = run.params.secret_env.values();
    for told in secrets.filter_map(|secret| as_told(secret.reveal(), user)) {
        run.output.hide_whole(&told.into());
    }
}

/// A text of several lines as it is told where a user prints it: with a name before each line but the first.
fn as_told(text: &str, user: &str) -> Option<String> {
    let text = text.trim_end_matches('\n');
    text.contains('\n').then(|| text.replace('\n', &format!("\n{user}: ")))
}

/// Nothing is begun for others after that.
fn is_stopped(ending: &Ending) -> bool {
    matches!(ending.result, RunResult::TimedOut | RunResult::Cancelled)
}

/// How it ended for all of them: by whatever stopped it, else as for the first for whom it did not succeed.
fn together(ended: Vec<(String, Ending)>) -> Ending {
    let changes = ended.iter().map(|(_, ending)| ending.changed);
    let changed = match () {
        () if changes.clone().any(|changed| changed == Some(true)) => Some(true),
        () if changes.clone().any(|changed| changed.is_none()) => None,
        () => Some(false),
    };
    let truncated_bytes = ended.iter().map(|(_, ending)| ending.truncated_bytes).sum();
    let stopped = ended.iter().position(|(_, ending)| is_stopped(ending));
    let failed = ended
        .iter()
        .position(|(_, ending)| ending.result != RunResult::Succeeded);
    let ending = match stopped.or(failed).and_then(|at| ended.into_iter().nth(at)) {
        None => Ending::of(RunResult::Succeeded),
        Some((name, ending)) => {
            let what = match (&ending.message, ending.exit_code) {
                (Some(message), _) => message.clone(),
                (None, Some(code)) => format!("the script exited with {code}"),
                (None, None) => "the script did not end by itself".to_owned(),
            };
            Ending {
                message: Some(format!("{name}: {what}")),
                ..ending
            }
        }
    };
    Ending {
        changed,
        truncated_bytes,
        ..ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(result: RunResult, exit_code: Option<i32>, changed: Option<bool>) -> Ending {
        Ending {
            exit_code,
            changed,
            truncated_bytes: 1,
            ..Ending::of(result)
        }
    }

    #[track_caller]
    fn check(endings: &[Ending], expected: (RunResult, Option<i32>, Option<bool>, Option<&str>)) {
        let names = ["ana", "bob", "eve"].map(str::to_owned);
        let ended = names.into_iter().zip(endings.iter().cloned()).collect::<Vec<_>>();
        let count = ended.len() as u64;
        let all = together(ended);
        let got = (all.result, all.exit_code, all.changed, all.message.as_deref());
        assert_eq!((got, all.truncated_bytes), (expected, count));
    }

    #[test]
    fn all_of_them_have_ended_as_the_first_for_whom_it_did_not_succeed() {
        use RunResult::{Cancelled, Failed, Succeeded, TimedOut};
        let good = ending(Succeeded, Some(0), Some(false));
        let better = ending(Succeeded, Some(0), Some(true));
        let plain = ending(Succeeded, Some(0), None);
        let (three, four) = (ending(Failed, Some(3), None), ending(Failed, Some(4), None));
        check(&[good.clone(), good.clone()], (Succeeded, None, Some(false), None));
        check(&[good.clone(), plain.clone()], (Succeeded, None, None, None));
        check(
            &[plain.clone(), better, good.clone()],
            (Succeeded, None, Some(true), None),
        );
        let of_bob = Some("bob: the script exited with 3");
        check(&[good.clone(), three.clone(), four], (Failed, Some(3), None, of_bob));
        let stopped = Some("bob: the script did not end by itself");
        for how in [Cancelled, TimedOut] {
            check(&[three.clone(), ending(how, None, None)], (how, None, None, stopped));
        }
    }

    #[test]
    fn secrets_of_several_lines_are_hidden_as_the_users_lines_are_told() {
        for (secret, told) in [
            ("hunter2", None),
            ("hunter2\n", None),
            ("user=svc\npw=hunter2", Some("user=svc\nana: pw=hunter2")),
            ("a\n\nb\n", Some("a\nana: \nana: b")),
        ] {
            assert_eq!(as_told(secret, "ana").as_deref(), told, "{secret:?}");
        }
    }
}
