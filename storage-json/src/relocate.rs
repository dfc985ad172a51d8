//! Moving what the store holds: each step is one line of the journal, as everything else is.

use async_trait::async_trait;
use fleet_core::store::{Error, Move, Patch, Relocate, Result, Seq, Standing, Tracked, Tracking};

use tokio::task::spawn_blocking;

use crate::{
    JsonStore,
    writer::{Ask, ReadyPatch, Request},
};

#[async_trait]
impl Relocate for JsonStore {
    async fn standing(&self) -> Result<Standing> {
        self.shared().standing()
    }

    async fn freeze(&self, to: Move) -> Result<Seq> {
        self.shared().schema()?;
        // The writer does one thing after another: what it answered before is in, and what comes later is refused.
        self.ask(|reply| Request::Write(Ask::Freeze(to, reply))).await
    }

    async fn fill(&self, from: Move) -> Result<()> {
        self.shared().schema()?;
        self.ask(|reply| Request::Write(Ask::Fill(from, reply))).await
    }

    async fn patch(&self, patch: Patch) -> Result<()> {
        let schema = self.shared().schema()?;
        self.shared().standing()?.phase.check_filling()?;
        // Meanwhile the writer stores another one.
        let ready = spawn_blocking(move || ReadyPatch::new(patch, schema)).await;
        let ready = ready.map_err(|error| Error::Unavailable(Box::new(error)))??;
        self.ask(|reply| Request::Write(Ask::Patch(ready, reply))).await
    }

    async fn serve(&self) -> Result<()> {
        self.shared().schema()?;
        self.ask(|reply| Request::Write(Ask::Serve(reply))).await
    }

    async fn clear(&self) -> Result<()> {
        self.shared().schema()?;
        self.ask(|reply| Request::Write(Ask::Clear(reply))).await
    }

    async fn track(&self, on: bool) -> Result<()> {
        self.shared().schema()?;
        self.ask(|reply| Request::Track(on, reply)).await
    }

    async fn tracked(&self, after: u64) -> Result<Tracked> {
        self.shared().schema()?;
        match self.shared().tracking().as_mut() {
            Some(tracking) => tracking.after(after),
            None => Err(Tracking::is_off()),
        }
    }
}
