//! Those who are signed in with a password that has gone.

use std::time::Duration;

use crate::actions::{
    action::Problem,
    device::{Call, Device},
    user::end_sessions,
};

/// How long they have after they were told.
const NOTICE: Duration = Duration::from_secs(60);
const TOLD: &str = "Your password was changed by your administrator. Your session ends in a minute.\n";

/// Tells users that their sessions end, waits a minute, and ends them. Who is not signed in waits for nobody.
pub(super) async fn end(device: &Device, users: &[(String, u32)]) -> Result<(), Problem> {
    let mut signed_in = Vec::new();
    for (user, uid) in users {
        if is_signed_in(device, *uid).await? {
            signed_in.push((user, *uid));
            if device.has_program("write") {
                // Who takes no messages is not told.
                device.ask(&Call::new("write", [user]).reading(TOLD.to_owned())).await?;
            }
        }
    }
    if signed_in.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(NOTICE.min(device.time_left())).await;
    for (user, uid) in signed_in {
        device.check_time()?;
        end_sessions(device, user, uid).await?;
    }
    Ok(())
}

async fn is_signed_in(device: &Device, uid: u32) -> Result<bool, Problem> {
    if !device.has_program("pgrep") {
        return Ok(true);
    }
    let answer = device.ask(&Call::new("pgrep", ["--uid", &uid.to_string()])).await?;
    Ok(answer.succeeded())
}
