//! The expressions that rules are made of: one vocabulary for building rules, for reading them back from the
//! kernel and for printing them.
//!
//! The numbers are those of `<linux/netfilter/nf_tables.h>`. Registers: 1 and 2 are 16 bytes each; 8 + n is the
//! n-th 4-byte word of the same memory, so that word 8 is the beginning of register 1 and word 12 of register 2.

use std::borrow::Cow;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables as packet;
use rustables::ProtocolFamily;
use rustables::expr as plain;

use super::attributes::{
    bitwise, cmp, counter, ct, fib, immediate, lookup, masq, meta, nat, payload, reject, verdict,
};
use super::frames::{attribute, attributes, be32};

/// The first 16-byte register.
pub(super) const REG_1: u32 = 1;
/// The second 16-byte register.
pub(super) const REG_2: u32 = 2;

/// The 4-byte register `NFT_REG32_n`.
pub(super) const fn word(n: u32) -> u32 {
    8 + n
}

/// What a packet's metadata is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetaKey {
    /// The interface it came in by; empty if there is none.
    IifName = 6,
    /// The interface it goes out by.
    OifName = 7,
    /// IPv4 or IPv6.
    NfProto = 15,
    /// The transport protocol.
    L4Proto = 16,
    /// What made the interface it came in by: `bridge`, `veth`. The rule ends for one that nothing made, such as
    /// a network card.
    IifKind = 26,
    /// The same of the interface it goes out by.
    OifKind = 27,
}

/// What a packet's connection is asked for: a bit mask in the host's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CtKey {
    /// invalid 1, established 2, related 4.
    State = 0,
    /// The IPS_… bits; 0x20 is `IPS_DST_NAT`.
    Status = 2,
}

/// Which header an offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// The IP header.
    Network = 1,
    /// The transport header.
    Transport = 2,
}

/// An address family as NAT names it, and as `meta nfproto` yields it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ip4 = 2,
    Ip6 = 10,
}

/// The end of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Goto(Cow<'static, str>),
}

/// `NFTA_FIB_F_SADDR`: look up the source address.
pub(super) const FIB_SADDR: u32 = 1;
/// `NFTA_FIB_F_DADDR`: look up the destination address.
pub(super) const FIB_DADDR: u32 = 2;
/// `NFTA_FIB_F_IIF`: only routes by the incoming interface count.
pub(super) const FIB_IIF: u32 = 8;
/// `NFTA_FIB_F_PRESENT`: yield only whether there is a result.
pub(super) const FIB_PRESENT: u32 = 32;
/// `NFT_FIB_RESULT_OIF`: the outgoing interface.
pub(super) const FIB_RESULT_OIF: u32 = 1;
/// `NFT_FIB_RESULT_ADDRTYPE`: the kind of address; `RTN_LOCAL` is 2.
pub(super) const FIB_RESULT_TYPE: u32 = 3;

/// One expression of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// Loads metadata.
    Meta { key: MetaKey, into: u32 },
    /// Loads bytes of a header.
    Payload { base: Base, offset: u32, length: u32, into: u32 },
    /// Loads a property of the connection.
    Ct { key: CtKey, into: u32 },
    /// Loads an answer of the routing table.
    Fib { flags: u32, result: u32, into: u32 },
    /// Keeps the bits of `mask` in a register.
    Mask { register: u32, mask: Cow<'static, [u8]> },
    /// Ends the rule unless the register holds (`negated`: does not hold) `data`.
    Cmp { register: u32, negated: bool, data: Cow<'static, [u8]> },
    /// Ends the rule unless the key is (`inverted`: is not) in the set; `into` takes a map's datum.
    Lookup { set: Cow<'static, str>, key: u32, into: Option<u32>, inverted: bool },
    /// Sets the destination from registers.
    Dnat { family: Family, address: u32, port: Option<u32> },
    /// Sets the source to the address of the outgoing interface.
    Masquerade,
    /// Drops the packet with an ICMP message to its sender: port unreachable.
    Reject,
    /// Counts packets.
    Counter { packets: u64, bytes: u64 },
    /// Decides.
    Verdict(Verdict),
    /// An expression that none of our rules has; only a table that somebody else changed contains one.
    Unknown(String),
}

/// Verdict codes (`NF_DROP`, `NF_ACCEPT`, `NFT_GOTO`, `NFT_RETURN`), the negative ones in two's complement.
pub(super) const NF_DROP: u32 = 0;
pub(super) const NF_ACCEPT: u32 = 1;
pub(super) const NFT_GOTO: u32 = 4_u32.wrapping_neg();
pub(super) const NFT_RETURN: u32 = 5_u32.wrapping_neg();

/// The expressions for rustables, if it can express all of them.
pub(super) fn to_rustables(expressions: &[Expr]) -> Option<Vec<plain::RawExpression>> {
    expressions.iter().map(Expr::to_rustables).collect()
}

impl Expr {
    /// rustables knows the 16-byte registers, look-ups that are neither inverted nor yield anything, no `fib`
    /// and of `ct` only the state. What it does know it encodes as the kernel expects.
    fn to_rustables(&self) -> Option<plain::RawExpression> {
        let register = |number: u32| match number {
            REG_1 => Some(plain::Register::Reg1),
            REG_2 => Some(plain::Register::Reg2),
            _ => None,
        };
        Some(match self {
            Self::Meta { key, into } => {
                let key = match key {
                    MetaKey::IifName => plain::MetaType::IifName,
                    MetaKey::OifName => plain::MetaType::OifName,
                    MetaKey::NfProto => plain::MetaType::NfProto,
                    MetaKey::L4Proto => plain::MetaType::L4Proto,
                    MetaKey::IifKind | MetaKey::OifKind => return None,
                };
                plain::Meta::default().with_dreg(register(*into)?).with_key(key).into()
            }
            Self::Payload { base, offset, length, into } => plain::Payload::default()
                .with_dreg(register(*into)?)
                .with_base(*base as u32)
                .with_offset(*offset)
                .with_len(*length)
                .into(),
            Self::Ct { key: CtKey::State, into: REG_1 } => {
                plain::Conntrack::new(plain::ConntrackKey::State).into()
            }
            Self::Mask { register: REG_1, mask } => {
                plain::Bitwise::new(mask.to_vec(), vec![0; mask.len()]).ok()?.into()
            }
            Self::Cmp { register: REG_1, negated, data } => {
                let op = if *negated { plain::CmpOp::Neq } else { plain::CmpOp::Eq };
                plain::Cmp::new(op, data.to_vec()).into()
            }
            Self::Lookup { set, key: REG_1, into: None, inverted: false } => {
                plain::Lookup::default().with_set(set.as_ref()).with_sreg(plain::Register::Reg1).into()
            }
            Self::Dnat { family, address, port } => {
                let family = match family {
                    Family::Ip4 => ProtocolFamily::Ipv4,
                    Family::Ip6 => ProtocolFamily::Ipv6,
                };
                let nat = plain::Nat::default()
                    .with_nat_type(plain::NatType::DNat)
                    .with_family(family)
                    .with_ip_register(register(*address)?);
                match port {
                    Some(port) => nat.with_port_register(register(*port)?).into(),
                    None => nat.into(),
                }
            }
            Self::Counter { .. } => plain::Counter::default().into(),
            Self::Masquerade => plain::Masquerade {}.into(),
            Self::Verdict(verdict) => plain::Immediate::new_verdict(match verdict {
                Verdict::Accept => plain::VerdictKind::Accept,
                Verdict::Drop => plain::VerdictKind::Drop,
                Verdict::Return => plain::VerdictKind::Return,
                Verdict::Goto(chain) => plain::VerdictKind::Goto { chain: chain.to_string() },
            })
            .into(),
            _ => return None,
        })
    }

    /// The expression for netlink-packet-netfilter.
    pub(super) fn to_packet(&self) -> packet::Expressions {
        use packet::{Bitwise, Cmp, DataAttribute, Immediate, Lookup, Meta, Operator, Payload, Register};
        let number = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().to_vec());
        let raw = |name: &str, attributes| packet::Expressions::Other {
            expression_type: name.to_owned(),
            attributes,
        };
        let other = |name: &str, numbers: &[(u16, u32)]| {
            raw(name, numbers.iter().map(|(kind, value)| number(*kind, *value)).collect())
        };
        match self {
            Self::Meta { key, into } => packet::Expressions::Meta(vec![
                Meta::Key((*key as u32).into()),
                Meta::DestinationRegister(Register::from(*into)),
            ]),
            Self::Payload { base, offset, length, into } => packet::Expressions::Payload(vec![
                Payload::DestinationRegister(Register::from(*into)),
                Payload::Base(*base as u32),
                Payload::Offset(*offset),
                Payload::Len(*length),
            ]),
            Self::Ct { key, into } => other("ct", &[(ct::KEY, *key as u32), (ct::DREG, *into)]),
            Self::Fib { flags, result, into } => {
                other("fib", &[(fib::DREG, *into), (fib::RESULT, *result), (fib::FLAGS, *flags)])
            }
            Self::Mask { register, mask } => packet::Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::from(*register)),
                Bitwise::DestinationRegister(Register::from(*register)),
                // A mask is at most an IPv6 address.
                Bitwise::Length(u32::try_from(mask.len()).unwrap_or(u32::MAX)),
                Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
                Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
            ]),
            Self::Cmp { register, negated, data } => packet::Expressions::Cmp(vec![
                Cmp::SourceRegister(Register::from(*register)),
                Cmp::Op(if *negated { Operator::NotEqual } else { Operator::Equal }),
                Cmp::Data(DataAttribute::Value(data.to_vec())),
            ]),
            Self::Lookup { set, key, into, inverted } => {
                let mut attributes =
                    vec![Lookup::Set(set.to_string()), Lookup::SourceRegister(Register::from(*key))];
                attributes.extend(into.map(|into| Lookup::DestinationRegister(Register::from(into))));
                if *inverted {
                    attributes.push(Lookup::Flags(LOOKUP_INVERTED));
                }
                packet::Expressions::Lookup(attributes)
            }
            Self::Dnat { family, address, port } => {
                let mut numbers =
                    vec![(nat::TYPE, NAT_DNAT), (nat::FAMILY, *family as u32), (nat::REG_ADDR_MIN, *address)];
                numbers.extend(port.map(|port| (nat::REG_PROTO_MIN, port)));
                other("nat", &numbers)
            }
            Self::Masquerade => other("masq", &[]),
            Self::Counter { .. } => other("counter", &[]),
            Self::Reject => {
                let code = DefaultNla::new(reject::CODE, vec![reject::ICMPX_PORT_UNREACH]);
                raw("reject", vec![number(reject::TYPE, reject::ICMPX_UNREACH), code])
            }
            Self::Verdict(verdict) => packet::Expressions::Immediate(vec![
                Immediate::DestinationRegister(Register::Verdict),
                Immediate::Data(DataAttribute::Verdict(verdict.to_packet())),
            ]),
            Self::Unknown(name) => other(name, &[]),
        }
    }

    /// The expression with that name and those attributes; [`Expr::Unknown`] if it does anything that none
    /// of our rules does.
    fn decode(name: &str, data: &[u8]) -> Self {
        Self::decode_known(name, data).unwrap_or_else(|| Self::Unknown(name.to_owned()))
    }

    fn decode_known(name: &str, data: &[u8]) -> Option<Self> {
        let number = |kind| attribute(data, kind).and_then(be32);
        let value = |kind| attribute(data, kind).and_then(|nested| attribute(nested, DATA_VALUE));
        let absent_or_zero = |kind| number(kind).unwrap_or(0) == 0;
        match name {
            "meta" => {
                Some(Self::Meta { key: MetaKey::from_number(number(meta::KEY)?)?, into: number(meta::DREG)? })
            }
            "payload" => Some(Self::Payload {
                base: Base::from_number(number(payload::BASE)?)?,
                offset: number(payload::OFFSET)?,
                length: number(payload::LEN)?,
                into: number(payload::DREG)?,
            }),
            "ct" => {
                // With a direction it would be about one of the two tuples, which has other syntax.
                attribute(data, ct::DIRECTION).is_none().then_some(())?;
                Some(Self::Ct { key: CtKey::from_number(number(ct::KEY)?)?, into: number(ct::DREG)? })
            }
            "fib" => Some(Self::Fib {
                flags: number(fib::FLAGS)?,
                result: number(fib::RESULT)?,
                into: number(fib::DREG)?,
            }),
            "bitwise" => {
                let register = number(bitwise::SREG)?;
                let in_place = number(bitwise::DREG)? == register && absent_or_zero(bitwise::OP);
                let only_masks = value(bitwise::XOR)?.iter().all(|byte| *byte == 0);
                (in_place && only_masks).then_some(())?;
                Some(Self::Mask { register, mask: value(bitwise::MASK)?.to_vec().into() })
            }
            "cmp" => {
                let negated = match number(cmp::OP)? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Some(Self::Cmp {
                    register: number(cmp::SREG)?,
                    negated,
                    data: value(cmp::DATA)?.to_vec().into(),
                })
            }
            "lookup" => Some(Self::Lookup {
                set: text(attribute(data, lookup::SET)?).into(),
                key: number(lookup::SREG)?,
                into: number(lookup::DREG),
                inverted: match number(lookup::FLAGS).unwrap_or(0) {
                    0 => false,
                    LOOKUP_INVERTED => true,
                    _ => return None,
                },
            }),
            "nat" => {
                let address = number(nat::REG_ADDR_MIN)?;
                let port = number(nat::REG_PROTO_MIN);
                // The kernel reports a single address as a range of one.
                let single = number(nat::REG_ADDR_MAX).is_none_or(|max| max == address)
                    && (number(nat::REG_PROTO_MAX).is_none() || number(nat::REG_PROTO_MAX) == port);
                // Flags: the kernel sets those that say "to this address", "to this port"; others are options.
                let plain = number(nat::FLAGS).unwrap_or(0) & !NAT_RANGE_GIVEN == 0;
                (number(nat::TYPE)? == NAT_DNAT && single && plain).then_some(())?;
                Some(Self::Dnat { family: Family::from_number(number(nat::FAMILY)?)?, address, port })
            }
            "reject" => {
                let is_plain = attribute(data, reject::CODE)? == [reject::ICMPX_PORT_UNREACH];
                (number(reject::TYPE)? == reject::ICMPX_UNREACH && is_plain).then_some(Self::Reject)
            }
            "counter" => {
                let count = |kind| attribute(data, kind)?.try_into().ok().map(u64::from_be_bytes);
                Some(Self::Counter { packets: count(counter::PACKETS)?, bytes: count(counter::BYTES)? })
            }
            "masq" => {
                let bare = absent_or_zero(masq::FLAGS) && number(masq::REG_PROTO_MIN).is_none();
                bare.then_some(Self::Masquerade)
            }
            "immediate" => {
                let verdict = attribute(attribute(data, immediate::DATA)?, DATA_VERDICT)?;
                Some(Self::Verdict(Verdict::decode(verdict)?))
            }
            _ => None,
        }
    }
}

/// The expressions of a rule, from the contents of its `NFTA_RULE_EXPRESSIONS`.
pub(super) fn decode(expressions: &[u8]) -> Vec<Expr> {
    attributes(expressions)
        .map(|(_, expression)| {
            let name = attribute(expression, EXPR_NAME).map_or_else(String::new, text);
            Expr::decode(&name, attribute(expression, EXPR_DATA).unwrap_or_default())
        })
        .collect()
}

/// A string of netlink: without the final NUL, and without what cannot be printed.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).replace(char::is_control, "\u{fffd}")
}

impl MetaKey {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::IifName, Self::OifName, Self::NfProto, Self::L4Proto, Self::IifKind, Self::OifKind]
            .into_iter()
            .find(|key| *key as u32 == number)
    }
}

impl CtKey {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::State, Self::Status].into_iter().find(|key| *key as u32 == number)
    }
}

impl Base {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Network, Self::Transport].into_iter().find(|base| *base as u32 == number)
    }
}

impl Family {
    /// The family with that number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::Ip4, Self::Ip6].into_iter().find(|family| *family as u32 == number)
    }
}

impl Verdict {
    fn to_packet(&self) -> Vec<packet::VerdictAttribute> {
        use packet::VerdictAttribute::{Chain, Code};
        match self {
            Self::Accept => vec![Code(packet::Verdict::Other(NF_ACCEPT))],
            Self::Drop => vec![Code(packet::Verdict::Other(NF_DROP))],
            Self::Return => vec![Code(packet::Verdict::Return)],
            Self::Goto(chain) => vec![Code(packet::Verdict::Goto), Chain(chain.to_string())],
        }
    }

    fn decode(data: &[u8]) -> Option<Self> {
        match attribute(data, verdict::CODE).and_then(be32)? {
            NF_ACCEPT => Some(Self::Accept),
            NF_DROP => Some(Self::Drop),
            NFT_RETURN => Some(Self::Return),
            NFT_GOTO => Some(Self::Goto(text(attribute(data, verdict::CHAIN)?).into())),
            _ => None,
        }
    }
}

pub(super) const EXPR_NAME: u16 = 1;
pub(super) const EXPR_DATA: u16 = 2;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
const LOOKUP_INVERTED: u32 = 1;
const NAT_DNAT: u32 = 1;
/// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`.
const NAT_RANGE_GIVEN: u32 = 3;
