//! What a request for work becomes, decided without I/O.

use std::{collections::BTreeSet, time::Duration};

use super::{BatchRequest, Cause, Confirmation, MAX_TARGETS, Targets, request::Order};
use crate::{
    devices::groups::{query::DeviceQuery, query_refused},
    kernel::{Error, Result, Timestamp, canonical},
    work::{
        OperationKind, State, StoredParams, desired::DesiredAction, promotions, schedule::MAX_JITTER_SECONDS,
        secrets::Intake,
    },
};

/// The longest that a run may wait for its device, in seconds: 30 days.
pub(crate) const MAX_EXPIRY_SECONDS: u32 = 30 * 86_400;
/// The most groups of one request.
const MAX_GROUPS: usize = 100;
/// The most labels of one request.
const MAX_LABELS: usize = 16;
/// How far ahead work may begin.
const MAX_AHEAD: Duration = Duration::from_secs(366 * 86_400);
/// How far the clock of whoever asks may be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// The most people who have to agree.
pub(crate) const MAX_APPROVALS: u32 = 10;

/// What is tried again when nobody says.
pub(super) const UNSUCCESSFUL: [State; 5] = [
    State::Failed,
    State::TimedOut,
    State::Expired,
    State::Lost,
    State::Indeterminate,
];

/// Takes in the parameters of a request, and checks it against the kind that it asks for. `approvals` is how many have to agree to this
/// kind whatever is asked for.
pub(super) fn check_request(
    kind: &OperationKind,
    request: &BatchRequest,
    approvals: u32,
    mut intake: Intake<'_>,
) -> Result<Order> {
    let params = intake.take(kind, &request.params, None, |params| kind.check_params(params))?;
    let order = check_rest(kind, request, params.clone(), &intake.identity(&params), approvals)?;
    Ok(Order {
        secrets: intake.into_made(),
        ..order
    })
}

/// Checks a request that an action is carried out once, as it is now.
pub(super) fn check_action(
    kind: &OperationKind,
    request: &BatchRequest,
    action: &DesiredAction,
    approvals: u32,
) -> Result<Order> {
    if !request.operation.is_empty() || !request.params.is_null() {
        let why = "kind and parameters are those of the action: leave operation and params out";
        return Err(Error::invalid_field("/action", why));
    }
    let params = action.params_as_kept(kind)?;
    // A repeat means the action as it was, and is another request once that was changed.
    let identity = serde_json::json!({"action": action.id, "generation": action.generation});
    let request = BatchRequest {
        timeout_seconds: request.timeout_seconds.or(Some(action.timeout_seconds)),
        ..request.clone()
    };
    check_rest(kind, &request, params, &identity, approvals)
}

/// Checks what a request says beside its parameters, which were taken in already.
pub(crate) fn check_rest(
    kind: &OperationKind,
    request: &BatchRequest,
    params: StoredParams,
    identity_of_params: &serde_json::Value,
    approvals: u32,
) -> Result<Order> {
    let mut targets = request.targets.clone();
    check_targets(&targets)?;
    targets.devices = sorted(targets.devices);
    targets.groups = sorted(targets.groups);
    targets.labels = sorted(targets.labels);
    let timeout_seconds = kind.check_timeout(request.timeout_seconds, &params.shown())?;
    let expiry_seconds = request.expires_in_seconds.unwrap_or(kind.expiry_seconds);
    if expiry_seconds > MAX_EXPIRY_SECONDS {
        return Err(Error::invalid_field(
            "/expires_in_seconds",
            format!("at most {MAX_EXPIRY_SECONDS} seconds; with 0 devices that are offline are skipped"),
        ));
    }
    if request.approvals.is_some_and(|wanted| wanted > MAX_APPROVALS) {
        return Err(Error::invalid_field("/approvals", format!("at most {MAX_APPROVALS}")));
    }
    if request.spread_seconds > MAX_JITTER_SECONDS {
        let why = format!("at most {MAX_JITTER_SECONDS} seconds");
        return Err(Error::invalid_field("/spread_seconds", why));
    }
    let wanted = request.approvals.unwrap_or(0);
    let rollout = request.rollout.as_ref().map(|rollout| rollout.check("/rollout"));
    let rollout = rollout.transpose()?;
    let retry = request.retry.as_ref().map(|retry| retry.check(kind, "/retry"));
    let retry = retry.transpose()?.flatten();
    if retry.is_some() && rollout.is_some() {
        let why = "what goes from wave to wave halts at failures, and is not tried again by itself";
        return Err(Error::invalid_field("/retry", why));
    }
    if request.dry_run_first {
        promotions::check(kind, &params)?;
    }
    // Whoever says "now" means now; what is planned, or agreed to at some time, heeds what was planned for the device.
    let is_now = request.start_at.is_none() && !request.dry_run_first;
    let ignores_windows = request.ignore_windows.unwrap_or(is_now);
    let identity = canonical::to_vec(&(
        kind.name,
        identity_of_params,
        &targets,
        (
            timeout_seconds,
            expiry_seconds,
            request.start_at,
            request.spread_seconds,
            request.priority,
            ignores_windows,
            wanted,
            request.dry_run_first,
            &rollout,
            &retry,
        ),
    ))
    .map_err(Error::internal)?;
    Ok(Order {
        action: request.action,
        params,
        secrets: Vec::new(),
        targets,
        timeout_seconds,
        expiry_seconds,
        start_at: request.start_at,
        spread_seconds: request.spread_seconds,
        priority: request.priority,
        ignores_windows,
        approvals: wanted.max(approvals),
        agreed: 0,
        dry_run_first: request.dry_run_first,
        promotion: None,
        promoted_from: None,
        rollout,
        retry,
        cause: Cause::Manual,
        plan: None,
        due: None,
        retry_of: None,
        next_attempt: None,
        confirmation: Confirmation::Said(request.confirm_devices),
        digest: blake3::hash(&identity).to_hex().to_string(),
    })
}

fn sorted<T: Ord>(values: Vec<T>) -> Vec<T> {
    values.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn check_targets(targets: &Targets) -> Result<()> {
    let bounds = [
        ("/targets/devices", targets.devices.len(), MAX_TARGETS, "devices"),
        ("/targets/groups", targets.groups.len(), MAX_GROUPS, "groups"),
        ("/targets/labels", targets.labels.len(), MAX_LABELS, "labels"),
    ];
    for (field, count, most, what) in bounds {
        if count > most {
            return Err(Error::invalid_field(field, format!("at most {most} {what}")));
        }
    }
    if let Some(query) = &targets.query {
        check_query(query)?;
    }
    let is_named = targets.query.is_some() || bounds.iter().any(|(_, count, ..)| *count > 0);
    match (is_named, targets.all) {
        (false, false) => Err(Error::invalid_field(
            "/targets",
            "name devices, groups or labels, give a query, or say all",
        )),
        (true, true) => Err(Error::invalid_field("/targets/all", "all devices, or some by name")),
        _ => Ok(()),
    }
}

/// A text that is no query is refused as for groups, with the place at which that shows.
pub(super) fn check_query(text: &str) -> Result<DeviceQuery> {
    let query: DeviceQuery = text.parse().map_err(|error| query_refused(&error, "/targets/query"))?;
    match query.conditions().is_empty() {
        // What came out empty by mistake must not set off work everywhere.
        true => Err(Error::invalid_field(
            "/targets/query",
            "it has no condition; say all where all devices are meant",
        )),
        false => Ok(query),
    }
}

/// When work really begins that was asked for to begin then; none for at once. Not part of [`check_request`]: a repeat of a request
/// may come later than that.
pub(super) fn check_start(start: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(start) = start else { return Ok(None) };
    if start < now.minus(CLOCK_SKEW) {
        // Whoever mistook the year must not set off work at once.
        Err(Error::invalid_field(
            "/start_at",
            format!("{start} has passed; it is {now}"),
        ))
    } else if start > now.plus(MAX_AHEAD) {
        Err(Error::invalid_field("/start_at", "at most 366 days ahead"))
    } else {
        Ok(Some(start).filter(|start| *start > now))
    }
}

/// The ends that are tried again.
pub(super) fn retried(states: &[State]) -> Result<Vec<State>> {
    if states.is_empty() {
        return Ok(UNSUCCESSFUL.to_vec());
    }
    match states.iter().find(|state| !state.is_terminal()) {
        Some(open) => {
            let why = format!("{} is no end: only what has ended is tried again", open.name());
            Err(Error::invalid_field("/states", why))
        }
        None => Ok(sorted(states.to_vec())),
    }
}
