//! The contents of a container's `/etc/resolv.conf`, and what they depend on.

use std::net::IpAddr;

use crate::container::request::resolution::Resolution;
use crate::dns;

/// What the container is connected to, as these files need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surroundings {
    /// In the host's own network.
    Host,
    /// In networks of its own, with these addresses, the first one's gateway leading to the host, and with a name server
    /// of its own.
    Networks {
        /// The container's addresses.
        addresses: Vec<IpAddr>,
        /// Its default gateway.
        gateway: Option<IpAddr>,
    },
    /// Alone.
    Nowhere,
}

/// What a resolv.conf says (resolv.conf(5)).
#[derive(Debug, Default)]
struct Servers {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Servers {
    fn read(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => read.servers.extend(words.next()),
                // The last of these lines counts.
                Some("search" | "domain") => read.search = words.collect(),
                Some("options") => read.options.extend(words),
                _ => {}
            }
        }
        read
    }
}

/// Addresses that mean something else in the container than on the host. A zone (`fe80::1%eth0`) does, too.
fn is_loopback(server: &str) -> bool {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        Err(_) => true,
    }
}

/// What a container's resolv.conf says, given the host's.
///
/// A container in networks of its own asks its own server (`dns`), which asks those of the host or of `--dns` in turn.
/// With search domains, it is to ask for names without a dot as they are, first (`ndots:0`): musl's resolver would ask
/// for them in each domain first, and give up where a server of the outside does not answer. Without search domains
/// nobody needs that.
pub(super) fn contents(host: &str, wanted: &Resolution, surroundings: &Surroundings) -> String {
    let mut found = Servers::read(host);
    let is_own = matches!(surroundings, Surroundings::Networks { .. });
    if is_own {
        found.servers = vec![dns::ADDRESS.to_string()];
    } else if !wanted.servers.is_empty() {
        found.servers = wanted.servers.iter().map(ToString::to_string).collect();
    } else if *surroundings == Surroundings::Nowhere {
        found.servers.retain(|server| !is_loopback(server));
    }
    if !wanted.search.is_empty() {
        found.search.clone_from(&wanted.search);
        found.search.retain(|domain| domain != ".");
    }
    let is_ndots = |option: &String| option.starts_with("ndots:");
    if !wanted.options.is_empty() {
        found.options.clone_from(&wanted.options);
    }
    if is_own && !found.search.is_empty() && !wanted.options.iter().any(is_ndots) {
        found.options.retain(|option| !is_ndots(option));
        found.options.push("ndots:0".to_owned());
    }
    let mut text: String = found.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (key, words) in [("search", found.search), ("options", found.options)] {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Surroundings = Surroundings::Networks { addresses: Vec::new(), gateway: None };

    #[test]
    fn the_hosts_servers_are_taken_over_where_there_is_no_own_one() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.7\nnameserver ::1\n\
            search a.example b.example\noptions edns0 trust-ad\n";
        let plain = Resolution::default();
        let rest = "search a.example b.example\noptions edns0 trust-ad\n";
        assert_eq!(contents(host, &plain, &Surroundings::Nowhere), format!("nameserver 192.0.2.7\n{rest}"));
        let same = format!("nameserver 127.0.0.53\nnameserver 192.0.2.7\nnameserver ::1\n{rest}");
        assert_eq!(contents(host, &plain, &Surroundings::Host), same);
        let wanted = Resolution {
            servers: vec!["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:1".into()],
            ..plain.clone()
        };
        let expected = "nameserver 127.0.0.1\nnameserver 2001:db8::1\noptions ndots:1\n";
        assert_eq!(contents(host, &wanted, &Surroundings::Nowhere), expected);
        assert_eq!(contents("nameserver 127.0.0.53\n", &plain, &Surroundings::Nowhere), "");
        assert_eq!(contents(host, &wanted, &OWN), "nameserver 127.0.0.11\noptions ndots:1\n");
    }

    #[test]
    fn single_names_are_asked_for_as_they_are_first_where_there_are_search_domains() {
        let of = |host: &str, wanted: &Resolution| contents(host, wanted, &OWN);
        let plain = Resolution::default();
        assert_eq!(of("nameserver 192.0.2.7\n", &plain), "nameserver 127.0.0.11\n");
        let searched = "nameserver 192.0.2.7\nsearch a.example\noptions ndots:3 edns0\n";
        assert_eq!(of(searched, &plain), "nameserver 127.0.0.11\nsearch a.example\noptions edns0 ndots:0\n");
        let asked = Resolution { options: vec!["ndots:2".into()], ..plain.clone() };
        assert_eq!(of(searched, &asked), "nameserver 127.0.0.11\nsearch a.example\noptions ndots:2\n");
        let other = Resolution { options: vec!["timeout:1".into()], ..plain };
        assert!(of(searched, &other).ends_with("options timeout:1 ndots:0\n"));
    }

    proptest! {
        #[test]
        fn any_resolv_conf_becomes_one_that_the_resolver_understands(
            host in "((nameserver|search|domain|options|#|;|sortlist)?[ \t]*[a-z0-9.:%-]{0,12}[ \t]?[\\PC]{0,6}\n){0,6}",
            noise in "\\PC{0,80}",
        ) {
            for (text, surroundings) in [(&host, Surroundings::Nowhere), (&noise, OWN), (&host, OWN)] {
                for line in contents(text, &Resolution::default(), &surroundings).lines() {
                    let word = line.split(' ').next().unwrap_or_default();
                    prop_assert!(["nameserver", "search", "options"].contains(&word), "{}", line);
                }
            }
        }
    }
}
