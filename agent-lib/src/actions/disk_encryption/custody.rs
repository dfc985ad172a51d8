//! The server keeps what opens a volume: in an order in which, wherever it stops, there is a passphrase that opens it with whoever asks for it.
//!
//! ```text
//!   what does the server keep? ── one of it opens ─────────────────────────────────┐  (unless it is to be replaced)
//!                              └─ make one → deposit → add → read back, and try it ┴→ remove what opened before → it is in use
//! ```
//!
//! Whoever repeats it finds what the last one left: a secret that was deposited and opens the volume is taken up, one that does not is
//! given up. Any doubt leaves both passphrases.

use std::time::Duration;

use fleet_core::{
    escrow::{Conclusion, EscrowKind, EscrowReason, EscrowState, EscrowedSecretId},
    protocol::HeldSecret,
    work::{operations::actions::disk_encryption::DiskEncryptionParams, secrets::SecretText},
};

use super::{KEY_UNKNOWN, KEY_UNPROVEN, luks::Volume, recovery_key};
use crate::{
    actions::{ESCROW_UNREACHABLE, action::Problem, device::Device},
    escrow::EscrowError,
};

/// How often what was deposited is read back, and how long in between.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(1);

/// Has the server keep a passphrase that opens a volume, another one than before where it is to be `renewed`.
pub(super) async fn take(
    params: &DiskEncryptionParams,
    device: &Device,
    volume: &Volume,
    renewed: bool,
) -> Result<EscrowedSecretId, Problem> {
    let kept = device.current_secrets(EscrowKind::DiskPassphrase, &volume.uuid).await?;
    let (mut opening, mut useless) = (Vec::new(), Vec::new());
    for held in kept {
        match device.opens(volume, &held.secret).await? {
            true => opening.push(held),
            false => useless.push(held),
        }
    }
    let initial = match &params.initial_key {
        Some(key) if device.opens(volume, key).await? => Some(key),
        _ => None,
    };
    let new = match opening.iter().find(|held| may_stay(held, renewed)) {
        Some(held) => held.clone(),
        None => {
            let by = opening.first().map(|held| &held.secret).or(initial);
            add(device, volume, by.ok_or_else(|| unknown(params, volume))?, renewed).await?
        }
    };
    // It is known that what the server keeps opens the volume, and it shows it to whoever asks: the others may go. Only then it is told,
    // as a passphrase that has been superseded is not given to devices any more: nobody would remove it.
    let mut before: Vec<_> = opening.iter().map(|held| &held.secret).collect();
    before.extend(initial.filter(|_| !params.keep_initial_key));
    let mut gone = vec![&new.secret];
    for key in before {
        if !gone.contains(&key) {
            device.say("remove a passphrase that opened it before\n").await;
            device.remove_key(volume, key).await?;
            gone.push(key);
        }
    }
    device
        .conclude(new.id, Conclusion::InUse)
        .await
        .map_err(|error| untold(volume, &error))?;
    for held in useless.iter().filter(|held| held.state == EscrowState::Offered) {
        give_up(device, held.id).await;
    }
    Ok(new.id)
}

/// Whether a secret that opens the volume is the one that is wanted. One that was offered and opens it is what an interrupted run has
/// left: it is as new as another one would be.
fn may_stay(held: &HeldSecret, renewed: bool) -> bool {
    !renewed || held.state == EscrowState::Offered
}

/// Has another passphrase open the volume, which the server keeps first.
async fn add(device: &Device, volume: &Volume, by: &SecretText, renewed: bool) -> Result<HeldSecret, Problem> {
    let secret = recovery_key::make(device.random());
    let reason = match renewed {
        true => EscrowReason::Scheduled,
        false => EscrowReason::Initial,
    };
    let kind = EscrowKind::DiskPassphrase;
    let id = device.deposit(kind, &volume.uuid, reason, &secret).await?;
    if let Err(problem) = device.add_key(volume, by, &secret).await {
        // A program that was stopped may have done its work.
        if device.opens(volume, &secret).await == Ok(false) {
            give_up(device, id).await;
        }
        return Err(problem);
    }
    match read_back(device, volume, id).await? {
        Some(held) => Ok(held),
        None => {
            device.remove_key(volume, &secret).await?;
            give_up(device, id).await;
            let why = "what the server says that it keeps does not open it; the passphrase was taken away again";
            Err(Problem::new(KEY_UNPROVEN, format!("{}: {why}", volume.path)))
        }
    }
}

/// What the server gives to whoever asks for this secret, where that opens the volume.
async fn read_back(device: &Device, volume: &Volume, id: EscrowedSecretId) -> Result<Option<HeldSecret>, Problem> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(BETWEEN.min(device.time_left())).await;
        }
        let kept = device.current_secrets(EscrowKind::DiskPassphrase, &volume.uuid).await;
        match kept {
            Ok(kept) => match kept.into_iter().find(|held| held.id == id) {
                Some(held) if device.opens(volume, &held.secret).await? => return Ok(Some(held)),
                _ => {}
            },
            // It is kept: the server has signed that. Both stay until it can be asked.
            Err(problem) if attempt + 1 == TRIES => return Err(problem),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Where that is not heard, the next run finds that it opens nothing.
async fn give_up(device: &Device, id: EscrowedSecretId) {
    if let Err(error) = device.conclude(id, Conclusion::Abandoned).await {
        tracing::info!(%error, secret = %id, "the server was not told that a passphrase did not come into use");
    }
}

fn untold(volume: &Volume, error: &EscrowError) -> Problem {
    let why = "it opens by the newest passphrase that the server keeps, which could not be told so";
    Problem::new(
        ESCROW_UNREACHABLE,
        format!("{}: {why}; it is tried again at the next pass ({error})", volume.path),
    )
}

fn unknown(params: &DiskEncryptionParams, volume: &Volume) -> Problem {
    let why = match params.initial_key.is_some() {
        true => "neither initial_key nor what the server keeps opens it",
        false => "the server keeps nothing that opens it; give a passphrase that does as initial_key",
    };
    Problem::new(KEY_UNKNOWN, format!("{}: {why}", volume.path))
}
