//! Which value holds. Pure.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{SettingDefinition, SettingSource, StoredSetting, key::Parsed};
use crate::kernel::{Class, Code, Error, Result};

/// There is no such setting.
pub const NOT_FOUND: Code = Code::new("setting.not_found", Class::NotFound);
/// The value is not allowed.
pub const INVALID: Code = Code::new("setting.invalid", Class::Invalid);

/// A value that is handed in at start and stands above the stored one.
#[derive(Clone, Debug, PartialEq)]
pub enum Override {
    /// From the command line.
    Flag(String),
    /// From the environment.
    Environment(String),
    /// From the configuration file.
    File(Json),
}

impl Override {
    fn source(&self) -> SettingSource {
        match self {
            Self::Flag(_) => SettingSource::Flag,
            Self::Environment(_) => SettingSource::Environment,
            Self::File(_) => SettingSource::File,
        }
    }

    fn place(&self) -> &'static str {
        match self {
            Self::Flag(_) => "the command line",
            Self::Environment(_) => "the environment",
            Self::File(_) => "the configuration file",
        }
    }
}

/// What the binary hands in: for each name the values that were found, in any order.
pub type Overrides = BTreeMap<String, Vec<Override>>;

/// The declared keys by name. Fails on a name that is declared twice or is not `section.key`.
pub(super) fn by_name(definitions: Vec<SettingDefinition>) -> Result<BTreeMap<&'static str, SettingDefinition>> {
    let mut all = BTreeMap::new();
    for definition in definitions {
        let name = definition.name;
        let word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !name
            .split_once('.')
            .is_some_and(|(section, key)| word(section) && word(key))
        {
            return Err(Error::internal(format!("setting {name} is not named section.key")));
        }
        (definition.default)()
            .and_then(|value| (definition.parse)(&value.json))
            .map_err(|why| Error::internal(format!("the default of setting {name} breaks its own rule: {why}")))?;
        if all.insert(name, definition).is_some() {
            return Err(Error::internal(format!("setting {name} is declared twice")));
        }
    }
    Ok(all)
}

/// The values handed in, checked: of each name the one of the foremost source. An unknown name and a value that is not
/// allowed are errors, also where another source stands above it.
pub(super) fn resolve(
    definitions: &BTreeMap<&'static str, SettingDefinition>,
    overrides: &Overrides,
) -> Result<BTreeMap<&'static str, (SettingSource, Parsed)>> {
    let mut resolved = BTreeMap::new();
    for (name, values) in overrides {
        let definition = definitions.get(name.as_str()).ok_or_else(|| {
            let place = values.first().map_or("nowhere", Override::place);
            NOT_FOUND.error(format!("there is no setting {name}, which {place} names"))
        })?;
        for value in values {
            let parsed = match value {
                Override::Flag(text) | Override::Environment(text) => definition.parse_text(text),
                Override::File(json) => (definition.parse)(json),
            }
            .map_err(|why| INVALID.error(format!("{name} from {} is not allowed: {why}", value.place())))?;
            let foremost = resolved
                .get(definition.name)
                .is_none_or(|(source, _)| value.source() < *source);
            if foremost {
                resolved.insert(definition.name, (value.source(), parsed));
            }
        }
    }
    Ok(resolved)
}

/// What is handed in and stands above the stored values, by name, each with its source.
///
/// # Errors
/// [`NOT_FOUND`] and [`INVALID`]: a mistake in a configuration, which is found before a store is opened.
pub fn handed_in(
    definitions: Vec<SettingDefinition>,
    overrides: &Overrides,
) -> Result<BTreeMap<&'static str, (SettingSource, Json)>> {
    let resolved = resolve(&by_name(definitions)?, overrides)?;
    let shown = |(name, (source, parsed)): (_, (_, Parsed))| (name, (source, parsed.json));
    Ok(resolved.into_iter().map(shown).collect())
}

/// What holds for one key.
#[derive(Clone, Debug)]
pub(super) struct Effective {
    pub(super) value: Parsed,
    pub(super) source: SettingSource,
    /// Why the stored value is not used.
    pub(super) problem: Option<String>,
}

/// Decides which value holds. A stored value that breaks the key's rule, as after a change of version, is not used.
pub(super) fn effective(
    definition: &SettingDefinition,
    handed_in: Option<&(SettingSource, Parsed)>,
    stored: Option<&StoredSetting>,
) -> Result<Effective> {
    let stored = stored.map(|stored| (definition.parse)(&stored.value)).transpose();
    let (stored, problem) = match stored {
        Ok(stored) => (stored, None),
        Err(why) => (None, Some(why)),
    };
    let (source, value) = match (handed_in, stored) {
        (Some((source, value)), _) => (*source, value.clone()),
        (None, Some(value)) => (SettingSource::Stored, value),
        (None, None) => (SettingSource::Default, (definition.default)().map_err(Error::internal)?),
    };
    Ok(Effective { value, source, problem })
}
