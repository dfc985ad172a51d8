//! The data folder of a server with devices in it, made through the services themselves.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use fleet_core::{
    Fleet,
    access::{Context, Origin},
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, EnrolmentSecret, Machine, NewEnrolmentToken, TokenText},
    },
    kernel::{MasterKey, PublicKey, SigningKey, SystemClock, SystemRandom, random_bytes},
};
use fleet_storage_sqlite::{SqliteOptions, SqliteStore};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// Enrolments that are under way at once; each has a token of its own, so that they share commits and do not race.
const LANES: usize = 16;

/// A device and its key.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The device.
    pub device: DeviceId,
    /// Its key.
    pub key: SigningKey,
    /// The identity key of its server.
    pub server: PublicKey,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    device: DeviceId,
    key: String,
    server: PublicKey,
}

/// Makes a store with so many devices in it, and its master key, where the server looks for them.
pub async fn with_devices(data: &Path, devices: usize) -> Result<Vec<Agent>> {
    let fleet = open(data).await?;
    let lanes = LANES.min(devices).max(1);
    let lane = |lane: usize| {
        let fleet = &fleet;
        async move {
            let mine = (lane..devices).step_by(lanes);
            let secret = token(fleet, mine.len()).await?;
            let mut agents = Vec::with_capacity(mine.len());
            for number in mine {
                agents.push(enrol(fleet, &secret, number).await?);
            }
            Ok::<_, anyhow::Error>(agents)
        }
    };
    let agents = try_join_all((0..lanes).map(lane)).await?;
    fleet.close().await.map_err(log)?;
    Ok(agents.into_iter().flatten().collect())
}

/// Makes a store with an enrolment token for one device of a server at `address`; returns the token's text.
pub async fn with_token(data: &Path, address: &str) -> Result<String> {
    let fleet = open(data).await?;
    let text = TokenText {
        address: address.to_owned(),
        identity: fleet.keys().identity().public(),
        ca: None,
        secret: token(&fleet, 1).await?,
    };
    let text = text.encode()?.to_string();
    fleet.close().await.map_err(log)?;
    Ok(text)
}

/// Makes an empty store, and its master key.
pub async fn open(data: &Path) -> Result<Fleet> {
    let keys = data.join("keys");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys)?;
    let key = MasterKey::generate(&SystemRandom);
    private(&keys.join("master.key"), format!("{}\n", *key.to_text()).as_bytes())?;
    let store = SqliteStore::open(data.join("fleet.db"), SqliteOptions::default(), Arc::new(SystemClock)).await?;
    Fleet::builder(Arc::new(store), key).open().await.map_err(log)
}

async fn token(fleet: &Fleet, uses: usize) -> Result<EnrolmentSecret> {
    let new = NewEnrolmentToken {
        name: "bench".into(),
        max_uses: u32::try_from(uses)?,
        ..NewEnrolmentToken::default()
    };
    let made = fleet.enrolment().create_token(&Context::system("bench"), &new).await;
    Ok(made.map_err(log)?.1)
}

async fn enrol(fleet: &Fleet, secret: &EnrolmentSecret, number: usize) -> Result<Agent> {
    let key = SigningKey::generate(&SystemRandom);
    let machine = Machine {
        hostname: format!("bench-{number}"),
        machine_id: Some(format!("{number:032x}")),
        agent_version: env!("CARGO_PKG_VERSION").into(),
    };
    let request = EnrolRequest::prove(secret.clone(), &key, random_bytes(&SystemRandom), machine);
    let enrolled = fleet
        .enrolment()
        .enrol(&request, Origin::default())
        .await
        .map_err(log)?;
    Ok(Agent {
        device: enrolled.device_id,
        key,
        server: fleet.keys().identity().public(),
    })
}

/// An error with its cause.
pub fn log(error: fleet_core::kernel::Error) -> anyhow::Error {
    anyhow!(error.log())
}

/// Writes agents down for the generator; the file is as secret as keys of devices are.
pub fn keep(agents: &[Agent], path: &Path) -> Result<()> {
    let stored: Vec<_> = agents
        .iter()
        .map(|agent| Stored {
            device: agent.device,
            key: hex::encode(*agent.key.to_bytes()),
            server: agent.server,
        })
        .collect();
    private(path, &serde_json::to_vec(&stored)?)
}

/// Reads them back.
pub fn read(path: &Path) -> Result<Vec<Agent>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let stored: Vec<Stored> = serde_json::from_slice(&bytes)?;
    stored
        .into_iter()
        .map(|stored| {
            let mut key = [0; 32];
            hex::decode_to_slice(&stored.key, &mut key)?;
            Ok(Agent {
                device: stored.device,
                key: SigningKey::from_bytes(&key),
                server: stored.server,
            })
        })
        .collect()
}

fn private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn devices_are_enrolled_and_their_keys_kept() {
        let folder = tempfile::tempdir().unwrap();
        let agents = with_devices(&folder.path().join("data"), 20).await.unwrap();
        let path = folder.path().join("agents");
        keep(&agents, &path).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.len(), 20);
        for (kept, read) in agents.iter().zip(&read) {
            assert_eq!((kept.device, kept.key.public()), (read.device, read.key.public()));
        }
    }

    #[tokio::test]
    async fn a_token_leads_to_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let text = with_token(&folder.path().join("data"), "http://127.0.0.1:8080")
            .await
            .unwrap();
        assert_eq!(TokenText::decode(&text).unwrap().address, "http://127.0.0.1:8080");
    }
}
