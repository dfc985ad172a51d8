//! **fleet-sim**: server and agents as they are, on a network, clocks and disks that are not.
//!
//! The code under test is the real one: the server's `Fleet` with its jobs, the API's routes and socket sessions, the agent's worker
//! with its sessions, back-off, journal, verification and runs. Simulated is what they stand on, by the traits that they have for it:
//! time (a paused runtime, and a clock for each machine), randomness, the network ([`network`]), the disks of devices ([`disk`]), the
//! server's store ([`store`]: the reference backend), what runs do ([`executor`]). All choices come from one seed, and the same seed
//! gives the same trace.
//!
//! ```text
//! world.rs      one simulation: trouble, then peace, then the reckoning
//! faults.rs     what goes wrong, and how it ends;  people.rs   who asks for work;  doom.rs: an end that waits for work
//! door.rs       the server's process without a port; agent.rs  a device and its agent; executor.rs what runs do
//! network.rs    between them;  disk.rs  below the agent;  store.rs  below the server;  clock.rs  beside both
//! judge.rs      what must hold, checked where it happens; reckoning.rs: in the end
//! edges.rs      the table of moves, and which cannot be reached yet; coverage.rs what was visited
//! plant.rs      faults planted on purpose, to test the test; lies.rs those of the server
//! looks.rs      dry runs that come first;  attempts.rs  what is tried again;  panics.rs  what nobody else would hear of
//! campaign.rs   many seeds on all cores
//! dice.rs       choices;  trace.rs  what happened
//! ```

#![warn(missing_docs)]

pub mod agent;
mod attempts;
pub mod campaign;
pub mod clock;
pub mod coverage;
mod desired;
pub mod dice;
pub mod disk;
pub mod doom;
pub mod door;
pub mod edges;
pub mod executor;
pub mod faults;
pub mod judge;
mod lies;
mod looks;
pub mod network;
mod panics;
mod people;
pub mod plans;
pub mod plant;
mod reckoning;
pub mod secrets;
pub mod store;
pub mod trace;
mod turns;
pub mod world;

pub use campaign::{Report, campaign, hunt};
pub use judge::{Invariant, Violation};
pub use plant::Plant;
pub use world::{Outcome, Plan, Scale, simulate};
