use futures::TryStreamExt as _;

use super::*;
use crate::{
    access::{
        keys::{KeyPurpose, NewApiKey},
        users::Password,
    },
    store::{Backend as _, Record},
};

/// Everything that the store holds, as bytes.
async fn everything(world: &World) -> Vec<u8> {
    let view = world.backend.view().await.unwrap();
    let records: Vec<Record> = view.export().try_collect().await.unwrap();
    let mut bytes = Vec::new();
    for record in records {
        match record {
            Record::Doc(doc) => bytes.extend_from_slice(&doc.body),
            Record::Latest(latest) => bytes.extend_from_slice(&latest.body),
            Record::Row(_, row) => bytes.extend_from_slice(&row.row.body),
            Record::End { .. } => {}
        }
        bytes.push(b'\n');
    }
    bytes
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn no_secret_is_stored_shown_or_written_down() {
    let world = World::new().await;
    let access = world.fleet.access();
    let bootstrap = access.bootstrap_token().await.unwrap().unwrap();
    access.claim(claim(bootstrap.expose(), "root")).await.unwrap();
    let signed_in = world.login("root").await.unwrap();
    let root = world.context(&signed_in).await;
    let new = NewApiKey {
        name: "script".to_owned(),
        role: Role::Viewer,
        purpose: KeyPurpose::Api,
        owner: None,
        expires_at: None,
    };
    let created = access.keys().create(&root, new).await.unwrap();
    let _ = world.login_with("root", "canary of a failure").await;
    let _ = world.login_with("canary of a name", "canary of a failure").await;
    let _ = access.claim(claim("fla1_canary", "root")).await;
    let changed = Password::from("canary of a new password");
    let present = PASSWORD.into();
    access
        .users()
        .set_password(&root, signed_in.user.id, Some(&present), &changed)
        .await
        .unwrap();

    let stored = everything(&world).await;
    assert!(
        contains(&stored, b"argon2id") && contains(&stored, b"auth.login"),
        "the search sees what is there"
    );
    let keys = world.fleet.keys();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("bootstrap token", bootstrap.expose()[5..].into()),
        ("session token", signed_in.token.expose()[5..].into()),
        ("key token", created.token.expose()[5..].into()),
        ("password", PASSWORD.into()),
        ("typed secrets", "canary".into()),
        ("identity key", hex::encode(*keys.identity().to_bytes()).into()),
        ("master key", master_key(1).to_text().as_bytes().to_vec()),
    ];
    for (what, secret) in &secrets {
        assert!(!contains(&stored, secret), "the store holds the {what}");
    }
    let shown = format!(
        "{signed_in:?} {created:?} {root:?} {access:?} {keys:?} {changed:?} {:?}",
        world.fleet
    );
    for (what, secret) in &secrets {
        assert!(!contains(shown.as_bytes(), secret), "Debug shows the {what}");
    }
    let user = serde_json::to_string(&signed_in.user).unwrap();
    assert!(!user.contains("argon2") && user.contains("has_password"));
    for entry in world.audit().await {
        assert!(!serde_json::to_string(&entry).unwrap().contains("argon2"), "{entry:?}");
    }
}
