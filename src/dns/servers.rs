//! The servers that know all other names: those that the user gave, asked from the container's network, or the host's,
//! asked from the host's, so that one that listens on the host's loopback answers as well.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::{fs::File, io, path::PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::{ADDRESS, PORT};
use crate::netns::{NetNs, NetNsError};

/// As many as the C library asks (resolv.conf(5)).
const MOST: usize = 3;
/// More than any list of servers has.
const LONGEST_FILE: u64 = 64 << 10;

/// Whom to ask for other names, and from where.
#[derive(Debug)]
pub enum Servers {
    /// Those in the host's list, which is read at every question: it may change.
    OfHost {
        /// The list (resolv.conf(5)).
        list: PathBuf,
    },
    /// These, from inside this namespace.
    Given {
        /// Their addresses.
        servers: Vec<IpAddr>,
        /// The namespace.
        netns: NetNs,
    },
}

impl Servers {
    /// Whether they are asked from the host's network.
    pub(super) fn are_hosts(&self) -> bool {
        matches!(self, Self::OfHost { .. })
    }

    /// Their addresses, in the order in which they are asked.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut servers: Vec<SocketAddr> = match self {
            Self::OfHost { list } => {
                let mut text = Vec::new();
                // Without a list the C library asks its own host.
                File::open(list).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text)).ok();
                listed(&String::from_utf8_lossy(&text))
            }
            Self::Given { servers, .. } => {
                // It would be asked by itself, without end.
                let mut others = servers.clone();
                others.retain(|server| server.to_canonical() != IpAddr::V4(ADDRESS));
                at_port(&others)
            }
        };
        servers.truncate(MOST);
        servers
    }

    /// A socket that is connected to a server, and has a port that nobody can foresee.
    pub(super) fn connect_udp(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        self.connect(server, SockType::Datagram).map(UdpSocket::from)
    }

    /// A socket that is being connected to a server.
    pub(super) fn connect_tcp(&self, server: SocketAddr) -> io::Result<std::net::TcpStream> {
        self.connect(server, SockType::Stream).map(std::net::TcpStream::from)
    }

    fn connect(&self, server: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
        let open = || -> io::Result<OwnedFd> {
            let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let opened = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
            match connect(std::os::fd::AsRawFd::as_raw_fd(&opened.as_fd()), &SockaddrStorage::from(server)) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(opened),
                Err(errno) => Err(errno.into()),
            }
        };
        match self {
            Self::OfHost { .. } => open(),
            Self::Given { netns, .. } => netns.run(open).map_err(|error| match error {
                NetNsError::Enter { source, .. } => source,
                error => io::Error::other(error),
            })?,
        }
    }
}

/// The first of these servers, at the port of name servers. An IPv4 address that is written as an IPv6 one is that IPv4
/// address: whoever is not to be asked is not asked by it either.
pub(super) fn at_port(servers: &[IpAddr]) -> Vec<SocketAddr> {
    servers.iter().take(MOST).map(|server| SocketAddr::new(server.to_canonical(), PORT)).collect()
}

/// The servers that a resolv.conf names.
pub(super) fn listed(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver") {
            servers.extend(words.next().and_then(server));
        }
    }
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// A server as it is listed: an address, with the device that leads to it where it is of that link only.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        None => text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip.to_canonical(), PORT)),
        Some((ip, device)) => {
            let ip: Ipv6Addr = ip.parse().ok()?;
            let index = nix::net::if_::if_nametoindex(device).ok()?;
            Some(SocketAddrV6::new(ip, PORT, 0, index).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_of_a_list_are_read_in_order() {
        let addresses = |text: &str| -> Vec<String> {
            listed(text).iter().map(|server| server.ip().to_string()).collect()
        };
        let text =
            "# nameserver 1.1.1.1\nsearch a\n nameserver\t127.0.0.53 # x\nnameserver ::1\nnameserver x\n";
        assert_eq!(addresses(text), ["127.0.0.53", "::1"]);
        assert_eq!(addresses("search a\n"), ["127.0.0.1"]);
        assert_eq!(addresses("nameserver ::ffff:10.0.0.1\n"), ["10.0.0.1"]);
        assert_eq!(at_port(&["::ffff:10.0.0.1".parse().unwrap()])[0].to_string(), "10.0.0.1:53");
        assert_eq!(listed("nameserver fe80::1%lo\n")[0].to_string(), "[fe80::1%1]:53");
        assert_eq!(addresses("nameserver fe80::1%nodevice\n"), ["127.0.0.1"]);
    }

    #[test]
    fn a_list_that_is_missing_is_the_hosts_own_server() {
        let servers = Servers::OfHost { list: "/nonexistent/resolv.conf".into() };
        assert_eq!(servers.addresses(), ["127.0.0.1:53".parse().unwrap()]);
    }
}
