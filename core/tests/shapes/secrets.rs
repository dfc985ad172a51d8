//! What is stored of secrets among the parameters of work.

use fleet_core::{
    kernel::{MasterKey, Sealer, SeededRandom},
    work::{Run, secrets::OperationSecret},
};
use serde_json::json;

use crate::{
    sample::{Sample, document, show},
    values::{at, id, read},
    work::queued,
};

pub fn samples() -> Vec<Sample> {
    let random = SeededRandom::new(1);
    let sealer = Sealer::new(MasterKey::generate(&random));
    let secret = OperationSecret {
        id: id(28),
        sealed: sealer.seal("operation_secret/28", b"hunter2", &random).unwrap(),
        created_at: at(0),
        unreferenced_since: None,
    };
    vec![
        document("that work refers to", &secret),
        document(
            "that nothing refers to",
            &OperationSecret {
                id: id(29),
                unreferenced_since: Some(at(60)),
                ..secret
            },
        ),
        document(
            "that refers to a secret",
            &Run {
                id: id(27),
                params: read(json!({
                    "script": "./deploy", "interpreter": "/bin/sh",
                    "secret_env": {"TOKEN": {"$secret": id::<fleet_core::work::secrets::OperationSecretId>(28).to_string()}},
                })),
                ..queued()
            },
        ),
    ]
}

#[test]
fn what_is_stored_of_secrets() {
    insta::assert_snapshot!(show(&samples()));
}
