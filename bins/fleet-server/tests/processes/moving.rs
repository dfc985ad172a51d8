//! An agent that moves between two servers on one database in the middle of its work, as behind a balancer.

use std::{net::SocketAddr, time::Duration};

use fleet_core::kernel::{SeededRandom, random_bytes};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::world::{World, free_address};

/// What a balancer does: takes connections, and passes them on to one of the servers. Turning it cuts those that there are.
struct Relay {
    address: SocketAddr,
    target: watch::Sender<String>,
}

impl Relay {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(target);
        tokio::spawn(async move {
            loop {
                let (mut agent, _) = listener.accept().await.unwrap();
                let mut target = receiver.clone();
                tokio::spawn(async move {
                    let to = target.borrow_and_update().clone();
                    // The server may be down just now.
                    let Ok(mut server) = TcpStream::connect(to).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut agent, &mut server) => {}
                        _ = target.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            target: sender,
        }
    }

    fn turn(&self, target: &str) {
        self.target.send_replace(target.to_owned());
    }
}

/// Runs are asked for at the first server while the agent moves, and one server after the other dies: each is executed once, and
/// all of its output is there.
pub(crate) async fn check_no_run_is_lost_or_repeated(uri: &str, transport: &'static str, rounds: usize) {
    let (first_listens, second_listens) = (free_address(), free_address());
    let relay = Relay::to(first_listens.clone()).await;
    let found_at = format!("http://{}", relay.address);
    let mut world = World::on(uri, transport, first_listens.clone(), &found_at).await;
    let mut second = world.second_server(&second_listens).await;
    let random = SeededRandom::new(7);
    let mut on_second = false;
    for round in 0..rounds {
        world.ask(round).await;
        let [some, _] = random_bytes::<2>(&random);
        tokio::time::sleep(Duration::from_millis(u64::from(some) * 3)).await;
        on_second = !on_second;
        if round % 4 == 3 {
            // The server that the agent leaves does not even say goodbye.
            match on_second {
                true => world.restart_server().await,
                false => {
                    second.kill().await;
                    second = world.second_server(&second_listens).await;
                }
            }
        }
        relay.turn(if on_second { &second_listens } else { &first_listens });
    }
    for round in world.runs() {
        let seen = world.settled(round).await;
        assert_eq!(
            (seen.state.as_str(), seen.executions, seen.output.as_str()),
            ("succeeded", 1, world.expected_output(round).as_str()),
            "run {round}\n{}",
            world.logs()
        );
    }
    world.check_audit(rounds).await;
    let device = world.device().await;
    assert_eq!(device["presence"], "online", "{device}");
    second.kill().await;
    world.stop().await;
}
