//! Who on the host listens on a port: one `sock_diag` question, filtered by the kernel.
//!
//! The layouts are `struct inet_diag_req_v2` and `struct inet_diag_msg` of `<linux/inet_diag.h>`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

use super::frames::{HEADER, answers};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
const INET_DIAG_SKV6ONLY: u16 = 11;
/// The states in which a socket holds a port without a peer: `TCP_LISTEN`, and `TCP_CLOSE` as UDP's only
/// unconnected state (`<net/tcp_states.h>`).
const STATES: [(u8, u32); 2] = [(IPPROTO_TCP, 1 << 10), (IPPROTO_UDP, 1 << 7)];
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// A socket of the host that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address it is bound to; unspecified for every address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether an IPv6 socket leaves the IPv4 port to others.
    pub v6_only: bool,
    /// The inode that `/proc/PID/fd` shows for it.
    pub inode: u32,
}

impl Listener {
    /// Whether binding `address` at the same port would fail because of this socket.
    #[must_use]
    pub fn conflicts_with(&self, address: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == address.is_ipv4();
        if !same_family {
            // An IPv6 socket on every address takes the IPv4 port too unless it says otherwise.
            return address.is_ipv4() && self.address.is_unspecified() && !self.v6_only;
        }
        self.address.is_unspecified() || address.is_unspecified() || self.address == address
    }
}

/// The sockets of the calling thread's namespace that hold one of `ports` of the IP protocol number
/// `protocol`. For protocols other than TCP and UDP the list is empty.
///
/// # Errors
/// The kernel cannot be asked (`ENOENT` where it was built without `INET_DIAG`).
pub fn find_listeners(protocol: u8, ports: RangeInclusive<u16>) -> io::Result<Vec<Listener>> {
    let Some((_, states)) = STATES.iter().find(|(number, _)| *number == protocol) else {
        return Ok(Vec::new());
    };
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // With a port in the question the kernel skips all other sockets; with 0 it lists them all.
    let asked = if ports.start() == ports.end() { *ports.start() } else { 0 };
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        socket.send(&request(family, protocol, *states, asked), 0)?;
        answers(&socket, |frame| {
            found.extend(listener(frame.payload()).filter(|listener| ports.contains(&listener.port)));
        })?;
    }
    Ok(found)
}

fn request(family: u8, protocol: u8, states: u32, port: u16) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = protocol;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    // The source port of the id.
    bytes[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
    bytes
}

fn listener(body: &[u8]) -> Option<Listener> {
    let answer = body.get(..ANSWER)?;
    let port = u16::from_be_bytes([answer[4], answer[5]]);
    let source: [u8; 16] = answer[8..24].try_into().ok()?;
    let address = if i32::from(answer[0]) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3]))
    } else {
        let address = Ipv6Addr::from(source);
        address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
    };
    let inode = u32::from_ne_bytes(answer[68..72].try_into().ok()?);
    Some(Listener { address, port, v6_only: has_v6_only(&body[ANSWER..]), inode })
}

fn has_v6_only(mut attributes: &[u8]) -> bool {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]])).max(4);
        if u16::from_ne_bytes([attributes[2], attributes[3]]) == INET_DIAG_SKV6ONLY {
            return attributes.get(4) == Some(&1);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            listener(&body);
        }
    }

    #[test]
    fn sockets_conflict_as_bind_would() {
        let on = |address: &str, v6_only| Listener {
            address: address.parse().unwrap(),
            port: 1,
            v6_only,
            inode: 1,
        };
        let any4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(on("0.0.0.0", false).conflicts_with(one));
        assert!(on("127.0.0.1", false).conflicts_with(any4));
        assert!(!on("127.0.0.1", false).conflicts_with(one));
        assert!(on("::", false).conflicts_with(one));
        assert!(!on("::", true).conflicts_with(one));
        assert!(!on("::1", false).conflicts_with(any4));
    }

    #[test]
    fn finds_a_socket_of_this_very_process() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let found = find_listeners(IPPROTO_TCP, port..=port).unwrap();
        let ours = found.iter().find(|l| l.address == IpAddr::V4(Ipv4Addr::LOCALHOST));
        let inode = ours.unwrap_or_else(|| panic!("{found:?}")).inode;
        drop(tcp);
        // The port may have been given to somebody else at once.
        let left = find_listeners(IPPROTO_TCP, port..=port).unwrap();
        assert!(left.iter().all(|l| l.inode != inode), "{left:?}");
        let udp = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let found = find_listeners(IPPROTO_UDP, port - 1..=port).unwrap();
        assert!(found.iter().any(|l| l.conflicts_with("192.0.2.1".parse().unwrap())), "{found:?}");
    }
}
