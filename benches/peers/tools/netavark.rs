//! netavark with its nftables driver, as podman calls it. The addresses are podman's business, so it is told them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mydocker::names::ContainerId;
use serde_json::json;

use super::{Outcome, SUBNET, Tool};
use crate::command;
use crate::hideout::{Host, Place, named};

pub(super) struct Netavark {
    host: Host,
    config: PathBuf,
    /// The files that tell of each container, by its name.
    told: HashMap<String, PathBuf>,
}

/// Where `make bench-peers` builds it.
pub(super) fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    target.join("peers/bin/netavark")
}

/// Whether it can be had.
pub(super) fn there() -> Outcome<()> {
    super::there(&program(), "`make bench-peers` builds it with cargo and protoc")?;
    super::there(Path::new("nft"), "package nftables")
}

impl Netavark {
    pub(super) fn new() -> Outcome<Self> {
        there()?;
        Ok(Self { host: Host::new(), config: Place::run_directory(), told: HashMap::new() })
    }

    fn run(&self, verb: &str, container: &str) -> Outcome<Duration> {
        let file = self.told.get(container).ok_or("never attached")?;
        let mut command = Command::new(program());
        command.env("NETAVARK_FW", "nftables").arg("--config").arg(&self.config).arg("--file").arg(file);
        Ok(command::run(command.arg(verb).arg(named::path(&name(container))), "")?.took)
    }
}

fn name(container: &str) -> String {
    format!("netavark-{container}")
}

impl Tool for Netavark {
    fn host(&self) -> &Host {
        &self.host
    }

    fn prepare(&mut self, container: &str) -> Outcome<()> {
        named::add(&name(container))
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        let ports = ports.iter().map(|port| {
            json!({"container_port": 80, "host_ip": "", "host_port": port, "protocol": "tcp", "range": 1})
        });
        let address = format!("10.77.0.{}", 2 + self.told.len());
        let told = json!({
            "container_id": ContainerId::generate().unwrap().as_str(),
            "container_name": container,
            "port_mappings": ports.collect::<Vec<_>>(),
            "networks": {"bench0": {"interface_name": "eth0", "static_ips": [address]}},
            "network_info": {"bench0": {
                "name": "bench0",
                "id": "b".repeat(64),
                "driver": "bridge",
                "network_interface": "bench0",
                "subnets": [{"subnet": SUBNET, "gateway": "10.77.0.1"}],
                "ipv6_enabled": false,
                "internal": false,
                "dns_enabled": false,
                "ipam_options": {"driver": "host-local"},
            }},
        });
        let path = self.config.join(format!("{container}.json"));
        std::fs::write(&path, told.to_string()).unwrap();
        self.told.insert(container.to_owned(), path);
        self.run("setup", container)
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        let took = self.run("teardown", container)?;
        self.told.remove(container);
        Ok(took)
    }

    fn clear(&mut self, container: &str) -> Outcome<()> {
        named::delete(&name(container))
    }
}
