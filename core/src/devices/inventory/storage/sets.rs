//! Taking packages in: members first, in batches, so that the commit of the section stays small.

use std::collections::HashMap;

use super::{MEMBER_COLLISION, PackageFacts, REPORT_INVALID, StoredMember, model::PackageNote};
use crate::{
    access::Context,
    devices::{
        DeviceEvent, DeviceId, PACKAGES_LEARNT,
        inventory::{InstalledPackage, PackageMember, PackageSet, Packages},
    },
    kernel::Result,
    store::{Evidence, Store, Tx},
};

/// Members of one commit.
const BATCH: usize = 1_000;
/// The longest name or version of a package, in bytes.
const MAX_NAME: usize = 512;
/// The longest name of a package manager or an architecture, in bytes.
const MAX_WORD: usize = 64;

/// Refuses packages whose texts cannot stand in an index.
pub(super) fn check(packages: &Packages) -> Result<()> {
    let word = |text: &str| text.len() <= MAX_WORD && !text.chars().any(char::is_control);
    let name = |text: &str| text.len() <= MAX_NAME && !text.is_empty() && !text.chars().any(char::is_control);
    let fits =
        |package: &InstalledPackage| name(&package.name) && name(&package.version) && word(&package.architecture);
    if word(&packages.manager) && packages.items.iter().all(fits) {
        Ok(())
    } else {
        Err(REPORT_INVALID.error("a package has a name, version or architecture that is empty, too long or not a text"))
    }
}

/// Sees to it that all members of the set are stored and will be for a while. Returns what is true of each package on this
/// device beyond its set.
pub(super) async fn learn(
    store: &Store,
    device: DeviceId,
    packages: &Packages,
    set: &PackageSet,
) -> Result<Vec<PackageNote>> {
    let context = Context::system("inventory");
    let reported: HashMap<_, _> = packages.items.iter().map(|package| (key(package), package)).collect();
    let (reported, mut stored) = (&reported, HashMap::new());
    for members in set.members().chunks(BATCH) {
        let facts = store
            .change(&context, Evidence::Observed, |tx| {
                learn_some(tx, device, members, reported)
            })
            .await?;
        stored.extend(members.iter().map(member_key).zip(facts));
    }
    Ok(packages
        .items
        .iter()
        .filter_map(|package| note(package, stored.get(&key(package))))
        .collect())
}

async fn learn_some(
    mut tx: Tx,
    device: DeviceId,
    members: &[PackageMember],
    reported: &HashMap<PackageKey<'_>, &InstalledPackage>,
) -> Result<Vec<PackageFacts>> {
    let wanted: Vec<_> = members
        .iter()
        .map(|member| {
            let facts = reported.get(&member_key(member)).map(|package| facts(package));
            StoredMember::new(member, facts.unwrap_or_default(), tx.now())
        })
        .collect();
    let ids: Vec<_> = wanted.iter().map(|member| member.id).collect();
    let found = tx.reader().get_many::<StoredMember>(&ids).await?;
    let (mut known, mut learnt) = (Vec::with_capacity(members.len()), 0_u64);
    for ((member, wanted), found) in members.iter().zip(wanted).zip(found) {
        match found {
            None => {
                tx.create(&wanted)?;
                learnt += 1;
                known.push(wanted.facts);
            }
            Some(found) if found.value.member() != *member => {
                tracing::error!(%device, member = member.identity(), number = found.number, "two packages have one number");
                return Err(MEMBER_COLLISION.error(format!(
                    "package {} {} cannot be told from another",
                    member.name, member.version
                )));
            }
            Some(found) => {
                if found.doubted_since.is_some() {
                    // Whoever is about to remove it finds it altered, and looks again later.
                    let mut renewed = found.value.clone();
                    renewed.doubted_since = Some(tx.now());
                    learnt += u64::from(tx.update(&found, &renewed)?);
                }
                known.push(found.value.facts);
            }
        }
    }
    if learnt > 0 {
        let first = ids.first().map(ToString::to_string);
        DeviceEvent::new(Some(device), PACKAGES_LEARNT, tx.now())
            .with("packages", learnt)
            .with("first", first)
            .append_to(&mut tx)?;
    }
    // Without effect nothing is committed.
    tx.commit().await?;
    Ok(known)
}

type PackageKey<'a> = (&'a str, &'a str, &'a str);

fn key(package: &InstalledPackage) -> PackageKey<'_> {
    (&package.name, &package.version, &package.architecture)
}

fn member_key(member: &PackageMember) -> PackageKey<'_> {
    (&member.name, &member.version, &member.architecture)
}

fn facts(package: &InstalledPackage) -> PackageFacts {
    PackageFacts {
        source: package.source.clone(),
        source_version: package.source_version.clone(),
        installed_size_bytes: package.installed_size_bytes,
    }
}

fn note(package: &InstalledPackage, stored: Option<&PackageFacts>) -> Option<PackageNote> {
    let facts = Some(facts(package)).filter(|facts| Some(facts) != stored);
    let plain = package.available_version.is_none()
        && !package.security
        && package.origin.is_none()
        && !package.held
        && facts.is_none();
    (!plain).then(|| PackageNote {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        available_version: package.available_version.clone(),
        security: package.security,
        origin: package.origin.clone(),
        held: package.held,
        facts,
    })
}
