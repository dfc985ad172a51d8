//! Work of several steps, where the server is killed at any of them: whoever takes it up comes to what would have come of it anyway.
//!
//! ```text
//!   killed      a store that takes no write from the n-th on, with or without that one
//!   world       a store from which others branch off, and servers on it
//!   picture     what a store holds, but for what chance decides
//!   stages      what happens in a fleet, until each job has something to do
//!   jobs        each job, killed at each of its writes at each stage; all jobs are counted
//!   requests    requests of several writes: repeated, or left to the jobs
//!   promotion   requests and answers between the jobs
//! ```

#![allow(clippy::unwrap_used, reason = "tests")]

mod jobs;
mod killed;
mod picture;
mod promotion;
mod requests;
mod stages;
mod world;
