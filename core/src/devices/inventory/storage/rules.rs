//! What a section changes of its device's summary. Pure.

use std::net::IpAddr;

use super::PackageSetId;
use crate::devices::{
    DeviceSummary,
    inventory::{Interfaces, Os, Packages, SectionBody, clean_text},
};

/// The longest text that a summary takes from an inventory, in bytes.
const MAX_TEXT: usize = 256;

/// Shows a section in the summary of its device. `set` is the package set of section `packages`.
pub(super) fn show(summary: &mut DeviceSummary, body: &SectionBody, set: Option<PackageSetId>) {
    match body {
        SectionBody::Os(os) => show_os(summary, os),
        SectionBody::Interfaces(interfaces) => summary.addresses = addresses(interfaces),
        SectionBody::Packages(packages) => show_packages(summary, packages, set),
        SectionBody::Cpu(cpu) => {
            summary.cpu_model = cpu.model.as_deref().and_then(text);
            summary.cpu_cores = cpu.cores;
            summary.cpu_threads = Some(cpu.threads);
        }
        SectionBody::Memory(memory) => summary.memory_total = Some(memory.total_bytes),
        SectionBody::Mounts(_) | SectionBody::Services(_) | SectionBody::Ports(_) | SectionBody::Users(_) => {}
    }
}

fn text(text: &str) -> Option<String> {
    Some(clean_text(text, MAX_TEXT)).filter(|text| !text.is_empty())
}

fn show_os(summary: &mut DeviceSummary, os: &Os) {
    // In lower case, as os-release(5) has them: queries are served by these columns.
    summary.os = text(&os.id.to_lowercase());
    summary.os_version = os.version.as_deref().and_then(|version| text(&version.to_lowercase()));
    summary.os_name = text(os.pretty_name.as_deref().unwrap_or(&os.name));
    summary.kernel = text(&os.kernel_running);
    summary.architecture = text(&os.architecture.to_lowercase());
    summary.hostname = text(&os.hostname);
    summary.reboot_required = Some(os.reboot.required);
    let family = os.family.iter().filter_map(|member| text(&member.to_lowercase()));
    summary.os_family = family.take(DeviceSummary::MAX_FAMILY).collect();
    summary.virtualisation = os.virtualisation.as_deref().and_then(text);
}

fn show_packages(summary: &mut DeviceSummary, packages: &Packages, set: Option<PackageSetId>) {
    summary.package_set = set;
    if packages.available && packages.updates_problem.is_none() {
        let (updates, security) = packages.update_counts();
        summary.updates = Some(u32::try_from(updates).unwrap_or(u32::MAX));
        summary.security_updates = Some(u32::try_from(security).unwrap_or(u32::MAX));
    } else {
        // What could not be found out is not none.
        summary.updates = None;
        summary.security_updates = None;
    }
}

/// Addresses by which other machines may reach the device: those of IPv4 first, none that are only its own or its link's.
fn addresses(interfaces: &Interfaces) -> Vec<String> {
    let mut addresses: Vec<IpAddr> = interfaces
        .items
        .iter()
        .flat_map(|interface| interface.addresses.iter().map(|address| address.address))
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(DeviceSummary::MAX_ADDRESSES);
    addresses.iter().map(ToString::to_string).collect()
}
