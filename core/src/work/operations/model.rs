//! The registry of operation kinds.

use std::collections::BTreeMap;

use super::Subject;
use crate::{
    access::Permission,
    devices::Device,
    kernel::{Class, Code, Error, Result, canonical},
    settings::Settings,
};

/// No module registers such a kind.
pub const UNKNOWN_KIND: Code = Code::new("operation.unknown", Class::Invalid);
/// The parameters do not fit the kind.
pub const INVALID_PARAMS: Code = Code::new("operation.params_invalid", Class::Invalid);

/// The most bytes that parameters may have as JSON: with what else an offer says they fit a frame, however they are escaped.
pub const MAX_PARAMS: usize = 60 * 1024;

/// Which other work on the same device a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// One at a time: it changes the device.
    Exclusive,
    /// Beside others: it only looks.
    Shared,
}

/// What can go wrong when it does something that nobody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// It changes nothing on the device.
    Low,
    /// It changes what it says that it changes, and can be undone.
    Medium,
    /// It can do anything.
    High,
}

impl Risk {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What becomes of what a run has brought about, when it is assigned to a device for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// It is done once: there is nothing to keep.
    None,
    /// It describes a state, which can be checked and restored again and again.
    Kept,
    /// It describes a state that is taken back, as `absent`, once the device is to have it no longer.
    Reverted,
}

impl Upkeep {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kept => "kept",
            Self::Reverted => "reverted",
        }
    }
}

/// A kind of operation. The engine never asks which kind a run is; it asks the kind.
#[derive(Clone, Copy, Debug)]
pub struct OperationKind {
    /// Its name, such as `shell` or `packages.upgrade`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub title: &'static str,
    /// Who may run it.
    pub permission: Permission,
    /// What can go wrong.
    pub risk: Risk,
    /// Which other work it waits for.
    pub lane: Lane,
    /// Whether an interrupted run may simply run again.
    pub idempotent: bool,
    /// Whether it describes a state of the device, and whether that is taken back.
    pub upkeep: Upkeep,
    /// Whether its parameters have a member `state`, with which `absent` asks for the opposite.
    pub knows_absence: bool,
    /// What of a device its parameters are about. Whatever is taken back has one.
    pub subject: Option<Subject>,
    /// Whether its dry run runs what somebody gave: then whatever has to hold before its work, has to hold before its dry run.
    pub dry_run_runs_code: bool,
    /// How long it may run when nobody says, in seconds, beyond what it waits for by its parameters.
    pub timeout_seconds: u32,
    /// How long it waits by its parameters before it does what they say, in seconds. Its time to run has to be longer.
    pub waits_seconds: fn(&serde_json::Value) -> u32,
    /// How long it may run at most, in seconds.
    pub max_timeout_seconds: u32,
    /// How long work waits for a device that is offline when nobody says, in seconds; with 0 it is skipped there.
    pub expiry_seconds: u32,
    /// Whether it prints while it runs.
    pub streams: bool,
    /// What its parameters look like: a JSON Schema (draft 2020-12). It may allow more than the check does, never less.
    pub params_schema: fn() -> serde_json::Value,
    /// What its runs report beside how they ended, if anything: a JSON Schema (draft 2020-12) of an object.
    pub summary_schema: Option<fn() -> serde_json::Value>,
    /// Which members of its parameters are secret: JSON pointers (RFC 6901), in which `*` stands for any one member of an object. They are
    /// texts. The check takes [`MASK`](crate::work::secrets::MASK) for one, since parameters that are stored are checked with it.
    pub secrets: &'static [&'static str],
    /// Checks parameters and gives back their normal form.
    pub check: fn(serde_json::Value) -> std::result::Result<serde_json::Value, String>,
}

/// What keeps work of a kind from a device: asked when a run is created, and again before it is offered first.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// The kind of operation.
    pub operation: &'static str,
    /// Refuses, with a stable code.
    pub check: fn(&Settings, &Device) -> Result<()>,
}

/// All kinds of operation.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    gates: Vec<Gate>,
    kinds: BTreeMap<&'static str, OperationKind>,
}

impl Operations {
    /// Registers kinds; fails on a name that is registered twice, and on a kind that is taken back and does not say what it is about.
    pub fn new(kinds: impl IntoIterator<Item = OperationKind>) -> Result<Self> {
        let mut registry = Self::default();
        for kind in kinds {
            if kind.upkeep == Upkeep::Reverted && kind.subject.is_none() {
                let why = format!(
                    "operation {} is taken back, and names no subject by which that is known",
                    kind.name
                );
                return Err(Error::internal(why));
            }
            if registry.kinds.insert(kind.name, kind).is_some() {
                return Err(Error::internal(format!("operation {} is registered twice", kind.name)));
            }
        }
        Ok(registry)
    }

    /// Puts gates before kinds.
    #[must_use]
    pub fn with_gates(mut self, gates: impl IntoIterator<Item = Gate>) -> Self {
        self.gates.extend(gates);
        self
    }

    /// Whether a gate stands before a kind.
    pub fn has_gate(&self, operation: &str) -> bool {
        self.gates.iter().any(|gate| gate.operation == operation)
    }

    /// Asks the gates of a kind.
    pub fn check_gates(&self, operation: &str, settings: &Settings, device: &Device) -> Result<()> {
        let mut gates = self.gates.iter().filter(|gate| gate.operation == operation);
        gates.try_for_each(|gate| (gate.check)(settings, device))
    }

    /// A kind by name.
    pub fn kind(&self, name: &str) -> Result<&OperationKind> {
        self.kinds.get(name).ok_or_else(|| {
            let known: Vec<_> = self.kinds.keys().copied().collect();
            UNKNOWN_KIND
                .error(format!(
                    "there is no operation {name:.60}; there are {}",
                    known.join(", ")
                ))
                .with_field("/operation", "unknown")
        })
    }

    /// All kinds, by name.
    pub fn all(&self) -> impl Iterator<Item = &OperationKind> {
        self.kinds.values()
    }
}

/// The schema of a type of parameters, or of results.
pub fn schema_of<T: schemars::JsonSchema>() -> serde_json::Value {
    schemars::schema_for!(T).to_value()
}

/// What waits for nothing.
pub(crate) fn at_once(_params: &serde_json::Value) -> u32 {
    0
}

impl OperationKind {
    /// How long it may run with these parameters, in seconds, of what somebody says.
    ///
    /// # Errors
    /// Why it cannot be so long: it would have ended before it does what it is to do, or goes beyond what its kind allows.
    pub fn check_timeout(&self, said: Option<u32>, params: &serde_json::Value) -> Result<u32> {
        let waits = (self.waits_seconds)(params);
        let seconds = said.unwrap_or(self.timeout_seconds.saturating_add(waits));
        if (waits + 1..=self.max_timeout_seconds).contains(&seconds) {
            Ok(seconds)
        } else {
            let why = format!("{} to {} seconds", waits + 1, self.max_timeout_seconds);
            Err(Error::invalid_field("/timeout_seconds", why))
        }
    }

    /// Checks parameters and gives back their normal form.
    pub fn check_params(&self, params: serde_json::Value) -> Result<serde_json::Value> {
        let fits = |params: serde_json::Value| {
            // What an engine cannot store is refused here too, where it can be explained.
            let bytes = canonical::to_vec(&params).map_err(|error| error.to_string())?;
            if bytes.len() <= MAX_PARAMS {
                Ok(params)
            } else {
                Err(format!("{} bytes as JSON; at most {MAX_PARAMS} fit", bytes.len()))
            }
        };
        (self.check)(params).and_then(fits).map_err(|problem| {
            INVALID_PARAMS
                .error(format!("{}: {problem}", self.name))
                .with_field("/params", problem)
        })
    }
}
