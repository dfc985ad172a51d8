//! Keys: what a module declares.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

/// What can be the value of a setting.
pub trait SettingValue: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static> SettingValue for T {}

/// A duration in whole seconds; the key's name ends in `_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl Seconds {
    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// Fails unless it lies between two bounds, both included.
    pub fn within(self, least: u64, most: u64) -> Result<(), String> {
        if (least..=most).contains(&self.0) {
            Ok(())
        } else {
            Err(format!("{least} to {most} seconds"))
        }
    }
}

/// A key: name, default and rules of a setting. A constant of the module that owns it.
#[derive(Clone, Copy)]
pub struct SettingKey<T> {
    name: &'static str,
    description: &'static str,
    default: fn() -> T,
    validate: fn(&T) -> Result<(), String>,
}

impl<T: SettingValue> SettingKey<T> {
    /// Declares a key. `name` is `section.key` in snake case; it never changes once released.
    pub const fn new(name: &'static str, description: &'static str, default: fn() -> T) -> Self {
        Self {
            name,
            description,
            default,
            validate: |_| Ok(()),
        }
    }

    /// The same key with a rule, which says what is allowed when it refuses.
    #[must_use]
    pub const fn validated(mut self, validate: fn(&T) -> Result<(), String>) -> Self {
        self.validate = validate;
        self
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its default.
    pub fn default_value(&self) -> T {
        (self.default)()
    }

    /// What the module hands in.
    pub fn definition(self) -> SettingDefinition {
        SettingDefinition {
            name: self.name,
            description: self.description,
            default: Arc::new(move || Parsed::new((self.default)())),
            parse: Arc::new(move |json| {
                let value: T = serde_json::from_value(json.clone()).map_err(|error| error.to_string())?;
                (self.validate)(&value)?;
                Parsed::new(value)
            }),
        }
    }
}

impl<T> fmt::Debug for SettingKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingKey({})", self.name)
    }
}

/// A value that has passed its key's rules: typed, and as JSON in the one form of that type.
#[derive(Clone)]
pub(super) struct Parsed {
    pub(super) typed: Arc<dyn Any + Send + Sync>,
    pub(super) json: Json,
}

impl Parsed {
    fn new<T: SettingValue>(value: T) -> Result<Self, String> {
        let json = serde_json::to_value(&value).map_err(|error| error.to_string())?;
        Ok(Self {
            typed: Arc::new(value),
            json,
        })
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(f)
    }
}

type Make = Arc<dyn Fn() -> Result<Parsed, String> + Send + Sync>;
type Parse = Arc<dyn Fn(&Json) -> Result<Parsed, String> + Send + Sync>;

/// A key without its type, as the list of all keys holds it.
#[derive(Clone)]
pub struct SettingDefinition {
    /// Its name.
    pub name: &'static str,
    /// What it is for, which values are allowed, in which unit.
    pub description: &'static str,
    pub(super) default: Make,
    pub(super) parse: Parse,
}

impl SettingDefinition {
    /// Reads a text, as from a flag or a variable: as it stands if the type is a text, else as JSON.
    pub(super) fn parse_text(&self, text: &str) -> Result<Parsed, String> {
        (self.parse)(&Json::String(text.to_owned())).or_else(|as_text| {
            let json: Json = serde_json::from_str(text).map_err(|_| as_text)?;
            (self.parse)(&json)
        })
    }
}

impl fmt::Debug for SettingDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingDefinition({})", self.name)
    }
}
