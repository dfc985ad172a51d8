//! The key that signs work.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use crate::client::Result;

/// `fleet dispatch-key`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show its public half, since when it signs, and when it hands over to another by itself.
    Show,
    /// Let it hand over to another now. Agents follow, also those that are away; a stolen key is not got rid of by this.
    #[command(after_help = "A key signs for at least a day. Agents that are connected say hello again within minutes.")]
    Rotate,
}

const PATH: &str = "dispatch-key";

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Show => {
            let key = context.client.get(&[PATH], &[]).await?.body;
            context.output.thing(&key)
        }
        Command::Rotate => {
            let key = context.client.post(&[PATH, "rotate"], &json!({}), None).await?.body;
            context.output.done("another key signs from now on", &key)
        }
    }
}
