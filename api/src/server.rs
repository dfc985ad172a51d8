//! The server: all routes behind the stack, on a listener, until it is told to stop.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use fleet_core::{
    Fleet,
    kernel::{Clock, SystemRandom, Timestamp},
};
use futures::{FutureExt as _, future::OptionFuture};
use tokio::net::TcpListener;

use crate::{
    health::{PartReadiness, Readiness},
    limits::RateLimiter,
    live::LiveFeed,
    openapi,
    router::Stack,
    routes,
    state::{ApiConfig, ApiState},
    tls::{TlsListener, TlsPeer},
};

/// How long requests and streams that are under way get to end.
const DRAIN: Duration = Duration::from_secs(10);
/// Addresses whose tries are remembered: about 10 MB at most.
const REMEMBERED: usize = 64 * 1024;

/// The finished router of a fleet. Its live events answer that the server is not ready; see [`router_with_live_events`].
pub fn router(fleet: Fleet, config: ApiConfig) -> Router {
    router_with_live_events(fleet, config).0
}

/// The finished router of a fleet, and what its live events come from: run [`LiveFeed::drive`] beside it.
pub fn router_with_live_events(fleet: Fleet, config: ApiConfig) -> (Router, Arc<LiveFeed>) {
    let (whole, _, live) = routers(fleet, config);
    (whole, live)
}

/// The router of the agents' routes alone, for embedders that serve agents by other means than a port. Their sockets are served
/// by [`serve_agent`](crate::serve_agent).
pub fn agents_router(fleet: Fleet, config: ApiConfig) -> Router {
    let (stack, state) = stack(fleet, config);
    stack.assemble(routes::of_agents(&state)).0
}

/// The router of all routes, that of the agents' own port, and what live events come from.
fn routers(fleet: Fleet, config: ApiConfig) -> (Router, Router, Arc<LiveFeed>) {
    let (stack, state) = stack(fleet, config);
    let whole = stack.assemble(routes::all(&state)).0;
    (whole, stack.assemble(routes::of_agents(&state)).0, state.live)
}

fn stack(fleet: Fleet, config: ApiConfig) -> (Stack, ApiState) {
    let trusted = config.trusted_proxies.clone();
    let readiness = Arc::new(StoreReadiness(fleet.clone()));
    let clock = Arc::new(FleetClock(fleet.clone()));
    let state = ApiState {
        fleet,
        config: Arc::new(config),
        live: Arc::new(LiveFeed::default()),
        tries: Arc::new(RateLimiter::new(clock.clone(), REMEMBERED)),
    };
    let stack = Stack::new(clock, &SystemRandom, readiness).with_trusted_proxies(trusted);
    (stack, state)
}

/// The OpenAPI document: the same bytes as the committed file and the served one.
pub fn openapi_document() -> String {
    // It is made of constants: it cannot fail here without failing in the tests.
    openapi::document(&routes::openapi()).unwrap_or_default()
}

/// Where all routes are served.
#[derive(Debug)]
pub enum ApiListener {
    /// Plain HTTP: on this machine only, or behind a proxy.
    Plain(TcpListener),
    /// HTTPS.
    Tls(TlsListener),
}

/// The ports of a server.
#[derive(Debug)]
pub struct Ports {
    /// All routes. Agents prove themselves here by signed requests.
    pub api: ApiListener,
    /// The routes of agents, which prove themselves here by certificates.
    pub agents: Option<TlsListener>,
}

/// Serves a fleet on one plain port; see [`serve_on`].
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    fleet: Fleet,
    config: ApiConfig,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let ports = Ports {
        api: ApiListener::Plain(listener),
        agents: None,
    };
    serve_on(fleet, config, ports, stop).await
}

/// Serves a fleet until `stop` completes; then takes no more requests and lets those under way end, for ten seconds.
///
/// # Errors
/// When a listener fails.
pub async fn serve_on(
    fleet: Fleet,
    config: ApiConfig,
    ports: Ports,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (whole, of_agents, live) = routers(fleet.clone(), config);
    let (draining, drained) = tokio::sync::oneshot::channel();
    let closing = live.clone();
    let stop = async move {
        stop.await;
        closing.close();
        // Nobody waits for it any more when the listener has failed.
        let _ = draining.send(());
    };
    let stop = stop.shared();
    // Devices present certificates on the other port, and its own is issued: only this one may have files.
    let files = match &ports.api {
        ApiListener::Tls(listener) => Some(listener.tls().follow_files()),
        ApiListener::Plain(_) => None,
    };
    let files = OptionFuture::from(files).then(|never| async move {
        match never {
            Some(never) => match never {},
            None => std::future::pending().await,
        }
    });
    let api = async {
        match ports.api {
            ApiListener::Plain(listener) => {
                let whole = whole.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, whole).with_graceful_shutdown(stop.clone()).await
            }
            ApiListener::Tls(listener) => {
                let whole = whole.into_make_service_with_connect_info::<TlsPeer>();
                axum::serve(listener, whole).with_graceful_shutdown(stop.clone()).await
            }
        }
    };
    let agents = async {
        match ports.agents {
            Some(listener) => {
                let of_agents = of_agents.into_make_service_with_connect_info::<TlsPeer>();
                axum::serve(listener, of_agents)
                    .with_graceful_shutdown(stop.clone())
                    .await
            }
            None => Ok(()),
        }
    };
    let served = async { tokio::try_join!(api, agents).map(drop) };
    // Streams and sockets would hold the door open for as long as their clients like.
    let patience = async {
        let _ = drained.await;
        tokio::time::sleep(DRAIN).await;
    };
    let telling = async {
        live.drive(&fleet).await;
        // Only a closed store ends it, and that does not end requests.
        std::future::pending().await
    };
    tokio::select! {
        served = served => served,
        () = patience => Ok(()),
        never = telling => never,
        never = files => never,
    }
}

/// The clock of the fleet, so that one server has one time.
#[derive(Debug)]
struct FleetClock(Fleet);

impl Clock for FleetClock {
    fn now(&self) -> Timestamp {
        self.0.clock().now()
    }
}

/// Ready when the store answers.
#[derive(Debug)]
struct StoreReadiness(Fleet);

#[async_trait::async_trait]
impl Readiness for StoreReadiness {
    async fn parts(&self) -> Vec<PartReadiness> {
        vec![PartReadiness {
            name: "storage",
            ready: self.0.store().reader().await.is_ok(),
        }]
    }
}
