//! A packet that is only thought of, and what the expressions of another table's rule make of it.

use std::collections::HashMap;

use nix::net::if_::if_nametoindex;

use super::{NFPROTO_IPV4, Passage, Way};
use crate::names::IfName;
use crate::nft::attributes::{bitwise, cmp, ct, immediate, meta, payload, verdict};
use crate::nft::expr::{CtKey, DATA_VALUE, DATA_VERDICT, MetaKey, text};
use crate::nft::frames::{attribute, be32};

// <linux/netfilter/nf_tables.h>; those that rules of ours use as well are in `expr`.
const NFT_META_IIF: u32 = 4;
const NFT_META_OIF: u32 = 5;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const CT_STATE_NEW: u32 = 8;
const IPS_DST_NAT: u32 = 0x20;

/// Where on its way a chain sees the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before the host knows whether it forwards the packet, and before ports are translated.
    Prerouting = 0,
    Forward = 2,
    /// When it leaves; its sender may be the host by then.
    Postrouting = 4,
}

impl Hook {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Self::Prerouting, Self::Forward, Self::Postrouting].into_iter().find(|hook| *hook as u32 == number)
    }
}

/// The first packet of a connection from a container to the outside, or from there to a published port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) family: u8,
    pub(super) hook: Hook,
    pub(super) way: Way,
    pub(super) passage: &'a Passage,
}

impl Packet<'_> {
    fn meta(self, key: u32) -> Option<Partial> {
        let index = |device: &IfName| {
            let index = if_nametoindex(device.as_str()).ok()?;
            Some(Partial::whole(index.to_ne_bytes().to_vec()))
        };
        match key {
            NFT_META_IIF => return self.device(true).and_then(index),
            NFT_META_OIF => return self.device(false).and_then(index),
            _ => {}
        }
        let name = |device: &IfName| Partial::whole(device.padded().to_vec());
        match MetaKey::from_number(key)? {
            MetaKey::IifName => self.device(true).map(name),
            MetaKey::OifName => self.device(false).map(name),
            MetaKey::NfProto => Some(Partial::whole(vec![self.family])),
            _ => None,
        }
    }

    /// The device it comes in by, or goes out by.
    fn device(&self, is_incoming: bool) -> Option<&IfName> {
        if is_incoming == (self.way == Way::Out) {
            return (is_incoming || self.hook != Hook::Prerouting).then_some(&self.passage.bridge);
        }
        if !is_incoming && self.hook == Hook::Prerouting {
            return None;
        }
        if self.family == NFPROTO_IPV4 {
            self.passage.uplink4.as_ref()
        } else {
            self.passage.uplink6.as_ref()
        }
    }

    fn ct(self, key: u32) -> Option<Partial> {
        // Chains before the connection tracking see nothing of it.
        if self.hook == Hook::Prerouting {
            return None;
        }
        let value = match (CtKey::from_number(key)?, self.way) {
            (CtKey::State, _) => CT_STATE_NEW,
            (CtKey::Status, Way::Out) => 0,
            (CtKey::Status, Way::In) => IPS_DST_NAT,
        };
        Some(Partial::whole(value.to_ne_bytes().to_vec()))
    }

    /// A part of its addresses: of the container's, the network is known.
    fn payload(self, base: u32, offset: u32, length: u32) -> Option<Partial> {
        let (subnet, size, source) = if self.family == NFPROTO_IPV4 {
            (self.passage.subnet4?, 4, 12)
        } else {
            (self.passage.subnet6?, 16, 8)
        };
        let start = match (self.way, self.hook) {
            (Way::Out, Hook::Prerouting | Hook::Forward) => source,
            (Way::In, Hook::Forward | Hook::Postrouting) => source + size,
            _ => return None,
        };
        let from = offset.checked_sub(start).filter(|_| base == NFT_PAYLOAD_NETWORK_HEADER)?;
        let to = from.checked_add(length).filter(|to| *to <= size)?;
        let part = usize::try_from(from).ok()?..usize::try_from(to).ok()?;
        let octets = |address| match address {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        Some(Partial {
            bits: octets(subnet.network()).get(part.clone())?.to_vec(),
            known: octets(subnet.netmask()).get(part)?.to_vec(),
        })
    }
}

/// A value of which some bits are known.
#[derive(Debug, Clone)]
struct Partial {
    bits: Vec<u8>,
    /// As long as `bits`.
    known: Vec<u8>,
}

impl Partial {
    fn whole(bits: Vec<u8>) -> Self {
        let known = vec![0xff; bits.len()];
        Self { bits, known }
    }

    /// Whether it is this value, which may be shorter: `None` if that is not known.
    fn is(&self, wanted: &[u8]) -> Option<bool> {
        let (bits, known) = (self.bits.get(..wanted.len())?, self.known.get(..wanted.len())?);
        if bits.iter().zip(wanted).zip(known).any(|((bit, wanted), known)| (bit ^ wanted) & known != 0) {
            return Some(false);
        }
        known.iter().all(|known| *known == 0xff).then_some(true)
    }

    fn masked(&self, mask: &[u8], xor: &[u8]) -> Option<Self> {
        if self.bits.len() != mask.len() || mask.len() != xor.len() {
            return None;
        }
        let bits = self.bits.iter().zip(mask).zip(xor).map(|((bit, mask), xor)| bit & mask ^ xor).collect();
        let known = self.known.iter().zip(mask).map(|(known, mask)| known | !mask).collect();
        Some(Self { bits, known })
    }
}

/// What an expression makes of the rule.
pub(super) enum Step {
    /// On to the next expression.
    Go,
    /// The rule does not match.
    Stop,
    /// It is not known whether the rule matches.
    Unknown,
    /// The packet is dropped, with that word.
    Drop(&'static str),
    Verdict(u32, String),
}

/// What the registers hold, by number in words; only what is known of the packet.
#[derive(Default)]
pub(super) struct Registers(HashMap<u32, Partial>);

impl Registers {
    /// 16-byte registers are called by other numbers than their first words.
    fn number(register: u32) -> u32 {
        if (1..=4).contains(&register) { 8 + 4 * (register - 1) } else { register }
    }

    pub(super) fn step(&mut self, name: &str, data: &[u8], packet: Packet<'_>) -> Step {
        match name {
            // They decide nothing.
            "counter" | "log" | "last" | "comment" => Step::Go,
            "meta" => self.load(data, meta::DREG, meta::KEY, |key| packet.meta(key)),
            "ct" if attribute(data, ct::DIRECTION).is_none() => {
                self.load(data, ct::DREG, ct::KEY, |key| packet.ct(key))
            }
            "payload" => self.payload(data, packet),
            "bitwise" => self.mask(data),
            "cmp" => self.compare(data),
            "immediate" => self.immediate(data),
            "reject" => Step::Drop("reject"),
            // Extensions of iptables: a target has its name, a match is a condition.
            "target" => match attribute(data, 1).map(text).as_deref() {
                Some("REJECT") => Step::Drop("reject"),
                Some("DROP") => Step::Drop("drop"),
                Some("LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS") => Step::Go,
                _ => Step::Unknown,
            },
            _ => Step::Unknown,
        }
    }

    /// Attributes with the numbers `into` and `key` say where to and what.
    fn load(&mut self, data: &[u8], into: u16, key: u16, value: impl FnOnce(u32) -> Option<Partial>) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let Some(into) = number(into) else { return Step::Unknown };
        match number(key).and_then(value) {
            Some(value) => self.0.insert(Self::number(into), value),
            None => self.0.remove(&Self::number(into)),
        };
        Step::Go
    }

    fn payload(&mut self, data: &[u8], packet: Packet<'_>) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let (base, offset, length) = (number(payload::BASE), number(payload::OFFSET), number(payload::LEN));
        let (Some(base), Some(offset), Some(length)) = (base, offset, length) else { return Step::Unknown };
        // One without a register writes into the packet.
        self.load(data, payload::DREG, payload::DREG, |_| packet.payload(base, offset, length))
    }

    fn mask(&mut self, data: &[u8]) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let value = |kind| attribute(data, kind).and_then(|nested| attribute(nested, DATA_VALUE));
        let (Some(from), Some(into)) = (number(bitwise::SREG), number(bitwise::DREG)) else {
            return Step::Unknown;
        };
        let is_mask = number(bitwise::OP).unwrap_or(0) == 0;
        let masked = self
            .0
            .get(&Self::number(from))
            .filter(|_| is_mask)
            .and_then(|source| source.masked(value(bitwise::MASK)?, value(bitwise::XOR)?));
        match masked {
            Some(value) => self.0.insert(Self::number(into), value),
            None => self.0.remove(&Self::number(into)),
        };
        Step::Go
    }

    fn compare(&self, data: &[u8]) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let wanted = attribute(data, cmp::DATA).and_then(|nested| attribute(nested, DATA_VALUE));
        let (Some(register), Some(op), Some(wanted)) = (number(cmp::SREG), number(cmp::OP), wanted) else {
            return Step::Unknown;
        };
        // A name with a wildcard is compared up to there.
        let is_equal = self.0.get(&Self::number(register)).and_then(|held| held.is(wanted));
        match (is_equal, op) {
            (Some(true), 0) | (Some(false), 1) => Step::Go,
            (Some(false), 0) | (Some(true), 1) => Step::Stop,
            _ => Step::Unknown,
        }
    }

    fn immediate(&mut self, data: &[u8]) -> Step {
        let Some(content) = attribute(data, immediate::DATA) else { return Step::Unknown };
        if let Some(verdict) = attribute(content, DATA_VERDICT) {
            let code = attribute(verdict, verdict::CODE).and_then(be32);
            let chain = attribute(verdict, verdict::CHAIN).map(text).unwrap_or_default();
            return code.map_or(Step::Unknown, |code| Step::Verdict(code, chain));
        }
        let (into, value) = (attribute(data, immediate::DREG).and_then(be32), attribute(content, DATA_VALUE));
        if let (Some(into), Some(value)) = (into, value) {
            self.0.insert(Self::number(into), Partial::whole(value.to_vec()));
        }
        Step::Go
    }
}
