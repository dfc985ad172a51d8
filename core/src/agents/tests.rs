//! Releases from upload to manifest, over stores in memory.

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde_json::json;

use super::{
    AgentReleaseView, Imported, MANIFEST_LIFE, NewAgentRelease, RELEASE_BELOW_FLOOR, RELEASE_EXISTS, RELEASE_NONE,
    RELEASE_NOT_FOUND, RELEASE_PLATFORM, RELEASE_WITHDRAWN, ROLLBACK_FLOOR, ReleaseFilter, ReleaseSource,
};
use crate::{
    access::{DENIED, Role},
    devices::testing::{TestFleet, fails},
    kernel::{Code, Error, PageRequest, Result},
    protocol::{AgentVersion, Sha256Digest, SignedManifest},
    settings,
};

const X86: &str = "linux-x86_64";
const ARM: &str = "linux-aarch64";

fn version(text: &str) -> AgentVersion {
    text.parse().unwrap()
}

/// A program in parts of three bytes.
fn body(content: &str) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    let parts: Vec<_> = content
        .as_bytes()
        .chunks(3)
        .map(|part| Ok::<_, Error>(Bytes::copy_from_slice(part)))
        .collect();
    stream::iter(parts)
}

impl TestFleet {
    async fn upload(&self, text: &str, platform: &str, content: &str) -> Result<(AgentReleaseView, bool)> {
        let new = NewAgentRelease {
            version: version(text),
            platform: Some(platform.into()),
        };
        self.fleet
            .agent_releases()
            .create(&self.admin(), &new, body(content))
            .await
    }

    async fn uploaded(&self, text: &str, platform: &str) -> AgentReleaseView {
        let content = format!("agent {text} for {platform}");
        self.upload(text, platform, &content).await.unwrap().0
    }

    async fn import(&self, text: &str, content: &str) -> Imported {
        let releases = self.fleet.agent_releases();
        releases.import(X86, &version(text), body(content)).await.unwrap()
    }

    async fn withdraw(&self, release: &AgentReleaseView) -> AgentReleaseView {
        let releases = self.fleet.agent_releases();
        releases.withdraw(&self.admin(), release.id).await.unwrap()
    }

    async fn manifest(&self, platform: &str, wanted: Option<&str>) -> Result<SignedManifest> {
        let wanted = wanted.map(version);
        self.fleet.agent_releases().manifest(platform, wanted.as_ref()).await
    }

    /// The version that a manifest names, or the code of the refusal.
    async fn check(&self, wanted: Option<&str>, expected: std::result::Result<&str, Code>) {
        let found = self.manifest(X86, wanted).await;
        let found = found.map(|signed| signed.manifest.version.to_string());
        assert_eq!(found.as_deref().map_err(Error::code), expected, "{wanted:?}");
    }

    async fn set_floor(&self, text: &str) -> Result<()> {
        let (settings, value) = (self.fleet.settings(), json!(text));
        settings
            .set(&self.admin(), ROLLBACK_FLOOR.name(), &value, None)
            .await
            .map(drop)
    }

    async fn listed(&self) -> Vec<AgentReleaseView> {
        let (releases, filter) = (self.fleet.agent_releases(), ReleaseFilter::default());
        releases
            .list(&self.admin(), &filter, &PageRequest::default())
            .await
            .unwrap()
            .items
    }
}

#[tokio::test]
async fn a_release_is_handed_out_until_it_is_withdrawn() {
    let test = TestFleet::new().await;
    let (made, is_new) = test.upload("1.4.0", X86, "abc").await.unwrap();
    // FIPS 180-2, B.1.
    let sha256 = Sha256Digest::parse("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
    assert!(is_new);
    assert_eq!(
        (made.sha256, made.size_bytes, made.source),
        (sha256, 3, ReleaseSource::Uploaded)
    );
    let releases = test.fleet.agent_releases();
    let program: Vec<Bytes> = releases.binary(X86, sha256).await.unwrap().try_collect().await.unwrap();
    assert_eq!(program.concat(), b"abc");
    fails(releases.binary(ARM, sha256).await, RELEASE_NOT_FOUND);
    assert_eq!(releases.show(&test.admin(), made.id).await.unwrap(), made);
    let withdrawn = test.withdraw(&made).await;
    assert_eq!(withdrawn.withdrawn_at, Some(test.clock_now()));
    fails(releases.binary(X86, sha256).await, RELEASE_NOT_FOUND);
    assert_eq!(test.listed().await, std::slice::from_ref(&withdrawn));
    // Again, later: nothing changes.
    test.advance(60);
    assert_eq!(test.withdraw(&made).await, withdrawn);
    assert_eq!(test.actions().await, ["agent_release.create", "agent_release.withdraw"]);
}

#[tokio::test]
async fn of_a_version_and_platform_there_is_one_release() {
    let test = TestFleet::new().await;
    let (first, _) = test.upload("1.4.0", X86, "one").await.unwrap();
    assert_eq!(test.upload("1.4.0", X86, "one").await.unwrap(), (first.clone(), false));
    fails(test.upload("1.4.0", X86, "another").await, RELEASE_EXISTS);
    assert!(test.upload("1.4.0", ARM, "another").await.unwrap().1);
    assert!(
        test.upload("1.4.1", X86, "one").await.unwrap().1,
        "the same program by another name"
    );
    test.withdraw(&first).await;
    let (second, _) = test.upload("1.4.0", X86, "another").await.unwrap();
    test.check(Some("1.4.0"), Ok("1.4.0")).await;
    fails(test.upload("1.4.0", X86, "one").await, RELEASE_EXISTS);
    // What was withdrawn may come back.
    test.withdraw(&second).await;
    let (back, is_new) = test.upload("1.4.0", X86, "one").await.unwrap();
    assert!((back.id, back.withdrawn_at, is_new) == (first.id, None, true));
}

#[tokio::test]
async fn what_is_not_for_the_platform_is_not_read_to_its_end() {
    let test = TestFleet::new().await;
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"\x7fELF\x02\x01")));
    let new = NewAgentRelease {
        version: version("1.0.0"),
        platform: Some(X86.into()),
    };
    let created = test.fleet.agent_releases().create(&test.admin(), &new, endless).await;
    fails(created, RELEASE_PLATFORM);
    fails(test.upload("1.0.0", "plan9-pdp11", "x").await, RELEASE_PLATFORM);
    fails(test.upload("1.0.0", X86, "").await, crate::kernel::INVALID);
}

#[tokio::test]
async fn a_manifest_names_the_newest_or_the_version_that_is_asked_for() {
    let test = TestFleet::new().await;
    fails(test.manifest(X86, None).await, RELEASE_NONE);
    test.uploaded("1.10.0", X86).await;
    let newest = test.uploaded("1.11.0", X86).await;
    test.uploaded("1.9.9", X86).await;
    test.uploaded("2.0.0", ARM).await;
    test.check(None, Ok("1.11.0")).await;
    test.check(Some("1.9.9"), Ok("1.9.9")).await;
    test.check(Some("2.0.0"), Err(RELEASE_NOT_FOUND)).await;
    test.withdraw(&newest).await;
    test.check(None, Ok("1.10.0")).await;
    test.check(Some("1.11.0"), Err(RELEASE_WITHDRAWN)).await;
    let newest = test.fleet.agent_releases().newest().await.unwrap();
    let newest: Vec<_> = newest
        .iter()
        .map(|release| (&*release.platform, release.version.to_string()))
        .collect();
    assert_eq!(newest, [(ARM, "2.0.0".to_owned()), (X86, "1.10.0".to_owned())]);
}

#[tokio::test]
async fn a_manifest_is_believed_by_agents_of_this_server_for_an_hour() {
    let test = TestFleet::new().await;
    let release = test.uploaded("1.4.0", X86).await;
    test.set_floor("1.2.0").await.unwrap();
    let (signed, now) = (test.manifest(X86, None).await.unwrap(), test.clock_now());
    let dispatch = test.fleet.keys().dispatch();
    let manifest = signed.verify(&dispatch.public, X86, now).unwrap();
    assert_eq!((manifest.length, manifest.sha256), (release.size_bytes, release.sha256));
    assert_eq!(manifest.expires_at, now.plus(MANIFEST_LIFE));
    assert_eq!(manifest.rollback_floor, version("1.2.0"));
    assert!(signed.verify(&dispatch.public, X86, now.plus(MANIFEST_LIFE)).is_err());
    assert!(signed.verify(&test.fleet.keys().identity().public(), X86, now).is_err());
}

#[tokio::test]
async fn below_the_floor_nothing_is_handed_out() {
    let test = TestFleet::new().await;
    test.uploaded("1.1.0", X86).await;
    test.uploaded("1.2.0", X86).await;
    test.set_floor("1.2.0").await.unwrap();
    test.check(Some("1.1.0"), Err(RELEASE_BELOW_FLOOR)).await;
    test.check(Some("1.2.0"), Ok("1.2.0")).await;
    test.set_floor("1.2.1").await.unwrap();
    test.check(None, Err(RELEASE_BELOW_FLOOR)).await;
    assert!(test.fleet.agent_releases().newest().await.unwrap().is_empty());
    test.set_floor("").await.unwrap();
    test.check(Some("1.1.0"), Ok("1.1.0")).await;
    fails(test.set_floor("one").await, settings::INVALID);
}

#[tokio::test]
async fn what_comes_with_a_server_becomes_a_release_once() {
    let test = TestFleet::new().await;
    assert_eq!(test.import("1.0.0", "one").await, Imported::Added);
    assert_eq!(test.import("1.0.0", "one").await, Imported::Known);
    let [first] = &test.listed().await[..] else { panic!() };
    assert_eq!(first.source, ReleaseSource::Imported);
    assert!(test.fleet.agent_releases().knows(X86, first.sha256).await.unwrap());
    assert!(!test.fleet.agent_releases().knows(ARM, first.sha256).await.unwrap());
    // Another server, which keeps blobs elsewhere, takes it in too.
    let sha256 = first.sha256;
    assert!(test.fleet.agent_releases().binary(X86, sha256).await.is_ok());
    for found in test.objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
        test.objects.delete(&found.location).await.unwrap();
    }
    assert!(!test.fleet.agent_releases().knows(X86, sha256).await.unwrap());
    assert_eq!(test.import("1.0.0", "one").await, Imported::Known);
    assert!(test.fleet.agent_releases().binary(X86, sha256).await.is_ok());
    // Built anew under the same version: the new one follows, and the former does not come back.
    test.advance(1);
    assert_eq!(test.import("1.0.0", "two").await, Imported::Added);
    assert_eq!(test.import("1.0.0", "one").await, Imported::Known);
    let states: Vec<_> = test
        .listed()
        .await
        .iter()
        .map(|release| release.withdrawn_at.is_some())
        .collect();
    assert_eq!(states, [false, true]);
    // What somebody uploaded or withdrew stays as it is.
    test.upload("2.0.0", X86, "mine").await.unwrap();
    assert_eq!(test.import("2.0.0", "theirs").await, Imported::Kept);
    let listed = test.listed().await;
    test.withdraw(listed.iter().find(|release| release.withdrawn_at.is_none()).unwrap())
        .await;
    assert_eq!(test.import("1.0.0", "two").await, Imported::Known);
    assert_eq!(test.import("2.0.0", "mine").await, Imported::Known);
}

#[tokio::test]
async fn two_servers_may_import_at_the_same_moment() {
    let test = TestFleet::new().await;
    let other = test.restarted().await;
    let (one, two) = tokio::join!(test.import("1.0.0", "one"), other.import("1.0.0", "one"));
    assert!([one, two].contains(&Imported::Added));
    assert_eq!(test.listed().await.len(), 1);
}

#[tokio::test]
async fn everybody_sees_releases_and_administrators_decide() {
    let test = TestFleet::new().await;
    let release = test.uploaded("1.0.0", X86).await;
    let releases = test.fleet.agent_releases();
    let new = NewAgentRelease {
        version: version("1.1.0"),
        platform: None,
    };
    fails(releases.show(&test.nobody(), release.id).await, DENIED);
    for role in [Role::Viewer, Role::Operator] {
        let somebody = test.role(role);
        releases.show(&somebody, release.id).await.unwrap();
        fails(releases.withdraw(&somebody, release.id).await, DENIED);
        fails(releases.create(&somebody, &new, stream::pending()).await, DENIED);
    }
}
