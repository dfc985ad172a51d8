//! An end that waits for work: the agent is gone just after it began something.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::agent::Crash;

/// What waits for one device.
#[derive(Debug)]
pub struct Doom {
    state: Mutex<State>,
    world: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    waits: Option<(Crash, Duration)>,
    struck: Option<Crash>,
}

impl Doom {
    /// Nothing waits yet. `world` is woken when it strikes.
    pub fn new(world: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            world,
        })
    }

    /// The agent will be gone this time after the next beginning of a run.
    pub fn waits(&self, how: Crash, after: Duration) {
        self.with(|state| state.waits = Some((how, after)));
    }

    /// Nothing waits any more.
    pub fn lift(&self) {
        self.with(|state| *state = State::default());
    }

    /// What struck, once.
    pub fn struck(&self) -> Option<Crash> {
        self.with(|state| state.struck.take())
    }

    /// A run begins. Returns never; what waits strikes meanwhile.
    pub async fn run_begins(&self) {
        if let Some((how, after)) = self.with(|state| state.waits.take()) {
            tokio::time::sleep(after).await;
            self.with(|state| state.struck = Some(how));
            self.world.notify_one();
        }
        std::future::pending().await
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
