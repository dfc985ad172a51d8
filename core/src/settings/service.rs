//! Use cases of settings.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value as Json;

use super::{
    INVALID, NOT_FOUND, Overrides, RESET, SET, SETTINGS_READ, SETTINGS_WRITE, SettingDefinition, SettingId, SettingKey,
    SettingSource, SettingValue, SettingView, StoredSetting,
    key::Parsed,
    rules::{Effective, by_name, effective, resolve},
};
use crate::{
    access::Context,
    kernel::{Error, MAX_LIMIT, PRECONDITION_FAILED, PageRequest, Result},
    store::{Evidence, Query, Rev, Seq, Store, Tx, Versioned},
};

/// The settings of a fleet. Cheap to clone; all clones share one snapshot.
#[derive(Clone)]
pub struct Settings {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    definitions: BTreeMap<&'static str, SettingDefinition>,
    handed_in: BTreeMap<&'static str, (SettingSource, Parsed)>,
    snapshot: RwLock<Snapshot>,
}

/// What holds, as of one place in commit order.
#[derive(Default)]
struct Snapshot {
    seq: Seq,
    values: Arc<BTreeMap<&'static str, Effective>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({} keys)", self.inner.definitions.len())
    }
}

impl Settings {
    /// Reads the stored values of these keys. Fails on what is handed in and is not allowed, so that a mistake in a
    /// configuration file is found at start.
    pub(crate) async fn open(store: Store, definitions: Vec<SettingDefinition>, overrides: &Overrides) -> Result<Self> {
        let definitions = by_name(definitions)?;
        let handed_in = resolve(&definitions, overrides)?;
        let settings = Self {
            inner: Arc::new(Inner {
                store,
                definitions,
                handed_in,
                snapshot: RwLock::default(),
            }),
        };
        settings.refresh().await?;
        Ok(settings)
    }

    /// The value that holds. Reads memory only. A key that no module declares has its default.
    pub fn get<T: SettingValue>(&self, key: &SettingKey<T>) -> T {
        self.values()
            .get(key.name())
            .and_then(|effective| effective.value.typed.downcast_ref::<T>())
            .cloned()
            .unwrap_or_else(|| key.default_value())
    }

    /// All settings by name, each with the source of its value.
    pub async fn list(&self, context: &Context) -> Result<Vec<SettingView>> {
        context.require(SETTINGS_READ)?.require_all(SETTINGS_READ)?;
        let (_, stored) = self.stored().await?;
        self.inner
            .definitions
            .values()
            .map(|definition| self.view(definition, stored.get(definition.name)))
            .collect()
    }

    /// One setting.
    pub async fn show(&self, context: &Context, name: &str) -> Result<SettingView> {
        context.require(SETTINGS_READ)?.require_all(SETTINGS_READ)?;
        let definition = self.definition(name)?;
        let stored = self.inner.store.get::<StoredSetting>(SettingId::of(name)).await?;
        self.view(definition, stored.as_ref())
    }

    /// Stores a value, at the revision `expected` if one is given. It holds at once on this server, unless flag,
    /// environment or file say otherwise.
    pub async fn set(&self, context: &Context, name: &str, value: &Json, expected: Option<Rev>) -> Result<SettingView> {
        context.require(SETTINGS_WRITE)?.require_all(SETTINGS_WRITE)?;
        let definition = self.definition(name)?;
        let value = &(definition.parse)(value)
            .map_err(|why| {
                INVALID
                    .error(format!("{name} is not allowed: {why}"))
                    .with_field("/value", why)
            })?
            .json;
        self.change(context, SET, definition, expected, Some(value)).await
    }

    /// Removes the stored value, so that the default holds again.
    pub async fn reset(&self, context: &Context, name: &str, expected: Option<Rev>) -> Result<SettingView> {
        context.require(SETTINGS_WRITE)?.require_all(SETTINGS_WRITE)?;
        let definition = self.definition(name)?;
        self.change(context, RESET, definition, expected, None).await
    }

    async fn change(
        &self,
        context: &Context,
        action: crate::access::Action,
        definition: &SettingDefinition,
        expected: Option<Rev>,
        value: Option<&Json>,
    ) -> Result<SettingView> {
        let id = SettingId::of(definition.name);
        self.inner
            .store
            .change(context, Evidence::Audit(action), |mut tx| async move {
                let before = at(&mut tx, id, expected).await?;
                match (&before, value) {
                    (Some(before), Some(value)) if before.value.value == *value => tx.require(before),
                    (Some(before), Some(value)) => {
                        let mut after = before.value.clone();
                        after.value = value.clone();
                        after.changed_at = tx.now();
                        tx.update(before, &after)?;
                    }
                    (None, Some(value)) => tx.create(&StoredSetting {
                        id,
                        name: definition.name.to_owned(),
                        value: value.clone(),
                        changed_at: tx.now(),
                    })?,
                    (Some(before), None) => tx.delete(before),
                    (None, None) => {}
                }
                tx.subject::<StoredSetting>(id, definition.name);
                tx.changed(definition.name);
                tx.commit().await
            })
            .await?;
        self.refresh().await?;
        let stored = self.inner.store.get::<StoredSetting>(id).await?;
        self.view(definition, stored.as_ref())
    }

    /// Reads the stored values again, as when another server changed one.
    pub async fn refresh(&self) -> Result<()> {
        let (seq, stored) = self.stored().await?;
        let mut values = BTreeMap::new();
        for (name, definition) in &self.inner.definitions {
            let stored = stored.get(*name).map(|stored| &stored.value);
            let effective = effective(definition, self.inner.handed_in.get(name), stored)?;
            if let Some(problem) = &effective.problem {
                tracing::warn!(setting = name, problem, "the stored value is not used");
            }
            values.insert(*name, effective);
        }
        let mut snapshot = self.inner.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        // Of two refreshes at once, the one that saw more wins.
        if snapshot.values.is_empty() || seq >= snapshot.seq {
            *snapshot = Snapshot {
                seq,
                values: Arc::new(values),
            };
        }
        Ok(())
    }

    fn values(&self) -> Arc<BTreeMap<&'static str, Effective>> {
        self.inner
            .snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values
            .clone()
    }

    fn definition(&self, name: &str) -> Result<&SettingDefinition> {
        self.inner
            .definitions
            .get(name)
            .ok_or_else(|| NOT_FOUND.error("there is no such setting"))
    }

    /// All stored values by name, also those that no module declares any more.
    async fn stored(&self) -> Result<(Seq, BTreeMap<String, Versioned<StoredSetting>>)> {
        let mut reader = self.inner.store.reader().await?;
        let mut all = BTreeMap::new();
        let mut page = PageRequest::new(Some(MAX_LIMIT), None)?;
        loop {
            let found = reader.list(&Query::<StoredSetting>::all(), &page).await?;
            all.extend(found.items.into_iter().map(|stored| (stored.name.clone(), stored)));
            match found.next {
                Some(next) => page = PageRequest::new(Some(MAX_LIMIT), Some(next))?,
                None => return Ok((reader.seq(), all)),
            }
        }
    }

    fn view(&self, definition: &SettingDefinition, stored: Option<&Versioned<StoredSetting>>) -> Result<SettingView> {
        let handed_in = self.inner.handed_in.get(definition.name);
        let effective = effective(definition, handed_in, stored.map(|stored| &stored.value))?;
        Ok(SettingView {
            name: definition.name.to_owned(),
            description: definition.description.to_owned(),
            value: effective.value.json,
            source: effective.source,
            default: (definition.default)().map_err(Error::internal)?.json,
            stored: stored.map(|stored| stored.value.value.clone()),
            changed_at: stored.map(|stored| stored.changed_at),
            problem: effective.problem,
            revision: stored.map_or(0, |stored| stored.rev),
        })
    }
}

async fn at(tx: &mut Tx, id: SettingId, expected: Option<Rev>) -> Result<Option<Versioned<StoredSetting>>> {
    let found = tx.get::<StoredSetting>(id).await?;
    match expected {
        Some(expected) if found.as_ref().map_or(0, |found| found.rev) != expected => {
            Err(PRECONDITION_FAILED.error("the setting was changed since it was read; read it again"))
        }
        _ => Ok(found),
    }
}
