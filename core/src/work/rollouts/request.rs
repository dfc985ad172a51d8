//! What is asked of a rollout.

use serde::{Deserialize, Serialize};

use super::{FailureLimit, RolloutPolicy, Wave};
use crate::{
    devices::DeviceGroupId,
    kernel::{Error, Result},
};

/// The most waves that are named.
const MAX_WAVES: usize = 20;
/// The most groups of a wave.
const MAX_GROUPS: usize = 100;
/// The longest that devices are watched after a wave, in seconds: seven days.
const MAX_WATCH: u32 = 7 * 86_400;

/// How work is to go from wave to wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"waves": [{"type": "count", "devices": 1}, {"type": "percent", "percent": 10}], "max_failures": {"type": "percent", "percent": 5}, "watch_seconds": 600})))]
#[serde(deny_unknown_fields)]
pub struct NewRollout {
    /// The first waves, at most 20; what none of them means is in a last one.
    #[serde(default)]
    pub waves: Vec<NewWave>,
    /// How many runs are under way at the same time; any number when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_parallel: Option<u32>,
    /// How many failures are borne: with more it halts, and nothing further begins. When left out any number of runs may fail, as long as
    /// some run of each wave succeeds; and no device that is watched may be unwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_failures: Option<NewFailureLimit>,
    /// How long devices are watched after each wave before the next one begins, in seconds, at most seven days. Whose run succeeded and
    /// who is not connected then, or is not the version of an update of the agent, counts as a failure.
    #[serde(default)]
    pub watch_seconds: u32,
    /// Whether each wave but the first begins only when somebody says so.
    #[serde(default)]
    pub by_hand: bool,
    /// Whether devices that are offline are passed over: a wave does not wait for them, and their runs that expire are no failures.
    #[serde(default)]
    pub ignore_offline: bool,
}

/// Devices that shall go together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewWave {
    /// So many, chosen at random.
    Count {
        /// How many, at least one.
        devices: u32,
    },
    /// So many of a hundred of all devices, at least one, chosen at random.
    Percent {
        /// 1 to 100.
        percent: u32,
    },
    /// Those that are in any of these groups.
    Groups {
        /// The groups, at most 100.
        groups: Vec<DeviceGroupId>,
    },
}

/// How many failures shall be borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewFailureLimit {
    /// So many over all waves.
    Count {
        /// How many.
        failures: u32,
    },
    /// So many of a hundred of the wave that is under way.
    Percent {
        /// 0 to 100.
        percent: u32,
    },
}

/// How a rollout is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"stop_running": false})))]
#[serde(default, deny_unknown_fields)]
pub struct RolloutAbort {
    /// Whether what devices have already is stopped as well; otherwise it ends by itself.
    pub stop_running: bool,
}

impl NewRollout {
    /// Checks it and gives back what is stored; `pointer` is where it stands in the request.
    pub(crate) fn check(&self, pointer: &str) -> Result<RolloutPolicy> {
        let refuse = |member: &str, why: String| Error::invalid_field(format!("{pointer}/{member}"), why);
        if self.waves.len() > MAX_WAVES {
            return Err(refuse("waves", format!("at most {MAX_WAVES} waves")));
        }
        let waves = self.waves.iter().enumerate();
        let waves = waves.map(|(at, wave)| wave.check(&format!("{pointer}/waves/{at}")));
        if self.max_parallel == Some(0) {
            return Err(refuse("max_parallel", "at least 1".into()));
        }
        if self.watch_seconds > MAX_WATCH {
            return Err(refuse("watch_seconds", format!("at most {MAX_WATCH} seconds")));
        }
        let max_failures = match self.max_failures {
            Some(NewFailureLimit::Percent { percent }) if percent > 100 => {
                return Err(refuse("max_failures/percent", "0 to 100".into()));
            }
            Some(NewFailureLimit::Percent { percent }) => Some(FailureLimit::Percent { percent }),
            Some(NewFailureLimit::Count { failures }) => Some(FailureLimit::Count { failures }),
            None => None,
        };
        Ok(RolloutPolicy {
            waves: waves.collect::<Result<_>>()?,
            max_parallel: self.max_parallel,
            max_failures,
            watch_seconds: self.watch_seconds,
            by_hand: self.by_hand,
            ignore_offline: self.ignore_offline,
        })
    }
}

impl NewWave {
    fn check(&self, pointer: &str) -> Result<Wave> {
        let refuse = |member: &str, why: String| Err(Error::invalid_field(format!("{pointer}/{member}"), why));
        match self {
            Self::Count { devices: 0 } => refuse("devices", "at least 1".into()),
            Self::Count { devices } => Ok(Wave::Count { devices: *devices }),
            Self::Percent { percent } if (1..=100).contains(percent) => Ok(Wave::Percent { percent: *percent }),
            Self::Percent { .. } => refuse("percent", "1 to 100".into()),
            Self::Groups { groups } if groups.is_empty() || groups.len() > MAX_GROUPS => {
                refuse("groups", format!("1 to {MAX_GROUPS} groups"))
            }
            Self::Groups { groups } => Ok(Wave::Groups { groups: groups.clone() }),
        }
    }
}

/// What was asked for once, to be asked for again.
impl From<RolloutPolicy> for NewRollout {
    fn from(policy: RolloutPolicy) -> Self {
        let waves = policy.waves.into_iter().map(|wave| match wave {
            Wave::Count { devices } => NewWave::Count { devices },
            Wave::Percent { percent } => NewWave::Percent { percent },
            Wave::Groups { groups } => NewWave::Groups { groups },
        });
        Self {
            waves: waves.collect(),
            max_parallel: policy.max_parallel,
            max_failures: policy.max_failures.map(|limit| match limit {
                FailureLimit::Count { failures } => NewFailureLimit::Count { failures },
                FailureLimit::Percent { percent } => NewFailureLimit::Percent { percent },
            }),
            watch_seconds: policy.watch_seconds,
            by_hand: policy.by_hand,
            ignore_offline: policy.ignore_offline,
        }
    }
}
