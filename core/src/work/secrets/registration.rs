//! What secrets add to the module `work`.

use std::{sync::Arc, time::Duration};

use super::{OperationSecret, SECRETS_CLEAN, SecretHolder, clean};
use crate::{
    modules::{Job, Module},
    store::kind_schema,
    work::{
        Batch, Plan, Run,
        desired::{DesiredAction, Manifest, ManifestContent},
    },
};

/// Adds secrets to the module.
pub(in crate::work) fn add_to(module: &mut Module) {
    module.kinds.push(kind_schema::<OperationSecret>());
    module.actions.push(SECRETS_CLEAN);
    module.secret_holders.extend([
        SecretHolder::of(Plan::SECRETS),
        SecretHolder::of(Batch::SECRETS),
        SecretHolder::of(Run::SECRETS),
        SecretHolder::of(DesiredAction::SECRETS),
        SecretHolder::of(Manifest::SECRETS),
        SecretHolder::of(ManifestContent::SECRETS),
    ]);
    module.jobs.push(Job {
        name: "work.secrets",
        every: Duration::from_secs(3_600),
        tick: Arc::new(|fleet| Box::pin(clean(fleet))),
    });
}
