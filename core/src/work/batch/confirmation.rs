//! Work that can do anything, on many devices: whoever asks for it says on how many, and means it.

use super::request::Order;
use crate::{
    kernel::{Class, Code, Result},
    work::{OperationKind, operations::Risk},
};

/// Nobody confirmed on how many devices this risky work is done, or the number that was said is another. The message of the member
/// `/confirm_devices` among the `errors` is the number.
pub const NOT_CONFIRMED: Code = Code::new("batch.not_confirmed", Class::Conflict);

/// Whether somebody is asked on how many devices work is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// It comes from what was confirmed, such as a time of a plan, or a further attempt.
    Inherited,
    /// It is asked for now; this is the number of devices that was said, if any was.
    Said(Option<u64>),
}

/// Refuses work on so many devices that nobody confirmed. Without a number, it is refused where its kind can do anything, and it means
/// more than `above` devices, or all of them where these are several. A number that was said has to be right in any case.
pub(super) fn check_confirmation(kind: &OperationKind, order: &Order, (devices, above): (usize, u32)) -> Result<()> {
    let Confirmation::Said(said) = order.confirmation else {
        return Ok(());
    };
    let devices = devices as u64;
    let why = match said {
        Some(said) if said == devices => return Ok(()),
        Some(said) => format!("this means {devices} devices, and not {said}"),
        None if needs_confirmation(kind, order, devices, above) => {
            format!("this runs {} on {devices} devices; confirm that number", kind.name)
        }
        None => return Ok(()),
    };
    Err(NOT_CONFIRMED
        .error(why)
        .with_field("/confirm_devices", devices.to_string()))
}

fn needs_confirmation(kind: &OperationKind, order: &Order, devices: u64, above: u32) -> bool {
    // What only looks does no harm; what follows it is agreed to by somebody who is told the number.
    let only_looks = order.params.shown()["dry_run"] == true && !kind.dry_run_runs_code;
    let are_many = devices > u64::from(above) || (order.targets.all && devices > 1);
    kind.risk == Risk::High && !only_looks && are_many
}
