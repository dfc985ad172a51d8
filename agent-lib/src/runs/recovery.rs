//! What happens to the runs that the journal remembers when the agent starts.

use std::sync::{Arc, Mutex, atomic::AtomicBool};

use fleet_core::{
    kernel::{Clock as _, EntityId as _, Result, Timestamp},
    protocol::{Finished, OfferBody},
    work::RunId,
};
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    Ending, Execute,
    execute::interrupted,
    execution::EXPIRED,
    manager::{Entry, Held, Inner, Runs, SHARED},
};
use crate::{
    clock::ServerClock,
    journal::{JournalWriter, Recovered, RecoveredRun, Recovery, decide},
    policy::Policy,
};

impl Runs {
    /// Begins with what the journal remembers: executes what was accepted and never begun, and settles what was interrupted.
    ///
    /// # Errors
    /// When the journal takes nothing any more.
    pub async fn recover(
        journal: JournalWriter,
        recovered: Recovered,
        clock: Arc<ServerClock>,
        policy: Policy,
        execute: Arc<dyn Execute>,
    ) -> Result<Self> {
        let runs = Self {
            inner: Arc::new(Inner {
                journal,
                clock,
                policy,
                execute,
                table: Mutex::default(),
                withdrawn: Mutex::default(),
                changed: Notify::new(),
                exclusive: Semaphore::new(1),
                shared: Semaphore::new(SHARED),
                is_own_turn: AtomicBool::new(false),
                last_own: Mutex::new(Timestamp::MIN),
            }),
        };
        for run in recovered.runs {
            let id = RunId::from_uuid(run.run);
            let decision = decide(&run, runs.inner.clock.now());
            tracing::info!(run = %id, ?decision, "a run from before the restart");
            let chunks = u32::try_from(run.next_sequence).unwrap_or(u32::MAX);
            let held = run
                .offer
                .clone()
                .and_then(|held| serde_json::from_value::<Held>(held).ok());
            let origin = held.as_ref().and_then(|held| held.origin.clone());
            let ended = run
                .result
                .as_ref()
                .and_then(|(result, _)| serde_json::from_value::<Finished>(result.clone()).ok());
            runs.insert(
                id,
                Entry {
                    started_at: run.started_at,
                    chunks,
                    ended,
                    is_known: origin.is_none(),
                    origin,
                    is_exclusive: held.as_ref().is_some_and(|held| held.offer.exclusive),
                    ..Entry::offered(watch::channel(false).0)
                },
            );
            match (decision, held) {
                // One of this device's own is not begun again: it is looked at anew what there is to be done.
                (Recovery::Execute | Recovery::RunAgain | Recovery::Expire, Some(Held { offer, origin: None })) => {
                    runs.decide_later(run, offer)
                }
                (Recovery::SendResult | Recovery::Settled, _) => {}
                // Whatever the time is: what it began is found on the device.
                (Recovery::Indeterminate, Some(Held { offer, origin: None }))
                    if runs.inner.execute.takes_up(&offer.kind) =>
                {
                    runs.take_up(offer);
                }
                _ => runs.end(id, interrupted()).await?,
            }
        }
        Ok(runs)
    }

    /// Decides on a run from before the restart once the server's time is known: the device's own clock may be off by years, and
    /// what it holds for valid may have ended long ago.
    fn decide_later(&self, recovered: RecoveredRun, offer: OfferBody) {
        let runs = self.clone();
        tokio::spawn(async move {
            let (run, clock) = (offer.run, &runs.inner.clock);
            clock.known().await;
            let settled = match decide(&recovered, clock.at_least()) {
                Recovery::Execute | Recovery::RunAgain => runs.execute_to_end(offer).await,
                Recovery::Expire => {
                    let why = "the agent was not running while the offer was valid";
                    runs.end(run, Ending::failed(EXPIRED, why)).await
                }
                _ => runs.end(run, interrupted()).await,
            };
            if let Err(error) = settled {
                tracing::error!(%run, error = error.log(), "the journal failed; the run's end could not be written");
            }
        });
    }
}
