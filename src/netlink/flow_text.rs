//! A quick look at the connection-tracking entries, as text.
//!
//! A walk through the table by netlink takes a lock for every bucket (0.04 µs each), empty or not; `/proc` passes
//! over the empty ones (0.1 ms for all) and costs 3 µs an entry. Most hosts have few entries and many buckets, and
//! most questions concern no entry at all: that is seen here, a hundred times as fast.

use std::net::IpAddr;
use std::path::Path;

use super::conntrack::Flow;
use super::ctnetlink::Direction;
use super::flows::TCP_STATES;

/// The entries of the calling thread's namespace. Kernels can be built without this file.
const ENTRIES: &str = "/proc/thread-self/net/nf_conntrack";
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";
/// An entry as text costs as much as a walk past so many buckets.
const BUCKETS_FOR_AN_ENTRY: u64 = 80;
/// The IP protocol number of TCP.
const TCP: u8 = 6;

/// Whether no entry matches. False where that cannot be seen quickly.
pub(super) fn shows_none(mut matches: impl FnMut(&Flow) -> bool) -> bool {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim_end().parse::<u64>().ok();
    let Some(count) = number(COUNT) else {
        // Without connection tracking there is nothing to match; without the file there may be.
        return !Path::new(COUNT).exists() && !Path::new(ENTRIES).exists();
    };
    if count == 0 {
        return true;
    }
    if number(BUCKETS).is_none_or(|buckets| count.saturating_mul(BUCKETS_FOR_AN_ENTRY) > buckets) {
        return false;
    }
    let Ok(text) = std::fs::read(ENTRIES) else { return false };
    // A line that is not understood may be anything.
    String::from_utf8_lossy(&text).lines().all(|line| parse(line).is_some_and(|flow| !matches(&flow)))
}

/// `ipv4 2 tcp 6 117 SYN_SENT src=A dst=B sport=N dport=N [UNREPLIED] src=B dst=A sport=N dport=N mark=0 use=2`
fn parse(line: &str) -> Option<Flow> {
    let mut words = line.split_ascii_whitespace();
    let protocol: u8 = words.nth(3)?.parse().ok()?;
    let (mut original, mut reply) = (Vec::new(), Vec::new());
    let mut tcp_state = None;
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            let state = TCP_STATES.iter().zip(0..).find(|(name, _)| **name == word);
            tcp_state = tcp_state.or(state.map(|(_, number)| number));
            continue;
        };
        let is_new = |side: &Vec<(&str, &str)>| side.iter().all(|(known, _)| *known != key);
        if is_new(&original) {
            original.push((key, value));
        } else if is_new(&reply) {
            reply.push((key, value));
        }
    }
    Some(Flow {
        original: direction(&original, protocol)?,
        reply: direction(&reply, protocol)?,
        tcp_state: tcp_state.filter(|_| protocol == TCP),
        identity: Vec::new(),
    })
}

fn direction(words: &[(&str, &str)], protocol: u8) -> Option<Direction> {
    let value = |key| words.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let address = |key| value(key)?.parse::<IpAddr>().ok();
    // Protocols without ports have none here either.
    let port = |key| value(key).map_or(Some(0), |text| text.parse().ok());
    Some(Direction {
        source: address("src")?,
        destination: address("dst")?,
        protocol,
        source_port: port("sport")?,
        destination_port: port("dport")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in "(ipv4 2 tcp 6 [0-9]{0,4} )?([A-Z_]{0,9}|src=|dst=|[sd]port=|[0-9.:a-f=]{0,20}| ){0,30}") {
            parse(&line);
        }
    }

    #[test]
    fn lines_of_each_kind_are_understood() {
        let tcp = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.1 dst=198.51.100.10 sport=40000 dport=8080 \
                   packets=3 bytes=200 src=172.18.0.2 dst=192.0.2.1 sport=80 dport=40000 packets=2 bytes=100 \
                   [ASSURED] mark=0 zone=0 use=2";
        let flow = parse(tcp).unwrap();
        assert_eq!((flow.original.protocol, flow.tcp_state), (6, Some(3)));
        assert_eq!((flow.original.source_port, flow.original.destination_port), (40000, 8080));
        assert_eq!(flow.reply.source.to_string(), "172.18.0.2");
        assert_eq!((flow.reply.source_port, flow.reply.destination_port), (80, 40000));

        let udp = "ipv6     10 udp      17 29 src=fd20:0000:0000:0000:0000:0000:0000:0001 \
                   dst=fd20:0000:0000:0000:0000:0000:0000:0002 sport=1 dport=2 [UNREPLIED] \
                   src=fd20:0000:0000:0000:0000:0000:0000:0002 dst=fd20:0000:0000:0000:0000:0000:0000:0001 \
                   sport=2 dport=1 mark=0 use=2";
        let flow = parse(udp).unwrap();
        assert_eq!((flow.original.destination.to_string().as_str(), flow.tcp_state), ("fd20::2", None));

        let igmp = "ipv4     2 unknown  2 599 src=10.89.0.1 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.89.0.1 mark=0 use=2";
        assert_eq!(parse(igmp).unwrap().reply.source_port, 0);
        let ping = "ipv4 2 icmp 1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0";
        assert_eq!(parse(ping).unwrap().reply.destination.to_string(), "10.0.0.1");
        assert_eq!(parse("ipv4 2 tcp 6 1 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2"), None);
        assert_eq!(parse("something else"), None);
    }
}
