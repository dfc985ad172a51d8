//! A server, an agent, and what is known about them.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_bins_common::storage::{self, Purpose};
use fleet_core::{
    Fleet,
    access::{Context, Origin, bootstrap::Claim, sessions::Login, users::Password},
    devices::enrolment::{NewEnrolmentToken, TokenText},
    kernel::{MasterKey, SystemClock, SystemRandom},
};
use serde_json::{Value, json};

use crate::{
    nginx::Nginx,
    processes::{Agent, Server, enrol},
};

const PASSWORD: &str = "a password for crash tests";

/// What became of a run.
#[derive(Debug)]
pub(crate) struct RunSeen {
    pub(crate) state: String,
    pub(crate) executions: usize,
    pub(crate) output: String,
}

/// How the agent reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Plainly, on this machine.
    Plain,
    /// By the server's own TLS port.
    OwnTls,
    /// Through nginx, which ends TLS.
    Nginx,
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    transport: &'static str,
    listen: String,
    storage: String,
    arguments: Vec<String>,
    proxy: Option<Nginx>,
    server: Server,
    agent: Agent,
    agent_down: bool,
    client: reqwest::Client,
    pub(crate) token: String,
    device: String,
    /// The marker of each run that was acknowledged.
    markers: BTreeMap<usize, String>,
}

impl World {
    /// A fleet with one enrolled device. The store is set up before the server starts.
    pub(crate) async fn new(transport: &'static str) -> Self {
        Self::with(transport, Way::Plain).await
    }

    /// The same, for an agent that goes another way.
    pub(crate) async fn with(transport: &'static str, way: Way) -> Self {
        Self::at(None, transport, way).await
    }

    /// On another store than usual, with a server that listens here, and an agent that finds it there.
    pub(crate) async fn on(storage: &str, transport: &'static str, listen: String, found_at: &str) -> Self {
        let place = (storage.to_owned(), listen, found_at.to_owned());
        Self::at(Some(place), transport, Way::Plain).await
    }

    async fn at(place: Option<(String, String, String)>, transport: &'static str, way: Way) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (storage, listen, found_at) = match place {
            Some((storage, listen, found_at)) => (storage, listen, Some(found_at)),
            None => (
                format!("sqlite:{}", data.join("fleet.db").display()),
                free_address(),
                None,
            ),
        };
        let agents = free_address();
        let (address, mut arguments) = match way {
            Way::Plain => (format!("http://{listen}"), vec![]),
            Way::OwnTls => (
                format!("https://{agents}"),
                vec!["--agents-listen".to_owned(), agents.clone()],
            ),
            Way::Nginx => (
                format!("https://{agents}"),
                vec!["--trusted-proxy".to_owned(), "127.0.0.1".to_owned()],
            ),
        };
        arguments.extend(["--storage".to_owned(), storage.clone()]);
        let address = found_at.unwrap_or(address);
        let (token, enrolment) = prepare(&data, &storage, &address, way).await;
        let proxy = match way {
            Way::Nginx => Some(Nginx::start(folder.path(), &agents, &listen).await),
            Way::Plain | Way::OwnTls => None,
        };
        let server = start(&data, &listen, &arguments).await;
        let state = folder.path().join("agent");
        enrol(&state, &enrolment).await;
        let agent = Agent::start(&state, folder.path(), transport);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let mut world = Self {
            folder,
            transport,
            listen,
            storage,
            arguments,
            proxy,
            server,
            agent,
            agent_down: false,
            client,
            token,
            device: String::new(),
            markers: BTreeMap::new(),
        };
        world.device =
            serde_json::from_slice::<Value>(&std::fs::read(world.folder.path().join("agent/identity.json")).unwrap())
                .unwrap()["device"]
                .as_str()
                .unwrap()
                .to_owned();
        world
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// The file in which every execution of a round leaves a line.
    fn marks(&self, round: usize) -> PathBuf {
        self.folder.path().join(format!("marks-{round}"))
    }

    /// Waits until nothing of earlier rounds is open, so that each round sees its own run only.
    pub(crate) async fn ready(&mut self) {
        if self.agent_down {
            self.restart_agent().await;
        }
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let open = self
                .get("/api/v1/runs?state=queued&state=offered&state=accepted&state=running")
                .await;
            if open["items"].as_array().unwrap().is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "runs stay open: {open}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks for a run that leaves a mark; acknowledged when this returns.
    pub(crate) async fn ask(&mut self, round: usize) -> usize {
        let script = format!(
            "echo executed >> '{}'; echo begun {round}; sleep 0.3; echo done {round}",
            self.marks(round).display()
        );
        let body = json!({"operation": "shell", "params": {"script": script}, "targets": {"devices": [self.device]}});
        let batch = self.create("/api/v1/batches", &body).await;
        let runs = self
            .get(&format!("/api/v1/runs?batch={}", batch["id"].as_str().unwrap()))
            .await;
        self.markers
            .insert(round, runs["items"][0]["id"].as_str().unwrap().to_owned());
        round
    }

    pub(crate) fn runs(&self) -> Vec<usize> {
        self.markers.keys().copied().collect()
    }

    pub(crate) fn expected_output(&self, round: usize) -> String {
        format!("begun {round}\ndone {round}\n")
    }

    /// Asks for a script on the device; the run's id.
    pub(crate) async fn run_script(&self, script: &str, timeout_seconds: u32) -> String {
        self.run_operation("shell", json!({"script": script}), timeout_seconds)
            .await
    }

    /// Asks for an operation on the device; the run's id.
    pub(crate) async fn run_operation(&self, operation: &str, params: Value, timeout_seconds: u32) -> String {
        let body = json!({"operation": operation, "params": params, "targets": {"devices": [self.device]}, "timeout_seconds": timeout_seconds});
        let batch = self.create("/api/v1/batches", &body).await;
        let runs = self
            .get(&format!("/api/v1/runs?batch={}", batch["id"].as_str().unwrap()))
            .await;
        runs["items"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Creates something; what was made.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Value {
        let response = self.posting(path).json(body).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// Asks for something that is answered, and makes nothing.
    pub(crate) async fn ask_for(&self, path: &str) -> Value {
        let response = self.posting(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    fn posting(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(&self.token)
    }

    /// Deletes something.
    pub(crate) async fn delete(&self, path: &str) -> u16 {
        let request = self.client.delete(self.url(path)).bearer_auth(&self.token);
        request.send().await.unwrap().status().as_u16()
    }

    /// The path of the device, or of something below it.
    pub(crate) fn of_device(&self, what: &str) -> String {
        format!("/api/v1/devices/{}{what}", self.device)
    }

    /// Uploads a release of the agent for this machine.
    pub(crate) async fn upload_agent(&self, version: &str, program: Vec<u8>) {
        let platform = format!("linux-{}", std::env::consts::ARCH);
        let response = self
            .client
            .post(self.url(&format!("/api/v1/agent-releases?version={version}&platform={platform}")))
            .bearer_auth(&self.token)
            .body(program)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    }

    /// Waits until a run meets a condition.
    pub(crate) async fn until(&self, run: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.until_within(Duration::from_secs(60), run, what, condition).await
    }

    /// The same, with more or less patience.
    pub(crate) async fn until_within(
        &self,
        patience: Duration,
        run: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let view = self.get(&format!("/api/v1/runs/{run}")).await;
            if condition(&view) {
                return view;
            }
            assert!(
                Instant::now() < deadline,
                "run {run} is not {what}: {view}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All output of a run.
    pub(crate) async fn output(&self, run: &str) -> String {
        let output = self.get(&format!("/api/v1/runs/{run}/output?limit=500")).await;
        output["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|chunk| chunk["text"].as_str().unwrap())
            .collect()
    }

    /// A section of the device's inventory, once it is reported.
    pub(crate) async fn section(&self, section: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        let path = format!("/api/v1/devices/{}/inventory/{section}", self.device);
        loop {
            let response = self
                .client
                .get(self.url(&path))
                .bearer_auth(&self.token)
                .send()
                .await
                .unwrap();
            if response.status().is_success() {
                return response.json().await.unwrap();
            }
            assert!(
                Instant::now() < deadline,
                "{section} is not reported: {}\n{}",
                response.text().await.unwrap(),
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Posts without a body.
    pub(crate) async fn post(&self, path: &str) -> u16 {
        self.posting(path).send().await.unwrap().status().as_u16()
    }

    /// The device as it is shown.
    pub(crate) async fn device(&self) -> Value {
        self.get(&format!("/api/v1/devices/{}", self.device)).await
    }

    /// Posts to a route of the device, without a body.
    pub(crate) async fn post_device(&self, what: &str) -> u16 {
        self.post(&format!("/api/v1/devices/{}/{what}", self.device)).await
    }

    /// Deletes the device.
    pub(crate) async fn delete_device(&self) -> u16 {
        self.delete(&self.of_device("")).await
    }

    /// The exit code of the agent, which ends by itself.
    pub(crate) async fn agent_ends(&mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(30), self.agent.gone())
            .await
            .expect("the agent ends within 30 s")
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Waits until a run is in a state (or past it), or for a time; returns the state that it is in.
    pub(crate) async fn wait_for(&self, round: usize, moment: &str, any: Duration) -> String {
        if moment == "any" {
            tokio::time::sleep(any * 2).await;
            return self.state(round).await;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let order = ["queued", "offered", "accepted", "running", "succeeded"];
        let wanted = order.iter().position(|state| *state == moment).unwrap();
        loop {
            let state = self.state(round).await;
            let reached = order
                .iter()
                .position(|known| *known == state)
                .is_none_or(|place| place >= wanted);
            if reached || Instant::now() > deadline {
                return state;
            }
        }
    }

    pub(crate) async fn state(&self, round: usize) -> String {
        let run = self.get(&format!("/api/v1/runs/{}", self.markers[&round])).await;
        run["state"].as_str().unwrap().to_owned()
    }

    /// What became of a run, once it has ended.
    pub(crate) async fn settled(&self, round: usize) -> RunSeen {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let run = self.get(&format!("/api/v1/runs/{}", self.markers[&round])).await;
            if run["terminal"] == true {
                let output = self.get(&format!("/api/v1/runs/{}/output", self.markers[&round])).await;
                let output = output["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|chunk| chunk["text"].as_str().unwrap())
                    .collect();
                let executions = std::fs::read_to_string(self.marks(round))
                    .unwrap_or_default()
                    .lines()
                    .count();
                return RunSeen {
                    state: run["state"].as_str().unwrap().to_owned(),
                    executions,
                    output,
                };
            }
            assert!(
                Instant::now() < deadline,
                "run {round} does not end: {run}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Every batch that was acknowledged has its audit entry, and the chain holds.
    pub(crate) async fn check_audit(&self, batches: usize) {
        let mut entries = 0;
        let mut token = None::<String>;
        loop {
            let page = match &token {
                Some(token) => format!("&page_token={token}"),
                None => String::new(),
            };
            let found = self
                .get(&format!("/api/v1/audit-entries?action=batch.create&limit=500{page}"))
                .await;
            entries += found["items"].as_array().unwrap().len();
            match found["next"].as_str() {
                Some(next) => token = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(entries, batches);
    }

    pub(crate) fn kill_agent(&mut self) {
        self.agent.kill();
        self.agent_down = true;
    }

    pub(crate) fn freeze_agent(&mut self) {
        self.agent.freeze();
    }

    pub(crate) async fn restart_agent(&mut self) {
        self.agent.kill();
        self.agent.gone().await;
        self.agent = Agent::start(&self.state_folder(), self.folder.path(), self.transport);
        self.agent_down = false;
    }

    /// Another server on the same store.
    pub(crate) async fn second_server(&self, listen: &str) -> Server {
        let data = self.folder.path().join("second");
        std::fs::create_dir_all(data.join("keys")).unwrap();
        let key = "keys/master.key";
        std::fs::copy(self.folder.path().join("data").join(key), data.join(key)).unwrap();
        start(&data, listen, &self.arguments).await
    }

    pub(crate) async fn kill_server(&mut self) {
        self.server.kill().await;
    }

    pub(crate) async fn restart_server(&mut self) {
        self.kill_server().await;
        self.server = start(&self.folder.path().join("data"), &self.listen, &self.arguments).await;
    }

    pub(crate) async fn stop(mut self) {
        self.agent.kill();
        self.agent.gone().await;
        self.server.kill().await;
        if let Some(proxy) = &mut self.proxy {
            proxy.kill().await;
        }
        // Nothing that was killed at any moment has left damage behind.
        let key = std::fs::read_to_string(self.folder.path().join("data/keys/master.key")).unwrap();
        let fleet = open(&self.storage, &key).await;
        let findings = fleet.store().backend().check().await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        fleet.close().await.unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.find(path).await.unwrap_or_else(|| panic!("{path}: not found"))
    }

    /// What is there, if anything is.
    pub(crate) async fn find(&self, path: &str) -> Option<Value> {
        let response = self
            .client
            .get(self.url(path))
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        if status == 404 {
            return None;
        }
        assert!(status.is_success(), "{path}: {status} {body}");
        Some(serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |path: PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(40).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!(
            "server:\n{}\nagent:\n{}",
            tail(self.folder.path().join("data/server.log")),
            tail(self.folder.path().join("agent.log"))
        )
    }
}

/// An address whose port is free now and stays this test's own: nobody else binds this one.
pub(crate) fn free_address() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("127.0.0.1:{port}")
}

async fn start(data: &std::path::Path, listen: &str, arguments: &[String]) -> Server {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Server::start_with(data, listen, &arguments).await
}

async fn open(uri: &str, key: &str) -> Fleet {
    let opened = storage::open(&uri.parse().unwrap(), Purpose::Serve, Arc::new(SystemClock))
        .await
        .unwrap();
    Fleet::builder(opened.backend, MasterKey::from_text(key).unwrap())
        .open()
        .await
        .unwrap()
}

/// An administrator's session and an enrolment token, in a store that the server will find.
async fn prepare(data: &std::path::Path, uri: &str, address: &str, way: Way) -> (String, String) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(data.join("keys")).unwrap();
    let key = MasterKey::generate(&SystemRandom).to_text();
    let key_file = data.join("keys/master.key");
    std::fs::write(&key_file, key.as_bytes()).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let fleet = open(uri, &key).await;
    let token = fleet
        .access()
        .bootstrap_token()
        .await
        .unwrap()
        .unwrap()
        .expose()
        .to_owned();
    let password = || Password::from(PASSWORD.to_owned());
    let claim = Claim {
        token,
        name: "admin".into(),
        password: password(),
        origin: Origin::default(),
    };
    fleet.access().claim(claim).await.unwrap();
    let login = Login {
        name: "admin".into(),
        password: password(),
        origin: Origin::default(),
        user_agent: None,
    };
    let signed_in = fleet.access().sessions().login(login).await.unwrap();
    let session = signed_in.token.expose().to_owned();
    let (_, secret) = fleet
        .enrolment()
        .create_token(&Context::system("test"), &NewEnrolmentToken::default())
        .await
        .unwrap();
    let identity = fleet.keys().identity().public();
    let enrolment = TokenText {
        address: address.to_owned(),
        identity,
        ca: (way == Way::OwnTls).then(|| fleet.certificates().fingerprint()),
        secret,
    }
    .encode()
    .unwrap()
    .to_string();
    if way == Way::Nginx {
        crate::nginx::write_certificate(&fleet, data.parent().unwrap());
    }
    fleet.close().await.unwrap();
    (session, enrolment)
}
