//! The first password of a user that is made here. The server has it before the user is there.
//!
//! ```text
//! prepare       the server keeps it; that the user is about to be made is on disk     before: nothing is changed
//! useradd       the user is there, and nobody signs in by a password
//! setting       on disk: from here on the password may be in use
//! into use      set, looked at, told, as each other password                          `rotate.rs`
//! ```
//!
//! Whatever interrupts this, the next pass gives the user another password, unless somebody else has given it one meanwhile.

use fleet_core::{escrow::EscrowReason, work::operations::actions::password_rotation::PasswordComplexity};

use super::{
    notes::{First, Notes},
    password::generate,
    rotate::{bring_into_use, give_up, prepare},
};
use crate::actions::{
    action::Problem,
    device::{Call, Device},
};

/// How many characters it has.
const LENGTH: u32 = 16;

/// Whether a user that is there waits for its first password: this agent has made it, and was interrupted.
pub(in crate::actions) fn is_due(device: &Device, user: &str, has_password: bool) -> Result<bool, Problem> {
    Ok(
        match Notes::read(device)?.users.get(user).and_then(|notes| notes.first) {
            None => false,
            // Whoever has one has it from somebody else.
            Some(First::Making) => !has_password,
            Some(First::Setting) => true,
        },
    )
}

/// Tells the server what it has not heard yet of the passwords of this device.
pub(in crate::actions) async fn tell(device: &Device) -> Result<(), Problem> {
    let mut notes = Notes::read(device)?;
    if !notes.tell(device).await? {
        let why = "the server has not heard yet which passwords are in use; it is told at the next pass";
        device.warn(why.to_owned()).await;
    }
    Ok(())
}

/// Makes a user by `useradd`, with a password that the server keeps.
pub(in crate::actions) async fn make(
    device: &Device,
    user: &str,
    useradd: &Call,
    expires: bool,
) -> Result<(), Problem> {
    let mut notes = Notes::read(device)?;
    notes.of(user).first = Some(First::Making);
    let password = generate(LENGTH, PasswordComplexity::default(), device.random());
    let prepared = prepare(device, &mut notes, user, EscrowReason::UserCreated, password).await?;
    if let Err(problem) = device.must(useradd).await {
        // What was stopped may have made it.
        if matches!(problem, Problem::Failed { .. }) && device.user(user)?.is_none() {
            give_up(&mut notes, user, &prepared);
            notes.of(user).first = None;
            notes.write(device)?;
            notes.tell(device).await?;
        }
        return Err(problem);
    }
    notes.of(user).first = Some(First::Setting);
    notes.write(device)?;
    bring_into_use(device, &mut notes, user, &prepared, expires).await
}

/// Gives a user that waits for it a password that the server keeps.
pub(in crate::actions) async fn set(device: &Device, user: &str, expires: bool) -> Result<(), Problem> {
    let mut notes = Notes::read(device)?;
    notes.of(user).first = Some(First::Setting);
    let password = generate(LENGTH, PasswordComplexity::default(), device.random());
    let prepared = prepare(device, &mut notes, user, EscrowReason::UserCreated, password).await?;
    bring_into_use(device, &mut notes, user, &prepared, expires).await
}

/// Forgets what is remembered of the passwords of a user that is gone.
pub(in crate::actions) async fn forget(device: &Device, user: &str) -> Result<(), Problem> {
    let mut notes = Notes::read(device)?;
    if notes.users.contains_key(user) {
        // What the server does not hear now it never hears: then it shows what may have been in use.
        notes.tell(device).await?;
        notes.users.remove(user);
        notes.write(device)?;
    }
    Ok(())
}
