//! Operators at work: the command line against a real server over a fleet in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod desired;
mod groups;
mod work;

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use fleet_api::{ApiConfig, router};
use fleet_core::{
    Fleet,
    access::Origin,
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, Machine, NewEnrolmentToken},
    },
    kernel::{MasterKey, SigningKey, SystemClock, SystemRandom},
    store::memory::MemoryStore,
};
use serde_json::{Value, json};

const PASSWORD: &str = "open sesame, says the test";

/// Kinds of work whose names the tests use.
const MOTD: &str = r#"{"path": "/etc/motd", "content": "welcome\n"}"#;

/// A server on the loopback interface, its administrator, and devices that never come for their work.
struct Server {
    runtime: tokio::runtime::Runtime,
    fleet: Fleet,
    address: SocketAddr,
    token: String,
    home: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (fleet, token) = runtime.block_on(async {
            let backend = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
            let builder = Fleet::builder(backend, MasterKey::generate(&SystemRandom));
            let blobs = Arc::new(object_store::memory::InMemory::new());
            let fleet = builder.blobs(blobs).open().await.unwrap();
            let claim = fleet.access().bootstrap_token().await.unwrap().unwrap();
            (fleet, claim.expose().to_owned())
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let config = ApiConfig {
            public_url: format!("http://{address}"),
            ..ApiConfig::default()
        };
        let service = router(fleet.clone(), config).into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        let mut server = Self {
            runtime,
            fleet,
            address,
            token: String::new(),
            home: tempfile::tempdir().unwrap(),
        };
        let claimed = json!({"token": token, "name": "ada", "password": PASSWORD});
        server.post("bootstrap", &claimed);
        let session = server.post("sessions", &json!({"name": "ada", "password": PASSWORD}));
        server.token = session["token"].as_str().unwrap().to_owned();
        server
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = reqwest::Client::new()
            .post(format!("http://{}/api/v1/{path}", self.address))
            .header("content-type", "application/json")
            .body(body.to_string());
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            serde_json::from_str(&answer.text().await.unwrap()).unwrap()
        })
    }

    /// Reads an address with nothing but itself: status and text.
    fn read(&self, address: &str) -> (u16, String) {
        self.runtime.block_on(async {
            let answer = reqwest::get(address).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// A device of this name.
    fn device(&self, name: &str) -> DeviceId {
        self.runtime.block_on(async {
            let context = self.fleet.access().authenticate(&self.token, Origin::default()).await;
            let (enrolment, context, new) = (self.fleet.enrolment(), context.unwrap(), NewEnrolmentToken::default());
            let (_, secret) = enrolment.create_token(&context, &new).await.unwrap();
            let machine = Machine {
                hostname: name.to_owned(),
                machine_id: None,
                agent_version: "1.0.0".to_owned(),
            };
            let key = SigningKey::generate(&SystemRandom);
            let request = EnrolRequest::prove(secret, &key, [9; 32], machine);
            enrolment.enrol(&request, Origin::default()).await.unwrap().device_id
        })
    }

    /// Runs `fleet` as its administrator.
    fn fleet(&self, arguments: &[&str]) -> Done {
        self.run(Command::new(env!("CARGO_BIN_EXE_fleet")).args(arguments))
    }

    /// Runs a command with nothing to read.
    fn run(&self, command: &mut Command) -> Done {
        self.typing(command, "")
    }

    /// Runs a command in which somebody types.
    fn typing(&self, command: &mut Command, text: &str) -> Done {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut child = command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("FLEET_URL", format!("http://{}", self.address))
            .env("FLEET_TOKEN", &self.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// What a command tells programs; it must succeed.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let done = self.fleet(&[arguments, &["-o", "json"]].concat());
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        serde_json::from_str(&done.out).unwrap()
    }

    /// A member of each thing of a list.
    #[track_caller]
    fn listed(&self, arguments: &[&str], pointer: &str) -> Vec<String> {
        let items = self.json(arguments);
        let items = items.as_array().unwrap().iter();
        items
            .map(|item| item.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned())
            .collect()
    }

    /// A command must fail with this exit code, and say that.
    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, words: &str) {
        let done = self.fleet(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        assert!(done.err.contains(words), "{arguments:?}: {done:?}");
    }
}

/// The id in what a command told.
#[track_caller]
fn id(told: &Value) -> String {
    told["id"].as_str().unwrap().to_owned()
}
