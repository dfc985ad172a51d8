//! The server as a child.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, ToSocketAddrs as _},
    path::Path,
    process::Stdio,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{data::Data, isolated};
use crate::process::{POLL, Service, Stop};

/// What the server prints when it is ready.
const READY: &str = "listening on ";
/// Any free port of the loopback interface.
const ANY_PORT: &str = "127.0.0.1:0";

#[derive(Debug)]
pub struct Server {
    service: Service,
    address: String,
}

impl Server {
    /// Starts it and waits until it listens: where it listened the last time, else at `prefer`, else at any free port.
    pub fn start(program: &Path, data: &Data, stop: &Stop, deadline: Instant, prefer: Option<&str>) -> Result<Self> {
        let listen = listen_address(data, prefer)?;
        let log = data.log("server.log")?;
        let mut service = Service::start(
            "the server",
            isolated(program)
                .args(["serve", "--listen", &listen, "--data"])
                .arg(data.path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log.try_clone()?),
        )?;
        let (tell, told) = mpsc::sync_channel(1);
        if let Some(pipe) = service.child().stdout.take() {
            let mut log = log;
            // Ends with the server: its end of the pipe closes then.
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = writeln!(log, "{line}");
                    if let Some(address) = line.strip_prefix(READY) {
                        let _ = tell.try_send(address.trim().to_owned());
                    }
                }
            });
        }
        let fail = |why: String| format!("{why}; its log ends with\n{}", data.tail("server.log"));
        let address = loop {
            match told.recv_timeout(POLL) {
                Ok(address) => break address,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if stop.is_set() => bail!("stopped"),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {
                    if let Err(error) = service.must_run() {
                        bail!(fail(error.to_string()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(fail("the server is not ready".into())),
                Err(RecvTimeoutError::Disconnected) => {
                    // It closed its output; its exit code follows at once.
                    thread::sleep(POLL);
                    let why = service.must_run().err().map(|error| error.to_string());
                    bail!(fail(why.unwrap_or_else(|| "the server closed its output".into())));
                }
            }
        };
        Ok(Self { service, address })
    }

    /// Where it listens, as a URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn must_run(&mut self) -> Result<()> {
        self.service.must_run()
    }

    pub fn stop(self, patience: Duration) -> Result<()> {
        self.service.stop(patience)
    }
}

fn listen_address(data: &Data, prefer: Option<&str>) -> Result<String> {
    if let Some(last) = data.last_address()? {
        let last = last.trim_start_matches("http://").to_owned();
        if !is_free(&last) {
            bail!(
                "{last} is taken by another program, and the agent of {} expects its server there; end that program or take another folder with --data",
                data.path().display()
            );
        }
        return Ok(last);
    }
    match prefer {
        Some(prefer) if is_free(prefer) => Ok(prefer.into()),
        Some(prefer) => {
            eprintln!("{prefer} is taken by another program: taking a free port");
            Ok(ANY_PORT.into())
        }
        None => Ok(ANY_PORT.into()),
    }
}

fn is_free(address: &str) -> bool {
    address
        .to_socket_addrs()
        .is_ok_and(|addresses| addresses.into_iter().all(|address| TcpListener::bind(address).is_ok()))
}
