//! The addresses of the interfaces, asked of the kernel by rtnetlink(7).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use fleet_core::devices::inventory::InterfaceAddress;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The most datagrams that are read; each has up to 32 KiB of answers.
const MAX_DATAGRAMS: usize = 1_000;

/// All addresses with the index of their interface.
pub(super) fn addresses() -> io::Result<Vec<(u32, InterfaceAddress)>> {
    let mut found = Vec::new();
    dump(|datagram| parse(datagram, &mut found))?;
    Ok(found)
}

/// Hands out the datagrams of the kernel's answer until `each` says that it was the last.
fn dump(mut each: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0, which is NETLINK_ROUTE.
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(5)))?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut buffer = vec![0; 32 << 10];
    for _ in 0..MAX_DATAGRAMS {
        let (count, _) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if each(&buffer[..count])? {
            return Ok(());
        }
    }
    Err(io::Error::other("the kernel's answer does not end"))
}

fn request() -> [u8; HEADER_BYTES + ADDRESS_HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES + ADDRESS_HEADER_BYTES];
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence, port and the address header stay zero: one question, every family.
    bytes
}

/// Reads one datagram; true when it was the last.
fn parse(mut datagram: &[u8], found: &mut Vec<(u32, InterfaceAddress)>) -> io::Result<bool> {
    while let Some((length, kind)) = u32_at(datagram, 0).zip(u16_at(datagram, 4)) {
        let length = length as usize;
        let Some(body) = datagram.get(HEADER_BYTES..length) else {
            return Err(io::Error::other("the kernel's answer is cut"));
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = u32_at(body, 0).map_or(0, |code| (code as i32).wrapping_neg());
                return Err(io::Error::from_raw_os_error(errno));
            }
            RTM_NEWADDR => found.extend(address(body)),
            _ => {}
        }
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn address(body: &[u8]) -> Option<(u32, InterfaceAddress)> {
    let (family, prefix, index) = (*body.first()?, *body.get(1)?, u32_at(body, 4)?);
    let mut attributes = body.get(ADDRESS_HEADER_BYTES..)?;
    let (mut local, mut other) = (None, None);
    while let Some((length, kind)) = u16_at(attributes, 0).zip(u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        match kind {
            IFA_LOCAL => local = Some(value),
            IFA_ADDRESS => other = Some(value),
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    // On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is ours.
    let bytes = local.or(other)?;
    let address = match family {
        AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some((index, InterfaceAddress { address, prefix }))
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured on a little-endian machine; the format is the kernel's own order.
    const CAPTURED: &[u8] = include_bytes!("../../tests/fixtures/netlink/getaddr.bin");

    #[test]
    #[cfg(target_endian = "little")]
    fn the_captured_answer_is_read() {
        let mut found = Vec::new();
        assert!(parse(CAPTURED, &mut found).unwrap());
        let text: Vec<_> = found
            .iter()
            .map(|(index, at)| format!("{index} {}/{}", at.address, at.prefix))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn no_cut_and_no_changed_byte_makes_it_panic_or_spin() {
        for length in 0..CAPTURED.len() {
            let _ = parse(&CAPTURED[..length], &mut Vec::new());
        }
        for at in 0..CAPTURED.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut bytes = CAPTURED.to_vec();
                bytes[at] = value;
                let mut found = Vec::new();
                let _ = parse(&bytes, &mut found);
                assert!(found.len() < 100);
            }
        }
    }

    #[test]
    fn the_kernel_of_this_device_knows_loopback() {
        let found = addresses().unwrap();
        assert!(
            found
                .iter()
                .any(|(_, at)| at.address == Ipv4Addr::LOCALHOST && at.prefix == 8),
            "{found:?}"
        );
    }
}
