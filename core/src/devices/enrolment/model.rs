//! What is stored of an enrolment token, and how it is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use super::{ADDRESS_REFUSED, QUOTA_REACHED, TOKEN_EXPIRED, TOKEN_REVOKED, TOKEN_USED};
use crate::{
    Entity,
    access::{Actor, Origin},
    devices::DeviceGroupId,
    kernel::{Network, Result, Timestamp},
    store::Versioned,
};

crate::define_id!(
    /// Names an enrolment token.
    EnrolmentTokenId,
    "enrolment token"
);

/// A token that machines are enrolled with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Entity)]
#[entity(kind = "enrolment_token", version = 1)]
#[entity(computed(spent, int, with = EnrolmentToken::is_spent))]
pub struct EnrolmentToken {
    /// Its id.
    #[entity(id)]
    pub id: EnrolmentTokenId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The first characters of the secret, by which people tell tokens apart.
    #[entity(text)]
    pub prefix: String,
    /// The hash of the secret, in hexadecimal.
    #[entity(text, unique)]
    pub secret_hash: String,
    /// How many machines may enrol with it.
    pub max_uses: u32,
    /// How many did.
    pub uses: u32,
    /// How many machines may enrol with it on one day (UTC); none where only `max_uses` bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_uses: Option<u32>,
    /// The day of its last use, counted from 1970-01-01 (UTC).
    #[serde(default)]
    pub used_on_day: u32,
    /// How many machines enrolled with it on that day.
    #[serde(default)]
    pub uses_on_day: u32,
    /// From where machines may enrol with it; from anywhere when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Whether devices that enrol with it wait for an operator; none where the setting says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<bool>,
    /// When its time is over.
    #[entity(int)]
    pub expires_at: Timestamp,
    /// Labels of the devices that are enrolled with it.
    pub labels: BTreeMap<String, String>,
    /// Groups of the devices that are enrolled with it.
    #[entity(reference, many)]
    pub groups: BTreeSet<DeviceGroupId>,
    /// When it was made.
    #[entity(int)]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    #[entity(int)]
    pub revoked_at: Option<Timestamp>,
}

const DAY: i64 = 24 * 60 * 60;

/// Days since 1970-01-01 (UTC).
fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_seconds().div_euclid(DAY)).unwrap_or(0)
}

/// Whether a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It can be used.
    Usable,
    /// It was used as often as it may be.
    Used,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl EnrolmentToken {
    fn is_spent(&self) -> bool {
        self.uses >= self.max_uses
    }

    /// Whether it can be used. It is usable up to, and not at, the time that it expires at.
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.is_spent() {
            TokenState::Used
        } else if now >= self.expires_at {
            TokenState::Expired
        } else {
            TokenState::Usable
        }
    }

    /// How many machines enrolled with it today (UTC).
    pub fn uses_today(&self, now: Timestamp) -> u32 {
        if self.used_on_day == day_of(now) {
            self.uses_on_day
        } else {
            0
        }
    }

    /// Counts a use.
    pub(super) fn count_use(&mut self, now: Timestamp) {
        self.uses_on_day = self.uses_today(now).saturating_add(1);
        self.used_on_day = day_of(now);
        self.uses = self.uses.saturating_add(1);
        self.used_at = Some(now);
    }

    /// Refuses a use of the token: it cannot be used at all, not from there, or not today any more.
    pub(super) fn check_use(&self, now: Timestamp, origin: &Origin) -> Result<()> {
        self.check_usable(now)?;
        let allowed = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        let address = origin.address.as_deref().and_then(|address| address.parse().ok());
        if !self.networks.is_empty() && !address.is_some_and(allowed) {
            return Err(ADDRESS_REFUSED.error("this enrolment token cannot be used from this address"));
        }
        match self.daily_uses {
            Some(most) if self.uses_today(now) >= most => {
                let tomorrow = (i64::from(day_of(now)) + 1) * DAY;
                let wait = u64::try_from(tomorrow - now.as_seconds()).unwrap_or(0);
                let why = format!("{most} machines enrolled with this token today, which is as many as may on one day");
                Err(QUOTA_REACHED.error(why).with_retry_after(wait))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a token that cannot be used, with the reason.
    pub fn check_usable(&self, now: Timestamp) -> Result<()> {
        Err(match self.state(now) {
            TokenState::Usable => return Ok(()),
            TokenState::Used => TOKEN_USED.error("this enrolment token was used as often as it may be; make a new one"),
            TokenState::Expired => TOKEN_EXPIRED.error("this enrolment token has expired; make a new one"),
            TokenState::Revoked => TOKEN_REVOKED.error("this enrolment token was revoked"),
        })
    }
}

/// An enrolment token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentTokenView {
    /// Its id.
    pub id: EnrolmentTokenId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The first characters of its secret, by which people tell tokens apart.
    pub prefix: String,
    /// Whether it can be used.
    pub state: TokenState,
    /// How many machines may enrol with it.
    pub max_uses: u32,
    /// How many did.
    pub uses: u32,
    /// How many machines may enrol with it on one day (UTC); null where only `max_uses` bounds it.
    pub daily_uses: Option<u32>,
    /// How many did today (UTC).
    pub uses_today: u32,
    /// From where machines may enrol with it, such as `10.0.0.0/8`; from anywhere when there are none.
    pub networks: Vec<Network>,
    /// Whether devices that enrol with it wait for an operator; null where the setting `devices.approval_required` says.
    pub approval: Option<bool>,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// Labels of the devices that are enrolled with it.
    pub labels: BTreeMap<String, String>,
    /// Groups of the devices that are enrolled with it.
    pub groups: BTreeSet<DeviceGroupId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When it was used last; null when it never was.
    pub used_at: Option<Timestamp>,
    /// When it was revoked; null when it was not.
    pub revoked_at: Option<Timestamp>,
}

impl EnrolmentTokenView {
    pub(super) fn new(token: Versioned<EnrolmentToken>, now: Timestamp) -> Self {
        let (state, uses_today) = (token.state(now), token.uses_today(now));
        let token = token.value;
        Self {
            id: token.id,
            name: token.name,
            description: token.description,
            prefix: token.prefix,
            state,
            max_uses: token.max_uses,
            uses: token.uses,
            daily_uses: token.daily_uses,
            uses_today,
            networks: token.networks,
            approval: token.approval,
            expires_at: token.expires_at,
            labels: token.labels,
            groups: token.groups,
            created_at: token.created_at,
            created_by: token.created_by,
            used_at: token.used_at,
            revoked_at: token.revoked_at,
        }
    }
}
