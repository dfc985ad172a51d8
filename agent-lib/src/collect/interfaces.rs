//! Network interfaces, from `/sys/class/net` and rtnetlink(7).

use std::path::Path;

use async_trait::async_trait;
use fleet_core::devices::inventory::{Interface, InterfaceAddress, Interfaces, Section, SectionBody, clean_text};

use super::{CollectContext, CollectError, Collector, files, netlink};

const MAX_ADDRESSES: usize = 256;

#[derive(Debug)]
pub(super) struct InterfacesCollector;

#[async_trait]
impl Collector for InterfacesCollector {
    fn section(&self) -> Section {
        Section::Interfaces
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let addresses = if context.is_device() {
            netlink::addresses().map_err(|cause| CollectError::System {
                what: "cannot ask the kernel for addresses",
                cause,
            })?
        } else {
            Vec::new()
        };
        let folder = context.path("/sys/class/net");
        let entries = std::fs::read_dir(&folder).map_err(|cause| CollectError::read(&folder, cause))?;
        let mut interfaces = Interfaces::default();
        for entry in entries.flatten() {
            if interfaces.items.len() >= Section::Interfaces.max_items() {
                interfaces.truncated = true;
                interfaces.left_out += 1;
            } else {
                // Files that are no interface, such as `bonding_masters`, have no index.
                interfaces.items.extend(read(&entry.path(), &addresses));
            }
        }
        interfaces.items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(SectionBody::Interfaces(interfaces))
    }
}

fn read(folder: &Path, addresses: &[(u32, InterfaceAddress)]) -> Option<Interface> {
    let text = |name: &str| files::read_small(&folder.join(name));
    let index: u32 = text("ifindex")?.parse().ok()?;
    let mut own: Vec<_> = addresses
        .iter()
        .filter(|(of, _)| *of == index)
        .map(|(_, address)| *address)
        .collect();
    own.sort_unstable();
    own.dedup();
    own.truncate(MAX_ADDRESSES);
    Some(Interface {
        name: clean_text(&folder.file_name()?.to_string_lossy(), 64),
        mac: text("address").and_then(|text| mac(&text)),
        mtu: text("mtu").and_then(|mtu| mtu.parse().ok()),
        state: clean_text(&text("operstate").unwrap_or_else(|| "unknown".into()), 32),
        addresses: own,
    })
}

/// An address of all zeros is the kernel's way to say that there is none.
fn mac(text: &str) -> Option<String> {
    let text = clean_text(text, 64).to_ascii_lowercase();
    let digits = |char: char| char.is_ascii_hexdigit() || char == ':';
    let valid = text.chars().all(digits) && text.contains(|char| !matches!(char, '0' | ':'));
    valid.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_hardware_addresses_are_listed() {
        assert_eq!(mac("02:FC:00:00:00:01").as_deref(), Some("02:fc:00:00:00:01"));
        for text in ["00:00:00:00:00:00", "", "zz:00", "\0"] {
            assert_eq!(mac(text), None, "{text}");
        }
    }

    #[test]
    fn an_interface_is_put_together_from_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let eth0 = folder.path().join("eth0");
        std::fs::create_dir(&eth0).unwrap();
        for (name, text) in [
            ("ifindex", "3\n"),
            ("address", "02:fc:00:00:00:01\n"),
            ("mtu", "1500\n"),
            ("operstate", "up\n"),
        ] {
            std::fs::write(eth0.join(name), text).unwrap();
        }
        let address = |text: &str, prefix| InterfaceAddress {
            address: text.parse().unwrap(),
            prefix,
        };
        let known = [
            (3, address("fd00::2", 64)),
            (3, address("192.0.2.2", 24)),
            (1, address("127.0.0.1", 8)),
        ];
        let interfaces = Interfaces {
            items: read(&eth0, &known).into_iter().collect(),
            ..Interfaces::default()
        };
        insta::assert_json_snapshot!(interfaces);
        std::fs::write(folder.path().join("bonding_masters"), "bond0\n").unwrap();
        assert_eq!(read(&folder.path().join("bonding_masters"), &known), None);
    }
}
