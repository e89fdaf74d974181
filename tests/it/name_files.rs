//! Whether containers are found by their names, seen with other eyes than mydocker's own: the files that answers are made
//! from, the answers themselves, and each container's `/etc/hosts`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::host::Host;
use crate::program::eventually;
use crate::space::Namespace;

/// For each network and each name in it, the addresses it has to lead to.
type Names = BTreeMap<(String, String), BTreeSet<IpAddr>>;

/// A container that runs.
struct Running {
    id: String,
    /// Another one after each restart.
    since: String,
    hostname: String,
    /// Its networks, each with its addresses there and the names it is found by.
    networks: Vec<(String, BTreeSet<IpAddr>, BTreeSet<String>)>,
}

impl Host {
    /// Fails unless every running container is found by its names, and nobody by any other.
    #[track_caller]
    pub(crate) fn assert_names_are_right(&self) {
        // One that ends or starts again by itself meanwhile shows nothing.
        let (running, wrong, found) = eventually("a look at containers that go on running", || {
            let running = self.running();
            let wrong = self.wrong_names(&running);
            // Files that say nothing may be there until then.
            self.mydocker(&["network", "reload"]).ok();
            let found = self.name_files();
            let runs = |running: &[Running]| {
                running.iter().map(|it| (it.id.clone(), it.since.clone())).collect::<BTreeSet<_>>()
            };
            (runs(&self.running()) == runs(&running)).then_some((running, wrong, found))
        });
        assert!(wrong.is_empty(), "names after the next command:\n  {}", wrong.join("\n  "));
        assert_eq!(found, expected(&running), "the files of names after `network reload`");
    }

    fn running(&self) -> Vec<Running> {
        let ids = self.mydocker(&["ps", "-q", "--no-trunc"]).ok();
        let inspected = ids.lines().map(|id| self.mydocker(&["inspect", id]));
        // It may have gone meanwhile.
        let there = inspected.filter(|output| output.status.success()).map(|output| output.json()[0].clone());
        // One between two runs has no addresses.
        let runs = |state: &Value| state["Running"] == true && state["Restarting"] == false;
        there.filter(|container| runs(&container["State"])).map(|it| Running::of(&it)).collect()
    }

    fn wrong_names(&self, running: &[Running]) -> Vec<String> {
        let mut wrong = Vec::new();
        let (expected, found) = (expected(running), self.name_files());
        for ((network, name), addresses) in &expected {
            let has = found.get(&(network.clone(), name.clone())).cloned().unwrap_or_default();
            if let Some(address) = addresses.difference(&has).next() {
                wrong.push(format!("no file for {name} in {network} at {address}"));
            }
        }
        // Whatever is there in addition must lead nowhere.
        for (network, name) in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            let mut askers = running.iter().filter(|it| it.networks.iter().any(|(own, ..)| own == network));
            let Some(asker) = askers.next() else { continue };
            let pin = Path::new("/run/netns").join(&asker.id);
            if !self.space.run(|| pin.exists()) {
                continue;
            }
            let space = Namespace::pinned(&self.space, &pin);
            let wanted = expected.get(&(network.clone(), name.clone())).cloned().unwrap_or_default();
            let told = ask(&space, &format!("{name}.{network}"));
            if told != wanted {
                wrong.push(format!("{name}.{network} is {told:?} and should be {wanted:?}"));
            }
        }
        for container in running {
            wrong.extend(container.wrong_hosts(&self.root));
        }
        wrong
    }

    /// The files that answers are made from; a name without any is there as well.
    fn name_files(&self) -> Names {
        let mut found = Names::new();
        let names = self.run_root("network/names");
        for network in entries(&names) {
            for name in entries(&names.join(&network)) {
                let files = entries(&names.join(&network).join(&name));
                let addresses = files.iter().map(|file| file.parse().expect("an address"));
                found.insert((network.clone(), name), addresses.collect());
            }
        }
        found
    }
}

impl Running {
    fn of(container: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = text(&container["Name"]).trim_start_matches('/').to_ascii_lowercase();
        let id = text(&container["Id"]);
        let networks = container["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
        let networks = networks.iter().map(|(network, endpoint)| {
            let addresses =
                ["IPAddress", "GlobalIPv6Address"].map(|member| text(&endpoint[member]).parse().ok());
            let aliases = endpoint["Aliases"].as_array().into_iter().flatten().map(text);
            let names =
                aliases.chain([own.clone(), id[..12].to_owned()]).map(|name| name.to_ascii_lowercase());
            (network.clone(), addresses.into_iter().flatten().collect(), names.collect())
        });
        let (since, hostname) =
            (text(&container["State"]["StartedAt"]), text(&container["Config"]["Hostname"]));
        Self { networks: networks.collect(), hostname, since, id }
    }

    /// What is wrong with its own addresses in its `/etc/hosts`.
    fn wrong_hosts(&self, root: &Path) -> Option<String> {
        let text = std::fs::read_to_string(root.join("containers").join(&self.id).join("hosts"));
        let text = text.unwrap_or_default();
        let own =
            text.lines().filter(|line| line.split_whitespace().skip(1).any(|name| name == self.hostname));
        let listed: Vec<IpAddr> =
            own.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        let expected: BTreeSet<IpAddr> =
            self.networks.iter().flat_map(|(_, addresses, _)| addresses.iter().copied()).collect();
        let is_right = listed.len() == expected.len() && listed.iter().all(|it| expected.contains(it));
        (!is_right)
            .then(|| format!("{}: its hosts file has {listed:?} and should have {expected:?}", self.hostname))
    }
}

fn expected(running: &[Running]) -> Names {
    let mut names = Names::new();
    for (network, addresses, own) in running.iter().flat_map(|container| &container.networks) {
        for name in own {
            names.entry((network.clone(), name.clone())).or_default().extend(addresses);
        }
    }
    names
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The addresses of a name, asked from inside a container.
fn ask(space: &Namespace, name: &str) -> BTreeSet<IpAddr> {
    let socket = space.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect("127.0.0.11:53")?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.expect("a socket in the container's network");
    let mut found = BTreeSet::new();
    for kind in [1, 28] {
        let mut query = vec![7, kind, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).expect("a short label"));
            query.extend(label.bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        let mut buffer = [0; 512];
        let size = socket.send(&query).and_then(|_| socket.recv(&mut buffer));
        // Where nobody answers, nobody is found.
        let size = size.unwrap_or(0);
        let mut records = &buffer[query.len().min(size)..size];
        // The name, which is the question's; type, class, time, length; the address.
        while records.len() >= 12 {
            let (header, rest) = records.split_at(12);
            let (data, rest) = rest.split_at(usize::from(header[11]));
            found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from));
            found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from));
            records = rest;
        }
    }
    found
}
