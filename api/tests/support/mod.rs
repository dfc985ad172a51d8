//! A whole server over a fleet in memory, at a standing clock: requests in, answers out, no socket.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request},
    response::Response,
};
use bytes::Bytes;
use fleet_api::{ApiConfig, router};
use fleet_core::{
    Fleet,
    access::{Context, Origin},
    devices::{
        DeviceId,
        enrolment::{EnrolRequest, EnrolmentSecret, Machine, NewEnrolmentToken},
    },
    kernel::{ManualClock, MasterKey, SeededRandom, SigningKey, Timestamp},
    protocol::{ASSERTION_HEADER, Assertion},
    storage::ports::{BackupFolder, BackupSink, StorageOpener},
    store::{self, Backend, memory::MemoryStore},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Everybody's password.
pub const PASSWORD: &str = "open sesame, says the test";

/// A server.
pub struct App {
    pub router: Router,
    pub fleet: Fleet,
    pub clock: Arc<ManualClock>,
    pub random: Arc<SeededRandom>,
}

/// A device that is enrolled.
#[derive(Clone)]
pub struct Device {
    pub id: DeviceId,
    pub key: SigningKey,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    /// A text in the body.
    pub fn str(&self, pointer: &str) -> String {
        let body = self.json();
        let found = body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {body}")).to_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The code of a problem; empty for an answer that is none.
    pub fn code(&self) -> String {
        match self.header("content-type") {
            Some("application/problem+json") => self.str("/code"),
            _ => String::new(),
        }
    }

    /// The same answer, which must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The answer must be a problem with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text);
    }

    /// The answer must be a problem about one member or parameter.
    #[track_caller]
    pub fn refused_at(&self, status: u16, code: &str, pointer: &str) {
        self.refused(status, code);
        assert_eq!(self.str("/errors/0/pointer"), pointer);
    }
}

/// A request in the making.
#[must_use]
pub struct Call<'a> {
    app: &'a App,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    address: Option<SocketAddr>,
}

impl Call<'_> {
    /// With the token of a session or a key.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a JSON body.
    pub fn body(mut self, body: &Value) -> Self {
        self.body = serde_json::to_vec(body).unwrap();
        self.header("content-type", "application/json")
    }

    /// With a body as it is.
    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// From a device, which proves its key for this very request. Call it last.
    pub fn device(self, device: &Device) -> Self {
        let path = self.path.split('?').next().unwrap();
        let (clock, random) = (&self.app.clock, &*self.app.random);
        let now = fleet_core::kernel::Clock::now(&**clock);
        let assertion = Assertion::sign(&device.key, device.id, now, random, &self.method, path, &self.body);
        self.header(ASSERTION_HEADER, &assertion)
    }

    /// From an address.
    pub fn from(mut self, address: &str) -> Self {
        self.address = Some(SocketAddr::new(address.parse().unwrap(), 4_711));
        self
    }

    fn request(self) -> (Router, Request<Body>) {
        let mut request = Request::builder().method(&*self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(address) = self.address {
            request = request.extension(ConnectInfo(address));
        }
        (self.app.router.clone(), request.body(Body::from(self.body)).unwrap())
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        let (router, request) = self.request();
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 16 * 1024 * 1024).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Sends it; the body is still to be read.
    pub async fn response(self) -> Response {
        let (router, request) = self.request();
        router.oneshot(request).await.unwrap()
    }

    /// Sends it and reads the status only: the body may be a stream without an end.
    pub async fn status(self) -> u16 {
        let (router, request) = self.request();
        router.oneshot(request).await.unwrap().status().as_u16()
    }
}

impl App {
    /// A server without users.
    pub async fn new() -> Self {
        let config = ApiConfig {
            public_url: "http://127.0.0.1:8080".to_owned(),
            ..ApiConfig::default()
        };
        Self::with(config).await
    }

    /// A server without users, with this configuration.
    pub async fn with(config: ApiConfig) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000)));
        let random = Arc::new(SeededRandom::new(1));
        let backend = Arc::new(MemoryStore::new(clock.clone()));
        let fleet = Fleet::builder(backend, MasterKey::generate(&SeededRandom::new(7)))
            .clock(clock.clone())
            .random(random.clone())
            .backups(Arc::new(Nowhere))
            .blobs(Arc::new(object_store::memory::InMemory::new()))
            .storage_opener(Arc::new(InMemory {
                clock: clock.clone(),
                stores: Mutex::default(),
            }))
            .open()
            .await
            .unwrap();
        Self {
            router: router(fleet.clone(), config),
            fleet,
            clock,
            random,
        }
    }

    /// A server with an administrator `ada` who is signed in, and her token.
    pub async fn with_admin() -> (Self, String) {
        let app = Self::new().await;
        let token = app.bootstrap_token().await;
        let body = json!({"token": token, "name": "ada", "password": PASSWORD});
        app.post("/api/v1/bootstrap").body(&body).send().await.expect(201);
        // Of two entries at one moment, neither is the newer one.
        app.advance(1);
        let session = app.sign_in("ada").await;
        (app, session)
    }

    /// The token that creates the first administrator.
    pub async fn bootstrap_token(&self) -> String {
        let token = self.fleet.access().bootstrap_token().await.unwrap().unwrap();
        token.expose().to_owned()
    }

    /// Signs in with the usual password; the token.
    pub async fn sign_in(&self, name: &str) -> String {
        let body = json!({"name": name, "password": PASSWORD});
        let answer = self.post("/api/v1/sessions").body(&body).send().await.expect(201);
        answer.str("/token")
    }

    /// Creates a user of a role and signs in; the token.
    pub async fn user(&self, admin: &str, name: &str, role: &str) -> String {
        let body = json!({"name": name, "role": role, "password": PASSWORD});
        let call = self.post("/api/v1/users").token(admin).body(&body);
        call.send().await.expect(201);
        self.sign_in(name).await
    }

    /// Creates a key of a role; its token and its id.
    pub async fn key(&self, owner: &str, role: &str) -> (String, String) {
        let body = json!({"name": "report", "role": role});
        let answer = self
            .post("/api/v1/keys")
            .token(owner)
            .body(&body)
            .send()
            .await
            .expect(201);
        (answer.str("/token"), answer.str("/id"))
    }

    /// Who presents a token, for calling the domain itself.
    pub async fn context(&self, token: &str) -> Context {
        let access = self.fleet.access();
        access.authenticate(token, Origin::default()).await.unwrap()
    }

    /// The secret of a new enrolment token.
    pub async fn enrolment_secret(&self, admin: &str) -> EnrolmentSecret {
        let context = self.context(admin).await;
        let enrolment = self.fleet.enrolment();
        enrolment
            .create_token(&context, &NewEnrolmentToken::default())
            .await
            .unwrap()
            .1
    }

    /// An enrolled device of this name.
    pub async fn device(&self, admin: &str, name: &str) -> Device {
        let secret = self.enrolment_secret(admin).await;
        let (key, request) = self.enrol_request(secret, name);
        let enrolled = self.fleet.enrolment().enrol(&request, Origin::default()).await.unwrap();
        Device {
            id: enrolled.device_id,
            key,
        }
    }

    /// The id of a new device that waits for approval.
    pub async fn pending_device(&self, admin: &str) -> DeviceId {
        let context = self.context(admin).await;
        let new = NewEnrolmentToken {
            approval: Some(true),
            ..NewEnrolmentToken::default()
        };
        let (_, secret) = self.fleet.enrolment().create_token(&context, &new).await.unwrap();
        let (_, request) = self.enrol_request(secret, "waiting");
        let enrolled = self.fleet.enrolment().enrol(&request, Origin::default()).await.unwrap();
        enrolled.device_id
    }

    /// What an agent with a new key asks for.
    pub fn enrol_request(&self, secret: EnrolmentSecret, name: &str) -> (SigningKey, EnrolRequest) {
        let key = SigningKey::generate(&*self.random);
        let machine = Machine {
            hostname: name.to_owned(),
            machine_id: None,
            agent_version: "1.0.0".to_owned(),
        };
        let request = EnrolRequest::prove(secret, &key, [9; 32], machine);
        (key, request)
    }

    /// A request.
    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            app: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            address: None,
        }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    pub fn put(&self, path: &str) -> Call<'_> {
        self.call("PUT", path)
    }

    pub fn patch(&self, path: &str) -> Call<'_> {
        self.call("PATCH", path)
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call("DELETE", path)
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A folder for backups that keeps nothing.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl BackupFolder for Nowhere {
    async fn create(&self, _folder: &str, _file: &str) -> io::Result<Box<dyn BackupSink>> {
        Ok(Box::new(Self))
    }

    async fn remove(&self, _folder: &str, _file: &str) -> io::Result<()> {
        Ok(())
    }

    fn passphrase(&self) -> io::Result<Option<secrecy::SecretString>> {
        Ok(None)
    }
}

#[async_trait::async_trait]
impl BackupSink for Nowhere {
    async fn write(&mut self, _bytes: Bytes) -> io::Result<()> {
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// Opens `memory:NAME`, an empty store each time.
#[derive(Debug)]
struct InMemory {
    clock: Arc<ManualClock>,
    stores: Mutex<HashMap<String, Arc<dyn Backend>>>,
}

#[async_trait::async_trait]
impl StorageOpener for InMemory {
    fn redacted(&self, uri: &str) -> Result<String, String> {
        match uri.strip_prefix("memory:") {
            Some(_) => Ok(uri.to_owned()),
            None => Err("not in memory".to_owned()),
        }
    }

    fn exists(&self, uri: &str) -> Option<bool> {
        Some(self.stores.lock().unwrap().contains_key(uri))
    }

    async fn open(&self, uri: &str) -> store::Result<Arc<dyn Backend>> {
        let mut stores = self.stores.lock().unwrap();
        let store: Arc<dyn Backend> = Arc::new(MemoryStore::new(self.clock.clone()));
        stores.insert(uri.to_owned(), store.clone());
        Ok(store)
    }
}
