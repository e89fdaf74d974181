//! Other tables that drop what containers send and receive. They are only shown to the user, never changed.
//!
//! A packet is accepted only if every table accepts it, so mydocker's own rules cannot help where another table's
//! chain drops (Docker's and ufw's `FORWARD` with its policy, firewalld's last rule). For every network, two
//! packets are evaluated in all base chains that they pass, without being sent: the first of a connection from a
//! container to the outside, and the first of one to a published port. Where a rule asks for what is not known of such a
//! packet (a port, a mark, an element of a set), it may accept some packets, but what counts is what becomes of all
//! others; if it drops some, that is told apart from what drops all.

mod packet;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage};
use nix::errno::Errno;

use super::TABLE;
use super::error::{CommitError, Refusal};
use super::expr::{EXPR_DATA, EXPR_NAME, Family, NF_ACCEPT, NF_DROP, NFT_GOTO, NFT_RETURN, text};
use super::frames::{attribute, attributes, be32, push_of};
use super::listing::{chain, rule};
use super::socket::Socket;
use super::transaction::What;
use crate::names::IfName;
use packet::{Hook, Packet, Registers, Step};

// <linux/netfilter.h>, <linux/netfilter/nf_tables.h>; those of expressions are in `expr`.
const NFT_JUMP: u32 = 3_u32.wrapping_neg();
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
    /// Its IPv4 addresses.
    pub subnet4: Option<IpNet>,
    /// Its IPv6 addresses.
    pub subnet6: Option<IpNet>,
    /// The device that leads to the outside, if there is one.
    pub uplink4: Option<IfName>,
    /// The same for IPv6.
    pub uplink6: Option<IfName>,
}

impl Passage {
    fn families(&self) -> impl Iterator<Item = u8> {
        let families = [(NFPROTO_IPV4, self.subnet4.is_some()), (NFPROTO_IPV6, self.subnet6.is_some())];
        families.into_iter().filter(|(_, wanted)| *wanted).map(|(family, _)| family)
    }
}

/// What other tables do to networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// What drops all packets of a way.
    pub obstacles: Vec<Obstacle>,
    /// What drops some packets, at most one for each base chain.
    pub doubts: Vec<Doubt>,
}

/// Rules of a base chain that drop packets of networks under conditions that are not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The bridges of the networks.
    pub bridges: Vec<IfName>,
    /// The table's family in nft's syntax.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The base chain.
    pub base: String,
    /// The numbers of the rules, by the chain they stand in.
    pub rules: BTreeMap<String, Vec<u64>>,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, base, rules, .. } = self;
        let of_chain = |(chain, handles): (&String, &Vec<u64>)| {
            let handles: Vec<String> = handles.iter().map(u64::to_string).collect();
            format!("{} in chain {chain}", handles.join(", "))
        };
        let rules: Vec<String> = rules.iter().map(of_chain).collect();
        write!(
            f,
            "table {family} {table}, chain {base}: rules with handle {} drop packets of some kind",
            rules.join("; ")
        )
    }
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

/// A base chain that forwarded packets pass, with all rules of its table.
#[derive(Debug)]
struct Base {
    hook: Hook,
    family: u8,
    table: String,
    name: String,
    drops: bool,
    chains: HashMap<String, Vec<Rule>>,
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
    pub fn foreign(&mut self, passages: &[Passage]) -> Result<Foreign, CommitError> {
        let mut foreign = Foreign::default();
        for base in self.foreign_chains()? {
            let (mut doubt, mut certain) = (base.doubt(), Vec::new());
            for passage in passages {
                for way in [Way::Out, Way::In] {
                    let by = base.drops_of(passage, way, &mut doubt);
                    if let Some(DroppedBy::Rule { chain, handle, .. }) = &by {
                        certain.push((chain.clone(), *handle));
                    }
                    foreign.obstacles.extend(by.map(|by| Obstacle {
                        bridge: passage.bridge.clone(),
                        way,
                        family: doubt.family,
                        table: base.table.clone(),
                        base: base.name.clone(),
                        by,
                    }));
                }
            }
            // A rule that is named already needs no second word for other packets.
            for (chain, handles) in &mut doubt.rules {
                handles.retain(|handle| !certain.contains(&(chain.clone(), *handle)));
            }
            doubt.rules.retain(|_, handles| !handles.is_empty());
            foreign.doubts.extend((!doubt.rules.is_empty()).then_some(doubt));
        }
        Ok(foreign)
    }

    fn foreign_chains(&mut self) -> Result<Vec<Base>, CommitError> {
        let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        let mut bases = Vec::new();
        for (family, found) in self.dump_of(NetfilterProtoFamily::Unspec, request)? {
            let name = |kind| attribute(&found, kind).map(text).unwrap_or_default();
            let hook = attribute(&found, chain::HOOK).and_then(|hook| attribute(hook, chain::HOOK_NUMBER));
            let table = name(chain::TABLE);
            let is_ours = family == NFPROTO_INET && table == TABLE;
            let hook = hook.and_then(be32).and_then(Hook::from_number);
            let Some(hook) = hook.filter(|_| name(chain::TYPE) == "filter" && !is_ours) else { continue };
            let proto = match family {
                NFPROTO_INET => NetfilterProtoFamily::Inet,
                NFPROTO_IPV4 => NetfilterProtoFamily::IPv4,
                NFPROTO_IPV6 => NetfilterProtoFamily::IPv6,
                _ => continue,
            };
            let drops = attribute(&found, chain::POLICY).and_then(be32) == Some(NF_DROP);
            let chains = self.rules_of(proto, &table)?;
            bases.push(Base { hook, family, table, name: name(chain::NAME), drops, chains });
        }
        Ok(bases)
    }

    fn rules_of(
        &mut self,
        proto: NetfilterProtoFamily,
        table: &str,
    ) -> Result<HashMap<String, Vec<Rule>>, CommitError> {
        let attributes = vec![RuleAttribute::Table(table.to_owned())];
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
        Ok(chains)
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
    /// What is in doubt about it: nothing yet.
    fn doubt(&self) -> Doubt {
        Doubt {
            bridges: Vec::new(),
            family: family_name(self.family).unwrap_or_default(),
            table: self.table.clone(),
            base: self.name.clone(),
            rules: BTreeMap::new(),
        }
    }

    /// What drops all packets of a way, if anything does. What drops some of them goes to `doubt`.
    fn drops_of(&self, passage: &Passage, way: Way, doubt: &mut Doubt) -> Option<DroppedBy> {
        let mut found = None;
        for family in passage.families().filter(|family| [NFPROTO_INET, *family].contains(&self.family)) {
            let mut walk = Walk {
                base: self,
                packet: Packet { family, hook: self.hook, way, passage },
                some: Vec::new(),
            };
            found = found.or(walk.fate());
            if !walk.some.is_empty() && !doubt.bridges.contains(&passage.bridge) {
                doubt.bridges.push(passage.bridge.clone());
            }
            for (chain, handle) in walk.some {
                let handles = doubt.rules.entry(chain).or_default();
                if !handles.contains(&handle) {
                    handles.push(handle);
                }
            }
        }
        found
    }
}

/// The way of one packet through the chains of a table.
struct Walk<'a> {
    base: &'a Base,
    packet: Packet<'a>,
    /// The rules that drop packets like it under conditions that are not known: chain and handle.
    some: Vec<(String, u64)>,
}

impl Walk<'_> {
    /// What drops the packet, if anything does.
    fn fate(&mut self) -> Option<DroppedBy> {
        match self.chain(&self.base.name, DEEPEST, true) {
            Fate::Dropped(by) => Some(by),
            Fate::Accepted => None,
            Fate::Next | Fate::Return => self.base.drops.then_some(DroppedBy::Policy),
        }
    }

    /// `is_reached`: whether the packet comes to this chain for certain.
    fn chain(&mut self, chain: &str, depth: usize, is_reached: bool) -> Fate {
        for rule in self.base.chains.get(chain).into_iter().flatten() {
            match self.rule(chain, rule, depth, is_reached) {
                Fate::Next => {}
                fate => return fate,
            }
        }
        Fate::Next
    }

    fn rule(&mut self, chain: &str, rule: &Rule, depth: usize, is_reached: bool) -> Fate {
        let mut registers = Registers::default();
        let mut matches = true;
        for (_, element) in attributes(&rule.expressions) {
            let name = attribute(element, EXPR_NAME).map(text).unwrap_or_default();
            let data = attribute(element, EXPR_DATA).unwrap_or_default();
            let fate = match registers.step(&name, data, self.packet) {
                Step::Go => continue,
                Step::Unknown => {
                    matches = false;
                    continue;
                }
                Step::Stop => return Fate::Next,
                Step::Drop(verb) => self.drop(chain, rule, verb, matches && is_reached),
                Step::Verdict(NF_DROP, _) => self.drop(chain, rule, "drop", matches && is_reached),
                Step::Verdict(NF_ACCEPT, _) => Fate::Accepted,
                Step::Verdict(NFT_RETURN, _) => Fate::Return,
                Step::Verdict(NFT_JUMP, to) if depth > 0 => {
                    match self.chain(&to, depth - 1, matches && is_reached) {
                        Fate::Return => Fate::Next,
                        fate => fate,
                    }
                }
                Step::Verdict(NFT_GOTO, to) if depth > 0 => {
                    match self.chain(&to, depth - 1, matches && is_reached) {
                        // As if the chain it stands in had ended here.
                        Fate::Next => Fate::Return,
                        fate => fate,
                    }
                }
                Step::Verdict(..) => Fate::Next,
            };
            return if matches { fate } else { Fate::Next };
        }
        Fate::Next
    }

    fn drop(&mut self, chain: &str, rule: &Rule, verb: &'static str, is_certain: bool) -> Fate {
        if is_certain {
            return Fate::Dropped(DroppedBy::Rule { chain: chain.to_owned(), handle: rule.handle, verb });
        }
        self.some.push((chain.to_owned(), rule.handle));
        // If it is this rule that the packet comes to, its way ends here.
        Fate::Accepted
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
                hook: Hook::Forward,
                family: NFPROTO_INET,
                table: "t".to_owned(),
                name: "c".to_owned(),
                drops: true,
                chains,
            };
            let passage = Passage {
                bridge: "br0".parse().unwrap(),
                subnet4: Some("10.0.0.0/24".parse().unwrap()),
                subnet6: None,
                uplink4: None,
                uplink6: None,
            };
            base.drops_of(&passage, Way::Out, &mut base.doubt());
        }
    }
}
