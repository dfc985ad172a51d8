//! The committed lists: packages of Debian 12 and unit files of services, made by `data/make.py`.

use std::sync::OnceLock;

/// A package as the distribution's lists describe it.
#[derive(Debug)]
pub struct Listed {
    /// Which machines have it: `core` all of them, `extra` some, else those of a role.
    pub role: &'static str,
    pub name: &'static str,
    /// `amd64` or `all`.
    pub architecture: &'static str,
    pub installed_size_bytes: u64,
    /// The source package, where it has another name.
    pub source: Option<&'static str>,
    /// All versions that the lists hold, oldest first.
    pub versions: Vec<&'static str>,
}

/// Both lists.
#[derive(Debug)]
pub struct Catalogue {
    pub packages: Vec<Listed>,
    /// Name and description.
    pub services: Vec<(&'static str, &'static str)>,
}

/// The lists, read once.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue {
        packages: lines(include_str!("../data/packages.txt")).filter_map(listed).collect(),
        services: lines(include_str!("../data/services.txt"))
            .filter_map(|line| line.split_once('|'))
            .collect(),
    })
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

fn listed(line: &'static str) -> Option<Listed> {
    let fields: Vec<_> = line.split('|').collect();
    let [role, name, architecture, _section, size, source, versions] = fields[..] else {
        return None;
    };
    Some(Listed {
        role,
        name,
        architecture,
        installed_size_bytes: size.parse::<u64>().ok()? * 1024,
        source: Some(source).filter(|source| !source.is_empty()),
        versions: versions.split(' ').collect(),
    })
}

#[cfg(test)]
mod tests {
    use fleet_core::devices::inventory::version_key;

    use super::*;

    #[test]
    fn every_line_is_read_and_versions_rise() {
        let catalogue = catalogue();
        assert_eq!(
            catalogue.packages.len(),
            lines(include_str!("../data/packages.txt")).count()
        );
        assert!(catalogue.packages.len() >= 2_000 && catalogue.services.len() >= 60);
        for package in &catalogue.packages {
            let keys: Vec<_> = package
                .versions
                .iter()
                .map(|version| version_key("dpkg", version))
                .collect();
            assert!(
                keys.is_sorted_by(|a, b| a < b),
                "{}: {:?}",
                package.name,
                package.versions
            );
        }
    }
}
