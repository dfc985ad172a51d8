//! Listening ports, from `/proc/net` and the open files of every process.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use fleet_core::devices::inventory::{ListeningPort, PortScope, Ports, Section, SectionBody, clean_text};

use super::{CollectContext, CollectError, Collector, files, users};

/// A busy proxy has some hundred thousand connections in these files, with 150 bytes each; only listeners are kept.
const MAX_BYTES: u64 = 256 << 20;
/// Open files that are looked at for their owner, over all processes.
const MAX_OPEN_FILES: usize = 200_000;
const OWNERS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct PortsCollector;

#[async_trait]
impl Collector for PortsCollector {
    fn section(&self) -> Section {
        Section::Ports
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let mut sockets = Vec::new();
        let mut left_out = 0;
        for (name, protocol) in [("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")] {
            let path = context.path(&format!("/proc/net/{name}"));
            let read = files::for_each_line(&path, MAX_BYTES, |line| {
                let Some(socket) = parse_line(protocol, line) else {
                    return;
                };
                // Twice the limit, as sockets that share a port are one item in the end.
                if sockets.len() < 2 * Section::Ports.max_items() {
                    sockets.push(socket);
                } else {
                    left_out += 1;
                }
            });
            match read {
                // A kernel without IPv6 lacks half of them.
                Err(CollectError::Read { cause, .. })
                    if cause.kind() == std::io::ErrorKind::NotFound && name.ends_with('6') => {}
                read => read?,
            }
        }
        let owners = owners(&context.path("/proc"), &sockets);
        Ok(SectionBody::Ports(assemble(
            sockets,
            &owners,
            &users::names(context),
            left_out,
        )))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
    uid: u32,
    inode: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    process: Option<String>,
}

/// One line of `/proc/net/tcp` and its like; `None` for the head, for what does not listen and for what is no such line.
fn parse_line(protocol: &'static str, line: &str) -> Option<Socket> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let mut fields = fields.skip(3);
    let (uid, _timeout, inode) = (fields.next()?, fields.next()?, fields.next()?);
    // TCP_LISTEN; a datagram socket that waits for everybody is in TCP_CLOSE without a peer (net/tcp_states.h).
    let listens = match protocol {
        "tcp" => state == "0A",
        _ => state == "07" && remote.bytes().all(|byte| matches!(byte, b'0' | b':')),
    };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !listens || port == 0 {
        return None;
    }
    Some(Socket {
        protocol,
        address: parse_address(address)?,
        port,
        uid: uid.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// The kernel prints an address as words of 32 bits, each as a number in the machine's own order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The process that holds each socket, the lowest id of several. Stops at its bounds: a port without owner is better than none.
fn owners(proc: &Path, sockets: &[Socket]) -> HashMap<u64, Owner> {
    let mut wanted: HashMap<u64, Option<Owner>> = sockets.iter().map(|socket| (socket.inode, None)).collect();
    let start = Instant::now();
    let mut left = MAX_OPEN_FILES;
    let Ok(entries) = std::fs::read_dir(proc) else {
        return HashMap::new();
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes of others cannot be looked into without privilege, and any may end at any time.
        let Ok(open) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        for file in open.flatten() {
            if left == 0 || start.elapsed() > OWNERS_WITHIN {
                tracing::debug!("not every open file was looked at");
                return found(wanted);
            }
            left -= 1;
            let Some(inode) = std::fs::read_link(file.path())
                .ok()
                .and_then(|target| socket_inode(target.to_str()?))
            else {
                continue;
            };
            if let Some(owner) = wanted.get_mut(&inode)
                && owner.as_ref().is_none_or(|owner| owner.pid > pid)
            {
                let process = files::read_small(&entry.path().join("comm"));
                *owner = Some(Owner {
                    pid,
                    process: process.map(|name| clean_text(&name, 64)),
                });
            }
        }
    }
    found(wanted)
}

fn found(wanted: HashMap<u64, Option<Owner>>) -> HashMap<u64, Owner> {
    wanted
        .into_iter()
        .filter_map(|(inode, owner)| Some((inode, owner?)))
        .collect()
}

fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn assemble(sockets: Vec<Socket>, owners: &HashMap<u64, Owner>, names: &BTreeMap<u32, String>, left_out: u64) -> Ports {
    let mut items: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            let owner = owners.get(&socket.inode);
            ListeningPort {
                protocol: socket.protocol.to_owned(),
                address: socket.address,
                port: socket.port,
                scope: PortScope::of(socket.address),
                process: owner.and_then(|owner| owner.process.clone()),
                pid: owner.map(|owner| owner.pid),
                uid: socket.uid,
                user: names.get(&socket.uid).cloned(),
            }
        })
        .collect();
    // Several sockets of one process on one port (SO_REUSEPORT) are one item.
    items.sort_by(|a, b| (&a.protocol, a.port, a.address, a.pid).cmp(&(&b.protocol, b.port, b.address, b.pid)));
    items.dedup();
    Ports {
        items,
        truncated: left_out > 0,
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(protocol: &'static str, input: &str) -> Vec<Socket> {
        input.lines().filter_map(|line| parse_line(protocol, line)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_what_listens_is_listed() {
        let mut sockets = parse("tcp", include_str!("../../tests/fixtures/proc/net-tcp"));
        sockets.extend(parse("tcp", include_str!("../../tests/fixtures/proc/net-tcp6")));
        sockets.extend(parse(
            "udp",
            include_str!("../../tests/fixtures/proc/net-udp.SYNTHETIC"),
        ));
        let owner = Owner {
            pid: 7,
            process: Some("server".into()),
        };
        let owners = sockets
            .first()
            .map(|socket| (socket.inode, owner))
            .into_iter()
            .collect();
        let names = [(0, "root".to_owned())].into();
        insta::assert_json_snapshot!(assemble(sockets, &owners, &names, 0));
    }

    #[test]
    fn foreign_lines_are_passed_over() {
        let line = "0: 0100007F:0016 00000000:0000 0A 0:0 00:0 0 0 0 1";
        assert_eq!(parse("tcp", line).len(), 1);
        for (from, to) in [
            ("0100007F", "0100007"),
            ("0100007F", "é100007"),
            (":0016", ":10016"),
            ("0016", "0000"),
            ("0A", "01"),
            (" 0 0 0 1", " 0 x 0 1"),
        ] {
            assert_eq!(parse("tcp", &line.replacen(from, to, 1)), [], "{to}");
        }
        assert_eq!(parse("tcp", "\n:\n  sl  local_address rem_address   st"), []);
        for target in ["socket:[]", "socket:[x]", "pipe:[1]", "/socket:[1]"] {
            assert_eq!(socket_inode(target), None, "{target}");
        }
    }

    #[test]
    fn the_port_of_this_very_test_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mine: Vec<_> = parse("tcp", &text)
            .into_iter()
            .filter(|socket| socket.port == address.port() && socket.address == address.ip())
            .collect();
        let owners = owners("/proc".as_ref(), &mine);
        let ports = assemble(mine, &owners, &BTreeMap::new(), 0);
        assert_eq!(ports.items.len(), 1);
        assert_eq!(ports.items[0].pid, Some(std::process::id()));
        assert_eq!(ports.items[0].scope, PortScope::Loopback);
    }
}
