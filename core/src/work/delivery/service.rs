//! The use case: what devices are to do, and what they answer.

use std::{collections::BTreeMap, time::Duration};

use super::{
    answers::{Answer, Report},
    offers::{Ask, Due},
};
use crate::{
    devices::DeviceId,
    gathering::Gathering,
    kernel::{Error, Result, SigningKey},
    live::Signals,
    protocol::{Offer, OfferBody},
    settings::Settings,
    store::Store,
    work::{
        Operations, Run, RunId, StoredParams,
        operations::Lane,
        output::OutputMeter,
        secrets::{OperationSecretId, SECRET_GONE, SecretText, Vault},
    },
};

/// Devices that ask on one view; their open runs are one page.
const ASKS: usize = 256;
/// Reports that share a commit.
const REPORTS: usize = 1_024;

/// How long who makes more work lets those go first who wait to be heard.
const COURTESY: Duration = Duration::from_millis(250);

/// What devices ask and tell at the same moment.
#[derive(Debug)]
pub struct Deliveries {
    pub(super) asks: Gathering<Ask, Due>,
    pub(super) reports: Gathering<Report, Vec<Answer>>,
}

impl Deliveries {
    /// Lets devices that wait to be heard go first, for a moment.
    pub(in crate::work) async fn give_way(&self) {
        self.reports.give_way(COURTESY).await;
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            asks: Gathering::new(ASKS),
            reports: Gathering::new(REPORTS),
        }
    }
}

/// Hands work to devices and takes their answers. Used by the link, never by people.
#[derive(Debug)]
pub struct DeliveryService<'a> {
    pub(crate) store: &'a Store,
    pub(crate) vault: Vault<'a>,
    pub(crate) operations: &'a Operations,
    pub(crate) settings: &'a Settings,
    pub(crate) devices: &'a Signals<DeviceId>,
    pub(crate) runs: &'a Signals<RunId>,
    pub(crate) meter: &'a OutputMeter,
    pub(crate) deliveries: &'a Deliveries,
}

/// What a device is to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    /// Work, signed, in due order. Each offer is committed before it stands here.
    pub offers: Vec<Offer>,
    /// Runs to stop.
    pub cancels: Vec<RunId>,
}

impl DeliveryService<'_> {
    /// What a device is to do, as of now. Offers are committed before they are returned; a crash between commit and sending
    /// is mended by the next session, which offers them again.
    pub async fn pending(&self, device: DeviceId, epoch: u64, dispatch: &SigningKey) -> Result<Pending> {
        let ask = Ask {
            device,
            epoch,
            is_known: false,
            in_doubt: false,
        };
        let due = self.due(ask).await?;
        self.sign_all(due, device, epoch, dispatch).await
    }

    /// The same, not signed yet, and how the device stands where that is not known. Fails when the device is gone or kept out.
    pub(crate) async fn due(&self, ask: Ask) -> Result<Due> {
        self.deliveries.asks.ask(ask, |asks| self.offer(asks)).await
    }

    /// Signs what is due for a device in this session. A run whose secrets are gone is left out, and ends by the sweep: the others need
    /// not wait for it.
    pub(crate) async fn sign_all(
        &self,
        due: Due,
        device: DeviceId,
        epoch: u64,
        dispatch: &SigningKey,
    ) -> Result<Pending> {
        let mut offers = Vec::with_capacity(due.offered.len());
        for run in due.offered {
            let id = run.id;
            match self.sign(run, device, epoch, dispatch).await {
                Ok(offer) => offers.push(offer),
                Err(error) if error.code() == SECRET_GONE => {
                    tracing::error!(run = %id, error = error.log(), "it is not sent to its device");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Pending {
            offers,
            cancels: due.cancels,
        })
    }

    /// Signs a run that is offered to a device in this session, with its secrets in clear.
    pub(crate) async fn sign(&self, run: Run, device: DeviceId, epoch: u64, dispatch: &SigningKey) -> Result<Offer> {
        let body = self.body(run, device, epoch).await?;
        Offer::sign(body, dispatch).map_err(Error::internal)
    }

    async fn body(&self, run: Run, device: DeviceId, epoch: u64) -> Result<OfferBody> {
        let kind = self.operations.kind(&run.operation)?;
        let secrets = self.secrets_of(&run.params).await?;
        let lacking = || SECRET_GONE.error("a secret of this work is not kept any more");
        let resolved = run.params.resolve(&secrets).ok_or_else(lacking)?;
        Ok(OfferBody {
            run: run.id,
            device,
            epoch,
            kind: run.operation,
            params: resolved.params,
            secrets: resolved.secrets,
            expires_at: run.expires_at,
            timeout_seconds: run.timeout_seconds,
            output_limit_bytes: run.output_limit_bytes,
            idempotent: kind.idempotent,
            exclusive: kind.lane == Lane::Exclusive,
        })
    }

    async fn secrets_of(&self, params: &StoredParams) -> Result<BTreeMap<OperationSecretId, SecretText>> {
        let ids = params.secret_ids();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.vault.open(&mut self.store.reader().await?, &ids).await
    }

    /// Works off what devices ask and tell, until it is dropped.
    pub(crate) async fn drive(&self) {
        let asks = self.deliveries.asks.drive(|asks| self.offer(asks));
        let reports = self.deliveries.reports.drive(|reports| self.answer(reports));
        tokio::join!(asks, reports);
    }
}
