//! The run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Edge, Priority, State, Step};
use crate::{
    Entity,
    access::Actor,
    devices::DeviceId,
    kernel::{EntityId as _, Timestamp, named_uuid},
    store::{Column, LaneRow, Name, Value},
    work::{
        BatchId,
        desired::ActionId,
        secrets::{OperationSecretId, StoredParams},
    },
};

crate::define_id!(
    /// Names a run.
    RunId,
    "run"
);

impl RunId {
    /// The run by which a device applies an occurrence of its manifest at this time: whoever tells of it twice tells of one run.
    pub fn originated(device: DeviceId, occurrence: Uuid, at: Timestamp) -> Self {
        let name = format!("{}/{occurrence}/{}", device.uuid(), at.as_micros());
        Self::from_uuid(named_uuid("originated_run", &name))
    }
}

/// What a device began a run for by itself: an occurrence of its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunOrigin {
    /// The action.
    pub action: ActionId,
    /// Its place in the manifest.
    pub occurrence: Uuid,
    /// The version of the manifest.
    pub manifest_version: u64,
}

/// How far an offer got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// The session in which it was offered last.
    pub epoch: Option<u64>,
    /// How often it was offered.
    pub attempts: u32,
    /// When it was offered last.
    pub offered_at: Option<Timestamp>,
    /// When the agent confirmed that it has it.
    pub receipt_at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ending {
    /// The exit code, where there is one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// A stable code, where it failed for a reason other than its own exit code.
    pub code: Option<String>,
    /// What people read about it.
    pub message: Option<String>,
    /// Whether it changed the device, or would have, in a dry run. Nothing where that is not known: the kind cannot tell, such as a plain
    /// script, or it was interrupted.
    pub changed: Option<bool>,
    /// What its kind reports beside that, if anything, as the kind's `summary_schema` says.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub summary: Option<serde_json::Value>,
    /// How many chunks of output there are.
    pub chunks: u32,
    /// How many bytes of output were cut.
    pub truncated_bytes: u64,
}

/// One operation on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
#[entity(kind = "run", version = 1)]
#[entity(index = "device, created_at")]
#[entity(index = "batch, state")]
#[entity(index = "action, created_at")]
#[entity(computed(action, reference, with = Run::action))]
#[entity(computed(open_on, reference, with = Run::open_on))]
#[entity(computed(own_created_at, int, with = Run::own_created_at))]
#[entity(computed(attention_at, int, with = Run::attention_at))]
#[entity(computed(turn_at, int, with = Run::turn_at))]
#[entity(computed(secrets, reference, many, with = Run::needed_secrets))]
pub struct Run {
    /// Its id.
    #[entity(id)]
    pub id: RunId,
    /// The batch that it belongs to; none where its device began it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[entity(reference)]
    pub batch: Option<BatchId>,
    /// What its device began it for by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<RunOrigin>,
    /// Its device.
    #[entity(reference)]
    pub device: DeviceId,
    /// The device's name when the run was created.
    pub device_name: String,
    /// The kind of operation.
    #[entity(text)]
    pub operation: String,
    /// Its parameters, frozen.
    pub params: StoredParams,
    /// Where it stands.
    #[entity(text)]
    pub state: State,
    /// How urgent it is.
    pub priority: Priority,
    /// When it was to begin, windows and waves aside: from then on it waits for its turn.
    pub due_at: Timestamp,
    /// How far its offer got.
    pub delivery: Delivery,
    /// When it was created.
    #[entity(int)]
    pub created_at: Timestamp,
    /// It is offered until this time.
    pub expires_at: Timestamp,
    /// How long it may run, in seconds.
    pub timeout_seconds: u32,
    /// How much output is kept, in bytes.
    pub output_limit_bytes: u64,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[entity(int)]
    pub finished_at: Option<Timestamp>,
    /// When somebody asked to stop it.
    pub cancel_requested_at: Option<Timestamp>,
    /// Whether its rollout is held: as long as no device has it, none gets it.
    pub on_hold: bool,
    /// How it ended.
    pub ending: Option<Ending>,
}

/// The output that is kept of a run, in bytes.
pub(crate) const OUTPUT_LIMIT: u64 = 4 * 1024 * 1024;

/// What the sweep allows beyond a deadline: for the agent to stop the run and for its answer to travel.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

impl Run {
    /// The device that it waits for or is with. However many runs a device had, those that concern it now are found at once.
    pub fn open_on(&self) -> Option<DeviceId> {
        let is_open = (self.state == State::Queued && !self.on_hold) || self.state.is_with_device();
        is_open.then_some(self.device)
    }

    /// The action that its device began it for by itself.
    fn action(&self) -> Option<ActionId> {
        self.origin.map(|origin| origin.action)
    }

    /// When it was created, of what its device did by itself and has ended: it is kept by no batch.
    fn own_created_at(&self) -> Option<Timestamp> {
        (self.batch.is_none() && self.state.is_terminal()).then_some(self.created_at)
    }

    /// Its place among the runs that its device is to do: the earliest goes first.
    pub fn turn_at(&self) -> Option<Timestamp> {
        self.open_on().map(|_| self.priority.turn(self.due_at))
    }

    /// The secrets that it may still have to bring to its device.
    fn needed_secrets(&self) -> Vec<OperationSecretId> {
        match self.state.is_terminal() {
            true => Vec::new(),
            false => self.params.secret_ids(),
        }
    }

    /// When the sweep has to look at the run, if nothing happens before.
    pub fn attention_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Draft => None,
            State::AwaitingApproval | State::Scheduled | State::Queued => Some(self.expires_at),
            // The agent may accept until the offer expires; its answer needs a moment more.
            State::Offered => Some(self.expires_at.plus(GRACE)),
            // When a device began something by itself is told by a clock that may not have known the time.
            State::Accepted => Some(self.deadline(self.delivery.receipt_at)),
            State::Running if self.origin.is_some() => Some(self.deadline(self.delivery.receipt_at)),
            State::Running => Some(self.deadline(self.started_at)),
            _ => None,
        }
    }

    fn deadline(&self, from: Option<Timestamp>) -> Timestamp {
        from.unwrap_or(self.created_at)
            .plus(Duration::from_secs(u64::from(self.timeout_seconds)))
            .plus(GRACE)
    }

    /// Moves the run along an edge. Returns what happened; a repeat and an illegal edge change nothing.
    pub fn step(&mut self, edge: Edge, now: Timestamp) -> Step {
        let step = self.state.after(edge);
        if let Step::To(state) = step {
            self.state = state;
            if state == State::Running && self.started_at.is_none() {
                self.started_at = Some(now);
            }
            if state.is_terminal() && self.finished_at.is_none() {
                self.finished_at = Some(now);
            }
        }
        step
    }
}

/// A move of a run, in lane `run_event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunEvent {
    /// The run.
    pub run: RunId,
    /// Its device.
    pub device: DeviceId,
    /// Its batch; none where its device began it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub batch: Option<BatchId>,
    /// From where.
    pub from: State,
    /// To where.
    pub to: State,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// Why, where there is something to say.
    pub reason: Option<String>,
}

impl LaneRow for RunEvent {
    const LANE: Name = "run_event";
    const VERSION: u32 = 1;

    fn columns() -> Vec<Column> {
        Vec::new()
    }

    fn index(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// A run as people and programs see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// The batch that it belongs to; null where its device began it by itself.
    pub batch: Option<BatchId>,
    /// What its device began it for by itself, to keep its desired state; null for what somebody asked for.
    pub origin: Option<RunOrigin>,
    /// Its device.
    pub device: DeviceId,
    /// The device's name when the run was created.
    pub device_name: String,
    /// The kind of operation.
    pub operation: String,
    /// Its parameters.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: serde_json::Value,
    /// Where it stands. An open set: be ready for values that come later.
    pub state: State,
    /// Whether nothing more happens.
    pub terminal: bool,
    /// How urgent it is. An open set: be ready for values that come later.
    pub priority: Priority,
    /// How far its offer got.
    pub delivery: Delivery,
    /// When it was created.
    pub created_at: Timestamp,
    /// It is offered until this time.
    pub expires_at: Timestamp,
    /// How long it may run, in seconds.
    pub timeout_seconds: u32,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When somebody asked to stop it.
    pub cancel_requested_at: Option<Timestamp>,
    /// Whether its rollout is held: as long as no device has it, none gets it.
    pub on_hold: bool,
    /// How it ended.
    pub ending: Option<Ending>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            batch: run.batch,
            origin: run.origin,
            device: run.device,
            device_name: run.device_name,
            operation: run.operation,
            params: run.params.shown(),
            state: run.state,
            terminal: run.state.is_terminal(),
            priority: run.priority,
            delivery: run.delivery,
            created_at: run.created_at,
            expires_at: run.expires_at,
            timeout_seconds: run.timeout_seconds,
            started_at: run.started_at,
            finished_at: run.finished_at,
            cancel_requested_at: run.cancel_requested_at,
            on_hold: run.on_hold,
            ending: run.ending,
        }
    }
}

/// How many runs stand in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateCount {
    /// The state.
    pub state: State,
    /// How many.
    pub runs: u64,
}
