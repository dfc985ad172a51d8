//! Installed packages as a content-addressed set.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ContentHash, Section, version_key};

/// The most members of a set; as many as the section may list.
pub const MAX_SET_MEMBERS: usize = Section::Packages.max_items();

/// A package in one version for one architecture: the same on every device that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageMember {
    /// The package manager, such as `dpkg`.
    pub manager: String,
    /// The name.
    pub name: String,
    /// The version as the package manager writes it.
    pub version: String,
    /// The architecture as the package manager names it.
    pub architecture: String,
}

impl PackageMember {
    /// What makes it this member and no other, as text: a JSON array of its parts. The store keeps it beside the id, and
    /// tells by it when two members fall on one id.
    pub fn identity(&self) -> String {
        let parts = [&self.manager, &self.name, &self.version, &self.architecture];
        // Built as a value, for which writing cannot fail.
        serde_json::Value::from_iter(parts.map(String::as_str)).to_string()
    }

    /// The id of the member: 63 bits of BLAKE3 of its identity, 1 to 2⁶³−1.
    pub fn member_id(&self) -> i64 {
        let hash = blake3::derive_key("fleet package member id v1", self.identity().as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = hash;
        let id = i64::from_be_bytes([a & 0x7f, b, c, d, e, f, g, h]);
        id.max(1)
    }

    /// The key whose byte order is the order of versions; see [`version_key`].
    pub fn version_key(&self) -> String {
        version_key(&self.manager, &self.version)
    }
}

/// The installed packages of a device, as a set without order or repetition. Devices with the same packages share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSet {
    hash: ContentHash,
    members: Vec<PackageMember>,
}

impl PackageSet {
    /// The set of `members`, in whatever order they come and however often. What is beyond [`MAX_SET_MEMBERS`] after sorting is
    /// left out.
    pub fn new(members: impl IntoIterator<Item = PackageMember>) -> Self {
        let sorted: BTreeSet<PackageMember> = members.into_iter().collect();
        let members: Vec<_> = sorted.into_iter().take(MAX_SET_MEMBERS).collect();
        let mut hasher = blake3::Hasher::new_derive_key("fleet package set v1");
        for member in &members {
            let identity = member.identity();
            // The length first, so that no two lists give the same bytes.
            hasher.update(&(identity.len() as u64).to_le_bytes());
            hasher.update(identity.as_bytes());
        }
        Self {
            hash: ContentHash::finish(&hasher),
            members,
        }
    }

    /// The name of the set: equal for equal sets.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// The members, sorted by manager, name, version and architecture.
    pub fn members(&self) -> &[PackageMember] {
        &self.members
    }

    /// The ids of the members, sorted.
    pub fn member_ids(&self) -> Vec<i64> {
        let mut ids: Vec<_> = self.members.iter().map(PackageMember::member_id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, version: &str) -> PackageMember {
        PackageMember {
            manager: "dpkg".into(),
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
        }
    }

    #[test]
    fn equal_sets_have_equal_hashes_in_any_order() {
        let (a, b) = (member("bash", "5.2"), member("zlib1g", "1.2"));
        let one = PackageSet::new([a.clone(), b.clone()]);
        assert_eq!(one, PackageSet::new([b.clone(), a.clone(), b.clone()]));
        assert_eq!(one.members(), [a.clone(), b]);
        assert_ne!(one.hash(), PackageSet::new([a]).hash());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(member("a", "b1").identity(), member("ab", "1").identity());
        assert_ne!(member("a\",\"b", "1").identity(), member("a", "b\",\"1").identity());
    }

    // These are on disks: a change here orphans every stored set.
    #[test]
    fn ids_and_hashes_never_change() {
        let bash = member("bash", "5.2.15-2+b8");
        assert_eq!(bash.identity(), r#"["dpkg","bash","5.2.15-2+b8","amd64"]"#);
        insta::assert_snapshot!(
            format!("{} {}", bash.member_id(), PackageSet::new([bash]).hash()),
            @"8466803400759927439 476310aefd01b521f38c3ffe1b85ae15700a1e1bff6d56d0cbfd4149d3f03745"
        );
        insta::assert_snapshot!(PackageSet::new([]).hash().to_string(), @"3ad497aa7c1d56112d30e915f7b5243cca890f30739e3b65e8a688eba15c644d");
    }

    #[test]
    fn ids_are_positive_and_distinct() {
        let set = PackageSet::new((0..5_000).map(|n| member("p", &n.to_string())));
        let ids = set.member_ids();
        assert!(ids.iter().all(|id| *id > 0));
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_set_is_bounded() {
        let set = PackageSet::new((0..MAX_SET_MEMBERS + 1).map(|n| member("p", &n.to_string())));
        assert_eq!(set.members().len(), MAX_SET_MEMBERS);
    }
}
