//! `fleet-server admin`: for whoever holds the store and its master key.

use clap::{Args, Subcommand};
use fleet_bins_common::{logging::print, storage::Purpose};

use secrecy::ExposeSecret as _;

use crate::{
    config::{Config, Flags},
    serve,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let an administrator in again when nobody can sign in. Stop the server first.
    Recover(Box<Recover>),
}

/// Lets an administrator in.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// Who: a user, who is enabled, made an administrator and given a new password; or a new one
    #[arg(long, default_value = "admin")]
    name: String,
}

/// Makes the administrator and prints the password, once.
pub(crate) async fn recover(config: &Config, asked: &Recover) -> anyhow::Result<()> {
    let (fleet, _) = serve::open(config, Purpose::Existing).await?;
    let recovered = fleet.access().users().recover(&asked.name).await;
    let closed = fleet.close().await;
    let recovered = recovered.map_err(|error| anyhow::anyhow!(error.log()))?;
    closed.map_err(|error| anyhow::anyhow!("the store did not close cleanly: {}", error.log()))?;
    let name = &recovered.user.name;
    if recovered.created {
        print(&format!(
            "{name} is a new administrator; sign in with this password and set another:"
        ));
    } else {
        print(&format!(
            "{name} is an administrator and enabled, all sessions of {name} are over; sign in with this password and set another:"
        ));
    }
    print(&format!("  {}", recovered.password.expose_secret()));
    Ok(())
}
