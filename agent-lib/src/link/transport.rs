//! What carries frames.

use async_trait::async_trait;
use fleet_core::protocol::{AgentFrame, ServerFrame};

use super::LinkError;

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// By one socket that stays open.
    Socket,
    /// By requests, now and then.
    Poll,
}

/// Carries the frames of one session, in order, both ways. When it fails the session is over.
#[async_trait]
pub trait Transport: Send {
    /// How.
    fn kind(&self) -> TransportKind;

    /// Hands over frames. That they were handed over is no receipt.
    async fn send(&mut self, frames: Vec<AgentFrame>) -> Result<(), LinkError>;

    /// Waits for frames. Dropping the future loses none.
    async fn receive(&mut self) -> Result<Vec<ServerFrame>, LinkError>;

    /// Tells the session's number, once it is known.
    fn opened(&mut self, epoch: u64);

    /// Tells whether work is under way, so that polling becomes quicker.
    fn busy(&mut self, busy: bool);

    /// Says good-bye, as far as that is possible.
    async fn close(&mut self);
}
