//! The door to desired state.

use super::{
    Catalogues, actions::ActionService, assignments::AssignmentService, definitions::DefinitionService,
    manifest::ManifestService, owners::OwnerService, selections::SelectionService, sets::ActionSetService,
};
use crate::{
    Fleet,
    store::Store,
    work::{Operations, secrets::Vault},
};

/// Reads and changes what devices shall be.
#[derive(Debug)]
pub struct DesiredService<'a> {
    store: &'a Store,
    vault: Vault<'a>,
    operations: &'a Operations,
    catalogues: &'a Catalogues,
}

impl Fleet {
    /// Reads and changes what devices shall be.
    pub fn desired(&self) -> DesiredService<'_> {
        DesiredService::new(self.vault(), self.operations(), self.catalogues())
    }
}

impl<'a> DesiredService<'a> {
    fn new(vault: Vault<'a>, operations: &'a Operations, catalogues: &'a Catalogues) -> Self {
        Self {
            store: vault.store,
            vault,
            operations,
            catalogues,
        }
    }

    /// Reads and changes actions.
    pub fn actions(&self) -> ActionService<'a> {
        ActionService::new(self.vault, self.operations, self.catalogues)
    }

    /// Reads and changes action sets.
    pub fn action_sets(&self) -> ActionSetService<'a> {
        ActionSetService::new(self.vault, self.operations, self.catalogues)
    }

    /// Reads and changes definitions.
    pub fn definitions(&self) -> DefinitionService<'a> {
        DefinitionService::new(self.vault, self.operations, self.catalogues)
    }

    /// Reads and changes assignments.
    pub fn assignments(&self) -> AssignmentService<'a> {
        AssignmentService::new(self.store, self.catalogues)
    }

    /// Reads and changes whom devices belong to.
    pub fn owners(&self) -> OwnerService<'a> {
        OwnerService::new(self.store, self.catalogues)
    }

    /// Reads and changes what is chosen on devices.
    pub fn selections(&self) -> SelectionService<'a> {
        SelectionService::new(self.store, self.operations, self.catalogues)
    }

    /// Compiles manifests, shows them, and says why.
    pub fn manifests(&self) -> ManifestService<'a> {
        ManifestService::new(self.vault, self.operations, self.catalogues)
    }
}
