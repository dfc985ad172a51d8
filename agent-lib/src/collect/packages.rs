//! Installed packages with their updates, of dpkg and apt.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use fleet_core::{
    devices::inventory::{DPKG, InstalledPackage, Packages, Section, SectionBody},
    kernel::Timestamp,
};

use super::{
    CollectContext, CollectError, Collector,
    apt::{self, Update},
    apt_answer::{Inputs, LastAnswer},
    dpkg::StatusParser,
    files,
};

/// 20,000 packages have about 20 MiB.
const MAX_STATUS_BYTES: u64 = 128 << 20;

#[derive(Debug, Default)]
pub(super) struct PackagesCollector {
    updates: LastAnswer,
}

#[async_trait]
impl Collector for PackagesCollector {
    fn section(&self) -> Section {
        Section::Packages
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(180)
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let status = context.path("/var/lib/dpkg/status");
        if !status.exists() {
            return Ok(SectionBody::Packages(Packages {
                reason: Some("no package manager that we know".into()),
                ..Packages::default()
            }));
        }
        let mut parser = StatusParser::default();
        files::for_each_line(&status, MAX_STATUS_BYTES, |line| parser.line(line))?;
        let (mut items, left_out) = parser.finish();
        // The list is worth having without its updates.
        let updates_problem = if context.is_device() {
            let inputs = Inputs::of(context);
            match self.updates.or_ask(inputs, context.now(), apt::updates()).await {
                Ok(updates) => {
                    join(&mut items, updates);
                    None
                }
                Err(error) => Some(error.message()),
            }
        } else {
            Some("not asked".into())
        };
        Ok(SectionBody::Packages(Packages {
            available: true,
            reason: None,
            manager: DPKG.into(),
            updates_problem,
            lists_updated_at: lists_updated_at(context),
            items,
            truncated: left_out > 0,
            left_out,
        }))
    }
}

/// Puts each update to its package.
fn join(items: &mut [InstalledPackage], updates: Vec<Update>) {
    let mut by_name: HashMap<String, Vec<Update>> = HashMap::with_capacity(updates.len());
    for update in updates {
        by_name.entry(update.name.clone()).or_default().push(update);
    }
    for item in items {
        let Some(updates) = by_name.get_mut(&item.name) else {
            continue;
        };
        // The version tells apart what the name does not, when a package changes its architecture to or from `all`.
        let fits = |update: &Update| {
            update.installed == item.version
                && (update.architecture == item.architecture
                    || update.architecture == "all"
                    || item.architecture == "all")
        };
        if let Some(at) = updates.iter().position(fits) {
            let update = updates.swap_remove(at);
            item.available_version = Some(update.available);
            item.origin = Some(update.origin).filter(|origin| !origin.is_empty());
            item.security = update.security;
        }
    }
}

/// When apt last fetched: the newest of its lists, or the folder that it works in. The lists themselves carry the archive's
/// time, so the folder for unfinished fetches, which every fetch touches, comes first.
fn lists_updated_at(context: &CollectContext) -> Option<Timestamp> {
    let modified = |path: &str| {
        let modified = std::fs::metadata(context.path(path)).ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_seconds(i64::try_from(since.as_secs()).ok()?))
    };
    [
        "/var/lib/apt/periodic/update-success-stamp",
        "/var/lib/apt/lists/partial",
        "/var/lib/apt/lists",
    ]
    .into_iter()
    .filter_map(modified)
    .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_put_to_their_packages() {
        let mut items = super::super::dpkg::tests::parse(include_str!("../../tests/fixtures/dpkg/status"));
        let updates = super::super::apt::tests::parse(
            include_str!("../../tests/fixtures/apt/dist-upgrade"),
            include_str!("../../tests/fixtures/apt/policy"),
        );
        join(&mut items, updates);
        let packages = Packages {
            available: true,
            manager: DPKG.into(),
            lists_updated_at: Some(Timestamp::EPOCH),
            items,
            ..Packages::default()
        };
        assert_eq!(packages.set().members().len(), packages.items.len());
        insta::assert_json_snapshot!(packages);
    }

    #[test]
    fn each_architecture_gets_its_own_update() {
        let package = |architecture: &str| InstalledPackage {
            name: "libc6".into(),
            version: "1".into(),
            architecture: architecture.into(),
            ..InstalledPackage::default()
        };
        let update = |architecture: &str, available: &str| Update {
            name: "libc6".into(),
            architecture: architecture.into(),
            installed: "1".into(),
            available: available.into(),
            origin: String::new(),
            security: false,
        };
        let mut items = [package("amd64"), package("i386"), package("armhf")];
        join(&mut items, vec![update("i386", "3"), update("amd64", "2")]);
        let got: Vec<_> = items.iter().map(|item| item.available_version.as_deref()).collect();
        assert_eq!(got, [Some("2"), Some("3"), None]);
    }
}
