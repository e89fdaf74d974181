//! The sets and maps of the table: their names, types, flags and comments.
//!
//! The kernel refuses what is in a set already. But a port of one address collides with that port of every
//! address, and a range with a port in it, and these are different keys of different maps. So ranges and the
//! ports of single addresses are once more in `claims`, as intervals of one line of numbers, port before
//! address: there the kernel sees every overlap. (It does not in `published_ranges4`: of a range that encloses
//! another one, neither bound lies in that other.) Ports of every address, which are nearly all, stay out of it,
//! because a change of an interval set costs as much as there is in it; their publisher only makes sure that
//! `claims` has room for them, by an element that it creates and deletes in one transaction.

use std::fmt;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetDescription, SetFlags, SetMessage,
};

use super::TABLE;
use super::element_bytes::LIST_ELEM;
use super::frames::put;

/// A type of nft, as a field of a key or of a datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// An interface's name.
    IfName,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A transport protocol's number.
    Proto,
    /// A port.
    Service,
}

impl Type {
    /// nft's number of the type (`enum datatypes` in nftables' `datatype.h`; the kernel only keeps it).
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Proto => 12,
            Self::Service => 13,
            Self::IfName => 41,
        }
    }

    /// The type with that number, if our table uses it.
    pub(super) const fn from_id(id: u32) -> Option<Self> {
        match id {
            7 => Some(Self::Ipv4),
            8 => Some(Self::Ipv6),
            12 => Some(Self::Proto),
            13 => Some(Self::Service),
            41 => Some(Self::IfName),
            _ => None,
        }
    }

    /// Bytes of a value, without the padding it gets in a concatenation.
    pub(super) const fn size(self) -> u32 {
        match self {
            Self::IfName | Self::Ipv6 => 16,
            Self::Ipv4 => 4,
            Self::Proto => 1,
            Self::Service => 2,
        }
    }

    /// The name in nft's syntax.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::IfName => "ifname",
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Proto => "inet_proto",
            Self::Service => "inet_service",
        }
    }

    /// libnftnl's number of the type's byte order: 1 is the host's, 2 is the network's.
    const fn byte_order(self) -> u32 {
        match self {
            Self::IfName => 1,
            _ => 2,
        }
    }
}

/// The fields as one type number (six bits each, the first field highest) and the padded length in bytes.
fn concatenated(fields: &[Type]) -> (u32, u32) {
    match fields {
        [single] => (single.id(), single.size()),
        _ => fields.iter().fold((0, 0), |(id, size), field| {
            (id << 6 | field.id(), size + field.size().next_multiple_of(4))
        }),
    }
}

/// The sets and maps, in the order in which they stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    Bridges,
    SameBridge,
    Internal,
    Isolated,
    Routed,
    NoMasquerade,
    NoSpoofing,
    HostBridges,
    Subnets4,
    Subnets6,
    Claims,
    Published4,
    Published6,
    PublishedRanges4,
    PublishedRanges6,
}

/// What a [`Set`] is made of.
struct Shape {
    name: &'static str,
    key: &'static [Type],
    /// Empty for a set; a map's datum else.
    data: &'static [Type],
    interval: bool,
    comment: &'static str,
}

const PORT_KEY4: &[Type] = &[Type::Ipv4, Type::Proto, Type::Service];
const PORT_KEY6: &[Type] = &[Type::Ipv6, Type::Proto, Type::Service];

impl Set {
    /// Every set and map, in the order of the table.
    pub(super) const ALL: [Self; 15] = [
        Self::Bridges,
        Self::SameBridge,
        Self::Internal,
        Self::Isolated,
        Self::Routed,
        Self::NoMasquerade,
        Self::NoSpoofing,
        Self::HostBridges,
        Self::Subnets4,
        Self::Subnets6,
        Self::Claims,
        Self::Published4,
        Self::Published6,
        Self::PublishedRanges4,
        Self::PublishedRanges6,
    ];

    const fn shape(self) -> Shape {
        const fn names(name: &'static str, comment: &'static str) -> Shape {
            Shape { name, key: &[Type::IfName], data: &[], interval: false, comment }
        }
        match self {
            Self::Bridges => names("bridges", "the bridge of every network"),
            Self::SameBridge => Shape {
                key: &[Type::IfName, Type::IfName],
                ..names("same_bridge", "in and out by one bridge: stays inside the network")
            },
            Self::Internal => names("internal", "--internal: nothing is forwarded in or out"),
            Self::Isolated => names("isolated", "--isolate: other networks only through published ports"),
            Self::Routed => names("routed", "routed mode: no masquerade, outside may reach every port"),
            Self::NoMasquerade => {
                names("no_masquerade", "--no-masquerade: others translate, or bring routes")
            }
            Self::NoSpoofing => {
                names("no_spoofing", "containers may only send from addresses of their subnet")
            }
            Self::HostBridges => {
                names("host_bridges", "bridges of others that were there before the host forwarded")
            }
            Self::Subnets4 => Shape {
                name: "subnets4",
                key: &[Type::Ipv4],
                data: &[],
                interval: true,
                comment: "the IPv4 subnet of every network",
            },
            Self::Subnets6 => Shape {
                name: "subnets6",
                key: &[Type::Ipv6],
                data: &[],
                interval: true,
                comment: "the IPv6 subnet of every network",
            },
            Self::Claims => Shape {
                name: "claims",
                key: &[Type::Ipv6],
                data: &[],
                interval: true,
                comment: "taken by ranges and single addresses: family and protocol, port, address",
            },
            Self::Published4 => Shape {
                name: "published4",
                key: PORT_KEY4,
                data: &[Type::Ipv4, Type::Service],
                interval: false,
                comment: "0.0.0.0 = any address of the host",
            },
            Self::Published6 => Shape {
                name: "published6",
                key: PORT_KEY6,
                data: &[Type::Ipv6, Type::Service],
                interval: false,
                comment: ":: = any address of the host",
            },
            Self::PublishedRanges4 => Shape {
                name: "published_ranges4",
                key: PORT_KEY4,
                data: &[Type::Ipv4],
                interval: true,
                comment: "port ranges published under the same port numbers",
            },
            Self::PublishedRanges6 => Shape {
                name: "published_ranges6",
                key: PORT_KEY6,
                data: &[Type::Ipv6],
                interval: true,
                comment: "port ranges published under the same port numbers",
            },
        }
    }

    /// The name in the table.
    pub(super) const fn name(self) -> &'static str {
        self.shape().name
    }

    /// The `NFT_MSG_NEWSET` that creates it.
    ///
    /// The kernel chooses the set's structure by these attributes. No `NFTA_SET_DESC_SIZE` for the sets without
    /// intervals: it would select the hash with a fixed number of buckets.
    pub(super) fn message(self) -> NfTablesMessage {
        let Shape { name, key, data, interval, comment } = self.shape();
        let concatenated_ranges = interval && key.len() > 1;
        let mut flags = SetFlags::empty();
        flags.set(SetFlags::Interval, interval);
        flags.set(SetFlags::Map, !data.is_empty());
        flags.set(SetFlags::Concat, concatenated_ranges);
        let (key_type, key_length) = concatenated(key);
        let mut attributes = vec![
            SetAttribute::Table(TABLE.to_owned()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::Flags(flags),
            SetAttribute::KeyType(key_type),
            SetAttribute::KeyLen(key_length),
        ];
        if !data.is_empty() {
            let (data_type, data_length) = concatenated(data);
            attributes.push(SetAttribute::DataType(data_type));
            attributes.push(SetAttribute::DataLen(data_length));
        }
        // Rules of the same batch find the set by its name; the number only has to be unique.
        attributes.push(SetAttribute::Id(self as u32 + 1));
        if concatenated_ranges {
            // Unpadded lengths: by them the kernel splits the key into fields.
            let fields =
                key.iter().map(|field| DefaultNla::new(LIST_ELEM | NLA_F_NESTED, field_length(*field)));
            attributes.push(SetAttribute::Description(vec![SetDescription::Concat(fields.collect())]));
        }
        attributes.push(SetAttribute::UserData(userdata(key, data, comment)));
        NfTablesMessage::NewSet(SetMessage { attributes })
    }

    /// The `NFT_MSG_GETSET` that asks for it.
    pub(super) fn get_message(self) -> NfTablesMessage {
        let attributes =
            vec![SetAttribute::Table(TABLE.to_owned()), SetAttribute::Name(self.name().to_owned())];
        NfTablesMessage::GetSet(SetMessage { attributes })
    }
}

/// One `NFTA_SET_FIELD_LEN` attribute.
fn field_length(field: Type) -> Vec<u8> {
    const NFTA_SET_FIELD_LEN: u16 = 1;
    let mut bytes = Vec::with_capacity(8);
    put(&mut bytes, NFTA_SET_FIELD_LEN, &field.size().to_be_bytes());
    bytes
}

/// The user data of a set, which only nft reads: byte order of key (type 0) and data (1), comment (7). A
/// concatenation has no byte order of its own as a key.
fn userdata(key: &[Type], data: &[Type], comment: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80);
    let mut number = |kind: u8, value: u32| {
        bytes.extend([kind, 4]);
        bytes.extend(value.to_ne_bytes());
    };
    number(0, if let [single] = key { single.byte_order() } else { 0 });
    match data {
        [] => {}
        [single] => number(1, single.byte_order()),
        _ => number(1, 0),
    }
    bytes.extend(userdata_text(7, comment));
    bytes
}

/// A comment as libnftnl stores it in the user data of tables, rules and elements.
pub(super) fn comment_userdata(comment: &str) -> Vec<u8> {
    userdata_text(0, comment)
}

/// One text of libnftnl's user data: type, length, text, NUL.
pub(super) fn userdata_text(kind: u8, text: &str) -> Vec<u8> {
    // A length is one byte; every text here is far shorter (comments are checked where they enter).
    let text = text.get(..254).unwrap_or(text);
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = Vec::with_capacity(text.len() + 3);
    bytes.extend([kind, length]);
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The declaration as nft writes it, without elements.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { name, key, data, interval, comment } = self.shape();
        let kind = if data.is_empty() { "set" } else { "map" };
        write!(f, "\t{kind} {name} {{\n\t\ttype {}", TypeList(key))?;
        if !data.is_empty() {
            write!(f, " : {}", TypeList(data))?;
        }
        let interval = if interval { "\n\t\tflags interval" } else { "" };
        write!(f, "{interval}\n\t\tcomment \"{comment}\"\n\t}}\n")
    }
}

/// `ipv4_addr . inet_service`
pub(super) struct TypeList<'a>(pub(super) &'a [Type]);

impl fmt::Display for TypeList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { " . " }, field.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nft's own numbers: key type, key length, data type, data length.
    #[test]
    fn type_numbers() {
        let numbers = |set: Set| {
            let Shape { key, data, .. } = set.shape();
            (concatenated(key), if data.is_empty() { (0, 0) } else { concatenated(data) })
        };
        assert_eq!(numbers(Set::Bridges), ((41, 16), (0, 0)));
        assert_eq!(numbers(Set::SameBridge), ((2665, 32), (0, 0)));
        assert_eq!(numbers(Set::Subnets4), ((7, 4), (0, 0)));
        assert_eq!(numbers(Set::Subnets6), ((8, 16), (0, 0)));
        assert_eq!(numbers(Set::Published4), ((29453, 12), (461, 8)));
        assert_eq!(numbers(Set::Published6), ((33549, 24), (525, 20)));
        assert_eq!(numbers(Set::PublishedRanges4), ((29453, 12), (7, 4)));
        assert_eq!(numbers(Set::PublishedRanges6), ((33549, 24), (8, 16)));
    }

    #[test]
    fn types_are_found_by_their_numbers() {
        for kind in [Type::IfName, Type::Ipv4, Type::Ipv6, Type::Proto, Type::Service] {
            assert_eq!(Type::from_id(kind.id()), Some(kind));
        }
        assert_eq!(Type::from_id(0), None);
    }

    #[test]
    fn declarations_are_nfts() {
        assert_eq!(
            Set::Subnets4.to_string(),
            "\tset subnets4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tcomment \"the IPv4 subnet of every network\"\n\t}\n"
        );
        assert!(
            Set::Published4
                .to_string()
                .contains("type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n")
        );
    }
}
