//! Where a rollout stands, for people; pure.

use super::{FailureLimit, Phase, Rollout, rules::Halt};

/// The most devices that a reason names.
pub(super) const MAX_NAMED: usize = 5;

/// Why it halts, with the devices that are to blame: the first of them, each with what is wrong.
pub(super) fn reason(rollout: &Rollout, halt: Halt, devices: &[String], count: u32) -> String {
    let what = match halt {
        Halt::Failures(failed, FailureLimit::Count { failures }) => {
            format!("{} failed, {failures} may", devices_text(failed))
        }
        Halt::Failures(failed, FailureLimit::Percent { percent }) => format!(
            "{} of the {} of this wave failed, {percent} % may",
            failed,
            rollout.size()
        ),
        Halt::NoSuccess => "no run of this wave succeeded".to_owned(),
        Halt::Unwell(unwell) => format!(
            "{} not well {} seconds after the wave",
            match unwell {
                1 => "one device is".to_owned(),
                unwell => format!("{unwell} devices are"),
            },
            rollout.policy.watch_seconds
        ),
    };
    if devices.is_empty() {
        return what;
    }
    let more = (count as usize).saturating_sub(devices.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{what}: {}{more}", devices.join(", "))
}

fn devices_text(count: u32) -> String {
    match count {
        1 => "one device".to_owned(),
        count => format!("{count} devices"),
    }
}

/// Where it stands, and what it waits for.
pub(super) fn in_words(rollout: &Rollout, ended: u64) -> String {
    let wave = format!("wave {} of {}", rollout.wave + 1, rollout.waves.len());
    let stands = match &rollout.phase {
        Phase::Pending { approval: true, until } => format!("waits for somebody to agree, until {until}"),
        Phase::Pending { until, .. } => format!("begins at {until}"),
        Phase::Rolling => {
            let places = rollout.places();
            let turns = (rollout.admitted as usize).clamp(places.start, places.end) - places.start;
            let mut text = format!(
                "{wave}: {turns} of {} devices have had their turn; {ended} of {} runs of all waves have ended",
                rollout.size(),
                rollout.total()
            );
            if !rollout.held.is_empty() {
                text.push_str(&format!(
                    "; {} of them wait for a window or their share of the time",
                    rollout.held.len()
                ));
            }
            text
        }
        Phase::Watching { until, .. } => format!("{wave} is over, and its devices are watched until {until}"),
        Phase::Waiting => format!("{wave} is over; the next one begins when somebody lets it go on"),
        Phase::Halted { reason, .. } => format!("halted in {wave}: {reason}"),
        Phase::Done => "all waves are over".to_owned(),
        Phase::Aborted => format!("given up in {wave}"),
    };
    match &rollout.paused_by {
        Some(actor) if !rollout.phase.is_over() => format!("held by {}; {stands}", actor.name()),
        _ => stands,
    }
}
