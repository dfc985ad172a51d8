//! The operator of the server: makes the token, gives work to all devices, and looks at the list.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use fleet_core::devices::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};

const NAME: &str = "swarm";
/// Of a server that nobody else reaches, for some minutes.
const PASSWORD: &str = "a password for the swarm only";

/// Speaks to the API with somebody's key.
#[derive(Clone, Debug)]
pub struct Operator {
    client: reqwest::Client,
    url: String,
    bearer: String,
}

/// How many devices stand how, as lists show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    pub devices: u64,
    pub online: u64,
    pub offline: u64,
}

impl Operator {
    /// With a key that was made already.
    pub fn with_key(url: &str, key: &str) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?,
            url: url.trim_end_matches('/').to_owned(),
            bearer: key.trim().to_owned(),
        })
    }

    /// Becomes the first administrator of a new server, by the token in its data folder.
    pub async fn first(url: &str, data: &Path) -> Result<Self> {
        let path = data.join("bootstrap-token");
        let token = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut operator = Self::with_key(url, "")?;
        let claim = json!({"token": token.trim(), "name": NAME, "password": PASSWORD});
        operator.post("/api/v1/bootstrap", &claim).await?;
        operator.sign_in().await?;
        Ok(operator)
    }

    async fn sign_in(&mut self) -> Result<()> {
        let login = json!({"name": NAME, "password": PASSWORD});
        let session = self.post("/api/v1/sessions", &login).await?;
        session["token"]
            .as_str()
            .context("a session without token")?
            .clone_into(&mut self.bearer);
        Ok(())
    }

    /// The text of a new enrolment token.
    pub async fn token(&self, uses: u64) -> Result<String> {
        let new = json!({"name": "swarm", "max_uses": uses, "approval": false, "labels": {"swarm": "yes"}});
        let made = self.post("/api/v1/enrolment-tokens", &new).await?;
        Ok(made["token"].as_str().context("a token without text")?.to_owned())
    }

    /// One command to all these devices, by one request.
    pub async fn run(&self, devices: &[DeviceId]) -> Result<String> {
        let batch = json!({
            "operation": "shell",
            "params": {"script": "uname -r"},
            "targets": {"devices": devices},
            "confirm_devices": devices.len(),
        });
        let made = self.post("/api/v1/batches", &batch).await?;
        Ok(made["id"].as_str().context("a batch without id")?.to_owned())
    }

    /// How many runs of a batch stand in this state.
    pub async fn runs_in(&self, batch: &str, state: &str) -> Result<u64> {
        let batch = self.get(&format!("/api/v1/batches/{batch}")).await?;
        let states = batch["states"].as_array().context("a batch without states")?;
        let count = states.iter().find(|count| count["state"] == state);
        Ok(count.and_then(|count| count["runs"].as_u64()).unwrap_or(0))
    }

    /// How many devices stand how.
    pub async fn counts(&self) -> Result<Counts> {
        Ok(serde_json::from_value(self.get("/api/v1/fleet").await?)?)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url));
        answer(path, request.bearer_auth(&self.bearer).send().await?).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let mut request = self.client.post(format!("{}{path}", self.url)).json(body);
        if !self.bearer.is_empty() {
            request = request.bearer_auth(&self.bearer);
        }
        answer(path, request.send().await?).await
    }
}

async fn answer(path: &str, response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("{path}: {status}: {}", body["detail"].as_str().unwrap_or_default());
    }
    Ok(body)
}
