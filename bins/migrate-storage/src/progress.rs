//! How far it is, on standard error: a bar for people, lines for logs.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use fleet_bins_common::logging::complain;
use fleet_core::store::migration::{Activity, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::blobs::{self, Doing};

/// The time between two lines in a log.
const LINE: Duration = Duration::from_secs(5);

/// Shows progress until its future is dropped.
pub(crate) async fn show(mut progress: watch::Receiver<Progress>) {
    if std::io::stderr().is_terminal() {
        bar(&mut progress).await;
    } else {
        lines(&mut progress).await;
    }
}

async fn bar(progress: &mut watch::Receiver<Progress>) {
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let known = style("{prefix:>12} [{bar:30}] {human_pos}/{human_len}  {msg}");
    let unknown = style("{prefix:>12} {spinner} {human_pos}  {msg}");
    let bar = ProgressBar::new(0);
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        match now.total {
            Some(total) => {
                bar.set_style(known.clone());
                bar.set_length(total);
            }
            None => bar.set_style(unknown.clone()),
        }
        bar.set_prefix(name(now.activity));
        bar.set_position(now.done);
        bar.set_message(message(&now));
        if now.activity == Activity::Done {
            bar.finish_and_clear();
        }
    }
}

async fn lines(progress: &mut watch::Receiver<Progress>) {
    let mut shown: Option<(Activity, Instant)> = None;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        let again = shown.is_some_and(|(activity, at)| activity == now.activity && at.elapsed() < LINE);
        if again || matches!(now.activity, Activity::Idle | Activity::Done) {
            continue;
        }
        shown = Some((now.activity, Instant::now()));
        let of = now.total.map_or_else(String::new, |total| format!(" of {total}"));
        complain(&format!(
            "{}: {}{of} records  {}",
            name(now.activity),
            now.done,
            message(&now)
        ));
    }
}

/// Shows how far blobs are until its future is dropped.
pub(crate) async fn show_blobs(mut progress: watch::Receiver<blobs::Progress>) {
    let style = ProgressStyle::with_template("{prefix:>12} [{bar:30}] {human_pos}/{human_len}  {msg}");
    let bar = std::io::stderr()
        .is_terminal()
        .then(|| ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
    let mut shown: Option<(Doing, Instant)> = None;
    while progress.changed().await.is_ok() {
        let (doing, now) = progress.borrow_and_update().clone();
        let name = match doing {
            Doing::Nothing => {
                bar.iter().for_each(ProgressBar::finish_and_clear);
                continue;
            }
            Doing::Copying => "blobs",
            Doing::Proving => "blobs back",
        };
        if let Some(bar) = &bar {
            bar.set_prefix(name);
            bar.set_length(now.blobs);
            bar.set_position(now.done());
            bar.set_message(format!("{} bytes copied", now.copied_bytes));
        } else if shown.is_none_or(|(before, at)| before != doing || at.elapsed() >= LINE) {
            shown = Some((doing, Instant::now()));
            complain(&format!("{name}: {} of {}", now.done(), now.blobs));
        }
    }
    // Whoever shows it goes on until the work is done.
    std::future::pending().await
}

/// Rate, and how long it takes still.
fn message(now: &Progress) -> String {
    let rate = format!("{:.0}/s", now.rate);
    let eta = now
        .remaining
        .map_or_else(String::new, |left| format!("  {} left", whole_seconds(left)));
    let name = now.name.map_or_else(String::new, |name| format!("  {name}"));
    format!("{rate}{eta}{name}")
}

fn whole_seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

fn name(activity: Activity) -> &'static str {
    match activity {
        Activity::Idle => "waiting",
        Activity::Counting => "counting",
        Activity::Copying => "copying",
        Activity::CatchingUp => "catching up",
        Activity::Verifying => "verifying",
        Activity::Checking => "checking",
        Activity::Switching => "switching",
        Activity::Done => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_readable() {
        let now = Progress {
            rate: 1234.5,
            remaining: Some(Duration::from_secs(125)),
            name: Some("device"),
            ..Progress::default()
        };
        assert_eq!(message(&now), "1234/s  2 min 5 s left  device");
        assert_eq!(whole_seconds(Duration::from_secs(7_300)), "2 h 1 min");
    }
}
