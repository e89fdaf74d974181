//! The one table that mydocker makes in a container's own namespace, and only in that of one that wants port 53 for a
//! server of its own: what the container asks its name server at port 53 arrives at other ports.
//!
//! ```text
//! table inet mydocker {
//!     chain name_queries {
//!         type filter hook output priority raw; policy accept;
//!         ip daddr 127.0.0.11 udp dport 53 udp dport set UDP
//!         ip saddr 127.0.0.11 udp sport UDP udp sport set 53
//!         ip daddr 127.0.0.11 tcp dport 53 tcp dport set TCP
//!         ip saddr 127.0.0.11 tcp sport TCP tcp sport set 53
//!     }
//! }
//! ```
//!
//! The ports are rewritten in each packet, in both directions. Address translation would do as well, but switches
//! connection tracking on for all that the container sends and receives.

use netlink_packet_netfilter::nftables as packet;
use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};

use super::TABLE;
use super::expr::{Base, Expr, Family, MetaKey, REG_1};
use super::proto::Proto;

/// The chain's name.
pub(super) const CHAIN: &str = "name_queries";

/// Where questions to a name server are led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diversion {
    /// The server's address.
    pub address: std::net::Ipv4Addr,
    /// The port that clients ask.
    pub port: u16,
    /// The port where questions by UDP are answered.
    pub udp: u16,
    /// The port where questions by TCP are answered.
    pub tcp: u16,
}

/// A rule of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct DivertingRule {
    address: [u8; 4],
    proto: Proto,
    /// Whether it is about answers.
    is_answer: bool,
    from: u16,
    to: u16,
}

impl Diversion {
    pub(super) fn rules(self) -> impl Iterator<Item = DivertingRule> {
        let address = self.address.octets();
        [(Proto::Udp, self.udp), (Proto::Tcp, self.tcp)].into_iter().flat_map(move |(proto, port)| {
            let rule = |is_answer, from, to| DivertingRule { address, proto, is_answer, from, to };
            [rule(false, self.port, port), rule(true, port, self.port)]
        })
    }
}

impl DivertingRule {
    pub(super) fn message(self) -> NfTablesMessage {
        use packet::{ChecksumType, DataAttribute, Immediate, Payload, Register};
        let load = |base, offset, length| Expr::Payload { base, offset, length, into: REG_1 };
        let is = |data: &[u8]| Expr::Cmp { register: REG_1, negated: false, data: data.to_vec().into() };
        let of_source_or_destination = u32::from(!self.is_answer);
        let port_offset = 2 * of_source_or_destination;
        let tests = [
            Expr::Meta { key: MetaKey::NfProto, into: REG_1 },
            is(&[Family::Ip4 as u8]),
            load(Base::Network, 12 + 4 * of_source_or_destination, 4),
            is(&self.address),
            Expr::Meta { key: MetaKey::L4Proto, into: REG_1 },
            is(&[self.proto.number()]),
            load(Base::Transport, port_offset, 2),
            is(&self.from.to_be_bytes()),
        ];
        let port = packet::Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::from(REG_1)),
            Immediate::Data(DataAttribute::Value(self.to.to_be_bytes().to_vec())),
        ]);
        let checksum_offset = if self.proto == Proto::Udp { 6 } else { 16 };
        let write = packet::Expressions::Payload(vec![
            Payload::SourceRegister(Register::from(REG_1)),
            Payload::Base(Base::Transport as u32),
            Payload::Offset(port_offset),
            Payload::Len(2),
            Payload::CsumType(ChecksumType::Inet),
            Payload::CsumOffset(checksum_offset),
        ]);
        let expressions = tests.iter().map(Expr::to_packet).chain([port, write]);
        NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(TABLE.to_owned()),
                RuleAttribute::Chain(CHAIN.to_owned()),
                RuleAttribute::Expressions(expressions.map(Into::into).collect()),
            ],
        })
    }
}

/// As nft writes it.
impl std::fmt::Display for DivertingRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, proto, is_answer, from, to } = self;
        let address = std::net::Ipv4Addr::from(*address);
        let (side, port) = if *is_answer { ("saddr", "sport") } else { ("daddr", "dport") };
        write!(f, "ip {side} {address} {proto} {port} {from} {proto} {port} set {to}")
    }
}
