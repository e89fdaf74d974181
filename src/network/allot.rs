//! Which ports of the host a container gets: what the user fixed, and free ones for the rest.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::ops::Deref;

use super::error::NetworkError;
use super::listener::Listeners;
use super::port::{PortMapping, PortRange, PortRequest, same_address};
use super::publisher::Publisher;
use crate::nft::TakenPort;
use crate::sysctl;

/// What the kernel starts with (`Documentation/networking/ip-sysctl.rst`).
const DEFAULT_LOCAL: PortRange = PortRange { first: 32768, last: 60999 };

/// The ports that the host gives out by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalPorts {
    range: PortRange,
    /// Those among them that the administrator keeps for others.
    reserved: Vec<PortRange>,
}

impl LocalPorts {
    /// The calling thread's namespace's `ip_local_port_range` and `ip_local_reserved_ports`.
    #[must_use]
    pub(super) fn read() -> Self {
        let read = |name: &str| sysctl::read(&format!("net/ipv4/{name}")).ok().flatten().unwrap_or_default();
        Self::parse(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
    }

    /// `32768 60999` and `8080,9148-9150`.
    fn parse(range: &str, reserved: &str) -> Self {
        let mut bounds = range.split_whitespace().filter_map(|word| word.parse().ok());
        let range = match (bounds.next(), bounds.next()) {
            (Some(first), Some(last)) if 0 < first && first <= last => PortRange { first, last },
            _ => DEFAULT_LOCAL,
        };
        let reserved = reserved.split(',').filter_map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            Some(PortRange { first: first.parse().ok()?, last: last.parse().ok()? })
        });
        Self { range, reserved: reserved.collect() }
    }

    /// Every place for `count` ports, from one on that follows from who asks: different for different names, and the
    /// same whether it is planned or done.
    fn places(&self, count: u32, who: &str) -> impl Iterator<Item = PortRange> + '_ {
        let places = self.range.count().saturating_sub(count - 1);
        let mut hasher = DefaultHasher::new();
        who.hash(&mut hasher);
        let start = u32::try_from(hasher.finish() % u64::from(places.max(1))).unwrap_or(0);
        let place = move |n: u32| {
            let first = u32::from(self.range.first) + (start + n) % places;
            let (first, last) = (u16::try_from(first).ok()?, u16::try_from(first + count - 1).ok()?);
            Some(PortRange { first, last })
        };
        let reserved = |place: &PortRange| self.reserved.iter().any(|range| range.overlaps(*place));
        (0..places).filter_map(place).filter(move |place| !reserved(place))
    }
}

/// What is known to be in use.
#[derive(Debug)]
pub(super) struct InUse<'a> {
    /// By sockets of the host.
    pub(super) listeners: &'a Listeners,
    /// By containers; only looked up after a first choice was wrong.
    pub(super) taken: &'a [TakenPort],
}

impl InUse<'_> {
    fn has(&self, mapping: &PortMapping) -> bool {
        let has = |taken: &TakenPort| overlaps(mapping, taken);
        self.listeners.on(mapping).is_some() || self.taken.iter().any(has)
    }
}

/// Whether a published port is one of those that the mapping wants.
pub(super) fn overlaps(mapping: &PortMapping, taken: &TakenPort) -> bool {
    mapping.proto == taken.proto
        && mapping.host.overlaps(PortRange { first: taken.first, last: taken.last })
        && same_address(mapping.host_ip, taken.host)
}

/// Decides the host's ports and addresses, in the order of the requests.
///
/// # Errors
/// [`NetworkError::PortFamily`], [`NetworkError::NoFreePort`].
pub(super) fn choose(
    requests: &[PortRequest],
    publisher: &Publisher,
    local: &impl Deref<Target = LocalPorts>,
    in_use: &InUse<'_>,
) -> Result<Vec<PortMapping>, NetworkError> {
    let mut chosen: Vec<Vec<PortMapping>> = vec![Vec::new(); requests.len()];
    // First what is fixed, so that no free choice stands in its way.
    let (fixed, open): (Vec<_>, Vec<_>) =
        requests.iter().enumerate().partition(|(_, request)| request.fixed().is_some());
    for (at, request) in fixed.into_iter().chain(open) {
        let addresses = addresses(request, publisher)?;
        let mappings = |host: PortRange| -> Vec<PortMapping> {
            let PortRequest { container, proto, .. } = *request;
            let mapping = |host_ip: &IpAddr| PortMapping { host_ip: *host_ip, host, container, proto };
            addresses.iter().map(mapping).collect()
        };
        let is_free = |mappings: &Vec<PortMapping>| {
            let ours = chosen.iter().flatten();
            let ours = |mapping: &PortMapping| ours.clone().any(|earlier| earlier.overlaps(mapping));
            !mappings.iter().any(|mapping| in_use.has(mapping) || ours(mapping))
        };
        let found = match (request.fixed(), request.host) {
            (Some(host), _) => Some(mappings(host)),
            (None, Some(range)) => {
                let one = |port| PortRange { first: port, last: port };
                range.ports().map(|port| mappings(one(port))).find(is_free)
            }
            (None, None) => {
                let places = local.places(request.container.count(), &publisher.owner.comment());
                places.map(mappings).find(is_free)
            }
        };
        let who = || publisher.owner.to_string();
        chosen[at] =
            found.ok_or_else(|| NetworkError::NoFreePort { request: request.clone(), who: who() })?;
    }
    Ok(chosen.into_iter().flatten().collect())
}

/// The addresses of the host that the request is about, given those that the ports can lead to.
fn addresses(request: &PortRequest, publisher: &Publisher) -> Result<Vec<IpAddr>, NetworkError> {
    let has = |any: IpAddr| publisher.target(any).is_some();
    let addresses = request.host_addresses(has(IpAddr::from([0; 4])), has(IpAddr::from([0_u16; 8])));
    match addresses.iter().find(|address| !has(**address)) {
        None => Ok(addresses),
        Some(address) => Err(NetworkError::PortFamily {
            request: request.clone(),
            who: publisher.owner.to_string(),
            family: if address.is_ipv4() { "IPv4" } else { "IPv6" },
            network: publisher.network.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::endpoint::InterfaceAddress;
    use super::super::owner::Owner;
    use super::*;
    use crate::nft::Proto;

    fn publisher() -> Publisher {
        let id = "0".repeat(64).parse().unwrap();
        Publisher {
            owner: Owner::Container { id, name: "web".to_owned(), processes: Vec::new() },
            network: "front".parse().unwrap(),
            ipv4: Some(InterfaceAddress { net: "10.0.0.2/24".parse().unwrap(), gateway: None }),
            ipv6: None,
            ports: Vec::new(),
        }
    }

    fn ports(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn the_hosts_own_range_is_read_without_what_is_reserved() {
        let local = LocalPorts::parse("40000\t40009", "40001,40003-40004, 1");
        assert_eq!(local.range, ports(40000, 40009));
        let mut places: Vec<u16> = local.places(1, "web").map(|place| place.first).collect();
        places.sort_unstable();
        assert_eq!(places, [40000, 40002, 40005, 40006, 40007, 40008, 40009]);
        let mut places: Vec<u16> = local.places(3, "web").map(|place| place.first).collect();
        places.sort_unstable();
        assert_eq!(places, [40005, 40006, 40007]);
        assert_eq!(local.places(11, "web").count(), 0);
        assert_eq!(LocalPorts::parse("", "").range, DEFAULT_LOCAL);
        assert_eq!(LocalPorts::parse("9 1", "x").range, DEFAULT_LOCAL);
    }

    fn choose_from(local: &str, requests: &[&str], taken: &[TakenPort]) -> Result<Vec<String>, String> {
        let requests: Vec<PortRequest> = requests.iter().map(|text| text.parse().unwrap()).collect();
        let in_use = InUse { listeners: &Listeners::find(&[]), taken };
        choose(&requests, &publisher(), &&LocalPorts::parse(local, ""), &in_use)
            .map(|mappings| mappings.iter().map(ToString::to_string).collect())
            .map_err(|error| error.to_string())
    }

    fn taken(host: &str, first: u16, last: u16) -> TakenPort {
        TakenPort { host: host.parse().unwrap(), proto: Proto::Tcp, first, last, holder: None }
    }

    #[test]
    fn free_ports_are_chosen_around_what_is_fixed_and_what_is_taken() {
        let chosen = choose_from("40000 40001", &["80", "40000:81"], &[]);
        assert_eq!(chosen.unwrap(), ["0.0.0.0:40001->80/tcp", "0.0.0.0:40000->81/tcp"]);
        let chosen = choose_from("1 2", &["8000-8003:80", "8000-8003:81"], &[taken("127.0.0.1", 8000, 8001)]);
        assert_eq!(chosen.unwrap(), ["0.0.0.0:8002->80/tcp", "0.0.0.0:8003->81/tcp"]);
        let chosen = choose_from("1 2", &["8000-8003:80/udp"], &[taken("0.0.0.0", 1, 9000)]);
        assert_eq!(chosen.unwrap(), ["0.0.0.0:8000->80/udp"]);
        let chosen = choose_from("5000 5009", &["80-84"], &[taken("0.0.0.0", 5000, 5004)]);
        assert_eq!(chosen.unwrap(), ["0.0.0.0:5005-5009->80-84/tcp"]);
        let error = choose_from("1 2", &["8000-8003:80"], &[taken("0.0.0.0", 8000, 8003)]).unwrap_err();
        assert!(error.contains("8000-8003"), "{error}");
        let error = choose_from("5000 5009", &["80-90"], &[]).unwrap_err();
        assert!(error.contains("range"), "{error}");
    }

    #[test]
    fn an_address_of_a_family_that_the_container_lacks_is_refused() {
        let error = choose_from("1 2", &["[::]:80:80"], &[]).unwrap_err();
        assert!(error.contains("no IPv6 address"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_free_and_in_the_range(
            first in 1..60_000_u16,
            width in 0..300_u16,
            count in 1..5_u32,
            busy in prop::collection::vec(0..300_u16, 0..20),
        ) {
            let last = first + width;
            let busy: Vec<_> = busy.iter().map(|n| taken("0.0.0.0", first + n, first + n)).collect();
            let wanted = format!("80-{}", 79 + count);
            let requests: Vec<PortRequest> = vec![wanted.parse().unwrap(), wanted.parse().unwrap()];
            let in_use = InUse { listeners: &Listeners::find(&[]), taken: &busy };
            let local = LocalPorts::parse(&format!("{first} {last}"), "");
            if let Ok(mappings) = choose(&requests, &publisher(), &&local, &in_use) {
                prop_assert_eq!(mappings.len(), 2);
                prop_assert!(!mappings[0].overlaps(&mappings[1]));
                for mapping in mappings {
                    prop_assert_eq!(mapping.host.count(), count);
                    prop_assert!(first <= mapping.host.first && mapping.host.last <= last);
                    prop_assert!(!busy.iter().any(|taken| overlaps(&mapping, taken)));
                }
            }
        }
    }
}
