//! The parts that rules are put together from, each as nft compiles it. What is compared or looked up goes
//! through register 1.

use std::borrow::Cow;

use super::expr::{Base, CtKey, Expr, Family, MetaKey, REG_1, REG_2, Verdict, word};
use super::rules::Chain;
use super::schema::Set;

/// `RTN_LOCAL`, an address of the host (`<linux/rtnetlink.h>`).
pub(super) const RTN_LOCAL: u32 = 2;
/// The connection's destination was translated (`<linux/netfilter/nf_conntrack_common.h>`).
pub(super) const IPS_DST_NAT: u32 = 0x20;

/// `meta nfproto ipv4`
pub(super) fn ip4() -> Vec<Expr> {
    [meta(MetaKey::NfProto, REG_1), equal(&[Family::Ip4 as u8])].concat()
}

/// `meta nfproto ipv6`
pub(super) fn ip6() -> Vec<Expr> {
    [meta(MetaKey::NfProto, REG_1), equal(&[Family::Ip6 as u8])].concat()
}

pub(super) fn meta(key: MetaKey, into: u32) -> Vec<Expr> {
    vec![Expr::Meta { key, into }]
}

pub(super) fn iifname() -> Vec<Expr> {
    meta(MetaKey::IifName, REG_1)
}

pub(super) fn oifname() -> Vec<Expr> {
    meta(MetaKey::OifName, REG_1)
}

/// Both interfaces are bridges, mydocker's or not.
pub(super) fn both_bridges() -> Vec<Expr> {
    [is_bridge(MetaKey::IifKind), is_bridge(MetaKey::OifKind)].concat()
}

/// The interface, incoming or outgoing, is a bridge.
pub(super) fn is_bridge(kind: MetaKey) -> Vec<Expr> {
    [meta(kind, REG_1), equal(b"bridge\0\0\0\0\0\0\0\0\0\0")].concat()
}

/// Drops the packet and tells its sender that nobody listens there.
pub(super) fn reject() -> Vec<Expr> {
    vec![Expr::Reject]
}

/// Counts the packets that come so far.
pub(super) fn counter() -> Vec<Expr> {
    vec![Expr::Counter { packets: 0, bytes: 0 }]
}

/// Neither interface is one of mydocker's bridges.
pub(super) fn not_ours() -> Vec<Expr> {
    [iifname(), not_in_set(Set::Bridges), oifname(), not_in_set(Set::Bridges)].concat()
}

pub(super) fn ip_header(offset: u32, length: u32) -> Vec<Expr> {
    vec![Expr::Payload { base: Base::Network, offset, length, into: REG_1 }]
}

pub(super) fn saddr4() -> Vec<Expr> {
    ip_header(12, 4)
}

pub(super) fn daddr4() -> Vec<Expr> {
    ip_header(16, 4)
}

pub(super) fn saddr6() -> Vec<Expr> {
    ip_header(8, 16)
}

pub(super) fn daddr6() -> Vec<Expr> {
    ip_header(24, 16)
}

/// All that a /8 needs.
pub(super) fn saddr4_first_byte() -> Vec<Expr> {
    ip_header(12, 1)
}

pub(super) fn daddr4_first_byte() -> Vec<Expr> {
    ip_header(16, 1)
}

/// `ip daddr != 224.0.0.0/4`
pub(super) fn not_multicast4() -> Vec<Expr> {
    [daddr4(), mask(&[0xf0, 0, 0, 0]), not_equal(&[224, 0, 0, 0])].concat()
}

/// `ip6 daddr != ff00::/8`
pub(super) fn not_multicast6() -> Vec<Expr> {
    [ip_header(24, 1), not_equal(&[0xff])].concat()
}

/// `. meta l4proto . th dport` behind an IPv4 address in register 1.
pub(super) fn port_key4() -> Vec<Expr> {
    [meta(MetaKey::L4Proto, word(1)), destination_port(word(2))].concat()
}

/// `. meta l4proto . th dport` behind an IPv6 address in register 1.
pub(super) fn port_key6() -> Vec<Expr> {
    [meta(MetaKey::L4Proto, REG_2), destination_port(word(5))].concat()
}

/// TCP, UDP and SCTP have the destination port at the same place.
pub(super) fn destination_port(into: u32) -> Vec<Expr> {
    vec![Expr::Payload { base: Base::Transport, offset: 2, length: 2, into }]
}

/// `iifname . oifname @same_bridge`
pub(super) fn same_bridge() -> Vec<Expr> {
    [meta(MetaKey::IifName, REG_1), meta(MetaKey::OifName, REG_2), in_set(Set::SameBridge)].concat()
}

pub(super) fn fib(flags: u32, result: u32) -> Vec<Expr> {
    vec![Expr::Fib { flags, result, into: REG_1 }]
}

/// One of these bits is set: `(value & bits) != 0`, in the host's byte order.
pub(super) fn ct_has(key: CtKey, bits: u32) -> Vec<Expr> {
    let bits = bits.to_ne_bytes().to_vec();
    vec![
        Expr::Ct { key, into: REG_1 },
        Expr::Mask { register: REG_1, mask: bits.into() },
        Expr::Cmp { register: REG_1, negated: true, data: Cow::Borrowed(&[0; 4]) },
    ]
}

pub(super) fn mask(mask: &'static [u8]) -> Vec<Expr> {
    vec![Expr::Mask { register: REG_1, mask: mask.into() }]
}

pub(super) fn equal(data: &'static [u8]) -> Vec<Expr> {
    vec![Expr::Cmp { register: REG_1, negated: false, data: data.into() }]
}

pub(super) fn not_equal(data: &'static [u8]) -> Vec<Expr> {
    vec![Expr::Cmp { register: REG_1, negated: true, data: data.into() }]
}

pub(super) fn equal_number(number: u32) -> Vec<Expr> {
    vec![Expr::Cmp { register: REG_1, negated: false, data: number.to_ne_bytes().to_vec().into() }]
}

pub(super) fn lookup(set: Set, into: Option<u32>, inverted: bool) -> Vec<Expr> {
    vec![Expr::Lookup { set: set.name().into(), key: REG_1, into, inverted }]
}

pub(super) fn in_set(set: Set) -> Vec<Expr> {
    lookup(set, None, false)
}

pub(super) fn not_in_set(set: Set) -> Vec<Expr> {
    lookup(set, None, true)
}

/// A map's datum, in place of the key.
pub(super) fn datum_of(map: Set) -> Vec<Expr> {
    lookup(map, Some(REG_1), false)
}

pub(super) fn dnat(family: Family, port: Option<u32>) -> Vec<Expr> {
    vec![Expr::Dnat { family, address: REG_1, port }]
}

pub(super) fn masquerade() -> Vec<Expr> {
    vec![Expr::Masquerade]
}

pub(super) fn verdict(verdict: Verdict) -> Vec<Expr> {
    vec![Expr::Verdict(verdict)]
}

pub(super) fn accept() -> Vec<Expr> {
    verdict(Verdict::Accept)
}

pub(super) fn drop() -> Vec<Expr> {
    verdict(Verdict::Drop)
}

pub(super) fn goto(chain: Chain) -> Vec<Expr> {
    verdict(Verdict::Goto(chain.name().into()))
}
