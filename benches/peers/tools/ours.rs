//! mydocker, for namespaces: as the calls of its library, and as the whole process.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use mydocker::names::{ContainerId, NetworkName};
use mydocker::netns::NetNs;
use mydocker::network::{
    ConnectRequest, CreateRequest, Endpoint, Networks, Owner, PortRequest, Subnet, Wanted,
};
use mydocker::store::Layout;

use super::{Outcome, SUBNET, Tool, binary};
use crate::command;
use crate::hideout::{Host, Place, named};

const NETWORK: &str = "bench0";

pub(super) struct Library {
    host: Host,
    /// What the names of its namespaces begin with: all hosts have one directory for these.
    prefix: &'static str,
    networks: Networks,
    /// By the containers' names.
    endpoints: HashMap<String, Endpoint>,
}

impl Library {
    pub(super) fn new(place: &Place, prefix: &'static str) -> Outcome<Self> {
        let host = Host::new();
        let mut networks = Networks::new(Layout::new(place.directory(), Place::run_directory()));
        let mut request = CreateRequest::new(NETWORK.parse().unwrap());
        request.subnets = vec![(SUBNET.parse::<Subnet>().unwrap(), None)];
        networks.create(&request).map_err(|error| error.to_string())?;
        Ok(Self { host, prefix, networks, endpoints: HashMap::new() })
    }

    fn name(&self, container: &str) -> String {
        format!("{}-{container}", self.prefix)
    }
}

impl Tool for Library {
    fn host(&self) -> &Host {
        &self.host
    }

    fn prepare(&mut self, container: &str) -> Outcome<()> {
        named::add(&self.name(container))
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        let ports: Vec<PortRequest> =
            ports.iter().map(|port| format!("{port}:80").parse().unwrap()).collect();
        let network: NetworkName = NETWORK.parse().unwrap();
        let id = ContainerId::generate().unwrap();
        let processes = vec![mydocker::process::Process::current().unwrap()];
        let owner = Owner::Container { id, name: container.to_owned(), processes };
        let wanted = Wanted::default();
        let netns = NetNs::open(&named::path(&self.name(container))).map_err(|error| error.to_string())?;
        let start = Instant::now();
        let request = ConnectRequest { network: &network, owner: &owner, others: &[], wanted: &wanted };
        let connected = self.networks.connect(&request, &netns).and_then(|mut endpoint| {
            self.networks.publish(std::slice::from_mut(&mut endpoint), &[], &ports)?;
            Ok(endpoint)
        });
        let endpoint = connected.map_err(|error| error.to_string())?;
        let took = start.elapsed();
        self.endpoints.insert(container.to_owned(), endpoint);
        Ok(took)
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        let endpoint = self.endpoints.remove(container).ok_or("never attached")?;
        let start = Instant::now();
        self.networks.disconnect(&endpoint).map_err(|error| error.to_string())?;
        Ok(start.elapsed())
    }

    /// The pair of devices goes with the namespace.
    fn clear(&mut self, container: &str) -> Outcome<()> {
        named::delete(&self.name(container))
    }
}

pub(super) struct Process {
    host: Host,
    program: Command,
}

impl Process {
    pub(super) fn new(place: &Place) -> Outcome<Self> {
        let host = Host::new();
        let (root, run_root) = (place.directory(), Place::run_directory());
        let mydocker = || {
            let mut command = Command::new(binary());
            command.env("MYDOCKER_ROOT", &root).env("MYDOCKER_RUN_ROOT", &run_root);
            command
        };
        command::run(mydocker().args(["network", "connect", "--help"]), "")
            .map_err(|_| "this mydocker has no `network connect`".to_owned())?;
        command::run(mydocker().args(["network", "create", "--subnet", SUBNET, NETWORK]), "")?;
        Ok(Self { host, program: mydocker() })
    }

    fn run(&self, verb: &str, container: &str, ports: &[u16]) -> Outcome<Duration> {
        let mut command = super::like(&self.program);
        command.args(["network", verb, "--netns"]).arg(named::path(&process_name(container)));
        for port in ports {
            command.arg("-p").arg(format!("{port}:80"));
        }
        Ok(command::run(command.arg(NETWORK), "")?.took)
    }
}

fn process_name(container: &str) -> String {
    format!("process-{container}")
}

impl Tool for Process {
    fn host(&self) -> &Host {
        &self.host
    }

    fn prepare(&mut self, container: &str) -> Outcome<()> {
        named::add(&process_name(container))
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        self.run("connect", container, ports)
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        self.run("disconnect", container, &[])
    }

    fn clear(&mut self, container: &str) -> Outcome<()> {
        named::delete(&process_name(container))
    }
}
