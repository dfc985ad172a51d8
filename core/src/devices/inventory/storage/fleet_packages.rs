//! Packages over all devices, and devices by package.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    FleetPackageVersion, FleetPackageView, InventorySection, InventoryService, StoredMember, StoredSet,
    receive::update_name,
};
use crate::{
    access::{Context, Scope},
    devices::{
        DEVICES_READ, DeviceSummary, DeviceSummaryView,
        inventory::version_key,
        permissions::{in_scope, sections_in_scope},
    },
    kernel::{Error, Page, PageRequest, PageToken, Result, query_fingerprint},
    store::{Direction, Filter, Query, Reader, Value, limits},
};

/// Members that are read at once.
const BATCH: usize = 500;
/// The most versions of a package that a list shows.
const MAX_VERSIONS: usize = 100;
/// The most versions and architectures of one package that a question goes through.
const MAX_MEMBERS: usize = 10_000;
/// The longest name or version that is asked for, in bytes.
const MAX_TEXT: usize = 512;

/// Which devices are wanted by one of their packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackageQuestion {
    /// The name of the package.
    pub name: String,
    /// The package manager; any when it is left out.
    #[serde(default)]
    pub manager: Option<String>,
    /// Only in exactly this version.
    #[serde(default)]
    pub version: Option<String>,
    /// Only in versions below this one, by the package manager's own order.
    #[serde(default)]
    pub below: Option<String>,
}

impl InventoryService<'_> {
    /// A page of the packages of all devices, by name; only those whose name begins with `prefix`, where it is given.
    pub async fn fleet_packages(
        &self,
        context: &Context,
        prefix: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<FleetPackageView>> {
        let scope = context.require(DEVICES_READ)?;
        check_text("search", prefix)?;
        let question = query_fingerprint(&("fleet_packages", prefix))?;
        let after: Option<String> = page.cursor(question)?;
        let mut reader = self.store.reader().await?;
        let (names, next) = names(&mut reader, prefix, after, page.limit()).await?;
        let devices = devices_by_set(&mut reader, &scope).await?;
        let mut items = Vec::new();
        for ((name, manager), members) in names {
            let view = package(&mut reader, &scope, &devices, name, manager, members).await?;
            // What no device has any more waits for its cleaning.
            items.extend(view);
        }
        let next = next.map(|last| PageToken::seal(question, &last)).transpose()?;
        Ok(Page { items, next })
    }

    /// A page of the devices that have a package, by name: an index of versions gives the members, an index of members the
    /// sets, an index of sets the devices.
    pub async fn devices_with_package(
        &self,
        context: &Context,
        question: &PackageQuestion,
        page: &PageRequest,
    ) -> Result<Page<DeviceSummaryView>> {
        let scope = context.require(DEVICES_READ)?;
        for (member, text) in [
            ("name", Some(question.name.as_str())),
            ("manager", question.manager.as_deref()),
            ("version", question.version.as_deref()),
            ("below", question.below.as_deref()),
        ] {
            check_text(member, text)?;
        }
        let mut reader = self.store.reader().await?;
        let members = asked(&mut reader, question).await?;
        let sets = sets_with(&mut reader, &members).await?;
        let query = Query::<DeviceSummary>::all()
            .filter(in_scope(&scope).and(one_of(DeviceSummary::PACKAGE_SET.name(), sets)))
            .order(DeviceSummary::NAME_FOLDED, Direction::Ascending)
            // Sets come and go with every report; the question stays.
            .asked(&("devices_with_package", question))?;
        let found = reader.list(&query, page).await?;
        Ok(found.map(|summary| summary.value.into()))
    }
}

type Names = BTreeMap<(String, String), Vec<StoredMember>>;

/// The members of the next names, by name and manager, and the name to go on after.
async fn names(
    reader: &mut Reader,
    prefix: Option<&str>,
    after: Option<String>,
    limit: usize,
) -> Result<(Names, Option<String>)> {
    let mut query = Query::<StoredMember>::all().order(StoredMember::NAME, Direction::Ascending);
    if let Some(prefix) = prefix {
        query = query.filter(StoredMember::NAME.starts_with(prefix));
    }
    if let Some(after) = &after {
        let same = StoredMember::NAME.eq(after.as_str());
        query = query
            .filter(StoredMember::NAME.at_least(after.as_str()))
            .filter(Filter::Not(Box::new(same)));
    }
    let (mut names, mut seen, mut token) = (Names::new(), BTreeSet::new(), None);
    loop {
        let found = reader.list(&query, &PageRequest::new(Some(BATCH), token)?).await?;
        for member in found.items {
            let member = member.value;
            if !seen.contains(&member.name) {
                if seen.len() == limit {
                    return Ok((names, seen.pop_last()));
                }
                seen.insert(member.name.clone());
            }
            let of_name = names.entry((member.name.clone(), member.manager.clone())).or_default();
            if of_name.len() < MAX_MEMBERS {
                of_name.push(member);
            }
        }
        token = found.next;
        if token.is_none() {
            return Ok((names, None));
        }
    }
}

async fn package(
    reader: &mut Reader,
    scope: &Scope,
    devices: &HashMap<Uuid, u64>,
    name: String,
    manager: String,
    members: Vec<StoredMember>,
) -> Result<Option<FleetPackageView>> {
    let mut versions: BTreeMap<(String, String), BTreeSet<Uuid>> = BTreeMap::new();
    for member in members {
        let sets = sets_with(reader, &[member.number]).await?;
        versions
            .entry((member.version_key, member.version))
            .or_default()
            .extend(sets);
    }
    let count = |sets: &BTreeSet<Uuid>| sets.iter().filter_map(|set| devices.get(set)).sum::<u64>();
    // A device may have several versions, as of its kernel: it counts once.
    let all: BTreeSet<Uuid> = versions.values().flatten().copied().collect();
    let total = count(&all);
    if total == 0 {
        return Ok(None);
    }
    let versions = versions
        .iter()
        .rev()
        .map(|((_, version), sets)| FleetPackageVersion {
            version: version.clone(),
            devices: count(sets),
        })
        .filter(|version| version.devices > 0)
        .take(MAX_VERSIONS)
        .collect();
    let update = update_name(&manager, &name);
    let updates = sections_in_scope(scope).and(InventorySection::UPDATES.eq(update.as_str()));
    let security = sections_in_scope(scope).and(InventorySection::SECURITY_UPDATES.eq(update.as_str()));
    Ok(Some(FleetPackageView {
        name,
        manager,
        devices: total,
        updates: reader.count::<InventorySection>(&updates).await?,
        security_updates: reader.count::<InventorySection>(&security).await?,
        versions,
    }))
}

/// How many devices have each set.
pub(super) async fn devices_by_set(reader: &mut Reader, scope: &Scope) -> Result<HashMap<Uuid, u64>> {
    let counts = reader.tally(&in_scope(scope), DeviceSummary::PACKAGE_SET).await?;
    Ok(counts
        .into_iter()
        .filter_map(|(set, devices)| match set {
            Value::Id(set) => Some((set, devices)),
            _ => None,
        })
        .collect())
}

/// The sets that hold one of these members, found without reading any.
async fn sets_with(reader: &mut Reader, members: &[i64]) -> Result<Vec<Uuid>> {
    let filter = StoredSet::MEMBERS.one_of(members.iter().copied());
    let counts = reader.tally(&filter, StoredSet::OWN_ID).await?;
    Ok(counts
        .into_iter()
        .filter_map(|(set, _)| match set {
            Value::Id(set) => Some(set),
            _ => None,
        })
        .collect())
}

/// The numbers of the members that a question is about.
async fn asked(reader: &mut Reader, question: &PackageQuestion) -> Result<Vec<i64>> {
    let mut query = Query::<StoredMember>::all().filter(StoredMember::NAME.eq(question.name.as_str()));
    if let Some(manager) = &question.manager {
        query = query.filter(StoredMember::MANAGER.eq(manager.as_str()));
        if let Some(below) = &question.below {
            query = query.filter(StoredMember::VERSION_KEY.below(version_key(manager, below)));
        }
    }
    let (mut numbers, mut token) = (Vec::new(), None);
    loop {
        let found = reader.list(&query, &PageRequest::new(Some(BATCH), token)?).await?;
        for member in found.items {
            let below = question
                .below
                .as_ref()
                .is_none_or(|below| member.version_key < version_key(&member.manager, below));
            let exact = question
                .version
                .as_ref()
                .is_none_or(|version| member.version == *version);
            if below && exact {
                numbers.push(member.number);
            }
        }
        if numbers.len() > MAX_MEMBERS {
            return Err(Error::invalid_field(
                "name",
                "this package has too many versions to be asked for",
            ));
        }
        token = found.next;
        if token.is_none() {
            return Ok(numbers);
        }
    }
}

/// The column has one of these values, however many they are.
fn one_of(column: crate::store::Name, ids: Vec<Uuid>) -> Filter {
    let part = |ids: &[Uuid]| Filter::In(column, ids.iter().copied().map(Value::Id).collect());
    Filter::Or(ids.chunks(limits::IN).map(part).collect())
}

fn check_text(member: &str, text: Option<&str>) -> Result<()> {
    match text {
        Some(text) if text.is_empty() || text.len() > MAX_TEXT || text.contains('\0') => {
            Err(Error::invalid_field(member, format!("1 to {MAX_TEXT} bytes")))
        }
        _ => Ok(()),
    }
}
