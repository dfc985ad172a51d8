//! The server under test, when it is ours: started, killed and started again in the same place.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::arguments::{Arguments, Backend};
use crate::{
    child::{Service, beside, isolated},
    moves::route::{beside as postgres_beside, server as postgres, statement},
};

/// A server and where it keeps its data. It is killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    listen: String,
    agents_listen: Option<String>,
    storage: Option<String>,
    database: Option<Database>,
    starts: u32,
    service: Option<Service>,
}

/// A database of our own on somebody's Postgres.
#[derive(Debug)]
struct Database {
    name: String,
    uri: String,
}

impl Server {
    /// Starts a server with its data below `folder`.
    pub async fn start(arguments: &Arguments, folder: &Path) -> Result<Self> {
        let mut server = Self {
            folder: folder.to_owned(),
            // Nobody else takes a port that was free just now, and it has to be the same after a restart.
            listen: free_address()?,
            agents_listen: arguments.tls.then(free_address).transpose()?,
            storage: arguments.storage.clone(),
            database: None,
            starts: 0,
            service: None,
        };
        match arguments.backend {
            _ if server.storage.is_some() => {}
            Backend::Sqlite => {}
            Backend::Json => server.storage = Some(format!("json:{}", folder.join("store").display())),
            Backend::Postgres => {
                let database = Database::make().await?;
                server.storage = Some(database.uri.clone());
                server.database = Some(database);
            }
        }
        server.again()?;
        Ok(server)
    }

    /// Starts it again, in the same place.
    pub fn again(&mut self) -> Result<()> {
        self.starts += 1;
        let mut command = isolated(&beside("fleet-server")?);
        command.args(["serve", "--config", "/dev/null", "--listen", &self.listen, "--data"]);
        command.arg(self.data()).env("NO_COLOR", "1");
        // The first one would be due at once, in the midst of what is measured.
        command.args(["--set", "storage.backup_every_hours=0"]);
        if let Some(listen) = &self.agents_listen {
            command.args(["--agents-listen", listen]);
        }
        if let Some(storage) = &self.storage {
            // Not as an argument: it may have a password.
            command.env("FLEET_STORAGE", storage);
        }
        let mut service = Service::start(&mut command, &self.folder.join(format!("server-{}.log", self.starts)))?;
        service.address()?;
        self.service = Some(service);
        Ok(())
    }

    /// The folder of its keys.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its process.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.service.as_ref().context("the server does not run")?.pid())
    }

    /// Ends it as a loss of power does: SIGKILL.
    pub fn kill(&mut self) {
        self.service = None;
    }

    /// Ends it in order.
    pub fn stop(&mut self) -> Result<()> {
        match self.service.take() {
            Some(service) => service.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Ends it, and removes what is not in its folder.
    pub async fn remove(mut self) -> Result<()> {
        let stopped = self.stop();
        if let Some(database) = &self.database {
            database.remove().await?;
        }
        stopped
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Database {
    async fn make() -> Result<Self> {
        let name = format!("fleet_swarm_{}", std::process::id());
        statement(&format!("CREATE DATABASE {name}")).await?;
        let uri = postgres_beside(&postgres()?, &name)?;
        Ok(Self { name, uri })
    }

    async fn remove(&self) -> Result<()> {
        statement(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}
