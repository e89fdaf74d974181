//! Networks that another firewall hinders, and how to let their packets pass.

use crate::names::{IfName, NetworkName};
use crate::nft::{Obstacle, Way};

/// Networks that one rule or policy of another table hinders.
#[derive(Debug)]
pub struct Hindered {
    /// What drops, as one of them meets it.
    pub obstacle: Obstacle,
    /// Which of their packets, with the bridge of each.
    pub networks: Vec<(NetworkName, IfName, Way)>,
}

impl Hindered {
    fn on_the_way(&self, wanted: Way) -> impl Iterator<Item = &(NetworkName, IfName, Way)> {
        self.networks.iter().filter(move |(.., way)| *way == wanted)
    }

    pub(super) fn dropped(&self) -> String {
        let called = |way| {
            let names: Vec<&str> = self.on_the_way(way).map(|(name, ..)| name.as_str()).collect();
            let word = if names.len() == 1 { "network" } else { "networks" };
            (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
        };
        let out = called(Way::Out).map(|networks| format!("what containers of {networks} send"));
        let coming = called(Way::In).map(|networks| format!("what comes for published ports of {networks}"));
        out.into_iter().chain(coming).collect::<Vec<_>>().join(", and ")
    }

    /// How to let the packets pass. To insert rules is all that is ever needed, and survives no reload of that firewall:
    /// so its own configuration is the place for them.
    pub(super) fn remedy(&self) -> String {
        let Obstacle { family, table, base, .. } = &self.obstacle;
        let rule = |way, direction: &str| {
            let bridges: Vec<&str> = self.on_the_way(way).map(|(_, bridge, _)| bridge.as_str()).collect();
            let meant = match bridges.as_slice() {
                [] => return None,
                [one] => (*one).to_owned(),
                several => format!("{{ {} }}", several.join(", ")),
            };
            Some(format!("nft insert rule {family} {table} {base} {direction} {meant} accept"))
        };
        let rules: Vec<String> =
            rule(Way::Out, "iifname").into_iter().chain(rule(Way::In, "oifname")).collect();
        let own = match (*family, table.as_str()) {
            ("inet", "firewalld") => {
                let mut bridges: Vec<&str> = self.networks.iter().map(|(_, bridge, _)| bridge.as_str()).collect();
                bridges.dedup();
                let bridges: Vec<String> =
                    bridges.into_iter().map(|bridge| format!(" --add-interface={bridge}")).collect();
                format!("firewall-cmd --permanent --zone=trusted{}; or, until its next reload: ", bridges.concat())
            }
            ("ip" | "ip6", "filter") if table == "filter" => {
                "in the configuration of that firewall (for Docker, its chain DOCKER-USER); or, until its next reload: ".to_owned()
            }
            _ => "in the configuration of that firewall; or, until its next reload: ".to_owned(),
        };
        format!("let them pass: {own}{}", rules.join(" && "))
    }
}
