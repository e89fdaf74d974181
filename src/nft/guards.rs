//! The rules that keep the host from routing between its own links, where mydocker switched forwarding on.

use super::expr::{Expr, MetaKey};
use super::rules::{Chain, Rule};
use super::schema::Set;
use super::skeleton::Skeleton;
use super::vocabulary::{
    accept, both_bridges, counter, drop, iifname, in_set, ip_header, ip4, ip6, is_bridge, not_equal,
    not_in_set, not_multicast4, not_multicast6, not_ours, oifname,
};

/// Where mydocker switched forwarding on, the host must not become a router between its own links.
///
/// A bridge that came later is another engine's: it relies on the forwarding that it found switched on, and has
/// rules of its own. With br_netfilter, frames that another program's bridge only passes on come here as well, and
/// look like packets that are routed from that bridge to itself: they are left to [`between_bridges`].
pub(super) fn forward_guards(skeleton: Skeleton) -> Vec<Rule> {
    let families = [
        (skeleton.guard_ipv4_forwarding, ip4 as fn() -> Vec<Expr>, GUARD4),
        (skeleton.guard_ipv6_forwarding, ip6, GUARD6),
    ];
    let wanted = families.into_iter().filter(|(guarded, ..)| *guarded);
    wanted.flat_map(|(_, family, texts)| guards_of(family, texts)).collect()
}

fn guards_of(family: fn() -> Vec<Expr>, texts: [&'static str; 4]) -> [Rule; 4] {
    let [both, incoming, outgoing, rest] = texts;
    let rule = |text, parts: [Vec<Expr>; 4]| Rule::new(Chain::Forward, text, parts);
    let later = |kind, name: Vec<Expr>| [is_bridge(kind), name, not_in_set(Set::HostBridges)].concat();
    [
        rule(both, [family(), both_bridges(), not_ours(), accept()]).comment("see between_bridges"),
        rule(incoming, [family(), not_ours(), later(MetaKey::IifKind, iifname()), accept()]).comment(LATER),
        rule(outgoing, [family(), not_ours(), later(MetaKey::OifKind, oifname()), accept()]).comment(LATER),
        rule(rest, [family(), not_ours(), counter(), drop()]).comment(NO_ROUTER),
    ]
}

const GUARD4: [&str; 4] = [
    "meta nfproto ipv4 meta iifkind \"bridge\" meta oifkind \"bridge\" \
     iifname != @bridges oifname != @bridges accept",
    "meta nfproto ipv4 iifname != @bridges oifname != @bridges \
     meta iifkind \"bridge\" iifname != @host_bridges accept",
    "meta nfproto ipv4 iifname != @bridges oifname != @bridges \
     meta oifkind \"bridge\" oifname != @host_bridges accept",
    "meta nfproto ipv4 iifname != @bridges oifname != @bridges counter packets 0 bytes 0 drop",
];
const GUARD6: [&str; 4] = [
    "meta nfproto ipv6 meta iifkind \"bridge\" meta oifkind \"bridge\" \
     iifname != @bridges oifname != @bridges accept",
    "meta nfproto ipv6 iifname != @bridges oifname != @bridges \
     meta iifkind \"bridge\" iifname != @host_bridges accept",
    "meta nfproto ipv6 iifname != @bridges oifname != @bridges \
     meta oifkind \"bridge\" oifname != @host_bridges accept",
    "meta nfproto ipv6 iifname != @bridges oifname != @bridges counter packets 0 bytes 0 drop",
];
const LATER: &str = "a bridge that came later: another engine's";
pub(super) const NO_ROUTER: &str = "the host did not forward before mydocker";

/// The guard for packets that are routed from one bridge to another, both of them of the host's own. Only here do
/// they differ from frames that pass through one bridge: those have no incoming interface any more.
///
/// Not for other interfaces: packets that a tunnel of the host's wraps up have an incoming interface here, too.
///
/// Packets of the host's own that were made for one interface (neighbour discovery, reports of multicast groups)
/// seem to have come in by it. They are spared by what routed packets cannot be: a hop limit of 255, for each
/// router takes one off, and multicast, which is routed only where a program of the host's sees to that.
pub(super) fn between_bridges(skeleton: Skeleton) -> Vec<Rule> {
    let between = || [iifname(), in_set(Set::HostBridges), oifname(), in_set(Set::HostBridges)].concat();
    let rule = |text, family: Vec<Expr>| {
        Rule::new(Chain::BetweenBridges, text, [family, between(), counter(), drop()]).comment(NO_ROUTER)
    };
    let mut rules = Vec::new();
    if skeleton.guard_ipv4_forwarding {
        rules.push(rule(
            "ip daddr != 224.0.0.0/4 iifname @host_bridges oifname @host_bridges \
             counter packets 0 bytes 0 drop",
            [ip4(), not_multicast4()].concat(),
        ));
    }
    if skeleton.guard_ipv6_forwarding {
        rules.push(rule(
            "ip6 daddr != ff00::/8 ip6 hoplimit != 255 iifname @host_bridges oifname @host_bridges \
             counter packets 0 bytes 0 drop",
            [ip6(), not_multicast6(), ip_header(7, 1), not_equal(&[255])].concat(),
        ));
    }
    rules
}
