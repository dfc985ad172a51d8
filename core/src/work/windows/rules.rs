//! What follows from windows for a device, a kind of operation and a moment; pure.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Outside, Window, WindowId, WindowKind, WindowTimes};
use crate::{
    devices::{DeviceGroupId, DeviceId},
    kernel::{EntityId as _, Timestamp},
    store::Rev,
    work::{
        operations::Lane,
        schedule::{Timetable, short_time, span_text},
    },
};

/// How far is looked ahead for an opening, in seconds: 366 days.
pub const LOOK_AHEAD_SECONDS: u64 = 366 * 86_400;
/// Openings and endings that are followed in one decision. Blackouts that follow upon each other without a gap end the search here: then the
/// answer is a time until which it is closed at least.
const MAX_STEPS: usize = 2_000;
/// The same for the end of what is open, which is only told: a window of every hour for an hour has none.
const MAX_CLOSING_STEPS: usize = 100;

/// Windows that are ready to be asked; only those that count.
#[derive(Clone, Debug, Default)]
pub struct WindowSet {
    pub(super) windows: Vec<Ready>,
}

/// A window with its times read.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) window: Window,
    pub(super) revision: Rev,
    pub(super) times: Times,
}

/// When a window is, read.
#[derive(Clone, Debug)]
pub(super) enum Times {
    Once(Timestamp, Timestamp),
    Recurring(Timetable, Duration),
}

/// What is asked of windows.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The device.
    pub device: DeviceId,
    /// The groups that it is in.
    pub groups: &'a BTreeSet<DeviceGroupId>,
    /// The kind of operation.
    pub operation: &'a str,
    /// Its lane: windows that name no kinds concern those that change the device.
    pub lane: Lane,
    /// When it would begin.
    pub at: Timestamp,
}

/// Whether work may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WindowStanding {
    /// It may.
    Open {
        /// Until when at least; null when nothing ends it within 366 days.
        until: Option<Timestamp>,
    },
    /// It may not yet.
    Closed {
        /// When it may, as far as is seen; ask again then.
        until: Timestamp,
    },
    /// It may not, and will not within 366 days.
    ClosedForEver,
}

/// What happens to work that would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum WindowHandling {
    /// It runs.
    Run,
    /// It runs although it is not its time, and that is noted.
    RunNoted,
    /// It waits.
    Wait,
    /// It waits, and expires when it has waited for so long.
    WaitAtMost {
        /// In seconds since it was asked for.
        give_up_after_seconds: u32,
    },
}

/// A window that had a say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecidingWindow {
    /// The window.
    pub id: WindowId,
    /// Its name.
    pub name: String,
    /// Whether it allows or forbids.
    pub kind: WindowKind,
}

/// What follows from windows, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowDecision {
    /// Whether work may begin.
    pub standing: WindowStanding,
    /// What happens to it.
    pub handling: WindowHandling,
    /// The windows that decided it, by name: the blackouts that last, the maintenance windows that are open, or else those that are
    /// closed. None when no window concerns it.
    pub windows: Vec<DecidingWindow>,
    /// The same in words, for people.
    pub reason: String,
}

impl Times {
    fn new(when: &WindowTimes) -> Self {
        match when {
            WindowTimes::Once { starts_at, ends_at } => Self::Once(*starts_at, *ends_at),
            WindowTimes::Recurring {
                cron,
                zone,
                duration_seconds,
            } => Self::Recurring(
                Timetable::recurring(cron, zone),
                Duration::from_secs((*duration_seconds).into()),
            ),
        }
    }

    /// When what goes on at that moment ends; none when nothing does.
    pub(super) fn covers_until(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(start, end) => (*start <= at && at < *end).then_some(*end),
            // Of those that overlap the one that began last ends last.
            Self::Recurring(timetable, lasts) => timetable.latest(at.minus(*lasts), at).map(|start| start.plus(*lasts)),
        }
    }

    /// When it begins after that moment.
    pub(super) fn next_start(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(start, _) => (*start > after).then_some(*start),
            Self::Recurring(timetable, _) => timetable.next_after(after),
        }
    }

    /// When the first begins that ends after that moment.
    pub(super) fn first_not_over(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once(start, end) => (*end > at).then_some(*start),
            Self::Recurring(timetable, lasts) => timetable.next_after(at.minus(*lasts)),
        }
    }

    /// When what begins at that moment ends.
    pub(super) fn end(&self, start: Timestamp) -> Timestamp {
        match self {
            Self::Once(_, end) => *end,
            Self::Recurring(_, lasts) => start.plus(*lasts),
        }
    }
}

impl Ready {
    pub(super) fn new(window: Window, revision: Rev) -> Self {
        Self {
            times: Times::new(&window.when),
            window,
            revision,
        }
    }

    fn concerns(&self, question: &Question<'_>) -> bool {
        let named = &self.window.operations;
        let by_operation = match named.is_empty() {
            true => question.lane == Lane::Exclusive,
            false => named.contains(question.operation),
        };
        by_operation && self.window.scope.includes(question.device, question.groups)
    }

    fn holds(&self) -> bool {
        self.window.outside != Outside::Allow
    }
}

/// The windows that concern one question.
struct Concerned<'a> {
    blackouts: Vec<&'a Ready>,
    maintenance: Vec<&'a Ready>,
}

impl<'a> Concerned<'a> {
    /// When the last of these that go on ends.
    fn covered_until(windows: &[&Ready], at: Timestamp) -> Option<Timestamp> {
        windows.iter().filter_map(|ready| ready.times.covers_until(at)).max()
    }

    fn covering(windows: &[&'a Ready], at: Timestamp) -> Vec<&'a Ready> {
        let covers = |ready: &&&Ready| ready.times.covers_until(at).is_some();
        windows.iter().filter(covers).copied().collect()
    }

    fn next_start(windows: &[&Ready], after: Timestamp) -> Option<Timestamp> {
        windows.iter().filter_map(|ready| ready.times.next_start(after)).min()
    }

    /// The first moment, from this one on, at which work may begin. With `held_only` only windows that make work wait stand in its way;
    /// a maintenance window of any policy opens it.
    fn opens(&self, from: Timestamp, held_only: bool) -> Option<Timestamp> {
        let counts = |ready: &&&Ready| !held_only || ready.holds();
        let blackouts: Vec<_> = self.blackouts.iter().filter(counts).copied().collect();
        let is_gated = self.maintenance.iter().filter(counts).count() > 0;
        let last = from.plus(Duration::from_secs(LOOK_AHEAD_SECONDS));
        let mut at = from;
        for _ in 0..MAX_STEPS {
            if at > last {
                return None;
            }
            if let Some(end) = Self::covered_until(&blackouts, at) {
                at = end;
            } else if is_gated && Self::covered_until(&self.maintenance, at).is_none() {
                at = Self::next_start(&self.maintenance, at)?;
            } else {
                return Some(at);
            }
        }
        Some(at)
    }

    /// The first moment after an open one at which work may not begin.
    fn closes(&self, from: Timestamp) -> Option<Timestamp> {
        let last = from.plus(Duration::from_secs(LOOK_AHEAD_SECONDS));
        let blackout = Self::next_start(&self.blackouts, from);
        let mut end = (!self.maintenance.is_empty()).then_some(from);
        for _ in 0..MAX_CLOSING_STEPS {
            let Some(at) = end.filter(|at| *at <= last && blackout.is_none_or(|blackout| *at < blackout)) else {
                break;
            };
            match Self::covered_until(&self.maintenance, at) {
                Some(later) => end = Some(later),
                None => break,
            }
        }
        let first = match (blackout, end) {
            (Some(blackout), Some(end)) => Some(blackout.min(end)),
            (one, other) => one.or(other),
        };
        first.filter(|at| *at <= last)
    }
}

impl WindowSet {
    /// Takes windows with their revisions; those that are disabled are left out.
    pub fn new(windows: impl IntoIterator<Item = (Window, Rev)>) -> Self {
        let counting = windows.into_iter().filter(|(window, _)| window.enabled);
        Self {
            windows: counting
                .map(|(window, revision)| Ready::new(window, revision))
                .collect(),
        }
    }

    /// What tells these windows, as they are now, from others.
    pub(crate) fn fingerprint(&self) -> blake3::Hash {
        let mut windows: Vec<_> = self
            .windows
            .iter()
            .map(|ready| (ready.window.id, ready.revision))
            .collect();
        windows.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (id, revision) in windows {
            hasher.update(id.uuid().as_bytes());
            hasher.update(&revision.to_le_bytes());
        }
        hasher.finalize()
    }

    /// Whether no window counts.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Decides whether work of a kind may begin on a device, and what happens to it.
    pub fn decide(&self, question: &Question<'_>) -> WindowDecision {
        let at = question.at;
        let concerned = self.windows.iter().filter(|ready| ready.concerns(question));
        let (blackouts, maintenance) = concerned.partition(|ready| ready.window.kind == WindowKind::Blackout);
        let concerned = Concerned { blackouts, maintenance };
        let lasting = Concerned::covering(&concerned.blackouts, at);
        let open = Concerned::covering(&concerned.maintenance, at);
        let is_outside = open.is_empty() && !concerned.maintenance.is_empty();
        if lasting.is_empty() && !is_outside {
            let until = concerned.closes(at);
            return WindowDecision {
                standing: WindowStanding::Open { until },
                handling: WindowHandling::Run,
                reason: why_open(&open, until),
                windows: told(&open),
            };
        }
        let mut against = lasting;
        if is_outside {
            against.extend(&concerned.maintenance);
        }
        let handling = strictest(&against);
        let opens = concerned.opens(at, handling != WindowHandling::RunNoted);
        let standing = match opens.filter(|until| until.since(at).as_secs() <= LOOK_AHEAD_SECONDS) {
            Some(until) => WindowStanding::Closed { until },
            None => WindowStanding::ClosedForEver,
        };
        WindowDecision {
            standing,
            handling,
            reason: why_closed(&against, standing, handling),
            windows: told(&against),
        }
    }
}

/// Who makes it wait decides over who does not; of several that give up the first does.
fn strictest(against: &[&Ready]) -> WindowHandling {
    let mut handling = WindowHandling::RunNoted;
    for ready in against {
        handling = match (ready.window.outside, handling) {
            (Outside::Allow, handling) => handling,
            (Outside::Gate, WindowHandling::WaitAtMost { .. }) => handling,
            (Outside::Gate, _) => WindowHandling::Wait,
            (
                Outside::Postpone { give_up_after_seconds },
                WindowHandling::WaitAtMost {
                    give_up_after_seconds: least,
                },
            ) => WindowHandling::WaitAtMost {
                give_up_after_seconds: give_up_after_seconds.min(least),
            },
            (Outside::Postpone { give_up_after_seconds }, _) => WindowHandling::WaitAtMost { give_up_after_seconds },
        };
    }
    handling
}

fn told(windows: &[&Ready]) -> Vec<DecidingWindow> {
    let mut told: Vec<_> = windows
        .iter()
        .map(|ready| DecidingWindow {
            id: ready.window.id,
            name: ready.window.name.clone(),
            kind: ready.window.kind,
        })
        .collect();
    told.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    told
}

/// So many windows are named in a sentence.
const NAMED: usize = 3;

fn names(windows: &[&Ready], kind: WindowKind) -> Option<String> {
    let of_kind = told(windows).into_iter().filter(|window| window.kind == kind);
    let names: Vec<_> = of_kind.map(|window| format!("“{}”", window.name)).collect();
    let more = names.len().saturating_sub(NAMED);
    let named = names.get(..NAMED).unwrap_or(&names).join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(named),
        (false, more) => Some(format!("{named} and {more} more")),
    }
}

fn why_open(open: &[&Ready], until: Option<Timestamp>) -> String {
    let until = until.map_or(String::new(), |until| format!(" until {}", short_time(until)));
    match names(open, WindowKind::Maintenance) {
        Some(names) => format!("within maintenance window {names}{until}"),
        None if until.is_empty() => "no window concerns this".into(),
        None => format!("no window stands in the way{until}"),
    }
}

fn why_closed(against: &[&Ready], standing: WindowStanding, handling: WindowHandling) -> String {
    let blackouts = names(against, WindowKind::Blackout).map(|names| format!("blackout {names} lasts"));
    let maintenance =
        names(against, WindowKind::Maintenance).map(|names| format!("outside of maintenance window {names}"));
    let why: Vec<_> = blackouts.into_iter().chain(maintenance).collect();
    let why = why.join(", and it is ");
    let handled = match handling {
        WindowHandling::RunNoted | WindowHandling::Run => "it runs all the same".into(),
        WindowHandling::Wait => "it waits".into(),
        WindowHandling::WaitAtMost { give_up_after_seconds } => {
            format!("it waits for at most {}", span_text(give_up_after_seconds.into()))
        }
    };
    let until = match standing {
        WindowStanding::Closed { until } => format!("open again at {}", short_time(until)),
        WindowStanding::ClosedForEver | WindowStanding::Open { .. } => {
            format!("not open within {} days", LOOK_AHEAD_SECONDS / 86_400)
        }
    };
    format!("{why}; {handled}; {until}")
}
