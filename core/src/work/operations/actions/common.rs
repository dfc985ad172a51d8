//! What all actions share.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    access::Permission,
    work::operations::{ActionSummary, Lane, OperationKind, Risk, Upkeep, model::at_once, schema_of},
};

/// Whether a device is to have something, or not to have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is to be there, as the other parameters say.
    #[default]
    Present,
    /// It is not to be there.
    Absent,
}

impl Presence {
    /// Whether it is the one that is meant when nobody says.
    pub fn is_present(&self) -> bool {
        *self == Self::Present
    }

    /// Whether it is to be gone.
    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

/// The parameters of an action: one flat object that refuses members it does not know.
pub trait ActionParams: Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Whether it is to be there.
    fn state(&self) -> Presence;

    /// Whether to say only what would be done.
    fn dry_run(&self) -> bool;

    /// The first thing that is wrong with them, with the member and what to do. It needs no file system.
    fn problem(&self) -> Option<String>;
}

/// The check of a kind with these parameters.
pub(super) fn check<P: ActionParams>(params: serde_json::Value) -> Result<serde_json::Value, String> {
    let params: P = serde_json::from_value(params).map_err(|error| error.to_string())?;
    match params.problem() {
        Some(problem) => Err(problem),
        None => serde_json::to_value(params).map_err(|error| error.to_string()),
    }
}

/// Parameters as their own type; none where they were stored before that changed.
pub(super) fn read<P: DeserializeOwned>(params: &serde_json::Value) -> Option<P> {
    P::deserialize(params).ok()
}

/// Whether a member is left out of the normal form.
pub(in crate::work::operations) fn is_false(value: &bool) -> bool {
    !*value
}

/// Whether a member that is true when nobody says is left out of the normal form.
pub(super) fn is_true(value: &bool) -> bool {
    *value
}

/// What such a member is when nobody says.
pub(super) fn yes() -> bool {
    true
}

/// What actions have in common: they change the device one at a time, a second application does no harm, and they wait a day for it.
pub(super) const fn action<P: ActionParams + schemars::JsonSchema>(
    name: &'static str,
    title: &'static str,
    permission: Permission,
    risk: Risk,
    upkeep: Upkeep,
) -> OperationKind {
    OperationKind {
        name,
        title,
        permission,
        risk,
        lane: Lane::Exclusive,
        idempotent: true,
        upkeep,
        knows_absence: true,
        subject: None,
        dry_run_runs_code: false,
        timeout_seconds: 300,
        waits_seconds: at_once,
        max_timeout_seconds: 86_400,
        expiry_seconds: 86_400,
        streams: true,
        params_schema: schema_of::<P>,
        summary_schema: Some(schema_of::<ActionSummary>),
        secrets: &[],
        check: check::<P>,
    }
}

/// The members that every action has.
macro_rules! action_params {
    ($params:ty) => {
        impl crate::work::operations::actions::ActionParams for $params {
            fn state(&self) -> crate::work::operations::actions::Presence {
                self.state
            }

            fn dry_run(&self) -> bool {
                self.dry_run
            }

            fn problem(&self) -> Option<String> {
                self.check().err()
            }
        }
    };
}
pub(super) use action_params;
