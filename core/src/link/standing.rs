//! How the device of a key stands, for agents that nothing else is said to.

use super::{ASSERTION_INVALID, LinkService};
use crate::{
    devices::{
        Device,
        device::{DEVICE_REJECT, farewell},
    },
    kernel::{Error, Result},
    protocol::{Standing, StandingAnswer, StandingBody, StandingRequest},
    store::{Query, Reader},
};

impl LinkService<'_> {
    /// Says how the device of a key stands, signed, so that the agent may act on it. Asking needs the key and nothing else.
    pub async fn standing(&self, request: &StandingRequest) -> Result<StandingAnswer> {
        if !request.is_proved() {
            return Err(
                ASSERTION_INVALID.error("the signature does not show that this agent has the key that it names")
            );
        }
        let mut reader = self.fleet.store().reader().await?;
        let query = Query::<Device>::all().filter(Device::PUBLIC_KEY.eq(request.public_key.to_string()));
        let (device, name, standing) = match reader.first(&query).await? {
            Some(device) => (device.id, device.name.clone(), of_known(&device)),
            None => (request.device, String::new(), of_unknown(&mut reader, request).await?),
        };
        let body = StandingBody {
            nonce: request.nonce.clone(),
            public_key: request.public_key,
            device,
            name,
            standing,
            time: self.fleet.clock().now(),
        };
        StandingAnswer::sign(body, self.fleet.keys().identity()).map_err(Error::internal)
    }
}

fn of_known(device: &Device) -> Standing {
    if device.disabled || device.revoked_at.is_some() {
        Standing::KeptOut
    } else if device.pending.is_some() {
        Standing::Pending
    } else {
        Standing::Admitted
    }
}

async fn of_unknown(reader: &mut Reader, request: &StandingRequest) -> Result<Standing> {
    if reader.get::<Device>(request.device).await?.is_some() {
        return Ok(Standing::Replaced);
    }
    let Some(entry) = farewell(reader, request.device).await? else {
        return Ok(Standing::Unknown);
    };
    // It is told to the device itself, not to whoever has heard of its id.
    let of_key = entry.details.get("public_key").and_then(|key| key.as_str());
    Ok(match of_key {
        Some(key) if key != request.public_key.to_string() => Standing::Unknown,
        _ if entry.action == DEVICE_REJECT.name() => Standing::Rejected,
        _ => Standing::Deleted,
    })
}
