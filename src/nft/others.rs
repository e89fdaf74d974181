//! Other tables that drop what containers send and receive. They are only shown to the user, never changed.
//!
//! A packet is accepted only if every table accepts it, so mydocker's own rules cannot help where another table's
//! chain drops (Docker's and ufw's `FORWARD` with its policy, firewalld's last rule). For every network, two
//! packets are evaluated in all base chains of the hook `forward`, without being sent: the first of a connection
//! from a container to the outside, and the first of one to a published port. A rule with a condition that is not
//! understood here counts as not matching: it may accept some packets, but what counts is what becomes of all
//! others.

use std::collections::HashMap;
use std::fmt;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::TABLE;
use super::error::{CommitError, Refusal};
use super::expr::{
    CtKey, DATA_VALUE, DATA_VERDICT, EXPR_DATA, EXPR_NAME, Family, MetaKey, NF_ACCEPT, NF_DROP, NFT_GOTO,
    NFT_RETURN, bitwise, cmp, ct, immediate, meta, text, verdict,
};
use super::frames::{attribute, attributes, be32, push_of};
use super::listing::{chain, rule};
use super::socket::Socket;
use super::transaction::What;
use crate::names::IfName;

// <linux/netfilter.h>, <linux/netfilter/nf_tables.h>; those of expressions are in `expr`.
const NF_INET_FORWARD: u32 = 2;
const NFT_JUMP: u32 = 3_u32.wrapping_neg();
const CT_STATE_NEW: u32 = 8;
const IPS_DST_NAT: u32 = 0x20;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = Family::Ip4 as u8;
const NFPROTO_IPV6: u8 = Family::Ip6 as u8;

/// Jumps may be nested so deep (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// Which way a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a container to the outside.
    Out,
    /// From the outside to a published port.
    In,
}

/// A network whose traffic is to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its bridge.
    pub bridge: IfName,
    /// Whether it has IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
}

/// What in another table drops packets of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The bridge of the network.
    pub bridge: IfName,
    /// Which way is closed.
    pub way: Way,
    /// The table's family in nft's syntax.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The base chain.
    pub base: String,
    /// What in it drops.
    pub by: DroppedBy,
}

/// What drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DroppedBy {
    /// The policy of the base chain.
    Policy,
    /// A rule.
    Rule {
        /// The chain it stands in.
        chain: String,
        /// Its number, as `nft -a list` shows it.
        handle: u64,
        /// What it does: `drop` or `reject`.
        verb: &'static str,
    },
}

impl Obstacle {
    /// Whether the same rule or policy drops, whatever the packets.
    #[must_use]
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        (self.family, &self.table, &self.base, &self.by)
            == (other.family, &other.table, &other.base, &other.by)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, base, .. } = self;
        match &self.by {
            DroppedBy::Policy => write!(f, "table {family} {table}, chain {base}: its policy is drop"),
            DroppedBy::Rule { chain, handle, verb } => {
                write!(f, "table {family} {table}, chain {chain}: its rule with handle {handle} says {verb}")
            }
        }
    }
}

/// A rule of another table.
#[derive(Debug)]
struct Rule {
    handle: u64,
    expressions: Vec<u8>,
}

/// A base chain at the hook `forward` with all rules of its table.
#[derive(Debug)]
struct Base {
    family: u8,
    table: String,
    name: String,
    drops: bool,
    chains: HashMap<String, Vec<Rule>>,
}

/// A packet, as far as rules can ask for it here.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    family: u8,
    bridge: &'a IfName,
    way: Way,
}

/// What a rule or a chain makes of a packet.
enum Fate {
    /// Nothing: the next rule decides.
    Next,
    Accepted,
    Dropped(DroppedBy),
    /// Back to the chain that was jumped from.
    Return,
}

impl Socket {
    /// What in other tables drops packets of these networks. Reads the rules of others, and so costs as much as
    /// there are.
    ///
    /// # Errors
    /// The kernel refuses to list the rules.
    pub fn obstacles(&mut self, passages: &[Passage]) -> Result<Vec<Obstacle>, CommitError> {
        let mut found = Vec::new();
        for base in self.foreign_forward_chains()? {
            for passage in passages {
                for way in [Way::Out, Way::In] {
                    let fitting = [(NFPROTO_IPV4, passage.ipv4), (NFPROTO_IPV6, passage.ipv6)];
                    let families = fitting.into_iter().filter(|(family, wanted)| {
                        *wanted && (base.family == *family || base.family == NFPROTO_INET)
                    });
                    let by = families.map(|(family, _)| Packet { family, bridge: &passage.bridge, way });
                    if let Some(by) = by.into_iter().find_map(|packet| base.fate(packet)) {
                        found.push(Obstacle {
                            bridge: passage.bridge.clone(),
                            way,
                            family: family_name(base.family).unwrap_or_default(),
                            table: base.table.clone(),
                            base: base.name.clone(),
                            by,
                        });
                    }
                }
            }
        }
        Ok(found)
    }

    fn foreign_forward_chains(&mut self) -> Result<Vec<Base>, CommitError> {
        let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        let mut bases = Vec::new();
        for (family, found) in self.dump_of(NetfilterProtoFamily::Unspec, request)? {
            let name = |kind| attribute(&found, kind).map(text).unwrap_or_default();
            let hook = attribute(&found, chain::HOOK).and_then(|hook| attribute(hook, chain::HOOK_NUMBER));
            let table = name(chain::TABLE);
            let is_ours = family == NFPROTO_INET && table == TABLE;
            if hook.and_then(be32) != Some(NF_INET_FORWARD) || name(chain::TYPE) != "filter" || is_ours {
                continue;
            }
            let proto = match family {
                NFPROTO_INET => NetfilterProtoFamily::Inet,
                NFPROTO_IPV4 => NetfilterProtoFamily::IPv4,
                NFPROTO_IPV6 => NetfilterProtoFamily::IPv6,
                _ => continue,
            };
            let attributes = vec![RuleAttribute::Table(table.clone())];
            let request = NfTablesMessage::GetRule(RuleMessage { attributes });
            let mut chains: HashMap<String, Vec<Rule>> = HashMap::new();
            for (_, rule) in self.dump_of(proto, request)? {
                let handle = attribute(&rule, rule::HANDLE).and_then(|bytes| bytes.try_into().ok());
                let chain = attribute(&rule, rule::CHAIN).map(text).unwrap_or_default();
                chains.entry(chain).or_default().push(Rule {
                    handle: handle.map_or(0, u64::from_be_bytes),
                    expressions: attribute(&rule, rule::EXPRESSIONS).unwrap_or_default().to_vec(),
                });
            }
            let drops = attribute(&found, chain::POLICY).and_then(be32) == Some(NF_DROP);
            bases.push(Base { family, table, name: name(chain::NAME), drops, chains });
        }
        Ok(bases)
    }

    /// The attributes of every object of a kind, with the family of each.
    fn dump_of(
        &mut self,
        family: NetfilterProtoFamily,
        request: NfTablesMessage,
    ) -> Result<Vec<(u8, Vec<u8>)>, CommitError> {
        /// Types below are netlink's own: errors and ends of dumps.
        const NLMSG_MIN_TYPE: u16 = 16;
        let mut bytes = Vec::with_capacity(64);
        push_of(&mut bytes, family, request, NLM_F_DUMP, 1);
        self.send(&bytes)?;
        let (mut found, mut refused) = (Vec::new(), None);
        self.drain(|frame| {
            if frame.kind >= NLMSG_MIN_TYPE
                && let Some(family) = frame.payload().first()
            {
                found.push((*family, frame.attributes().to_vec()));
            }
            refused = refused.take().or_else(|| Refusal::read(frame));
        })?;
        match refused {
            // A table that was deleted since, or a listing that changed under way: this is only a diagnosis.
            Some(refusal) if !matches!(refusal.errno, Errno::ENOENT | Errno::EINTR) => {
                Err(refusal.explain(&What::Batch, false))
            }
            _ => Ok(found),
        }
    }
}

fn family_name(family: u8) -> Option<&'static str> {
    match family {
        NFPROTO_INET => Some("inet"),
        NFPROTO_IPV4 => Some("ip"),
        NFPROTO_IPV6 => Some("ip6"),
        _ => None,
    }
}

impl Base {
    /// What drops the packet, if anything does.
    fn fate(&self, packet: Packet<'_>) -> Option<DroppedBy> {
        match self.walk(&self.name, packet, DEEPEST) {
            Fate::Dropped(by) => Some(by),
            Fate::Accepted => None,
            Fate::Next | Fate::Return => self.drops.then_some(DroppedBy::Policy),
        }
    }

    fn walk(&self, chain: &str, packet: Packet<'_>, depth: usize) -> Fate {
        for rule in self.chains.get(chain).into_iter().flatten() {
            match self.apply(chain, rule, packet, depth) {
                Fate::Next => {}
                fate => return fate,
            }
        }
        Fate::Next
    }

    fn apply(&self, chain: &str, rule: &Rule, packet: Packet<'_>, depth: usize) -> Fate {
        let mut registers = Registers::default();
        for (_, element) in attributes(&rule.expressions) {
            let name = attribute(element, EXPR_NAME).map(text).unwrap_or_default();
            let data = attribute(element, EXPR_DATA).unwrap_or_default();
            let dropped =
                |verb| Fate::Dropped(DroppedBy::Rule { chain: chain.to_owned(), handle: rule.handle, verb });
            match registers.step(&name, data, packet) {
                Step::Go => {}
                Step::Stop => return Fate::Next,
                Step::Drop(verb) => return dropped(verb),
                Step::Verdict(NF_DROP, _) => return dropped("drop"),
                Step::Verdict(NF_ACCEPT, _) => return Fate::Accepted,
                Step::Verdict(NFT_RETURN, _) => return Fate::Return,
                Step::Verdict(NFT_JUMP, to) if depth > 0 => {
                    return match self.walk(&to, packet, depth - 1) {
                        Fate::Return => Fate::Next,
                        fate => fate,
                    };
                }
                Step::Verdict(NFT_GOTO, to) if depth > 0 => {
                    return match self.walk(&to, packet, depth - 1) {
                        // As if the chain it stands in had ended here.
                        Fate::Next => Fate::Return,
                        fate => fate,
                    };
                }
                Step::Verdict(..) => return Fate::Next,
            }
        }
        Fate::Next
    }
}

/// What an expression makes of the rule.
enum Step {
    /// On to the next expression.
    Go,
    /// The rule does not match, or it is not known whether it does.
    Stop,
    /// The packet is dropped, with that word.
    Drop(&'static str),
    Verdict(u32, String),
}

/// What the registers hold, by number in words; only what is known of the packet.
#[derive(Default)]
struct Registers(HashMap<u32, Vec<u8>>);

impl Registers {
    /// 16-byte registers are called by other numbers than their first words.
    fn number(register: u32) -> u32 {
        if (1..=4).contains(&register) { 8 + 4 * (register - 1) } else { register }
    }

    fn step(&mut self, name: &str, data: &[u8], packet: Packet<'_>) -> Step {
        match name {
            // They decide nothing.
            "counter" | "log" | "last" | "comment" => Step::Go,
            "meta" => self.load(data, meta::DREG, meta::KEY, |key| packet.meta(key)),
            "ct" if attribute(data, ct::DIRECTION).is_none() => {
                self.load(data, ct::DREG, ct::KEY, |key| packet.ct(key))
            }
            "bitwise" => self.mask(data),
            "cmp" => self.compare(data),
            "immediate" => self.immediate(data),
            "reject" => Step::Drop("reject"),
            // Extensions of iptables: a target has its name, a match is a condition.
            "target" => match attribute(data, 1).map(text).as_deref() {
                Some("REJECT") => Step::Drop("reject"),
                Some("DROP") => Step::Drop("drop"),
                Some("LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS") => Step::Go,
                _ => Step::Stop,
            },
            _ => Step::Stop,
        }
    }

    /// Attributes with the numbers `into` and `key` say where to and what.
    fn load(&mut self, data: &[u8], into: u16, key: u16, value: impl FnOnce(u32) -> Option<Vec<u8>>) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let Some(into) = number(into) else { return Step::Stop };
        match number(key).and_then(value) {
            Some(value) => self.0.insert(Self::number(into), value),
            None => self.0.remove(&Self::number(into)),
        };
        Step::Go
    }

    fn mask(&mut self, data: &[u8]) -> Step {
        let number = |kind| attribute(data, kind).and_then(be32);
        let value = |kind| attribute(data, kind).and_then(|nested| attribute(nested, DATA_VALUE));
        let (Some(from), Some(into)) = (number(bitwise::SREG), number(bitwise::DREG)) else {
            return Step::Stop;
        };
        let masked = (|| {
            let (source, mask, xor) =
                (self.0.get(&Self::number(from))?, value(bitwise::MASK)?, value(bitwise::XOR)?);
            let is_mask = number(bitwise::OP).unwrap_or(0) == 0
                && source.len() == mask.len()
                && mask.len() == xor.len();
            is_mask.then(|| source.iter().zip(mask).zip(xor).map(|((s, m), x)| s & m ^ x).collect())
        })();
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
            return Step::Stop;
        };
        // A name with a wildcard is compared up to there.
        let held = self.0.get(&Self::number(register)).and_then(|held| held.get(..wanted.len()));
        match (held, op) {
            (Some(held), 0) if held == wanted => Step::Go,
            (Some(held), 1) if held != wanted => Step::Go,
            _ => Step::Stop,
        }
    }

    fn immediate(&mut self, data: &[u8]) -> Step {
        let Some(content) = attribute(data, immediate::DATA) else { return Step::Stop };
        if let Some(verdict) = attribute(content, DATA_VERDICT) {
            let code = attribute(verdict, verdict::CODE).and_then(be32);
            let chain = attribute(verdict, verdict::CHAIN).map(text).unwrap_or_default();
            return code.map_or(Step::Stop, |code| Step::Verdict(code, chain));
        }
        let (into, value) = (attribute(data, immediate::DREG).and_then(be32), attribute(content, DATA_VALUE));
        if let (Some(into), Some(value)) = (into, value) {
            self.0.insert(Self::number(into), value.to_vec());
        }
        Step::Go
    }
}

impl Packet<'_> {
    /// The other interface is not known: whatever asks for it does not match.
    fn meta(self, key: u32) -> Option<Vec<u8>> {
        match (MetaKey::from_number(key)?, self.way) {
            (MetaKey::IifName, Way::Out) | (MetaKey::OifName, Way::In) => Some(self.bridge.padded().to_vec()),
            (MetaKey::NfProto, _) => Some(vec![self.family]),
            _ => None,
        }
    }

    fn ct(self, key: u32) -> Option<Vec<u8>> {
        match (CtKey::from_number(key)?, self.way) {
            (CtKey::State, _) => Some(CT_STATE_NEW.to_ne_bytes().to_vec()),
            (CtKey::Status, Way::Out) => Some(0_u32.to_ne_bytes().to_vec()),
            (CtKey::Status, Way::In) => Some(IPS_DST_NAT.to_ne_bytes().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_rule_is_walked_without_panic(expressions in proptest::collection::vec(any::<u8>(), 0..300)) {
            let rules = vec![Rule { handle: 1, expressions }];
            let chains = HashMap::from([("c".to_owned(), rules)]);
            let base = Base {
                family: NFPROTO_INET, table: "t".to_owned(), name: "c".to_owned(), drops: true, chains,
            };
            let bridge = "br0".parse().unwrap();
            base.fate(Packet { family: NFPROTO_IPV4, bridge: &bridge, way: Way::Out });
        }
    }
}
