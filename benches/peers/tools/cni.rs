//! The CNI plugins: `bridge` with `host-local` for addresses, then `portmap`; both in turn, as their callers do it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mydocker::names::ContainerId;
use serde_json::{Value, json};

use super::{Outcome, SUBNET, Tool, there};
use crate::command;
use crate::hideout::{Host, Place, named};

/// Where distributions and everybody else have the plugins.
const DIRECTORIES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

pub(super) struct Cni {
    host: Host,
    plugins: &'static Path,
    data: PathBuf,
    /// By the containers' names.
    attached: HashMap<String, Attached>,
}

struct Attached {
    id: ContainerId,
    portmap: String,
}

impl Cni {
    pub(super) fn new() -> Outcome<Self> {
        let plugins = DIRECTORIES.map(Path::new).into_iter().find(|path| path.join("bridge").exists());
        let plugins = plugins.ok_or("the plugins are not there: package containernetworking-plugins")?;
        there(Path::new("iptables"), "package iptables")?;
        Ok(Self { host: Host::new(), plugins, data: Place::run_directory(), attached: HashMap::new() })
    }

    fn bridge(&self) -> String {
        let bridge = json!({
            "cniVersion": "0.4.0",
            "name": "bench0",
            "type": "bridge",
            "bridge": "bench0",
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": self.data,
            },
        });
        bridge.to_string()
    }

    fn run(
        &self,
        plugin: &str,
        verb: &str,
        (container, id): (&str, &ContainerId),
        input: &str,
    ) -> Outcome<command::Done> {
        let mut command = Command::new(self.plugins.join(plugin));
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", id.as_str());
        command.env("CNI_NETNS", named::path(&name(container))).env("CNI_IFNAME", "eth0");
        command::run(command.env("CNI_PATH", self.plugins), input)
    }
}

fn name(container: &str) -> String {
    format!("cni-{container}")
}

impl Tool for Cni {
    fn host(&self) -> &Host {
        &self.host
    }

    fn prepare(&mut self, container: &str) -> Outcome<()> {
        named::add(&name(container))
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        let id = ContainerId::generate().unwrap();
        let bridge = self.run("bridge", "ADD", (container, &id), &self.bridge())?;
        let result: Value = serde_json::from_str(&bridge.stdout).map_err(|error| error.to_string())?;
        let ports =
            ports.iter().map(|port| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"}));
        let portmap = json!({
            "cniVersion": "0.4.0",
            "name": "bench0",
            "type": "portmap",
            "snat": true,
            "runtimeConfig": {"portMappings": ports.collect::<Vec<_>>()},
            "prevResult": result,
        });
        let portmap = portmap.to_string();
        let took = self.run("portmap", "ADD", (container, &id), &portmap)?.took;
        self.attached.insert(container.to_owned(), Attached { id, portmap });
        Ok(bridge.took + took)
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        let Attached { id, portmap } = self.attached.remove(container).ok_or("never attached")?;
        let took = self.run("portmap", "DEL", (container, &id), &portmap)?.took;
        Ok(took + self.run("bridge", "DEL", (container, &id), &self.bridge())?.took)
    }

    fn clear(&mut self, container: &str) -> Outcome<()> {
        named::delete(&name(container))
    }
}
