//! The agent becomes another version of itself, and comes back by itself when that one does not connect.
//!
//! ```text
//! slots.rs       what is remembered of versions, and what follows from it; no I/O
//! store.rs       the same on disk: slots.json, and slots/a and slots/b with a program each
//! fetch.rs       manifest and program from the server, believed only when they prove themselves
//! updater.rs     the operation `agent.update`, and the proof that a version on trial is good
//! launch.rs      which program `fleet-agent run` becomes
//! supervisor.rs  watches a version on trial, and ends it
//! ```
//!
//! The installed program stays what it is; a version that is ordered goes into the slot that is not in use. `fleet-agent run` becomes the program of
//! the current slot (exec: nothing stays behind). Only for a version on trial the former one stays, as its parent: if the new one has not kept a session within
//! [`TRIAL`], it is ended, remembered, and the former one works on.

mod fetch;
mod launch;
mod slots;
mod store;
mod supervisor;
#[cfg(test)]
mod tests;
mod updater;

pub use launch::{LAUNCHED, Launch, Launched, next};
pub use slots::{Current, Failed, Next, Slot, Slots, Told, Trial, Verdict};
pub use store::SlotStore;
pub use supervisor::{RELAUNCH_EXIT, Supervised, TRIAL, supervise};
pub use updater::{Updater, UpdaterParts};

/// Operating system and processor of this program, as releases name them.
pub const PLATFORM: &str = if cfg!(target_arch = "x86_64") {
    "linux-x86_64"
} else if cfg!(target_arch = "aarch64") {
    "linux-aarch64"
} else if cfg!(target_arch = "arm") {
    "linux-armv7"
} else if cfg!(target_arch = "x86") {
    "linux-i686"
} else if cfg!(target_arch = "riscv64") {
    "linux-riscv64"
} else {
    "linux-other"
};
