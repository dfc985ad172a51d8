//! Package sets: real fleets are clones with drift.
//!
//! A set is an image (a release and a role: the distribution's core, the role's packages, and others up to the size) at a
//! patch level, with a few packages of its own instead of as many of the image's. Versions are those of the lists; at a
//! patch level each package stands at one of its versions, so that older sets wait for updates.

use std::collections::{BTreeMap, HashSet};

use fleet_core::{
    devices::inventory::{
        ContentHash, InstalledPackage, PackageMember, PackageSetId, Packages, SectionBody, SectionReport,
    },
    kernel::Timestamp,
};
use serde_json::{Value as Json, json};

use crate::{
    Dataset, FillError,
    catalogue::{Listed, catalogue},
    dice::Dice,
};

/// A release of a distribution. Only Debian 12 has its real versions; the others have the same packages with a suffix.
#[derive(Debug)]
pub struct Release {
    pub id: &'static str,
    pub name: &'static str,
    pub version: &'static str,
    pub codename: &'static str,
    pub pretty: &'static str,
    pub family: &'static [&'static str],
    /// Of the running kernel.
    pub kernel: &'static str,
    suffix: &'static str,
}

/// How often a release occurs is how often it stands here.
const RELEASES: [&Release; 6] = [&BOOKWORM, &BOOKWORM, &BOOKWORM, &NOBLE, &JAMMY, &TRIXIE];
const BOOKWORM: Release = Release {
    id: "debian",
    name: "Debian GNU/Linux",
    version: "12",
    codename: "bookworm",
    pretty: "Debian GNU/Linux 12 (bookworm)",
    family: &["debian"],
    kernel: "6.1.0",
    suffix: "",
};
const TRIXIE: Release = Release {
    id: "debian",
    version: "13",
    codename: "trixie",
    pretty: "Debian GNU/Linux 13 (trixie)",
    kernel: "6.12.0",
    suffix: "+deb13",
    ..BOOKWORM
};
const NOBLE: Release = Release {
    id: "ubuntu",
    name: "Ubuntu",
    version: "24.04",
    codename: "noble",
    pretty: "Ubuntu 24.04.3 LTS",
    family: &["ubuntu", "debian"],
    kernel: "6.8.0",
    suffix: "ubuntu24.04",
};
const JAMMY: Release = Release {
    version: "22.04",
    codename: "jammy",
    pretty: "Ubuntu 22.04.5 LTS",
    kernel: "5.15.0",
    suffix: "ubuntu22.04",
    ..NOBLE
};

/// What a machine is for.
pub const ROLES: [&str; 7] = ["web", "database", "container", "build", "mail", "monitoring", "files"];
/// The newest patch level.
const NEWEST: usize = 9;

/// What a set is made of.
#[derive(Debug)]
pub struct Contents {
    pub release: &'static Release,
    pub arm: bool,
    /// 0 to 9; at 9 nothing waits for an update.
    pub level: usize,
    items: Vec<InstalledPackage>,
}

/// What is kept of each set while a store is filled.
#[derive(Clone, Debug)]
pub struct Facts {
    pub id: PackageSetId,
    /// The hash of the section that has this set.
    pub section_hash: ContentHash,
    pub updates: u32,
    pub security_updates: u32,
}

impl Dataset {
    /// The set that a device has. Each set has at least one device; the first sets have most.
    pub(crate) fn set_of(&self, device: usize) -> usize {
        let sets = self.size.package_sets;
        if device < sets {
            return device;
        }
        // The cube of a share: half of the devices have an eighth of the sets.
        let share = Dice::new(self.seed, "set of device", device as u64).below(10_000) as f64 / 10_000.0;
        ((sets as f64) * share * share * share) as usize
    }

    /// The release and the role of the `n`th set.
    pub(crate) fn kind_of_set(&self, n: usize) -> (&'static Release, &'static str) {
        let mut dice = Dice::new(self.seed, "kind of set", n as u64);
        (*dice.pick(&RELEASES), *dice.pick(&ROLES))
    }

    /// What the `n`th set is made of.
    pub(crate) fn contents(&self, n: usize) -> Contents {
        let (release, role) = self.kind_of_set(n);
        let mut dice = Dice::new(self.seed, "package set", n as u64);
        let arm = dice.percent(8);
        let level = if dice.percent(30) {
            NEWEST
        } else {
            dice.below(NEWEST + 1)
        };
        let image = self
            .images
            .get(&(release.codename, role))
            .map_or(&[][..], Vec::as_slice);
        let own = (self.size.packages / 50).clamp(1, self.size.packages);
        let mut chosen: Vec<usize> = image.iter().copied().take(self.size.packages - own).collect();
        let mut there: HashSet<usize> = chosen.iter().copied().collect();
        let packages = &catalogue().packages;
        while chosen.len() < self.size.packages.min(packages.len()) {
            let package = dice.below(packages.len());
            if there.insert(package) {
                chosen.push(package);
            }
        }
        let mut items: Vec<_> = chosen
            .into_iter()
            .map(|package| installed(&packages[package], release, arm, level))
            .collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        if dice.percent(10) {
            let held = dice.below(items.len());
            items[held].held = true;
        }
        Contents {
            release,
            arm,
            level,
            items,
        }
    }
}

/// The packages of each image, by code name and role, the most needed first.
pub type Images = BTreeMap<(&'static str, &'static str), Vec<usize>>;

/// All images: of each no more than a set takes.
pub fn images(seed: u64, most: usize) -> Images {
    RELEASES
        .iter()
        .flat_map(|release| ROLES.iter().map(move |role| (release.codename, *role)))
        .map(|(codename, role)| ((codename, role), image(seed, codename, role, most)))
        .collect()
}

fn image(seed: u64, codename: &str, role: &str, most: usize) -> Vec<usize> {
    let weight = |name: &str| Dice::new(seed, codename, hash(role) ^ hash(name)).next();
    let mut image: Vec<(u8, u64, usize)> = catalogue()
        .packages
        .iter()
        .enumerate()
        .filter_map(|(n, package)| match package.role {
            "core" => Some((0, n as u64, n)),
            of if of == role => Some((1, n as u64, n)),
            "extra" => Some((2, weight(package.name), n)),
            _ => None,
        })
        .collect();
    image.sort_unstable();
    image.into_iter().map(|(_, _, n)| n).take(most).collect()
}

fn hash(text: &str) -> u64 {
    Dice::new(0, text, 0).next()
}

fn installed(listed: &Listed, release: &Release, arm: bool, level: usize) -> InstalledPackage {
    // When each version after the first came out, as a patch level; later ones not before earlier ones.
    let mut out = 0;
    let mut newest = 0;
    for n in 1..listed.versions.len() {
        out = (1 + (hash(listed.name) as usize).wrapping_add(n * 5) % NEWEST).max(out);
        if out <= level {
            newest = n;
        }
    }
    let version = |n: usize| format!("{}{}", listed.versions[n], release.suffix);
    let waits = newest + 1 < listed.versions.len();
    let available = listed.versions.last().copied().unwrap_or_default();
    let security = waits && (available.contains("+deb12u") || available.contains("~deb12u"));
    InstalledPackage {
        name: listed.name.to_owned(),
        version: version(newest),
        architecture: match listed.architecture {
            "amd64" if arm => "arm64".into(),
            architecture => architecture.to_owned(),
        },
        source: listed.source.map(str::to_owned),
        source_version: None,
        available_version: waits.then(|| version(listed.versions.len() - 1)),
        security,
        origin: waits.then(|| match security {
            true => format!(
                "{}-Security:{}/{}-security",
                release.name, release.version, release.codename
            ),
            false => format!("{}:{}/{}", release.name, release.version, release.codename),
        }),
        held: false,
        installed_size_bytes: Some(listed.installed_size_bytes),
    }
}

impl Contents {
    /// The section as an agent reports it.
    pub(crate) fn packages(&self, now: Timestamp) -> Packages {
        let day = std::time::Duration::from_secs(86_400);
        Packages {
            available: true,
            manager: "dpkg".into(),
            lists_updated_at: Some(now.minus(day * u32::try_from(NEWEST - self.level).unwrap_or(0))),
            items: self.items.clone(),
            ..Packages::default()
        }
    }

    /// Its members, each with its description.
    pub(crate) fn members(&self) -> impl Iterator<Item = (PackageMember, &InstalledPackage)> {
        self.items.iter().map(|package| {
            let member = PackageMember {
                manager: "dpkg".into(),
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
            };
            (member, package)
        })
    }

    /// What is kept of it.
    pub(crate) fn facts(&self, now: Timestamp) -> Result<Facts, FillError> {
        let packages = self.packages(now);
        let (updates, security) = packages.update_counts();
        let set = PackageSetId::of(packages.set().hash());
        let report = SectionReport::new(SectionBody::Packages(packages), now)?;
        Ok(Facts {
            id: set,
            section_hash: report.hash,
            updates: u32::try_from(updates).unwrap_or(u32::MAX),
            security_updates: u32::try_from(security).unwrap_or(u32::MAX),
        })
    }

    /// The section as it is stored: all but the list, which is the set. The shape is core's; a test compares the two.
    pub(crate) fn stored(&self, set: PackageSetId, now: Timestamp) -> Json {
        let packages = self.packages(now);
        let notes: Vec<Json> = self.items.iter().filter_map(note).collect();
        json!({
            "available": packages.available, "manager": packages.manager, "lists_updated_at": packages.lists_updated_at,
            "truncated": packages.truncated, "left_out": packages.left_out, "installed": self.items.len(),
            "set": set, "notes": notes,
        })
    }

    /// The packages that updates wait for, as [`fleet_core::devices::inventory::InventorySection`] names them.
    pub(crate) fn updates(&self, security: bool) -> Vec<String> {
        self.items
            .iter()
            .filter(|package| package.available_version.is_some() && !package.held && (!security || package.security))
            .map(|package| format!("dpkg/{}", package.name))
            .collect()
    }
}

/// What is true of a package on one device, where there is anything to say.
fn note(package: &InstalledPackage) -> Option<Json> {
    if package.available_version.is_none() && !package.held {
        return None;
    }
    let mut note = json!({
        "name": package.name, "version": package.version, "architecture": package.architecture,
    });
    if let Some(available) = &package.available_version {
        note["available_version"] = available.as_str().into();
        note["origin"] = package.origin.clone().into();
    }
    for (name, holds) in [("security", package.security), ("held", package.held)] {
        if holds {
            note[name] = true.into();
        }
    }
    Some(note)
}
