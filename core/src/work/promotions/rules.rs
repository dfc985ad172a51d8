//! What a dry run said of a device, and which parameters it had; pure.

use super::{DryRunOutcome, NO_DRY_RUN, PromotionTerms};
use crate::{
    kernel::{Error, Result},
    work::{OperationKind, State, StoredParams, batch::Order, secrets::check_again},
};

/// The member of parameters that asks for a dry run.
pub(in crate::work) const DRY_RUN: &str = "dry_run";

/// What a dry run said of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    WouldChange,
    Unchanged,
    Unknown,
    NotConcerned,
    Failed,
}

impl Said {
    /// What a run said that has ended like that.
    pub(super) fn of(state: State, changed: Option<bool>) -> Self {
        match (state, changed) {
            (State::Succeeded | State::SucceededWithIssues, Some(true)) => Self::WouldChange,
            (State::Succeeded | State::SucceededWithIssues, Some(false)) => Self::Unchanged,
            (State::Succeeded | State::SucceededWithIssues, None) => Self::Unknown,
            (State::NotApplicable | State::Skipped, _) => Self::NotConcerned,
            _ => Self::Failed,
        }
    }
}

impl DryRunOutcome {
    pub(super) fn count(&mut self, said: Said) {
        let counted = match said {
            Said::WouldChange => &mut self.would_change,
            Said::Unchanged => &mut self.unchanged,
            Said::Unknown => &mut self.unknown,
            Said::NotConcerned => &mut self.not_concerned,
            Said::Failed => &mut self.failed,
        };
        *counted += 1;
    }
}

impl OperationKind {
    /// Whether it can say what it would do, without doing it.
    pub fn knows_dry_runs(&self) -> bool {
        (self.params_schema)()["properties"][DRY_RUN]["type"] == "boolean"
    }
}

/// Whether work of a kind, with these parameters, can look first.
pub(in crate::work) fn check(kind: &OperationKind, params: &StoredParams) -> Result<()> {
    if !kind.knows_dry_runs() {
        let why = format!("{} cannot say what it would do", kind.name);
        return Err(NO_DRY_RUN.error(why.clone()).with_field("/dry_run_first", why));
    }
    if is_dry_run(params) {
        let why = "the dry run comes first by itself, and what follows it is none: leave it out";
        return Err(Error::invalid_field("/params/dry_run", why));
    }
    with_dry_run(kind, params, true).map(drop)
}

/// Whether parameters ask to look, and to do nothing.
pub(in crate::work) fn is_dry_run(params: &StoredParams) -> bool {
    params.member(DRY_RUN).is_some_and(|value| *value == true)
}

/// The same parameters, for a dry run or for real.
pub(super) fn with_dry_run(kind: &OperationKind, params: &StoredParams, is_dry: bool) -> Result<StoredParams> {
    let params = params.clone().with_member(DRY_RUN, is_dry.into());
    check_again(&params, |params| kind.check_params(params))
}

/// The order of the dry run that comes before an order, which it carries along as what it is to become.
pub(in crate::work) fn first_look(kind: &OperationKind, order: Order) -> Result<Order> {
    let terms = PromotionTerms {
        start_at: order.start_at,
        ignores_windows: order.ignores_windows,
        approvals: order.approvals,
        rollout: order.rollout,
        retry: order.retry,
    };
    // What only looks has nothing to wait for, and needs nobody who agrees.
    let only_looks = !kind.dry_run_runs_code;
    Ok(Order {
        params: with_dry_run(kind, &order.params, true)?,
        start_at: order.start_at.filter(|_| !only_looks),
        ignores_windows: order.ignores_windows || only_looks,
        approvals: if only_looks { 0 } else { order.approvals },
        rollout: None,
        retry: None,
        dry_run_first: false,
        promotion: Some(terms),
        ..order
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::work::operations::{INVALID_PARAMS, actions, agent_update, refresh, shell, sync};

    #[test]
    fn only_what_succeeded_and_would_change_something_is_promoted() {
        for state in State::ALL {
            for changed in [None, Some(false), Some(true)] {
                let expected = match state {
                    State::Succeeded | State::SucceededWithIssues => match changed {
                        Some(true) => Said::WouldChange,
                        Some(false) => Said::Unchanged,
                        None => Said::Unknown,
                    },
                    State::NotApplicable | State::Skipped => Said::NotConcerned,
                    _ => Said::Failed,
                };
                assert_eq!(Said::of(state, changed), expected, "{state:?} {changed:?}");
            }
        }
    }

    #[test]
    fn kinds_that_take_the_parameter_can_look_first() {
        for (kind, _) in actions::ALL {
            assert!(kind.knows_dry_runs(), "{}", kind.name);
        }
        for (kind, expected) in [
            (shell::KIND, true),
            (refresh::KIND, false),
            (agent_update::KIND, false),
            (sync::KIND, false),
        ] {
            assert_eq!(kind.knows_dry_runs(), expected, "{}", kind.name);
        }
    }

    #[track_caller]
    fn check_params(given: serde_json::Value, dry: serde_json::Value) {
        let real = StoredParams::without_secrets(shell::KIND.check_params(given).unwrap());
        let looked = with_dry_run(&shell::KIND, &real, true).unwrap();
        assert_eq!(looked.shown(), dry);
        assert_eq!(with_dry_run(&shell::KIND, &looked, false).unwrap(), real);
    }

    #[test]
    fn a_dry_run_differs_in_nothing_else() {
        check_params(
            json!({"script": "touch x", "check_script": "test -e x"}),
            json!({"script": "touch x", "check_script": "test -e x", "dry_run": true, "interpreter": "/bin/sh"}),
        );
        check_params(
            json!({"script": "true"}),
            json!({"script": "true", "dry_run": true, "interpreter": "/bin/sh"}),
        );
    }

    #[test]
    fn what_cannot_look_first_is_refused() {
        let params = |params| StoredParams::without_secrets(params);
        let refused = check(&refresh::KIND, &params(json!({}))).unwrap_err();
        assert_eq!(
            (refused.code(), refused.fields()[0].pointer.as_str()),
            (NO_DRY_RUN, "/dry_run_first")
        );
        let refused = check(&shell::KIND, &params(json!({"script": "x", "dry_run": true}))).unwrap_err();
        assert_eq!(refused.fields()[0].pointer, "/params/dry_run");
        let refused = check(&shell::KIND, &params(json!({"script": 1}))).unwrap_err();
        assert_eq!(refused.code(), INVALID_PARAMS);
        check(&shell::KIND, &params(json!({"script": "x"}))).unwrap();
    }
}
