//! Making, listing and revoking tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    EnrolmentSecret, EnrolmentService, EnrolmentToken, EnrolmentTokenId, EnrolmentTokenView, TOKEN_CREATE,
    TOKEN_NOT_FOUND, TOKEN_REVOKE,
};
use crate::{
    access::Context,
    devices::{
        DeviceGroupId, TOKENS_READ, TOKENS_WRITE,
        device::{check_description, check_labels, check_name},
        groups::{DeviceGroup, group_not_found, require_static},
    },
    kernel::{Error, Network, Page, PageRequest, Result},
    store::{Direction, Evidence, Query, Tx, Versioned},
};

/// How long a token lasts when nothing is said.
const DEFAULT_LIFE: u64 = 24 * 60 * 60;
/// The shortest and the longest life of a token, in seconds.
const LIFE: std::ops::RangeInclusive<u64> = 60..=365 * 24 * 60 * 60;
/// The most machines that one token enrols.
const MAX_USES: u32 = 100_000;
/// The most groups that a token names.
const MAX_GROUPS: usize = 64;
/// The most networks that a token names.
const MAX_NETWORKS: usize = 64;

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({
    "name": "web servers", "max_uses": 10, "expires_in_seconds": 86400, "labels": {"site": "berlin"}
})))]
#[serde(default, deny_unknown_fields)]
pub struct NewEnrolmentToken {
    /// Its name.
    pub name: String,
    /// What it is for; at most 2,000 bytes.
    pub description: String,
    /// How many machines may enrol with it, 1 to 100,000; 1 when nothing is said.
    pub max_uses: u32,
    /// How many machines may enrol with it on one day (UTC), 1 to 100,000; null when only `max_uses` bounds it.
    pub daily_uses: Option<u32>,
    /// From where machines may enrol with it, such as `10.0.0.0/8`, at most 64; from anywhere when there are none.
    pub networks: Vec<Network>,
    /// Whether devices that enrol with it wait for an operator; null when the setting `devices.approval_required` says.
    pub approval: Option<bool>,
    /// How long it can be used, in seconds: a minute to a year; a day when nothing is said.
    pub expires_in_seconds: u64,
    /// Labels of the devices that are enrolled with it.
    pub labels: BTreeMap<String, String>,
    /// Groups of the devices that are enrolled with it; at most 64.
    pub groups: BTreeSet<DeviceGroupId>,
}

impl Default for NewEnrolmentToken {
    fn default() -> Self {
        Self {
            name: "enrolment".into(),
            description: String::new(),
            max_uses: 1,
            daily_uses: None,
            networks: Vec::new(),
            approval: None,
            expires_in_seconds: DEFAULT_LIFE,
            labels: BTreeMap::new(),
            groups: BTreeSet::new(),
        }
    }
}

impl NewEnrolmentToken {
    fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        check_labels(&self.labels)?;
        check_description(&self.description)?;
        if !(1..=MAX_USES).contains(&self.max_uses) {
            return Err(Error::invalid_field("/max_uses", format!("1 to {MAX_USES}")));
        }
        if self.daily_uses.is_some_and(|most| !(1..=MAX_USES).contains(&most)) {
            return Err(Error::invalid_field("/daily_uses", format!("1 to {MAX_USES}")));
        }
        if self.networks.len() > MAX_NETWORKS {
            return Err(Error::invalid_field("/networks", format!("at most {MAX_NETWORKS}")));
        }
        if !LIFE.contains(&self.expires_in_seconds) {
            let why = format!("{} to {} seconds", LIFE.start(), LIFE.end());
            return Err(Error::invalid_field("/expires_in_seconds", why));
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(Error::invalid_field("/groups", format!("at most {MAX_GROUPS}")));
        }
        Ok(())
    }
}

/// Which tokens are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TokenFilter {
    /// Only those that can be used now.
    pub usable: bool,
}

impl EnrolmentService<'_> {
    /// Whether somebody may make tokens, for a face that has to refuse for a reason of its own: whoever may not is not told
    /// that reason.
    pub fn check_may_create_token(&self, context: &Context) -> Result<()> {
        context.require(TOKENS_WRITE)?.require_all(TOKENS_WRITE)
    }

    /// Makes a token. The secret is in the answer and nowhere else from then on.
    pub async fn create_token(
        &self,
        context: &Context,
        new: &NewEnrolmentToken,
    ) -> Result<(EnrolmentTokenView, EnrolmentSecret)> {
        self.check_may_create_token(context)?;
        let (token, secret) = self.draft(context, new)?;
        let token = &token;
        self.store
            .change(context, Evidence::Audit(TOKEN_CREATE), |tx| create(tx, token))
            .await?;
        Ok((self.read_back(token.id).await?, secret))
    }

    /// A token that is not there yet.
    pub(super) fn draft(
        &self,
        context: &Context,
        new: &NewEnrolmentToken,
    ) -> Result<(EnrolmentToken, EnrolmentSecret)> {
        new.check()?;
        let now = self.store.clock().now();
        let secret = EnrolmentSecret::generate(self.store.random());
        let token = EnrolmentToken {
            id: EnrolmentTokenId::new(now, self.store.random()),
            name: new.name.clone(),
            description: new.description.clone(),
            prefix: secret.prefix(),
            secret_hash: hex::encode(secret.hash()),
            max_uses: new.max_uses,
            uses: 0,
            daily_uses: new.daily_uses,
            used_on_day: 0,
            uses_on_day: 0,
            networks: new.networks.clone(),
            approval: new.approval,
            expires_at: now.plus(Duration::from_secs(new.expires_in_seconds)),
            labels: new.labels.clone(),
            groups: new.groups.clone(),
            created_at: now,
            created_by: context.actor().clone(),
            used_at: None,
            revoked_at: None,
        };
        Ok((token, secret))
    }

    /// A page of tokens, newest first.
    pub async fn tokens(
        &self,
        context: &Context,
        filter: TokenFilter,
        page: &PageRequest,
    ) -> Result<Page<EnrolmentTokenView>> {
        context.require(TOKENS_READ)?.require_all(TOKENS_READ)?;
        let now = self.store.clock().now();
        let mut query = Query::<EnrolmentToken>::all().order(EnrolmentToken::CREATED_AT, Direction::Descending);
        if filter.usable {
            // To the minute, so that the pages of one list belong together for at least that long.
            let minute = crate::kernel::Timestamp::from_seconds(now.as_seconds() / 60 * 60);
            query = query
                .filter(EnrolmentToken::REVOKED_AT.eq(crate::store::Value::Null))
                .filter(EnrolmentToken::SPENT.eq(false))
                .filter(EnrolmentToken::EXPIRES_AT.at_least(minute));
        }
        let found = self.store.reader().await?.list(&query, page).await?;
        let mut page = found.map(|token| EnrolmentTokenView::new(token, now));
        if filter.usable {
            page.items.retain(|token| token.state == super::TokenState::Usable);
        }
        Ok(page)
    }

    /// One token.
    pub async fn token(&self, context: &Context, id: EnrolmentTokenId) -> Result<EnrolmentTokenView> {
        context.require(TOKENS_READ)?.require_all(TOKENS_READ)?;
        self.read_back(id).await
    }

    /// Revokes a token: nobody can enrol with it any more. Revoking it again changes nothing.
    pub async fn revoke_token(&self, context: &Context, id: EnrolmentTokenId) -> Result<EnrolmentTokenView> {
        context.require(TOKENS_WRITE)?.require_all(TOKENS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(TOKEN_REVOKE), |mut tx| async move {
                let before: Versioned<EnrolmentToken> = tx.get(id).await?.ok_or_else(|| not_found(id))?;
                let mut after = before.value.clone();
                after.revoked_at = after.revoked_at.or(Some(tx.now()));
                tx.subject::<EnrolmentToken>(id, after.name.clone());
                tx.changed("revoked_at");
                tx.update(&before, &after)?;
                tx.commit().await
            })
            .await?;
        self.read_back(id).await
    }

    pub(super) async fn read_back(&self, id: EnrolmentTokenId) -> Result<EnrolmentTokenView> {
        let token = self.store.get(id).await?.ok_or_else(|| not_found(id))?;
        Ok(EnrolmentTokenView::new(token, self.store.clock().now()))
    }
}

/// Writes a new token, and says so.
pub(super) async fn create(mut tx: Tx, token: &EnrolmentToken) -> Result<()> {
    let groups: Vec<_> = token.groups.iter().copied().collect();
    let found = tx.reader().get_many::<DeviceGroup>(&groups).await?;
    for (id, group) in groups.into_iter().zip(found) {
        let group = group.ok_or_else(|| group_not_found(id))?;
        require_static(&group)?;
        tx.require(&group);
    }
    tx.create(token)?;
    tx.subject::<EnrolmentToken>(token.id, token.name.clone());
    tx.detail("max_uses", token.max_uses);
    tx.detail("expires_at", token.expires_at.to_string());
    if let Some(most) = token.daily_uses {
        tx.detail("daily_uses", most);
    }
    if let Some(approval) = token.approval {
        tx.detail("approval", approval);
    }
    if !token.networks.is_empty() {
        let networks: Vec<_> = token.networks.iter().map(Network::to_string).collect();
        tx.detail("networks", networks);
    }
    tx.commit().await.map(drop)
}

fn not_found(id: EnrolmentTokenId) -> Error {
    TOKEN_NOT_FOUND.error(format!("there is no enrolment token {id}"))
}
