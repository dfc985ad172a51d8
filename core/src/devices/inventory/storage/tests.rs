mod asking;
mod cleaning;
mod receiving;

use super::*;
use crate::{
    devices::{
        DeviceId, DeviceSummary,
        inventory::{InstalledPackage, LocalUser, Os, Packages, Section, SectionBody, SectionReport, Users},
        testing::{TestFleet, fails},
    },
    kernel::PageRequest,
    store::Query,
};

fn report(test: &TestFleet, body: SectionBody) -> SectionReport {
    SectionReport::new(body, test.fleet.clock().now()).unwrap()
}

fn os(release: &str) -> SectionBody {
    SectionBody::Os(Box::new(Os {
        id: "debian".into(),
        name: "Debian GNU/Linux".into(),
        version: Some(release.into()),
        kernel_name: "Linux".into(),
        kernel_running: "6.1.0".into(),
        architecture: "x86_64".into(),
        hostname: "web".into(),
        ..Os::default()
    }))
}

/// A package as `name version`, with `> version` an update, with `!` a security update, with `=` held.
fn package(text: &str) -> InstalledPackage {
    let mut words = text.split_whitespace();
    let mut package = InstalledPackage {
        name: words.next().unwrap().into(),
        version: words.next().unwrap().into(),
        architecture: "amd64".into(),
        ..InstalledPackage::default()
    };
    while let Some(word) = words.next() {
        match word {
            ">" => package.available_version = words.next().map(str::to_owned),
            "!" => package.security = true,
            "=" => package.held = true,
            _ => panic!("{word}"),
        }
    }
    package
}

fn packages(list: &[&str]) -> SectionBody {
    SectionBody::Packages(Packages {
        available: true,
        manager: "dpkg".into(),
        items: list.iter().map(|text| package(text)).collect(),
        ..Packages::default()
    })
}

async fn send(test: &TestFleet, device: DeviceId, body: SectionBody) -> Received {
    let report = report(test, body);
    test.fleet.inventory().receive(device, &report).await.unwrap()
}

async fn summary(test: &TestFleet, device: DeviceId) -> DeviceSummary {
    test.fleet
        .store()
        .get::<DeviceSummary>(device)
        .await
        .unwrap()
        .unwrap()
        .value
}

/// The names and versions of all stored members, and how many sets there are.
async fn stored(test: &TestFleet) -> (Vec<String>, usize) {
    let page = PageRequest::new(Some(500), None).unwrap();
    let mut reader = test.fleet.store().reader().await.unwrap();
    let members = reader.list(&Query::<StoredMember>::all(), &page).await.unwrap().items;
    let sets = reader.list(&Query::<StoredSet>::all(), &page).await.unwrap().items;
    let mut names: Vec<_> = members
        .iter()
        .map(|member| format!("{} {}", member.name, member.version))
        .collect();
    names.sort_unstable();
    (names, sets.len())
}
