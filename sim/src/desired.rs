//! What devices shall be: people assign and take back, and in the end devices have what their server compiled for them.

use std::time::Duration;

use fleet_core::{
    access::Context,
    kernel::{Clock as _, PageRequest},
    protocol::OfferBody,
    work::{
        desired::{
            DesiredState, Manifest, Mode, NewRhythm, NewRhythmTimes, Source, Target,
            actions::NewAction,
            assignments::{AssignmentFilter, NewAssignment},
        },
        windows::{HeldWindow, Outside, WindowTimes},
    },
};
use tokio::time::Instant;

use crate::{executor::SimExecutor, judge::Invariant, turns::SLACK, world::World};

/// How the scripts begin that devices keep up.
pub const KEPT: &str = "keep ";
/// How often devices look, in seconds.
const EVERY: [u32; 3] = [60, 90, 240];
/// How long a manifest may be under way to a device that is connected: a pass of the server, and a look of the device.
const ARRIVES: Duration = Duration::from_secs(900);

impl SimExecutor {
    /// Why a window that this device knows holds what it begins by itself now, if one does. Only where the times of device and server are the
    /// same, and nothing else was in the way between the decision and the beginning.
    pub(crate) fn held_itself(&self, offer: &OfferBody) -> Option<String> {
        let judge = &self.door.judge;
        let is_free = judge.is_idle(self.device, self.boot, offer.run, SLACK);
        if judge.clock_was_ever_set() || !self.clock.is_right() || !is_free {
            return None;
        }
        let manifest = self.disk.json("manifest.json")?;
        let windows: Vec<HeldWindow> = serde_json::from_value(manifest["windows"].clone()).ok()?;
        let now = judge.clock.now();
        windows.iter().find_map(|window| {
            let WindowTimes::Once { starts_at, ends_at } = window.when else {
                return None;
            };
            let lasts = starts_at.plus(SLACK) <= now && now.plus(SLACK) < ends_at;
            (lasts && window.outside != Outside::Allow)
                .then(|| format!("a blackout lasts until {ends_at}, and it is {now}"))
        })
    }
}

impl World {
    /// Assigns something to a device, or takes something back.
    pub(crate) async fn assign(&mut self) {
        let Some(fleet) = self.door.fleet() else { return };
        let (desired, context) = (fleet.desired(), Context::system("people"));
        let index = self.people.place(self.agents.len());
        let device = self.agents[index].device;
        if self.people.chance(300) {
            self.take_back(1).await;
            return;
        }
        self.actions += 1;
        let params = serde_json::json!({"script": format!("{KEPT}{}", self.actions)});
        let every_seconds = EVERY[self.people.place(EVERY.len())];
        let new = NewAction {
            name: format!("action {}", self.actions),
            description: String::new(),
            operation: "shell".into(),
            params: params.clone().into(),
            state: DesiredState::Present,
            timeout_seconds: Some(60),
            rhythm: Some(NewRhythm {
                when: NewRhythmTimes::Interval { every_seconds },
                on_change: self.people.chance(700),
                skip_unchanged: false,
            }),
        };
        // What fails here fails for people, too: they leave it at that.
        let Ok(action) = desired.actions().create(&context, &new).await else {
            return;
        };
        let assignment = NewAssignment {
            source: Source::Action(action.id),
            target: Target::Device(device),
            mode: Mode::Required,
            order: 0,
        };
        if desired.assignments().create(&context, &[assignment]).await.is_ok() {
            self.judge.trace.say(format_args!(
                "assigned: {} to {index}, every {every_seconds} s",
                new.name
            ));
        }
    }

    /// Takes back so many assignments, the newest first; whether there are none left.
    async fn take_back(&self, most: usize) -> bool {
        let Some(fleet) = self.door.fleet() else { return false };
        let (assignments, context) = (fleet.desired().assignments(), Context::system("people"));
        let (all, page) = (AssignmentFilter::default(), PageRequest::default());
        let Ok(page) = assignments.list(&context, &all, &page).await else {
            return false;
        };
        let is_all = page.items.len() <= most && page.next.is_none();
        for assignment in page.items.into_iter().take(most) {
            if assignments.delete(&context, assignment.id, None).await.is_err() {
                return false;
            }
            self.judge.trace.say("taken back");
        }
        is_all
    }

    /// Takes everything back and waits until each device has heard of it.
    pub(crate) async fn nothing_is_kept(&self) {
        let deadline = Instant::now() + ARRIVES;
        while !self.take_back(100).await && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        while Instant::now() < deadline {
            if (0..self.agents.len()).all(|index| self.is_told(index) && self.is_empty(index)) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        for index in 0..self.agents.len() {
            if !self.is_told(index) || !self.is_empty(index) {
                let stored = self.manifest(index).map(|manifest| (manifest.version, manifest.digest));
                let why = format!("device {index} keeps {:?}, and shall be {stored:?}", self.kept(index));
                self.violate(Invariant::ManifestsArrive, why);
            }
        }
    }

    /// Nothing waits for a window any more, and all that devices keep was looked at.
    pub(crate) async fn everything_is_caught_up(&self) {
        let deadline = Instant::now() + ARRIVES;
        while let Some((invariant, late)) = (0..self.agents.len()).find_map(|index| self.waits(index)) {
            if Instant::now() >= deadline {
                return self.violate(invariant, late);
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// What a device has not looked at yet, though nothing holds it.
    fn waits(&self, index: usize) -> Option<(Invariant, String)> {
        if !self.is_told(index) {
            let why = format!("device {index} does not know its manifest");
            return Some((Invariant::ManifestsArrive, why));
        }
        let disk = &self.agents[index].disk;
        let (manifest, progress) = (disk.json("manifest.json")?, disk.json("manifest-progress.json")?);
        let mut labels = manifest["groups"]
            .as_array()?
            .iter()
            .filter_map(|group| group["label"].as_str());
        let waiting = labels.find(|label| progress["groups"][label]["looked_at"].is_null())?;
        let why = format!("device {index} never looked at {waiting}");
        Some((Invariant::WindowsHoldDevices, why))
    }

    fn manifest(&self, index: usize) -> Option<Manifest> {
        use fleet_core::kernel::EntityId as _;
        self.door.stored::<Manifest>(self.agents[index].device.uuid())
    }

    /// Whether nothing is compiled for a device any more.
    fn is_empty(&self, index: usize) -> bool {
        let nothing = fleet_core::work::desired::manifest_digest(&[], &[], &[]).ok();
        self.manifest(index)
            .is_none_or(|manifest| Some(manifest.digest) == nothing && manifest.problem.is_none())
    }

    /// Whether the manifest on a device's disk is the one that was compiled for it.
    fn is_told(&self, index: usize) -> bool {
        match self.manifest(index) {
            None => self.kept(index).is_none(),
            // Versions of one content are one and the same to a device.
            Some(manifest) => self.kept(index).is_some_and(|(_, digest)| digest == manifest.digest),
        }
    }

    /// Version and digest of the manifest on a device's disk.
    fn kept(&self, index: usize) -> Option<(u64, String)> {
        let stored = self.agents[index].disk.json("manifest.json")?;
        Some((stored["version"].as_u64()?, stored["digest"].as_str()?.to_owned()))
    }
}
