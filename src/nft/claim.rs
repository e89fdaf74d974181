//! Claims: host ports as intervals of one line of numbers, so that the kernel refuses every overlap.

use std::fmt;
use std::net::IpAddr;

use super::element::{ElementError, check_comment};
use super::listing::field_text;
use super::proto::Proto;
use super::schema::Type;

/// A port of one address of the host, or a range of ports of every address of a family: an element of the set
/// `claims`, of which no two overlap.
///
/// The key is written as an IPv6 address, the widest number that nft has a type for:
///
/// ```text
/// 406:1f90::c633:640a    4: IPv4, 06: TCP; 1f90: port 8080; the address 198.51.100.10
/// 406:1f90::/32          the same port of every address
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    host: IpAddr,
    proto: Proto,
    first: u16,
    last: u16,
    comment: Option<String>,
}

impl Claim {
    /// The claims of the ports `first..=last` of `host`. With the unspecified address, for every address, it is
    /// one; else one for each port, because the addresses in between are not claimed.
    ///
    /// # Errors
    /// [`ElementError::PortZero`], [`ElementError::BackwardRange`], [`ElementError::Comment`].
    pub fn ports(
        host: IpAddr,
        proto: Proto,
        first: u16,
        last: u16,
        comment: Option<&str>,
    ) -> Result<Vec<Self>, ElementError> {
        check_comment(comment)?;
        if first == 0 {
            return Err(ElementError::PortZero);
        }
        if last < first {
            return Err(ElementError::BackwardRange { first, last });
        }
        let claim = |first, last| Self { host, proto, first, last, comment: comment.map(str::to_owned) };
        if host.is_unspecified() {
            return Ok(vec![claim(first, last)]);
        }
        Ok((first..=last).map(|port| claim(port, port)).collect())
    }

    /// The host's address; unspecified for every address.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        self.host
    }

    /// The protocol.
    #[must_use]
    pub const fn proto(&self) -> Proto {
        self.proto
    }

    /// The ports, the first and the last.
    #[must_use]
    pub const fn port_range(&self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whose it is.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The lowest and the highest number that belong to it.
    pub(super) fn bounds(&self) -> ([u8; 16], [u8; 16]) {
        let address = match self.host {
            host if host.is_unspecified() => None,
            IpAddr::V4(host) => Some(u128::from(host.to_bits())),
            // Of the 128 bits 96 fit. The addresses of one host that are equal in the last 64 bits are
            // distinguished by a hash of the first: at worst, one of two free ports counts as taken.
            IpAddr::V6(host) => {
                let (network, interface) = (host.to_bits() >> 64, host.to_bits() & u128::from(u64::MAX));
                let hash = (network.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & u128::from(u32::MAX);
                Some(hash << 64 | interface)
            }
        };
        let family: u8 = if self.host.is_ipv4() { 4 } else { 6 };
        let number = |port: u16, address: u128| {
            let line = u128::from(family) << 120 | u128::from(self.proto.number()) << 112;
            (line | u128::from(port) << 96 | address).to_be_bytes()
        };
        let highest = u128::MAX >> 32;
        (number(self.first, address.unwrap_or(0)), number(self.last, address.unwrap_or(highest)))
    }

    /// The first number that does not belong to it. There always is one: no family is numbered 255.
    pub(super) fn end(&self) -> [u8; 16] {
        (u128::from_be_bytes(self.bounds().1) + 1).to_be_bytes()
    }

    pub(super) fn write_key(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let (low, high) = self.bounds();
        f.write_str(&field_text(Ok(Type::Ipv6), &low, &high))
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::Element;
    use super::*;

    fn claims(host: &str, first: u16, last: u16) -> Vec<Claim> {
        Claim::ports(host.parse().unwrap(), Proto::Tcp, first, last, None).unwrap()
    }

    #[test]
    fn keys_are_read_as_documented() {
        let text = |host: &str, first, last| Element::from(claims(host, first, last).remove(0)).to_string();
        assert_eq!(text("198.51.100.10", 8080, 8080), "claims { 406:1f90::c633:640a }");
        assert_eq!(text("0.0.0.0", 8080, 8080), "claims { 406:1f90::/32 }");
        assert_eq!(
            text("0.0.0.0", 20000, 29999),
            "claims { 406:4e20::-406:752f:ffff:ffff:ffff:ffff:ffff:ffff }"
        );
        assert_eq!(text("::", 1, 65535), "claims { 606:1::-606:ffff:ffff:ffff:ffff:ffff:ffff:ffff }");
        assert!(text("2001:db8::7", 80, 80).starts_with("claims { 606:50:"));
    }

    #[test]
    fn a_range_of_one_address_is_a_claim_for_each_port() {
        assert_eq!(claims("192.0.2.1", 80, 89).len(), 10);
        assert_eq!(claims("0.0.0.0", 80, 89).len(), 1);
        let any = "0.0.0.0".parse().unwrap();
        assert_eq!(Claim::ports(any, Proto::Tcp, 0, 1, None), Err(ElementError::PortZero));
        let backward = ElementError::BackwardRange { first: 2, last: 1 };
        assert_eq!(Claim::ports(any, Proto::Tcp, 2, 1, None), Err(backward));
    }

    #[test]
    fn addresses_of_one_port_are_told_apart_and_lie_within_every_address() {
        let within = |host: &str, any: &str| {
            let (low, high) = claims(any, 80, 80)[0].bounds();
            let (one, same) = claims(host, 80, 80)[0].bounds();
            assert_eq!(one, same);
            assert!(low <= one && one <= high);
            one
        };
        let addresses = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1", "fd00::1", "fd00:0:0:1::1"];
        let mut numbers: Vec<_> = addresses.iter().map(|address| within(address, "::")).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), addresses.len());
        assert_ne!(within("192.0.2.1", "0.0.0.0"), within("192.0.2.2", "0.0.0.0"));
    }
}
