//! The chains and their rules. Above the expressions of every rule stands its nft text, as data: it is what
//! errors and `Display` show, and a test prints the expressions in nft's syntax and compares.
//!
//! What is variable is never in a rule: rules look up sets and maps (`schema`).

use std::fmt;

use super::expr::{
    CtKey, Expr, FIB_DADDR, FIB_IIF, FIB_PRESENT, FIB_RESULT_OIF, FIB_RESULT_TYPE, FIB_SADDR, Family, REG_2,
    Verdict, word,
};
use super::guards::{between_bridges, forward_guards};
use super::schema::Set;
use super::skeleton::Skeleton;
use super::vocabulary::{
    IPS_DST_NAT, RTN_LOCAL, accept, counter, ct_has, daddr4, daddr4_first_byte, daddr6, datum_of, dnat, drop,
    equal, equal_number, fib, goto, iifname, in_set, ip4, ip6, mask, masquerade, not_equal, not_in_set,
    not_multicast4, not_multicast6, oifname, port_key4, port_key6, reject, saddr4, saddr4_first_byte, saddr6,
    same_bridge, verdict,
};

/// The seven chains, in the order in which they stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    Guard,
    Prerouting,
    Output,
    Publish,
    Forward,
    BetweenBridges,
    Postrouting,
}

/// Where a base chain is hooked in.
pub(super) struct Hook {
    pub(super) kind: rustables::ChainType,
    pub(super) class: rustables::HookClass,
    pub(super) priority: i32,
    /// The first line of the chain in nft's syntax.
    pub(super) text: &'static str,
}

impl Chain {
    pub(super) const ALL: [Self; 7] = [
        Self::Guard,
        Self::Prerouting,
        Self::Output,
        Self::Publish,
        Self::Forward,
        Self::BetweenBridges,
        Self::Postrouting,
    ];
    /// Those whose rules depend on whether the host forwarded before mydocker.
    pub(super) const GUARDING: [Self; 2] = [Self::Forward, Self::BetweenBridges];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Prerouting => "prerouting",
            Self::Output => "output",
            Self::Publish => "publish",
            Self::Forward => "forward",
            Self::BetweenBridges => "between_bridges",
            Self::Postrouting => "postrouting",
        }
    }

    /// None for the one chain that others go to.
    pub(super) const fn hook(self) -> Option<Hook> {
        use rustables::{ChainType, HookClass};
        let (kind, class, priority, text) = match self {
            // Before conntrack (-200): what is dropped here leaves no entry.
            Self::Guard => (
                ChainType::Filter,
                HookClass::PreRouting,
                -300,
                "type filter hook prerouting priority raw; policy accept;",
            ),
            Self::Prerouting => (
                ChainType::Nat,
                HookClass::PreRouting,
                -100,
                "type nat hook prerouting priority dstnat; policy accept;",
            ),
            Self::Output => {
                (ChainType::Nat, HookClass::Out, -100, "type nat hook output priority -100; policy accept;")
            }
            Self::Publish => return None,
            Self::Forward => (
                ChainType::Filter,
                HookClass::Forward,
                0,
                "type filter hook forward priority filter; policy accept;",
            ),
            Self::BetweenBridges => (
                ChainType::Filter,
                HookClass::PostRouting,
                0,
                "type filter hook postrouting priority filter; policy accept;",
            ),
            Self::Postrouting => (
                ChainType::Nat,
                HookClass::PostRouting,
                100,
                "type nat hook postrouting priority srcnat; policy accept;",
            ),
        };
        Some(Hook { kind, class, priority, text })
    }

    /// The rules of the chain, in order.
    pub(super) fn rules(self, skeleton: Skeleton) -> Vec<Rule> {
        match self {
            Self::Guard => guard(),
            Self::Prerouting => prerouting(),
            Self::Output => output(),
            Self::Publish => publish(),
            Self::Forward => [forward_guards(skeleton), forward()].concat(),
            Self::BetweenBridges => between_bridges(skeleton),
            Self::Postrouting => postrouting(),
        }
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) chain: Chain,
    /// The rule as nft prints it, without the comment.
    pub(super) text: &'static str,
    pub(super) expressions: Vec<Expr>,
    pub(super) comment: Option<&'static str>,
}

impl Rule {
    pub(super) fn new(chain: Chain, text: &'static str, expressions: impl AsRef<[Vec<Expr>]>) -> Self {
        Self { chain, text, expressions: expressions.as_ref().concat(), comment: None }
    }

    pub(super) fn comment(self, comment: &'static str) -> Self {
        Self { comment: Some(comment), ..self }
    }

    /// Whether it hands packets over to that chain.
    pub(super) fn leads_to(&self, chain: Chain) -> bool {
        let name = chain.name();
        self.expressions.iter().any(|expr| matches!(expr, Expr::Verdict(Verdict::Goto(to)) if to == name))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        match self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

/// Loopback addresses never enter from a wire: `route_localnet` on the bridges would let them through. And, for
/// networks that ask for it, a container sends only from addresses that are routed to it: no element per subnet,
/// both families, and neighbour discovery and DHCP are left alone.
fn guard() -> Vec<Rule> {
    vec![
        Rule::new(
            Chain::Guard,
            "ip daddr 127.0.0.0/8 iifname != \"lo\" counter packets 0 bytes 0 drop",
            [
                ip4(),
                daddr4_first_byte(),
                equal(&[127]),
                iifname(),
                not_equal(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                counter(),
                drop(),
            ],
        )
        .comment("loopback stays on the host"),
        Rule::new(
            Chain::Guard,
            "ip saddr 127.0.0.0/8 iifname != \"lo\" counter packets 0 bytes 0 drop",
            [
                ip4(),
                saddr4_first_byte(),
                equal(&[127]),
                iifname(),
                not_equal(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
                counter(),
                drop(),
            ],
        )
        .comment("loopback stays on the host"),
        Rule::new(
            Chain::Guard,
            "iifname @no_spoofing fib saddr . iif oif missing counter packets 0 bytes 0 drop",
            [
                iifname(),
                in_set(Set::NoSpoofing),
                fib(FIB_SADDR | FIB_IIF | FIB_PRESENT, FIB_RESULT_OIF),
                equal(&[0; 4]),
                counter(),
                drop(),
            ],
        )
        .comment("--check-source: not an address of the network"),
    ]
}

fn prerouting() -> Vec<Rule> {
    vec![Rule::new(
        Chain::Prerouting,
        "fib daddr type local goto publish",
        [fib(FIB_DADDR, FIB_RESULT_TYPE), equal_number(RTN_LOCAL), goto(Chain::Publish)],
    )]
}

fn output() -> Vec<Rule> {
    vec![
        // There is no route_localnet for IPv6: a translated [::1] would hang where a refusal makes clients
        // fall back to 127.0.0.1 at once.
        Rule::new(
            Chain::Output,
            "ip6 daddr ::1 return",
            [
                ip6(),
                daddr6(),
                equal(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                verdict(Verdict::Return),
            ],
        )
        .comment("answers could not come back; clients fall back to 127.0.0.1"),
        Rule::new(
            Chain::Output,
            "fib daddr type local goto publish",
            [fib(FIB_DADDR, FIB_RESULT_TYPE), equal_number(RTN_LOCAL), goto(Chain::Publish)],
        ),
    ]
}

/// Each map is asked twice: for the packet's own destination, then with the address zeroed, which is where ports
/// of every address are. Ranges come last, so that a single port may be carved out of one.
fn publish() -> Vec<Rule> {
    let zeroed4 = || mask(&[0; 4]);
    let zeroed6 = || mask(&[0; 16]);
    vec![
        // Routers pass nothing on from link-local addresses. Where a name has such an address as well (multicast
        // DNS), clients are to try the next one at once.
        Rule::new(
            Chain::Publish,
            "ip6 daddr fe80::/10 return",
            [
                ip6(),
                daddr6(),
                mask(&[0xff, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                equal(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                verdict(Verdict::Return),
            ],
        )
        .comment("link-local clients fall back to another address"),
        Rule::new(
            Chain::Publish,
            "dnat ip to ip daddr . meta l4proto . th dport map @published4",
            [ip4(), daddr4(), port_key4(), datum_of(Set::Published4), dnat(Family::Ip4, Some(word(1)))],
        ),
        Rule::new(
            Chain::Publish,
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6",
            [ip6(), daddr6(), port_key6(), datum_of(Set::Published6), dnat(Family::Ip6, Some(REG_2))],
        ),
        Rule::new(
            Chain::Publish,
            "dnat ip to ip daddr & 0.0.0.0 . meta l4proto . th dport map @published4",
            [
                ip4(),
                daddr4(),
                zeroed4(),
                port_key4(),
                datum_of(Set::Published4),
                dnat(Family::Ip4, Some(word(1))),
            ],
        ),
        Rule::new(
            Chain::Publish,
            "dnat ip6 to ip6 daddr & :: . meta l4proto . th dport map @published6",
            [
                ip6(),
                daddr6(),
                zeroed6(),
                port_key6(),
                datum_of(Set::Published6),
                dnat(Family::Ip6, Some(REG_2)),
            ],
        ),
        // Without a port register the destination port stays what it was.
        Rule::new(
            Chain::Publish,
            "dnat ip to ip daddr . meta l4proto . th dport map @published_ranges4",
            [ip4(), daddr4(), port_key4(), datum_of(Set::PublishedRanges4), dnat(Family::Ip4, None)],
        ),
        Rule::new(
            Chain::Publish,
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @published_ranges6",
            [ip6(), daddr6(), port_key6(), datum_of(Set::PublishedRanges6), dnat(Family::Ip6, None)],
        ),
    ]
}

/// Answers pass; a network's own traffic passes; internal networks stop; what leaves to the world passes; published
/// ports pass; isolated networks stop; networks may talk to each other; routed networks are open; everything else
/// that would enter a container is dropped. What touches none of mydocker's bridges is never dropped.
fn forward() -> Vec<Rule> {
    let rule = |text, expressions: &[Vec<Expr>]| Rule::new(Chain::Forward, text, expressions);
    vec![
        rule("ct state established,related accept", &[ct_has(CtKey::State, 2 | 4), accept()]),
        rule("iifname . oifname @same_bridge accept", &[same_bridge(), accept()]),
        // NAT skips invalid packets, so they would leave with the container's own address.
        rule(
            "ct state invalid iifname @bridges counter packets 0 bytes 0 drop",
            &[ct_has(CtKey::State, 1), iifname(), in_set(Set::Bridges), counter(), drop()],
        )
        .comment("would leave without NAT"),
        // Whoever uses a published port of such a network is told at once, instead of waiting.
        rule(
            "ct status dnat oifname @internal counter packets 0 bytes 0 reject",
            &[ct_has(CtKey::Status, IPS_DST_NAT), oifname(), in_set(Set::Internal), counter(), reject()],
        )
        .comment("--internal: its ports are not reached"),
        rule(
            "iifname @internal counter packets 0 bytes 0 drop",
            &[iifname(), in_set(Set::Internal), counter(), drop()],
        )
        .comment("--internal: nothing leaves"),
        rule(
            "oifname @internal counter packets 0 bytes 0 drop",
            &[oifname(), in_set(Set::Internal), counter(), drop()],
        )
        .comment("--internal: nothing enters"),
        rule("oifname != @bridges accept", &[oifname(), not_in_set(Set::Bridges), accept()]),
        rule("ct status dnat accept", &[ct_has(CtKey::Status, IPS_DST_NAT), accept()])
            .comment("published ports"),
        rule(
            "iifname @isolated counter packets 0 bytes 0 drop",
            &[iifname(), in_set(Set::Isolated), counter(), drop()],
        )
        .comment("--isolate: other networks are not reached"),
        rule(
            "iifname @bridges oifname != @isolated accept",
            &[iifname(), in_set(Set::Bridges), oifname(), not_in_set(Set::Isolated), accept()],
        ),
        rule(
            "iifname != @bridges oifname @routed accept",
            &[iifname(), not_in_set(Set::Bridges), oifname(), in_set(Set::Routed), accept()],
        ),
        rule("counter packets 0 bytes 0 drop", &[counter(), drop()])
            .comment("not published, or into an isolated network"),
    ]
}

/// First the published ports that are used from this side of the host, whose answers must come back through it;
/// then what is not masqueraded; then what is.
fn postrouting() -> Vec<Rule> {
    let rule = |text, expressions: &[Vec<Expr>]| Rule::new(Chain::Postrouting, text, expressions);
    let published = || ct_has(CtKey::Status, IPS_DST_NAT);
    vec![
        rule(
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            &[ip4(), saddr4_first_byte(), equal(&[127]), oifname(), in_set(Set::Bridges), masquerade()],
        )
        .comment("published port used by the host"),
        rule(
            "ct status dnat ip saddr @subnets4 oifname @bridges masquerade",
            &[
                published(),
                ip4(),
                saddr4(),
                in_set(Set::Subnets4),
                oifname(),
                in_set(Set::Bridges),
                masquerade(),
            ],
        )
        .comment("published port used by a container"),
        rule(
            "ct status dnat ip6 saddr @subnets6 oifname @bridges masquerade",
            &[
                published(),
                ip6(),
                saddr6(),
                in_set(Set::Subnets6),
                oifname(),
                in_set(Set::Bridges),
                masquerade(),
            ],
        )
        .comment("published port used by a container"),
        // The name of the incoming interface is empty for packets of the host itself.
        rule(
            "oifname @bridges iifname != @bridges return",
            &[oifname(), in_set(Set::Bridges), iifname(), not_in_set(Set::Bridges), verdict(Verdict::Return)],
        ),
        rule("iifname . oifname @same_bridge return", &[same_bridge(), verdict(Verdict::Return)]),
        rule("iifname @routed return", &[iifname(), in_set(Set::Routed), verdict(Verdict::Return)]),
        rule(
            "iifname @no_masquerade return",
            &[iifname(), in_set(Set::NoMasquerade), verdict(Verdict::Return)],
        ),
        rule(
            "ip saddr @subnets4 ip daddr != 224.0.0.0/4 masquerade",
            &[ip4(), saddr4(), in_set(Set::Subnets4), not_multicast4(), masquerade()],
        ),
        // Only unique local addresses: a global one is meant to be seen.
        rule(
            "ip6 saddr @subnets6 ip6 saddr fc00::/7 ip6 daddr != ff00::/8 masquerade",
            &[
                ip6(),
                saddr6(),
                in_set(Set::Subnets6),
                saddr6(),
                mask(&[0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                equal(&[0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                not_multicast6(),
                masquerade(),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::expr_text;
    use super::*;

    fn all() -> Vec<Rule> {
        let skeleton = Skeleton { guard_ipv4_forwarding: true, guard_ipv6_forwarding: true };
        Chain::ALL.into_iter().flat_map(|chain| chain.rules(skeleton)).collect()
    }

    #[test]
    fn every_rule_does_what_its_text_says() {
        for rule in all() {
            assert_eq!(expr_text::rule(&rule.expressions), rule.text);
        }
    }

    #[test]
    fn rustables_builds_the_plain_rules() {
        let is_plain = |rule: &&Rule| super::super::expr::to_rustables(&rule.expressions).is_some();
        assert_eq!(all().iter().filter(is_plain).count(), 19);
    }
}
