//! What is stored of the secrets that devices make, and how they travel.

use fleet_core::{
    access::Actor,
    escrow::{
        Conclusion, DeviceDiskKeys, DiskKey, DiskPassphraseToken, EscrowKind, EscrowReason, EscrowState,
        EscrowedSecret, TokenUse,
    },
    kernel::{MasterKey, Sealer, SeededRandom},
    protocol::{
        DiskKeyReceipt, DiskKeyReceiptBody, DiskKeyTold, DiskPassphraseTokenCheck, DiskPassphraseTokenUse,
        EscrowConclude, EscrowDeposit, EscrowQuestion, EscrowReceipt, EscrowReceiptBody, HeldSecret, HeldSecrets,
        HeldSecretsBody, body_digest,
    },
    work::operations::actions::disk_encryption::DeviceKey,
};

use crate::{
    sample::{Sample, document, show},
    values::{at, id, key},
};

pub fn samples() -> Vec<Sample> {
    let random = SeededRandom::new(1);
    let sealer = Sealer::new(MasterKey::generate(&random));
    let offered = EscrowedSecret {
        id: id(41),
        device: id(2),
        device_name: "web-1".into(),
        kind: EscrowKind::LocalPassword,
        subject: "ana".into(),
        number: 1,
        source: id(27),
        reason: EscrowReason::Initial,
        state: EscrowState::Offered,
        sealed: sealer.seal("escrowed_secret/41", b"hunter2", &random).unwrap(),
        offered_at: at(0),
        confirmed_at: None,
        superseded_at: None,
        abandoned_at: None,
        device_gone_since: None,
    };
    vec![
        document(
            "with every member",
            &EscrowedSecret {
                kind: EscrowKind::DiskPassphrase,
                subject: "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00".into(),
                reason: EscrowReason::AfterUse,
                state: EscrowState::Superseded,
                confirmed_at: Some(at(5)),
                superseded_at: Some(at(60)),
                abandoned_at: Some(at(70)),
                device_gone_since: Some(at(80)),
                ..offered.clone()
            },
        ),
        document("that is offered", &offered),
        document(
            "that is in use",
            &EscrowedSecret {
                id: id(42),
                number: 2,
                reason: EscrowReason::Scheduled,
                state: EscrowState::Current,
                confirmed_at: Some(at(5)),
                ..offered
            },
        ),
        document("with every member", &disk_keys()),
        document(
            "of a device that has none",
            &DeviceDiskKeys {
                disks: Vec::new(),
                tokens: Vec::new(),
                ..disk_keys()
            },
        ),
    ]
}

/// A device with a key of each sort, and a token that waits beside one that was used.
fn disk_keys() -> DeviceDiskKeys {
    let disk = |number: u128| format!("6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a{number:02}");
    let key = |number, key| DiskKey {
        disk: disk(number),
        key,
        since: at(70),
    };
    let token = |used| DiskPassphraseToken {
        hash: serde_json::from_value("7c1f".repeat(16).into()).unwrap(),
        created_at: at(0),
        created_by: Actor::User {
            id: uuid::Uuid::from_u128(1),
            name: "ana".into(),
        },
        expires_at: at(900),
        used,
    };
    let used = TokenUse {
        at: at(70),
        disk: disk(2),
    };
    DeviceDiskKeys {
        id: id(2),
        disks: vec![
            key(0, DeviceKey::None),
            key(1, DeviceKey::Tpm2),
            key(2, DeviceKey::Passphrase),
        ],
        tokens: vec![token(Some(used)), token(None)],
    }
}

#[test]
fn what_is_stored_of_escrow() {
    insta::assert_snapshot!(show(&samples()));
}

#[test]
fn how_secrets_travel() {
    let nonce = || "AAECAwQFBgcICQoLDA0ODw".to_owned();
    let deposit = EscrowDeposit {
        nonce: nonce(),
        id: id(41),
        kind: EscrowKind::LocalPassword,
        subject: "ana".into(),
        source: id(27),
        reason: EscrowReason::Requested,
        secret: "hunter2".to_owned().into(),
    };
    let conclude = |conclusion| EscrowConclude {
        nonce: nonce(),
        id: id(41),
        conclusion,
    };
    let question = EscrowQuestion {
        nonce: nonce(),
        kind: EscrowKind::DiskPassphrase,
        subject: "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00".into(),
    };
    let receipt = EscrowReceiptBody {
        nonce: nonce(),
        request: body_digest(b"{}"),
        device: id(2),
        id: id(41),
        state: EscrowState::Abandoned,
        time: at(0),
    };
    let held = HeldSecretsBody {
        nonce: nonce(),
        request: body_digest(b"{}"),
        device: id(2),
        secrets: vec![HeldSecret {
            id: id(41),
            state: EscrowState::Offered,
            offered_at: at(0),
            secret: "hunter2".to_owned().into(),
        }],
        time: at(0),
    };
    insta::assert_json_snapshot!([
        serde_json::to_value(deposit).unwrap(),
        serde_json::to_value(conclude(Conclusion::InUse)).unwrap(),
        serde_json::to_value(conclude(Conclusion::Abandoned)).unwrap(),
        serde_json::to_value(question).unwrap(),
        serde_json::to_value(EscrowReceipt::sign(receipt, &key(1)).unwrap()).unwrap(),
        serde_json::to_value(HeldSecrets::sign(held, &key(1)).unwrap()).unwrap(),
    ]);
}

#[test]
fn what_is_said_of_keys_of_a_devices_own() {
    let nonce = || "AAECAwQFBgcICQoLDA0ODw".to_owned();
    let disk = || "6f1f0b1e-4a55-4f0e-9a0e-5f1d3c2b1a00".to_owned();
    let check = DiskPassphraseTokenCheck {
        nonce: nonce(),
        token: "5e7c".repeat(16).into(),
    };
    let used = DiskPassphraseTokenUse {
        nonce: nonce(),
        token: "5e7c".repeat(16).into(),
        disk: disk(),
    };
    let told = |key| DiskKeyTold {
        nonce: nonce(),
        disk: disk(),
        key,
    };
    let receipt = DiskKeyReceiptBody {
        nonce: nonce(),
        request: body_digest(b"{}"),
        device: id(2),
        time: at(0),
    };
    insta::assert_json_snapshot!([
        serde_json::to_value(check).unwrap(),
        serde_json::to_value(used).unwrap(),
        serde_json::to_value(told(DeviceKey::None)).unwrap(),
        serde_json::to_value(told(DeviceKey::Tpm2)).unwrap(),
        serde_json::to_value(told(DeviceKey::Passphrase)).unwrap(),
        serde_json::to_value(DiskKeyReceipt::sign(receipt, &key(1)).unwrap()).unwrap(),
    ]);
}
