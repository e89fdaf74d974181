//! Which addresses a new network gets: what the user asked for, checked, and the rest chosen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::attachment::Origin;
use super::error::NetworkError;
use super::host::{Occupied, Pool};
use super::record::{AddressBlock, DEFAULT_MTU, DriverKind, Mode};
use super::subnet::{Family, Subnet};
use crate::names::{IfName, NameError, NetworkName};

/// The smallest packet that every link with IPv6 must carry (RFC 8200, 5).
const IPV6_MINIMUM_MTU: u32 = 1280;

/// A network as the user wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name.
    pub name: NetworkName,
    /// What makes its devices.
    pub driver: DriverKind,
    /// Whether it is to have IPv4 addresses; `None` where that follows from the subnets.
    pub ipv4: Option<bool>,
    /// Whether it is to have IPv6 addresses; `None` where that follows from the subnets.
    pub ipv6: Option<bool>,
    /// Its addresses, and the gateway where a subnet was written with host bits; none for a free subnet. At
    /// most one for each address family.
    pub subnets: Vec<(Subnet, Option<IpAddr>)>,
    /// The bridge's addresses, at most one for each family; the lowest where none is given.
    pub gateways: Vec<IpAddr>,
    /// The parts of the subnets that addresses are chosen from, at most one for each family.
    pub ranges: Vec<IpNet>,
    /// Addresses that are never given out.
    pub reserved: Vec<IpAddr>,
    /// Nothing is to be forwarded in or out.
    pub internal: bool,
    /// Other networks are to reach it through published ports only.
    pub isolated: bool,
    /// Its containers are to reach each other, and other networks, through published ports only.
    pub apart: bool,
    /// How its containers are to be seen outside.
    pub mode: Mode,
    /// Whether packets to the outside get the host's address.
    pub masquerade: bool,
    /// Whether containers may only send from addresses that are routed to them.
    pub check_source: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The bridge device; named after the network where none is given.
    pub bridge: Option<IfName>,
    /// Which other engine it is for. What that says of subnets is taken as it is: the host's own routes may overlap them.
    pub origin: Option<Origin>,
}

impl CreateRequest {
    /// A request with nothing but a name.
    #[must_use]
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            driver: DriverKind::Bridge,
            ipv4: None,
            ipv6: None,
            subnets: Vec::new(),
            gateways: Vec::new(),
            ranges: Vec::new(),
            reserved: Vec::new(),
            internal: false,
            isolated: false,
            apart: false,
            mode: Mode::Nat,
            masquerade: true,
            check_source: false,
            mtu: DEFAULT_MTU,
            labels: BTreeMap::new(),
            bridge: None,
            origin: None,
        }
    }

    /// A request for an engine's network, which may get another of the names that it may have here.
    ///
    /// # Errors
    /// As [`Origin::names`].
    pub fn for_engine(origin: &Origin) -> Result<Self, NameError> {
        let mut names = origin.names()?.into_iter();
        let name = names.next().unwrap_or_else(NetworkName::of_default);
        Ok(Self { origin: Some(origin.clone()), ..Self::new(name) })
    }

    /// What the network is going to have of IPv4 and of IPv6.
    ///
    /// # Errors
    /// Anything that is wrong with subnets, gateways, ranges and reserved addresses.
    pub(super) fn choose_blocks(
        &self,
        occupied: &Occupied,
    ) -> Result<(Option<AddressBlock>, Option<AddressBlock>), NetworkError> {
        let mut chosen = (None, None);
        for family in Family::ALL {
            let subnet = self.subnet(family)?;
            self.refuse_what_has_no_place(family)?;
            if !self.wants(family) {
                continue;
            }
            let block = self.choose_block(family, subnet, occupied)?;
            match family {
                Family::V4 => chosen.0 = Some(block),
                Family::V6 => chosen.1 = Some(block),
            }
        }
        if chosen == (None, None) {
            return Err(NetworkError::NoFamily(self.name.clone()));
        }
        if chosen.1.is_some() && self.mtu < IPV6_MINIMUM_MTU {
            let (name, mtu, minimum) = (self.name.clone(), self.mtu, IPV6_MINIMUM_MTU);
            return Err(NetworkError::MtuTooSmall { name, mtu, minimum });
        }
        Ok(chosen)
    }

    /// IPv4 unless only an IPv6 subnet is given; IPv6 only where it is asked for.
    fn wants(&self, family: Family) -> bool {
        let given = |family| self.subnets.iter().any(|(subnet, _)| subnet.family() == family);
        match family {
            Family::V4 => self.ipv4.unwrap_or(given(Family::V4) || !given(Family::V6)),
            Family::V6 => self.ipv6.unwrap_or(given(Family::V6)),
        }
    }

    fn subnet(&self, family: Family) -> Result<Option<(Subnet, Option<IpAddr>)>, NetworkError> {
        let mut given = self.subnets.iter().copied().filter(|(subnet, _)| subnet.family() == family);
        let first = given.next();
        match given.next() {
            Some((second, _)) => Err(NetworkError::TwoSubnets { name: self.name.clone(), family, second }),
            None => Ok(first),
        }
    }

    /// Options with addresses of a family that the network is not to have.
    fn refuse_what_has_no_place(&self, family: Family) -> Result<(), NetworkError> {
        if self.wants(family) {
            return Ok(());
        }
        let of_family = |address: &IpAddr| Family::of(*address) == family;
        let subnet = self.subnets.iter().find(|(subnet, _)| subnet.family() == family);
        let option = subnet.map(|(subnet, _)| format!("--subnet {subnet}"));
        let option = option.or_else(|| {
            self.gateways
                .iter()
                .find(|gateway| of_family(gateway))
                .map(|gateway| format!("--gateway {gateway}"))
        });
        let option = option.or_else(|| {
            let mut ranges = self.ranges.iter();
            ranges.find(|range| of_family(&range.addr())).map(|range| format!("--ip-range {range}"))
        });
        let option = option.or_else(|| {
            self.reserved
                .iter()
                .find(|address| of_family(address))
                .map(|address| format!("--reserve {address}"))
        });
        match option {
            Some(option) => Err(NetworkError::OtherFamily { name: self.name.clone(), option, family }),
            None => Ok(()),
        }
    }

    fn choose_block(
        &self,
        family: Family,
        given: Option<(Subnet, Option<IpAddr>)>,
        occupied: &Occupied,
    ) -> Result<AddressBlock, NetworkError> {
        let name = || self.name.clone();
        let (subnet, of_subnet) = match given {
            Some((subnet, gateway)) => {
                if let Some(occupant) = occupied.occupant_of(subnet) {
                    let occupant = occupant.clone();
                    return Err(NetworkError::Overlap { name: name(), subnet, occupant });
                }
                (subnet, gateway)
            }
            None => {
                let pool = Pool::of(family);
                let exhausted = || NetworkError::PoolExhausted { name: name(), pool };
                (occupied.first_free(pool).ok_or_else(exhausted)?, None)
            }
        };
        let reserved: Vec<IpAddr> =
            self.reserved.iter().copied().filter(|address| Family::of(*address) == family).collect();
        if let Some(address) = reserved.iter().find(|address| !subnet.contains(**address)) {
            return Err(NetworkError::ReservedOutside { name: name(), address: *address, subnet });
        }
        let gateway = self.gateway(family, of_subnet)?;
        let lowest = || {
            let numbers = (1..subnet.size()).filter(|number| !subnet.is_reserved(*number));
            numbers.map(|number| subnet.address(number)).find(|address| !reserved.contains(address))
        };
        let gateway = gateway.or_else(lowest).unwrap_or_else(|| subnet.address(1));
        if !subnet.is_host_address(gateway) {
            return Err(NetworkError::GatewayOutside { name: name(), gateway, subnet });
        }
        Ok(AddressBlock { subnet, gateway, range: self.range(subnet)? })
    }

    /// The gateway of a family, by option or by the host bits of the subnet.
    fn gateway(&self, family: Family, of_subnet: Option<IpAddr>) -> Result<Option<IpAddr>, NetworkError> {
        let options = self.gateways.iter().copied().filter(|gateway| Family::of(*gateway) == family);
        let mut all = of_subnet.into_iter().chain(options);
        let first = all.next();
        match all.find(|other| Some(*other) != first) {
            Some(second) => Err(NetworkError::TwoGateways {
                name: self.name.clone(),
                first: first.unwrap_or(second),
                second,
            }),
            None => Ok(first),
        }
    }

    /// The range that addresses of the subnet are chosen from.
    fn range(&self, subnet: Subnet) -> Result<Option<IpNet>, NetworkError> {
        let name = || self.name.clone();
        let family = subnet.family();
        let mut given =
            self.ranges.iter().map(IpNet::trunc).filter(|range| Family::of(range.addr()) == family);
        let Some(range) = given.next() else { return Ok(None) };
        if let Some(second) = given.next() {
            return Err(NetworkError::TwoRanges { name: name(), family, second });
        }
        if !subnet.net().contains(&range) {
            return Err(NetworkError::RangeOutside { name: name(), range, subnet });
        }
        let last = subnet.address(subnet.size() - 1);
        if subnet.number(range.broadcast()).is_none() {
            return Err(NetworkError::RangeUnmanaged { name: name(), range, subnet, last });
        }
        Ok(Some(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str]) -> CreateRequest {
        let mut request = CreateRequest::new("n".parse().unwrap());
        request.subnets = subnets.iter().map(|text| Subnet::parse_with_gateway(text).unwrap()).collect();
        request
    }

    fn chosen(request: &CreateRequest) -> Result<[Option<(String, String)>; 2], String> {
        let (v4, v6) = request.choose_blocks(&Occupied::nothing()).map_err(|error| error.to_string())?;
        let text = |block: AddressBlock| (block.subnet.to_string(), block.gateway.to_string());
        Ok([v4.map(text), v6.map(text)])
    }

    fn refusal(change: impl FnOnce(&mut CreateRequest)) -> String {
        let mut request = request(&["10.1.0.0/24", "fd00:1::/64"]);
        change(&mut request);
        chosen(&request).unwrap_err()
    }

    #[test]
    fn families_follow_from_the_subnets_unless_they_are_asked_for() {
        let has = |request: &CreateRequest| chosen(request).unwrap().map(|block| block.is_some());
        assert_eq!(has(&request(&[])), [true, false]);
        assert_eq!(has(&request(&["10.1.0.0/24"])), [true, false]);
        assert_eq!(has(&request(&["fd00:1::/64"])), [false, true]);
        assert_eq!(has(&request(&["fd00:1::/64", "10.1.0.0/24"])), [true, true]);
        let with = |subnets: &[&str], ipv4, ipv6| CreateRequest { ipv4, ipv6, ..request(subnets) };
        assert_eq!(has(&with(&[], None, Some(true))), [true, true]);
        assert_eq!(has(&with(&[], Some(false), Some(true))), [false, true]);
        assert_eq!(has(&with(&["fd00:1::/64"], None, Some(true))), [false, true]);
        assert_eq!(has(&with(&["fd00:1::/64"], Some(true), None)), [true, true]);
        assert!(chosen(&with(&[], Some(false), None)).unwrap_err().contains("neither"));
        assert!(
            chosen(&with(&["fd00:1::/64"], None, Some(false))).unwrap_err().contains("--subnet fd00:1::/64")
        );
    }

    #[test]
    fn the_gateway_is_the_lowest_address_that_is_not_reserved() {
        let mut request = request(&["10.1.0.0/24", "fd00:1::5/64"]);
        request.reserved = vec!["10.1.0.1".parse().unwrap(), "10.1.0.2".parse().unwrap()];
        let gateways = chosen(&request).unwrap().map(|block| block.unwrap().1);
        assert_eq!(gateways, ["10.1.0.3", "fd00:1::5"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_named() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        for gateway in ["10.2.0.1", "10.1.0.0", "10.1.0.255", "fd00:2::1", "fd00:1::"] {
            assert!(refusal(|request| request.gateways = vec![ip(gateway)]).contains(gateway), "{gateway}");
        }
        assert!(refusal(|r| r.gateways = vec![ip("10.1.0.1"), ip("10.1.0.2")]).contains("10.1.0.2"));
        for range in ["10.2.0.0/25", "10.1.0.0/16", "fd00:2::/96", "fd00:1::1:0:0/96", "fd00:1::/96"] {
            assert!(refusal(|request| request.ranges = vec![net(range)]).contains(range), "{range}");
        }
        let two = [net("10.1.0.0/25"), net("10.1.0.128/25")];
        assert!(refusal(|request| request.ranges = two.to_vec()).contains("10.1.0.128/25"));
        assert!(refusal(|request| request.reserved = vec![ip("10.2.0.1")]).contains("10.2.0.1"));
        assert!(refusal(|request| request.mtu = 1279).contains("1279"));
        let second = Subnet::parse_with_gateway("fd00:2::/64").unwrap();
        assert!(refusal(|request| request.subnets.push(second)).contains("fd00:2::/64"));
        let mut only4 = request(&["10.1.0.0/24"]);
        only4.gateways = vec![ip("fd00:1::1")];
        assert!(chosen(&only4).unwrap_err().contains("--gateway fd00:1::1"));
    }
}
