//! Where addresses come from: `host-local` and `static`, done by mydocker's own allocator.

use std::io::Read as _;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::conf::Dns;
use super::reply::Failure;
use crate::engine::{Family, Route, Subnet};
use crate::plugin::json::Object;

/// The most that is read of a file of name servers.
const RESOLVER_FILE_MAX: u64 = 64 << 10;

/// What the member `ipam` says.
#[derive(Debug, Default)]
pub(super) struct Ipam {
    /// Whether there is such a member at all.
    pub(super) is_given: bool,
    /// At most one for each family.
    pools: Vec<Pool>,
    /// Addresses that are given, of `static`.
    pub(super) addresses: Vec<IpAddr>,
    /// Routes, default routes among them.
    pub(super) routes: Vec<Route>,
    /// Name servers, of a file that it names.
    pub(super) dns: Dns,
}

/// A subnet, and what is given out of it.
#[derive(Debug, Clone, Copy)]
struct Pool {
    subnet: Subnet,
    gateway: Option<IpAddr>,
    first: Option<IpAddr>,
    last: Option<IpAddr>,
}

impl Ipam {
    pub(super) fn read(ipam: Option<&Object<'_>>) -> Result<Self, Failure> {
        let Some(ipam) = ipam else { return Ok(Self::default()) };
        if ipam.members().next().is_none() {
            return Ok(Self::default());
        }
        let kind = ipam.text("type")?.ok_or_else(|| ipam.unexpected("type", "host-local or static"))?;
        let mut read = Self { is_given: true, routes: routes(ipam)?, ..Self::default() };
        match kind {
            "host-local" => {
                for object in ranges(ipam)? {
                    read.add(pool(&object)?)?;
                }
                if let Some(path) = ipam.text("resolvConf")? {
                    read.dns = name_servers(path)?;
                }
            }
            "static" => {
                for object in ipam.objects("addresses")? {
                    let net: IpNet = object.required("address", "an address with a prefix length")?;
                    let subnet = Subnet::new(net).map_err(Failure::configuration)?;
                    let gateway = object.parsed("gateway", "an IP address")?;
                    read.add(Pool { subnet, gateway, first: None, last: None })?;
                    read.addresses.push(net.addr());
                }
            }
            _ => {
                let why = format!(
                    "ipam.type is {kind:?}: mydocker runs no other program, and does host-local and static itself"
                );
                return Err(Failure::configuration(why));
            }
        }
        if read.pools.is_empty() {
            return Err(Failure::configuration(format!("ipam of type {kind} has no subnet")));
        }
        Ok(read)
    }

    fn add(&mut self, pool: Pool) -> Result<(), Failure> {
        let family = pool.subnet.family();
        if let Some(other) = self.pools.iter().find(|other| other.subnet.family() == family) {
            let why = format!(
                "{} and {} are two ranges of {family} addresses, and a network has one for each family",
                other.subnet, pool.subnet
            );
            return Err(Failure::configuration(why));
        }
        self.pools.push(pool);
        Ok(())
    }

    /// The subnets that the network is to have, each with its gateway.
    pub(super) fn subnets(&self) -> Vec<(Subnet, Option<IpAddr>)> {
        self.pools.iter().map(|pool| (pool.subnet, pool.gateway)).collect()
    }

    /// The first and the last address of each pool that is a part of its subnet.
    pub(super) fn within(&self) -> Vec<(IpAddr, IpAddr)> {
        let bounds = |pool: &Pool| {
            let first = pool.first.unwrap_or_else(|| pool.subnet.address(0));
            let last = pool.last.unwrap_or_else(|| pool.subnet.address(pool.subnet.size() - 1));
            (first, last)
        };
        let is_part = |pool: &&Pool| pool.first.is_some() || pool.last.is_some();
        self.pools.iter().filter(is_part).map(bounds).collect()
    }

    /// Whether a default route of the family is among the routes, through the network's gateway.
    pub(super) fn has_default_route(&self, family: Family, gateway: IpAddr) -> bool {
        self.routes.iter().any(|route| {
            is_default(route)
                && Family::of(route.to.addr()) == family
                && route.gateway.is_none_or(|own| own == gateway)
        })
    }

    /// The other routes; those without a gateway lead through the network's.
    pub(super) fn further_routes(&self, gateways: &[IpAddr]) -> Vec<Route> {
        let of_family =
            |net: &IpNet| gateways.iter().copied().find(|it| it.is_ipv4() == net.addr().is_ipv4());
        let is_further = |route: &&Route| {
            !is_default(route) || route.gateway.is_some_and(|gateway| !gateways.contains(&gateway))
        };
        let with_gateway =
            |route: &Route| Route { gateway: route.gateway.or_else(|| of_family(&route.to)), ..*route };
        self.routes.iter().filter(is_further).map(with_gateway).collect()
    }
}

fn is_default(route: &Route) -> bool {
    route.to.prefix_len() == 0
}

/// The ranges: each set of them gives one address. The members of the oldest form are a range of their own.
fn ranges<'a>(ipam: &Object<'a>) -> Result<Vec<Object<'a>>, Failure> {
    let mut ranges = Vec::new();
    if ipam.member("subnet").is_some() {
        ranges.push(ipam.clone());
    }
    for (at, set) in ipam.list("ranges")?.iter().enumerate() {
        let Value::Array(set) = set else {
            return Err(ipam.unexpected("ranges", "a list of lists").into());
        };
        if set.len() > 1 {
            let why = format!("ipam.ranges[{at}] has {} alternatives, and mydocker takes one", set.len());
            return Err(Failure::configuration(why));
        }
        for range in set {
            ranges.push(Object::of(range, &format!("ipam.ranges[{at}][0]"))?);
        }
    }
    Ok(ranges)
}

fn pool(object: &Object<'_>) -> Result<Pool, Failure> {
    let net: IpNet = object.required("subnet", "a subnet such as 10.1.0.0/16")?;
    let subnet = Subnet::new(net).map_err(Failure::configuration)?;
    let within = |name: &str| -> Result<Option<IpAddr>, Failure> {
        let address: Option<IpAddr> = object.parsed(name, "an IP address")?;
        match address {
            Some(address) if !subnet.contains(address) => {
                Err(object.unexpected(name, &format!("an address of {subnet}")).into())
            }
            address => Ok(address),
        }
    };
    let managed = |name: &str| -> Result<Option<IpAddr>, Failure> {
        let address = within(name)?;
        if address.is_some_and(|address| subnet.number(address).is_none()) {
            let last = subnet.address(subnet.size() - 1);
            let why = format!("of {subnet}, mydocker gives out the addresses up to {last}");
            return Err(object.impossible(name, &why).into());
        }
        Ok(address)
    };
    let (first, last) = (managed("rangeStart")?, managed("rangeEnd")?);
    if let (Some(first), Some(last)) = (first, last)
        && last < first
    {
        return Err(Failure::configuration(format!("rangeEnd {last} lies before rangeStart {first}")));
    }
    Ok(Pool { subnet, gateway: within("gateway")?, first, last })
}

fn routes(ipam: &Object<'_>) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    for object in ipam.objects("routes")? {
        let to: IpNet = object.required("dst", "a subnet")?;
        let gateway = object.parsed("gw", "an IP address")?;
        for name in ["mtu", "advmss", "table", "scope"] {
            if let Some(value) = object.member(name).filter(|value| value.as_u64() != Some(0)) {
                return Err(Failure::unsupported(&format!("ipam.routes.{name}"), value));
            }
        }
        routes.push(Route { to: to.trunc(), gateway, metric: object.number("priority")? });
    }
    Ok(routes)
}

/// What a file such as `/etc/resolv.conf` says.
fn name_servers(path: &str) -> Result<Dns, Failure> {
    let failed =
        |error: std::io::Error| Failure::configuration(format!("cannot read resolvConf {path}: {error}"));
    let mut text = String::new();
    let file = crate::plugin::open(path).map_err(failed)?;
    file.take(RESOLVER_FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("domain") => dns.domain = words.next().map(str::to_owned),
            Some("search") => dns.search = words.map(str::to_owned).collect(),
            Some("options") => dns.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    Ok(dns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Ipam, String> {
        Ipam::read(Some(&Object::of(value, "ipam").unwrap())).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn both_forms_of_ranges_are_read() {
        let old = read(&json!({ "type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.1.2.3",
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.9.0.0/16", "gw": "10.1.0.7", "priority": 5 }] }));
        let old = old.unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(old.within(), [(ip("10.1.2.3"), ip("10.1.255.255"))]);
        assert!(
            old.has_default_route(Family::V4, ip("10.1.0.1"))
                && !old.has_default_route(Family::V6, ip("::1"))
        );
        let further = old.further_routes(&[ip("10.1.0.1")]);
        let [route] = &further[..] else { panic!("{further:?}") };
        assert_eq!((route.to.to_string().as_str(), route.metric), ("10.9.0.0/16", Some(5)));
        let new = read(&json!({ "type": "host-local", "ranges": [
            [{ "subnet": "10.1.0.0/16", "gateway": "10.1.0.9" }], [{ "subnet": "fd00:1::/64" }]
        ] }));
        let new = new.unwrap();
        assert_eq!(new.subnets().len(), 2);
        assert_eq!(new.subnets()[0].1, Some(ip("10.1.0.9")));
        assert!(new.within().is_empty());
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (value, needle) in [
            (json!({ "type": "dhcp" }), "dhcp"),
            (json!({ "subnet": "10.1.0.0/16" }), "ipam.type is missing"),
            (
                json!({ "type": "host-local", "subnet": "fd00::/64", "rangeStart": "fd00::1:0:0:5" }),
                "up to fd00::ffff",
            ),
            (
                json!({ "type": "host-local", "subnet": "fd00::/64", "rangeEnd": "fd00::1:0" }),
                "up to fd00::ffff",
            ),
            (json!({ "type": "host-local" }), "no subnet"),
            (json!({ "type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.2.0.1" }), "10.2.0.1"),
            (
                json!({ "type": "host-local", "subnet": "10.1.0.0/16", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8" }),
                "before",
            ),
            (
                json!({ "type": "host-local", "ranges": [[{ "subnet": "10.1.0.0/16" }], [{ "subnet": "10.2.0.0/16" }]] }),
                "one for each family",
            ),
            (
                json!({ "type": "host-local", "ranges": [[{ "subnet": "10.1.0.0/16" }, { "subnet": "10.2.0.0/16" }]] }),
                "alternatives",
            ),
            (json!({ "type": "static", "addresses": [{ "address": "10.1.0.5" }] }), "prefix"),
        ] {
            assert!(read(&value).unwrap_err().contains(needle), "{value}");
        }
    }

    #[test]
    fn a_file_of_name_servers_is_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "nameserver 10.0.0.1\n# x\nsearch a b\noptions ndots:2\nnameserver ::1\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let dns = name_servers(file.path().to_str().unwrap()).unwrap();
        assert_eq!((dns.servers.len(), dns.search.len(), dns.options.len()), (2, 2, 1));
        assert!(name_servers("/dev/zero").is_err());
    }
}
