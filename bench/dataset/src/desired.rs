//! What devices shall be: actions, a set, a definition, assignments, and the manifests that came of them.

use fleet_core::{
    kernel::EntityId as _,
    protocol::Applied,
    store::Result,
    work::StoredParams,
    work::desired::{
        ActionSet, Assignment, ChangeCounts, Definition, DesiredAction, DesiredChange, DesiredEdition,
        DesiredEditionId, DesiredState, DeviceOwners, DeviceSelections, Manifest, ManifestContent, ManifestContentId,
        Mode, OnFailure, Rhythm, Source, Target,
        manifest::{
            ManifestEvent, ManifestEventKind, ManifestGroup, ManifestProgress, ManifestProgressId, ManifestState,
            Occurrence,
        },
        resolve::Member,
    },
};
use serde_json::json;

use crate::{Dataset, dice::Dice, groups, people, writer::Writer};

/// Actions of the fleet.
const ACTIONS: u64 = 20;
/// The most devices that have a manifest.
const MANIFESTS: usize = 1_000;

impl Dataset {
    pub(crate) async fn write_desired(&self, writer: &mut Writer<'_>) -> Result<()> {
        let at = self.long_ago();
        let mut dice = Dice::new(self.seed, "desired", 0);
        let mut actions = Vec::new();
        for n in 0..ACTIONS {
            let action = DesiredAction {
                id: dice.id(at),
                name: format!("action {n}"),
                description: String::new(),
                operation: "shell".to_owned(),
                params: StoredParams::without_secrets(
                    json!({"script": format!("test -e /etc/fleet-{n}"), "interpreter": "/bin/sh"}),
                ),
                state: DesiredState::Present,
                timeout_seconds: 300,
                rhythm: None,
                generation: 1,
                created_at: at,
                updated_at: at,
            };
            writer.put(&action).await?;
            actions.push(action);
        }
        let set = ActionSet {
            id: dice.id(at),
            name: "base".to_owned(),
            description: "What every machine has".to_owned(),
            members: actions.iter().map(|action| action.id).collect(),
            rhythm: Rhythm::default(),
            on_failure: OnFailure::Continue,
            created_at: at,
            updated_at: at,
        };
        writer.put(&set).await?;
        let definition = Definition {
            id: dice.id(at),
            name: "server".to_owned(),
            description: String::new(),
            members: vec![Member::ActionSet(set.id)],
            rhythm: Rhythm::default(),
            on_failure: OnFailure::Stop,
            created_at: at,
            updated_at: at,
        };
        writer.put(&definition).await?;
        let assignment = Assignment {
            id: dice.id(at),
            source: Source::ActionSet(set.id),
            target: Target::DeviceGroup(groups::group_id(self, 0)),
            mode: Mode::Required,
            order: 0,
            created_at: at,
            updated_at: at,
        };
        writer.put(&assignment).await?;
        let edition = DesiredEdition {
            id: DesiredEditionId::only(),
            number: ACTIONS + 3,
            token: dice.uuid(at),
            counts: ChangeCounts {
                actions: u32::try_from(ACTIONS).unwrap_or(u32::MAX),
                sets: 1,
                definitions: 1,
                assignments: 1,
            },
        };
        writer.put(&edition).await?;
        let change = DesiredChange {
            id: dice.id(self.now()),
            sources: [Source::ActionSet(set.id)].into(),
            targets: Default::default(),
            everyone: false,
            created_at: self.now(),
        };
        writer.put(&change).await?;
        writer
            .set(ManifestProgressId::only(), &ManifestProgress::default())
            .await?;
        self.write_manifests(writer, &set, &actions, &mut dice).await
    }

    async fn write_manifests(
        &self,
        writer: &mut Writer<'_>,
        set: &ActionSet,
        actions: &[DesiredAction],
        dice: &mut Dice,
    ) -> Result<()> {
        let at = self.now();
        let digest = dice.hex::<32>();
        let occurrence = |dice: &mut Dice, action: &DesiredAction| Occurrence {
            id: dice.uuid(at),
            action: action.id,
            name: action.name.clone(),
            generation: action.generation,
            operation: action.operation.clone(),
            params: action.params.clone(),
            subjects: Default::default(),
            state: action.state,
            timeout_seconds: action.timeout_seconds,
            action_set: None,
        };
        let content = ManifestContent {
            id: ManifestContentId::of(&digest),
            groups: vec![ManifestGroup {
                label: format!("action_set:{}", set.id),
                name: set.name.clone(),
                rhythm: set.rhythm.clone(),
                on_failure: set.on_failure,
                occurrences: actions.iter().map(|action| occurrence(dice, action)).collect(),
            }],
            windows: Vec::new(),
            used_at: at,
        };
        writer.put(&content).await?;
        for n in 0..self.size.devices.min(MANIFESTS) {
            let device = self.device_id(n);
            let manifest = Manifest {
                id: device,
                version: 1,
                digest: digest.clone(),
                content: Some(content.id),
                reverts: Vec::new(),
                problem: None,
                compiled_at: at,
            };
            writer.put(&manifest).await?;
            let event = ManifestEvent {
                device: Some(device),
                event: ManifestEventKind::Compiled,
                at,
                version: 1,
                digest: digest.clone(),
                content: Some(content.id),
                count: ACTIONS,
                reverts: 0,
                problem: None,
            };
            writer.append(device.uuid(), at, 0, &event).await?;
            let kept = u32::try_from(ACTIONS).unwrap_or(0);
            let applied = Applied {
                version: 1,
                digest: digest.clone(),
                kept,
                ..Applied::default()
            };
            writer.set(device, &ManifestState { applied, at }).await?;
            if n % 10 == 0 {
                let owners = DeviceOwners {
                    id: device,
                    users: [people::user_id(self, n % self.size.users.max(1))].into(),
                };
                writer.put(&owners).await?;
                let selections = DeviceSelections {
                    id: device,
                    selected: [Source::ActionSet(set.id)].into(),
                };
                writer.put(&selections).await?;
            }
        }
        Ok(())
    }
}
