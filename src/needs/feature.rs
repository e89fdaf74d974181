//! Parts of the kernel that may be missing, by the options that they are built with and the modules that they come as.

use super::host::{Host, ThisHost};
use super::{Lack, Weight};

/// A part of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// The option that it is built with.
    pub option: &'static str,
    /// The module that it comes as, where it can be one.
    pub module: Option<&'static str>,
}

/// What networks are made of.
pub const BRIDGE: Feature = Feature::new("CONFIG_BRIDGE", "bridge");
/// What connects a container with its bridge.
pub const VETH: Feature = Feature::new("CONFIG_VETH", "veth");
/// What networks with IPv6 need.
pub const IPV6: Feature = Feature::new("CONFIG_IPV6", "ipv6");
/// What tells of tracked connections and removes them.
pub const CONNTRACK: Feature = Feature::new("CONFIG_NF_CT_NETLINK", "nf_conntrack_netlink");
/// What tells who listens on a port of the host, by the protocol.
pub const LISTENERS: [(&str, u8, Feature); 2] = [
    ("TCP", 6, Feature::new("CONFIG_INET_TCP_DIAG", "tcp_diag")),
    ("UDP", 17, Feature::new("CONFIG_INET_UDP_DIAG", "udp_diag")),
];

const TABLES: Feature = Feature::new("CONFIG_NF_TABLES", "nf_tables");
/// What the firewall table is made of, by words of what the kernel refuses.
pub(super) const TABLE_PARTS: [(&str, Feature); 7] = [
    ("the table inet", Feature::new("CONFIG_NF_TABLES_INET", "nf_tables")),
    ("the chain", Feature::new("CONFIG_NFT_NAT", "nft_chain_nat")),
    ("fib ", Feature::new("CONFIG_NFT_FIB_INET", "nft_fib_inet")),
    ("reject", Feature::new("CONFIG_NFT_REJECT_INET", "nft_reject_inet")),
    ("masquerade", Feature::new("CONFIG_NFT_MASQ", "nft_masq")),
    (" to ip", Feature::new("CONFIG_NFT_NAT", "nft_nat")),
    ("ct ", Feature::new("CONFIG_NFT_CT", "nft_ct")),
];

/// What the kernel may lack that refuses `what`, an object of the firewall table.
#[must_use]
pub fn of_rules(what: &str) -> Vec<Feature> {
    // A rule is refused for what it consists of, and not for its chain.
    let is_rule = what.starts_with("the rule");
    let fits = |word: &str| {
        if is_rule { !word.starts_with("the ") && what.contains(word) } else { what.starts_with(word) }
    };
    let found: Vec<Feature> =
        TABLE_PARTS.iter().filter(|(word, _)| fits(word)).map(|(_, feature)| *feature).collect();
    if found.is_empty() { vec![TABLES] } else { found }
}

impl Feature {
    /// A part that is always built in.
    #[must_use]
    pub const fn built_in(option: &'static str) -> Self {
        Self { option, module: None }
    }

    /// A part that can be a module.
    #[must_use]
    pub const fn new(option: &'static str, module: &'static str) -> Self {
        Self { option, module: Some(module) }
    }

    /// What to do on this host, which lacks it.
    #[must_use]
    pub fn remedy(&self) -> String {
        self.remedy_on(&ThisHost)
    }

    /// What to do on a host that lacks it.
    #[must_use]
    pub fn remedy_on(&self, host: &dyn Host) -> String {
        let other = format!("use a kernel that was built with {}", self.option);
        // A kernel without modules has no such file.
        let Some(module) = self.module.filter(|_| host.exists("/proc/modules")) else { return other };
        let release = host.release();
        if host.read("/proc/sys/kernel/modules_disabled").as_deref() == Some("1") {
            return format!(
                "no module can be loaded any more (kernel.modules_disabled=1): name {module} in a file of /etc/modules-load.d and reboot"
            );
        }
        if !host.exists(&format!("/lib/modules/{release}")) {
            return format!(
                "the modules of the kernel that runs are not here (/lib/modules/{release}): reboot into the installed \
                 one; in a container, run on its host: modprobe {module}"
            );
        }
        format!("load it with: modprobe {module}; or {other}")
    }

    pub(super) fn lack(&self, weight: Weight, message: String, host: &dyn Host) -> Lack {
        Lack { weight, subject: "kernel", message, remedy: self.remedy_on(host) }
    }
}
