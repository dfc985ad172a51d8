//! What people ask a fleet for: every sort with every filter, counts, summaries, packages.

use anyhow::{Context as _, Result, anyhow};
use fleet_bench_dataset::Dataset;
use fleet_core::{
    Fleet,
    access::Context,
    devices::{
        DeviceGroupId, DeviceId, Presence,
        device::{DeviceFilter, DeviceOrder, DeviceSort},
        inventory::{PackageFilter, PackageQuestion},
    },
    kernel::{self, Page, PageRequest, PageToken},
    store::Direction,
    work::{RunFilter, State},
};
use futures::future::BoxFuture;
use serde::Serialize;

/// What a question belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A page of 50 devices (P11).
    List,
    /// A number of devices (P11).
    Count,
    /// What the first page shows (P11).
    Summary,
    /// Devices that have a package below a version (P12).
    Package,
    /// Other lists, for which no target stands.
    Other,
}

impl Part {
    pub const ALL: [Self; 5] = [Self::List, Self::Count, Self::Summary, Self::Package, Self::Other];

    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Count => "count",
            Self::Summary => "summary",
            Self::Package => "package",
            Self::Other => "other",
        }
    }
}

/// A question; asking it gives the bytes of its answer as JSON.
pub struct Question {
    pub part: Part,
    pub name: String,
    pub ask: Box<dyn Fn() -> BoxFuture<'static, Result<usize>> + Send + Sync>,
}

/// All questions to a fleet.
pub async fn all(fleet: &Fleet, dataset: &Dataset) -> Result<Vec<Question>> {
    let filters = filters(fleet, dataset).await?;
    let mut all = Vec::new();
    for by in DeviceSort::ALL {
        for direction in [Direction::Ascending, Direction::Descending] {
            let order = DeviceOrder { by, direction };
            for (name, filter) in &filters {
                all.push(list(fleet, order, name, filter, None));
            }
            let token = middle(fleet, order).await?;
            all.push(list(fleet, order, "from its middle", &DeviceFilter::default(), token));
        }
    }
    for (name, filter) in &filters {
        let (fleet, filter) = (fleet.clone(), filter.clone());
        all.push(question(Part::Count, name.clone(), move || {
            let (fleet, filter) = (fleet.clone(), filter.clone());
            async move { fleet.devices().count(&context(), &filter).await }
        }));
    }
    summaries(fleet, &mut all);
    packages(fleet, dataset, &mut all);
    Ok(all)
}

fn context() -> Context {
    Context::system("bench")
}

fn question<T, F>(part: Part, name: impl Into<String>, ask: impl Fn() -> F + Send + Sync + 'static) -> Question
where
    T: Serialize + Send,
    F: Future<Output = kernel::Result<T>> + Send + 'static,
{
    Question {
        part,
        name: name.into(),
        ask: Box::new(move || {
            let answer = ask();
            Box::pin(async move {
                let answer = answer.await.map_err(|error| anyhow!(error.log()))?;
                Ok(serde_json::to_vec(&answer)?.len())
            })
        }),
    }
}

fn list(fleet: &Fleet, order: DeviceOrder, name: &str, filter: &DeviceFilter, token: Option<PageToken>) -> Question {
    let arrow = match order.direction {
        Direction::Ascending => "↑",
        Direction::Descending => "↓",
    };
    let (fleet, filter) = (fleet.clone(), filter.clone());
    question(Part::List, format!("{} {arrow}, {name}", order.by.name()), move || {
        let (fleet, filter, token) = (fleet.clone(), filter.clone(), token.clone());
        async move {
            let page = PageRequest::new(Some(50), token)?;
            fleet.devices().list(&context(), &filter, order, &page).await
        }
    })
}

/// A page token for the middle of the whole list.
async fn middle(fleet: &Fleet, order: DeviceOrder) -> Result<Option<PageToken>> {
    let (context, all) = (context(), DeviceFilter::default());
    let devices = ok(fleet.devices().count(&context, &all).await)?;
    let mut token = None;
    for _ in 0..devices / 1_000 {
        let page = ok(PageRequest::new(Some(500), token.take()))?;
        match ok(fleet.devices().list(&context, &all, order, &page).await)?.next {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    Ok(token)
}

fn ok<T>(result: kernel::Result<T>) -> Result<T> {
    result.map_err(|error| anyhow!(error.log()))
}

/// Every filter by itself, and some together: those that nearly all, many, few and no devices meet.
async fn filters(fleet: &Fleet, dataset: &Dataset) -> Result<Vec<(String, DeviceFilter)>> {
    let some = dataset.device(dataset.size().devices / 3);
    let group = largest_group(fleet).await?;
    let text = |text: &str| Some(text.to_owned());
    let none = DeviceFilter::default;
    let search = |words: &str| DeviceFilter {
        search: text(words),
        ..none()
    };
    let labels = |labels: &[&str]| DeviceFilter {
        label: labels.iter().map(ToString::to_string).collect(),
        ..none()
    };
    let presence = |presence| DeviceFilter {
        presence: Some(presence),
        ..none()
    };
    let filters = [
        ("all", none()),
        ("search for one", search(&some.name)),
        ("search for a beginning", search("web")),
        ("search for what all have", search("example org")),
        ("search for two words", search("debian berlin")),
        ("search for nothing", search("no-such-word")),
        (
            "name",
            DeviceFilter {
                name: text(&some.name.to_uppercase()),
                ..none()
            },
        ),
        ("label name", labels(&["site"])),
        ("label value", labels(&["env=prod"])),
        ("rare label", labels(&["pinned"])),
        ("three labels", labels(&["env=dev", "site=lima", "role=web"])),
        (
            "group",
            DeviceFilter {
                group: Some(group),
                ..none()
            },
        ),
        ("online", presence(Presence::Online)),
        ("offline", presence(Presence::Offline)),
        ("never heard of", presence(Presence::Never)),
        (
            "os",
            DeviceFilter {
                os: text("debian"),
                ..none()
            },
        ),
        (
            "os version",
            DeviceFilter {
                os_version: text("24.04"),
                ..none()
            },
        ),
        (
            "architecture",
            DeviceFilter {
                architecture: text("aarch64"),
                ..none()
            },
        ),
        (
            "agent version",
            DeviceFilter {
                agent_version: text("0.0.8"),
                ..none()
            },
        ),
        (
            "updates",
            DeviceFilter {
                updates: Some(true),
                ..none()
            },
        ),
        (
            "no updates",
            DeviceFilter {
                updates: Some(false),
                ..none()
            },
        ),
        (
            "security updates",
            DeviceFilter {
                security_updates: Some(true),
                ..none()
            },
        ),
        (
            "no security updates",
            DeviceFilter {
                security_updates: Some(false),
                ..none()
            },
        ),
        (
            "reboot",
            DeviceFilter {
                reboot_required: Some(true),
                ..none()
            },
        ),
        (
            "no reboot",
            DeviceFilter {
                reboot_required: Some(false),
                ..none()
            },
        ),
        (
            "many that few meet together",
            DeviceFilter {
                os: text("debian"),
                architecture: text("aarch64"),
                presence: Some(Presence::Offline),
                reboot_required: Some(true),
                label: vec!["env=dev".into()],
                ..none()
            },
        ),
        (
            "many that none meet together",
            DeviceFilter {
                os: text("ubuntu"),
                os_version: text("12"),
                presence: Some(Presence::Online),
                updates: Some(true),
                ..none()
            },
        ),
    ];
    Ok(filters.map(|(name, filter)| (name.to_owned(), filter)).into())
}

async fn largest_group(fleet: &Fleet) -> Result<DeviceGroupId> {
    let page = ok(PageRequest::new(Some(100), None))?;
    let groups: Page<_> = ok(fleet.device_groups().list(&context(), None, &page).await)?;
    let largest = groups.items.into_iter().max_by_key(|group| group.members);
    Ok(largest.context("the data set has no group")?.id)
}

fn summaries(fleet: &Fleet, all: &mut Vec<Question>) {
    let own = fleet.clone();
    all.push(question(Part::Summary, "counts over the fleet", move || {
        let fleet = own.clone();
        async move { fleet.devices().counts(&context()).await }
    }));
    let own = fleet.clone();
    all.push(question(Part::Summary, "runs that have not ended", move || {
        let fleet = own.clone();
        async move { fleet.runs().counts(&context()).await }
    }));
    let own = fleet.clone();
    all.push(question(Part::Summary, "groups with their members", move || {
        let fleet = own.clone();
        async move {
            fleet
                .device_groups()
                .list(&context(), None, &PageRequest::default())
                .await
        }
    }));
    let own = fleet.clone();
    all.push(question(Part::Summary, "the newest runs that failed", move || {
        let fleet = own.clone();
        let filter = RunFilter {
            states: vec![State::Failed, State::TimedOut, State::Lost],
            ..RunFilter::default()
        };
        async move { fleet.runs().list(&context(), &filter, &PageRequest::default()).await }
    }));
}

/// Packages that all devices have, that some have and that none has; with versions that all, some and none are below.
fn packages(fleet: &Fleet, dataset: &Dataset, all: &mut Vec<Question>) {
    for (name, below) in [
        ("libc6", "3"),
        ("libc6", "2.36-9+deb12u14"),
        ("libc6", "1"),
        ("libssl3", "3.0.20-1~deb12u2"),
        ("openssl", "3.0.22-1~deb12u2"),
        ("nginx", "1.22.1-9+deb12u10"),
        ("no-such-package", "1"),
    ] {
        for manager in [None, Some("dpkg")] {
            let asked = PackageQuestion {
                name: name.into(),
                manager: manager.map(str::to_owned),
                version: None,
                below: Some(below.into()),
            };
            let what = format!(
                "{name} below {below}{}",
                manager.map_or_else(String::new, |name| format!(" of {name}"))
            );
            let fleet = fleet.clone();
            all.push(question(Part::Package, what, move || {
                let (fleet, asked) = (fleet.clone(), asked.clone());
                async move {
                    fleet
                        .inventory()
                        .devices_with_package(&context(), &asked, &PageRequest::default())
                        .await
                }
            }));
        }
    }
    for (what, prefix) in [
        ("packages of the fleet", None),
        ("packages of the fleet from lib", Some("lib")),
    ] {
        let fleet = fleet.clone();
        all.push(question(Part::Other, what, move || {
            let fleet = fleet.clone();
            async move {
                fleet
                    .inventory()
                    .fleet_packages(&context(), prefix, &PageRequest::default())
                    .await
            }
        }));
    }
    let device: DeviceId = dataset.device_id(dataset.size().devices / 3);
    for (what, filter) in [
        ("packages of a device", PackageFilter::default()),
        (
            "packages of a device that updates wait for",
            PackageFilter {
                updates: Some(true),
                ..PackageFilter::default()
            },
        ),
    ] {
        let fleet = fleet.clone();
        all.push(question(Part::Other, what, move || {
            let (fleet, filter) = (fleet.clone(), filter.clone());
            async move {
                fleet
                    .inventory()
                    .packages(&context(), device, &filter, &PageRequest::default())
                    .await
            }
        }));
    }
    let own = fleet.clone();
    all.push(question(Part::Other, "one device", move || {
        let fleet = own.clone();
        async move { fleet.devices().show(&context(), device).await }
    }));
}
