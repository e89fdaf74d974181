//! What the host lacks that networks are made of.

use super::{BridgeDriver, DriverError};
use crate::needs::{self, Feature, Lack, Weight};
use crate::netlink::{FlowSocket, find_listeners};
use crate::nft::{self, CommitError, Skeleton, Transaction};
use crate::{netns, sysctl};

/// What this host lacks that networks are made of. Everything is made in a namespace that ends at once: what the kernel
/// cannot do shows in what it refuses.
#[must_use]
pub fn lacking() -> Vec<Lack> {
    let tried = netns::run_in_new(|| {
        let made = nft::Socket::open().and_then(|mut socket| {
            let mut transaction = Transaction::new();
            transaction.add_skeleton(Skeleton { guard_ipv4_forwarding: true, guard_ipv6_forwarding: true });
            socket.commit(transaction)
        });
        let mut lacks: Vec<Lack> = made.err().and_then(|error| of_table(&error)).into_iter().collect();
        let tried = BridgeDriver::open().and_then(|mut driver| driver.try_out());
        lacks.extend(tried.err().and_then(|error| of_driver(&error)));
        if matches!(sysctl::read("net/ipv6/conf/all/forwarding"), Ok(None)) {
            lacks.push(wanted(needs::IPV6, "no network can have IPv6"));
        }
        if FlowSocket::open().and_then(|mut socket| socket.list()).is_err() {
            lacks.push(wanted(
                needs::CONNTRACK,
                "connections outlive a change of published ports, and network flows fails",
            ));
        }
        for (protocol, number, feature) in needs::LISTENERS {
            if find_listeners(number, 1..=1).is_err() {
                let without =
                    format!("{protocol} ports on which the host itself listens can be published unnoticed");
                lacks.push(wanted(feature, &without));
            }
        }
        lacks
    });
    // Who may not make a namespace has other problems, which are told elsewhere.
    tried.unwrap_or_default()
}

/// What is missing for the firewall table, by what the kernel refused.
fn of_table(error: &CommitError) -> Option<Lack> {
    let remedy = match error {
        CommitError::Unsupported { what, .. } => {
            let remedies: Vec<String> = needs::of_rules(what).iter().map(Feature::remedy).collect();
            remedies.join("; ")
        }
        CommitError::Refused { .. } => format!("use Linux {} or later", needs::OLDEST_KERNEL),
        _ => return None,
    };
    Some(Lack { weight: Weight::Required, subject: "kernel", message: error.to_string(), remedy })
}

/// What is missing for bridges and pairs.
fn of_driver(error: &DriverError) -> Option<Lack> {
    let DriverError::Unsupported { feature, .. } = error else { return None };
    let (message, remedy) = (error.to_string(), feature.remedy());
    Some(Lack { weight: Weight::Required, subject: "kernel", message, remedy })
}

fn wanted(feature: Feature, without: &str) -> Lack {
    let message = format!("{without}: the kernel lacks {}", feature.option);
    Lack { weight: Weight::Wanted, subject: "kernel", message, remedy: feature.remedy() }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn what_is_refused_is_told_with_its_option_and_remedy() {
        let refused = |what: &str| {
            of_table(&CommitError::Unsupported { what: what.to_owned(), errno: Errno::ENOENT }).unwrap()
        };
        let lack = refused("the rule \"fib daddr type local goto publish\" of the chain prerouting");
        assert!(lack.weight == Weight::Required && lack.message.contains("CONFIG_NFT_FIB_INET"), "{lack}");
        assert!(lack.remedy.contains("CONFIG_NFT_FIB_INET"), "{}", lack.remedy);
        let error = DriverError::Unsupported { what: "a veth pair", feature: needs::VETH };
        let lack = of_driver(&error).unwrap();
        assert_eq!(lack.message, "this kernel cannot make a veth pair: it lacks CONFIG_VETH");
        assert!(lack.remedy.contains("CONFIG_VETH"), "{}", lack.remedy);
        // What has other reasons is told elsewhere.
        assert!(of_table(&CommitError::PermissionDenied).is_none());
    }
}
