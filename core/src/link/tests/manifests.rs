//! Sessions are told of their devices' manifests.

use super::*;
use crate::{
    protocol::ManifestMark,
    work::desired::{DesiredState, Mode, Source, Target, actions::NewAction, assignments::NewAssignment},
};

impl World {
    /// Assigns one more file to the device, by one of the two servers; it compiles the manifest.
    async fn assign(&self, by: &Fleet, path: &str) {
        let (system, desired) = (Context::system("test"), by.desired());
        let new = NewAction {
            name: path.into(),
            description: String::new(),
            operation: "directory".into(),
            params: serde_json::json!({"path": path}).into(),
            state: DesiredState::Present,
            timeout_seconds: None,
            rhythm: None,
        };
        let action = desired.actions().create(&system, &new).await.unwrap().id;
        let new = NewAssignment {
            source: Source::Action(action),
            target: Target::Device(self.device),
            mode: Mode::Required,
            order: 0,
        };
        desired.assignments().create(&system, &[new]).await.unwrap();
        desired.manifests().keep_current().await.unwrap();
    }

    /// The version that a session is told of, if it is.
    async fn told(&self, session: &Session) -> Option<ManifestMark> {
        let frames = self.due(session).await;
        frames.into_iter().find_map(|frame| match frame {
            ServerFrame::Manifest(mark) => Some(mark),
            _ => None,
        })
    }
}

#[tokio::test]
async fn a_session_is_told_once_of_each_version_whichever_server_compiled_it() {
    let world = World::new().await;
    let session = world.session().await;
    assert_eq!(
        world.told(&session).await,
        None,
        "it has none, and neither has its agent"
    );
    let mut signal = world.here.fleet.device_signals().subscribe(world.device);
    world.assign(&world.here.fleet, "/srv/a").await;
    signal.signalled().await;
    assert_eq!(world.told(&session).await.unwrap().version, 1);
    assert_eq!(world.told(&session).await, None, "once");
    world.assign(&world.there.fleet, "/srv/b").await;
    signal.signalled().await;
    assert_eq!(world.told(&session).await.unwrap().version, 2);
}

#[tokio::test]
async fn an_agent_that_has_the_manifest_is_not_told_and_one_that_has_another_is() {
    let world = World::new().await;
    world.assign(&world.here.fleet, "/srv/a").await;
    let session = world.session_with(None).await;
    let mark = world.told(&session).await.unwrap();
    let session = world.session_with(Some(mark.digest.clone())).await;
    assert_eq!(world.told(&session).await, None);
    let session = world.session_with(Some("f".repeat(64))).await;
    assert_eq!(world.told(&session).await, Some(mark));
}

#[tokio::test]
async fn an_agent_with_a_manifest_that_its_server_does_not_know_is_told_that_there_is_none() {
    let world = World::new().await;
    let session = world.session_with(Some("f".repeat(64))).await;
    assert_eq!(world.told(&session).await, Some(ManifestMark::default()));
}
