//! Batches.

use clap::Subcommand;

use super::{Context, runs};
use crate::{
    client::{Failure, Result},
    output::{Format, note},
};

/// `fleet batches`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a batch and its runs.
    Show {
        /// The batch's whole id.
        batch: String,
    },
}

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Show { batch } => {
            if batch.len() != 36 {
                return Err(Failure::usage("a batch has no name: give its whole id"));
            }
            context.show(&["batches", &batch]).await?;
            if context.output.format() == Format::Table {
                note("");
                runs::list_of_batch(context, &batch).await?;
            }
            Ok(())
        }
    }
}
