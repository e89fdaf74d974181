//! Elements as the kernel takes them.
//!
//! This is where all the bytes of a change are, and ten thousand ports are one change: so they are written
//! straight into the message, and not first made into a tree of attributes (0.7 µs an element).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use ipnet::{Ipv4Net, Ipv6Net};
use netlink_packet_core::NLA_F_NESTED;

use super::TABLE;
use super::element::Element;
use super::frames::{nest, put};
use super::proto::Proto;
use super::schema::{Set, userdata_text};

/// Attributes of a message about elements (`enum nft_set_elem_list_attributes`, `<linux/netfilter/nf_tables.h>`).
pub(super) const LIST_TABLE: u16 = 1;
pub(super) const LIST_SET: u16 = 2;
pub(super) const LIST_ELEMENTS: u16 = 3;
/// One entry of a list (`NFTA_LIST_ELEM`).
pub(super) const LIST_ELEM: u16 = 1;
/// Attributes of an element (`enum nft_set_elem_attributes`).
pub(super) const KEY: u16 = 1;
pub(super) const DATA: u16 = 2;
pub(super) const FLAGS: u16 = 3;
pub(super) const USERDATA: u16 = 6;
pub(super) const KEY_END: u16 = 10;
/// What wraps every key and datum (`NFTA_DATA_VALUE`).
pub(super) const VALUE: u16 = 1;
/// `NFT_SET_ELEM_INTERVAL_END`: the first address that no longer belongs to the interval.
pub(super) const FLAG_INTERVAL_END: u32 = 1;

/// The most elements in one message.
const ELEMENTS_PER_MESSAGE: usize = 1000;
/// The most bytes of elements in one message: they are one attribute, whose length is a `u16`.
const BYTES_PER_MESSAGE: usize = 65_000;

/// A key or a datum; the longest is that of `same_bridge`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    bytes: [u8; 32],
    length: usize,
}

impl Value {
    fn new(parts: &[&[u8]]) -> Self {
        let mut value = Self { bytes: [0; 32], length: 0 };
        for part in parts {
            value.bytes[value.length..][..part.len()].copy_from_slice(part);
            // Every field of a concatenation is padded to four bytes; alone, all of ours are multiples of four.
            value.length += part.len().next_multiple_of(4);
        }
        value
    }

    /// An address, in front of other fields.
    fn with_address(address: IpAddr, rest: &[&[u8]]) -> Self {
        let mut parts: [&[u8]; 3] = [&[]; 3];
        let (v4, v6);
        parts[0] = match address {
            IpAddr::V4(address) => {
                v4 = address.octets();
                &v4
            }
            IpAddr::V6(address) => {
                v6 = address.octets();
                &v6
            }
        };
        parts[1..][..rest.len()].copy_from_slice(rest);
        Self::new(&parts)
    }

    fn port_key(host: IpAddr, proto: Proto, port: u16) -> Self {
        Self::with_address(host, &[&[proto.number()], &port.to_be_bytes()])
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Element {
    /// What identifies it in its set: the key, and the upper bounds of the key's fields if it is a range.
    pub(super) fn key(&self) -> (Value, Option<Value>) {
        let key = match self {
            Self::Bridge(name)
            | Self::Internal(name)
            | Self::Isolated(name)
            | Self::Routed(name)
            | Self::NoMasquerade(name)
            | Self::NoSpoofing(name)
            | Self::HostBridge(name) => Value::new(&[&name.padded()]),
            Self::SameBridge(name) => Value::new(&[&name.padded(), &name.padded()]),
            Self::Subnet4(net) => Value::new(&[&net.network().octets()]),
            Self::Subnet6(net) => Value::new(&[&net.network().octets()]),
            Self::Claim(claim) => Value::new(&[&claim.bounds().0]),
            Self::Published(port) => Value::port_key(port.host(), port.proto(), port.host_port()),
            Self::PublishedRange(range) => {
                let (host, proto, (first, last)) = (range.host(), range.proto(), range.ports());
                let end = Value::port_key(highest(host), proto, last);
                return (Value::port_key(host, proto, first), Some(end));
            }
        };
        (key, None)
    }

    /// Where the interval of a subnet or a claim ends; None for other elements, and for a subnet that ends with
    /// the last address there is.
    fn interval_end(&self) -> Option<Value> {
        match self {
            Self::Subnet4(net) => after4(*net).map(|end| Value::new(&[&end.octets()])),
            Self::Subnet6(net) => after6(*net).map(|end| Value::new(&[&end.octets()])),
            Self::Claim(claim) => Some(Value::new(&[&claim.end()])),
            _ => None,
        }
    }

    /// How many entries of a list it is: a subnet or a claim is the start of an interval and its end.
    pub(super) fn item_count(&self) -> usize {
        1 + usize::from(self.interval_end().is_some())
    }

    /// The datum of a map's element.
    pub(super) fn data(&self) -> Option<Value> {
        match self {
            Self::Published(published) => {
                Some(Value::with_address(published.to(), &[&published.to_port().to_be_bytes()]))
            }
            Self::PublishedRange(range) => Some(Value::with_address(range.to(), &[])),
            _ => None,
        }
    }

    /// Writes what the kernel takes to add it or, `with_data` being false, to find or delete it.
    fn put_items(&self, list: &mut Vec<u8>, with_data: bool) {
        let value = |item: &mut Vec<u8>, kind: u16, value: &Value| {
            nest(item, kind | NLA_F_NESTED, |nested| put(nested, VALUE, value));
        };
        nest(list, LIST_ELEM | NLA_F_NESTED, |item| {
            let (key, key_end) = self.key();
            value(item, KEY, &key);
            if let Some(end) = key_end {
                value(item, KEY_END, &end);
            }
            if with_data {
                if let Some(data) = self.data() {
                    value(item, DATA, &data);
                }
                if let Some(comment) = self.comment() {
                    put(item, USERDATA, &userdata_text(0, comment));
                }
            }
        });
        if let Some(end) = self.interval_end() {
            nest(list, LIST_ELEM | NLA_F_NESTED, |item| {
                value(item, KEY, &end);
                put(item, FLAGS, &FLAG_INTERVAL_END.to_be_bytes());
            });
        }
    }
}

/// Writes the attributes of a message about elements of `set`, as many of them as fit, and returns how many.
pub(super) fn put_elements(message: &mut Vec<u8>, set: Set, elements: &[Element], with_data: bool) -> usize {
    let name = |message: &mut Vec<u8>, kind, name: &str| {
        nest(message, kind, |value| {
            value.extend(name.as_bytes());
            value.push(0);
        });
    };
    name(message, LIST_TABLE, TABLE);
    name(message, LIST_SET, set.name());
    let mut written = 0;
    nest(message, LIST_ELEMENTS | NLA_F_NESTED, |list| {
        let start = list.len();
        for element in elements.iter().take(ELEMENTS_PER_MESSAGE) {
            let before = list.len();
            element.put_items(list, with_data);
            if list.len() - start > BYTES_PER_MESSAGE {
                list.truncate(before);
                break;
            }
            written += 1;
        }
    });
    written
}

/// The first address after a subnet.
fn after4(net: Ipv4Net) -> Option<Ipv4Addr> {
    u32::from(net.broadcast()).checked_add(1).map(Ipv4Addr::from)
}

/// [`after4`] for IPv6.
fn after6(net: Ipv6Net) -> Option<Ipv6Addr> {
    u128::from(net.broadcast()).checked_add(1).map(Ipv6Addr::from)
}

/// The upper bound that goes with a range's host address: every address if it is unspecified, else itself.
const fn highest(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::{Published, PublishedRange};
    use super::super::frames::{attribute, attributes};
    use super::*;
    use crate::names::IfName;

    fn published(host: &str, port: u16, to: &str) -> Element {
        Published::new(host.parse().unwrap(), Proto::Tcp, port, to.parse().unwrap(), 80, None).unwrap().into()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_padded_field_by_field() {
        let element = published("0.0.0.0", 8080, "172.18.0.2");
        assert_eq!(hex(&element.key().0), "00000000060000001f900000");
        assert_eq!(hex(&element.data().unwrap()), "ac12000200500000");
        let element = published("::", 8080, "fd00:18::2");
        assert_eq!(hex(&element.key().0), "00000000000000000000000000000000060000001f900000");
        assert_eq!(hex(&element.data().unwrap()), "fd00001800000000000000000000000200500000");
        let name: IfName = "br-new".parse().unwrap();
        assert_eq!(hex(&Element::Bridge(name.clone()).key().0), "62722d6e657700000000000000000000");
        assert_eq!(
            hex(&Element::SameBridge(name).key().0),
            "62722d6e65770000000000000000000062722d6e657700000000000000000000"
        );
    }

    #[test]
    fn a_range_is_one_element_with_both_bounds() {
        let range = |host: &str, to: &str| {
            let element = PublishedRange::new(
                host.parse().unwrap(),
                Proto::Udp,
                20000,
                29999,
                to.parse().unwrap(),
                None,
            );
            Element::from(element.unwrap())
        };
        let (low, high) = range("0.0.0.0", "172.18.0.2").key();
        assert_eq!(hex(&low), "00000000110000004e200000");
        assert_eq!(hex(&high.unwrap()), "ffffffff11000000752f0000");
        let (low, high) = range("198.51.100.10", "172.18.0.2").key();
        assert_eq!(hex(&low), "c633640a110000004e200000");
        assert_eq!(hex(&high.unwrap()), "c633640a11000000752f0000");
        let (_, high) = range("::", "fd00::2").key();
        assert_eq!(hex(&high.unwrap()), "ffffffffffffffffffffffffffffffff11000000752f0000");
    }

    /// The entries of one element's list, each as key and flags.
    fn items(element: &Element) -> Vec<(String, Option<Vec<u8>>)> {
        let mut list = Vec::new();
        element.put_items(&mut list, true);
        let items: Vec<_> = attributes(&list)
            .map(|(_, item)| {
                let key = attribute(attribute(item, KEY).unwrap(), VALUE).unwrap();
                (hex(key), attribute(item, FLAGS).map(<[u8]>::to_vec))
            })
            .collect();
        assert_eq!(items.len(), element.item_count());
        items
    }

    #[test]
    fn a_subnet_is_an_interval_and_ignores_host_bits() {
        let end = Some(vec![0, 0, 0, 1]);
        assert_eq!(
            items(&Element::Subnet4("172.30.0.1/16".parse().unwrap())),
            [("ac1e0000".to_owned(), None), ("ac1f0000".to_owned(), end)]
        );
        assert_eq!(items(&Element::Subnet4("240.0.0.0/4".parse().unwrap())).len(), 1);
        assert_eq!(items(&Element::Subnet6("ff00::/8".parse().unwrap())).len(), 1);
        assert_eq!(items(&Element::Subnet6("fd00::/64".parse().unwrap())).len(), 2);
    }

    #[test]
    fn a_message_takes_what_fits() {
        let many = |comment: Option<&str>, count: u16| -> Vec<Element> {
            let host = "::".parse().unwrap();
            let port =
                |n| Published::new(host, Proto::Tcp, n, host, 80, comment.map(str::to_owned)).unwrap().into();
            (1..=count).map(port).collect()
        };
        let written = |elements: &[Element]| {
            let mut message = Vec::new();
            let written = put_elements(&mut message, Set::Published6, elements, true);
            // Every length is what is there: all of it can be walked through again.
            let list = attribute(&message, LIST_ELEMENTS);
            assert_eq!(attributes(list.unwrap()).count(), written);
            assert!(message.len() < usize::from(u16::MAX));
            written
        };
        assert_eq!(written(&many(None, 10)), 10);
        assert_eq!(written(&many(None, 3000)), 1000);
        let commented = written(&many(Some(&"x".repeat(127)), 3000));
        assert!((300..400).contains(&commented), "{commented}");
    }
}
