//! The host under test and what surrounds it. The drawing is in `main.rs`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::leftovers::note_ids;
use crate::program::{Output, Program, Running, forget_closed_descriptors};
use crate::space::Namespace;

/// The host's address on its uplink.
pub(crate) const HOST: &str = "198.51.100.10";
/// The address of the host behind the uplink, as a server and as a client.
pub(crate) const OUTSIDE: &str = "203.0.113.7";
/// The address of the neighbour, on the same link as the host.
pub(crate) const NEIGHBOUR: &str = "198.51.100.20";
/// The host's address on its second link: see [`Host::add_side_link`].
pub(crate) const HOST_SIDE: &str = "192.0.2.1";
/// The address of the one other host on the second link.
pub(crate) const SIDE: &str = "192.0.2.2";
/// The IPv6 addresses of the same, in this order.
pub(crate) const HOST6: &str = "2001:db8:51::10";
pub(crate) const OUTSIDE6: &str = "2001:db8:113::7";
pub(crate) const NEIGHBOUR6: &str = "2001:db8:51::20";
pub(crate) const HOST_SIDE6: &str = "2001:db8:2::1";
pub(crate) const SIDE6: &str = "2001:db8:2::2";

/// A host with its own network and mount namespace, its own state directories, and hosts around it.
pub(crate) struct Host {
    /// The host itself: mydocker runs here.
    pub(crate) space: Namespace,
    /// A server and client behind the uplink. It has no route to any container.
    pub(crate) outside: Namespace,
    /// A host on the same link, free to add routes and to send what it likes.
    pub(crate) neighbour: Namespace,
    /// Holds the bridge that is the link. Nobody's host.
    _lan: Namespace,
    /// The file system of small containers: busybox, `etc/passwd`, `www`.
    pub(crate) image: String,
    pub(crate) root: PathBuf,
    pub(crate) run_root: PathBuf,
    /// The devices that were there first.
    pub(crate) devices: BTreeSet<String>,
    pub(crate) ids: Ids,
    directory: Option<tempfile::TempDir>,
}

/// The ids of the containers that were ever seen in the root directory.
pub(crate) type Ids = Arc<Mutex<BTreeSet<String>>>;

/// A running container, as `inspect` describes it. It holds the container's network namespace, and that the
/// container's link: drop it before asking for leftovers.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its address; where it has two, the IPv4 one.
    pub(crate) address: IpAddr,
    /// Its IPv6 address, if it has one.
    pub(crate) address6: Option<IpAddr>,
    /// Its network namespace, by its pin. A test's thread in it is as good as a process of the container.
    pub(crate) space: Namespace,
}

impl Container {
    /// A port of its address.
    pub(crate) fn at(&self, port: u16) -> String {
        SocketAddr::new(self.address, port).to_string()
    }

    /// A port of its IPv6 address.
    #[track_caller]
    pub(crate) fn at6(&self, port: u16) -> String {
        SocketAddr::new(self.address6.expect("an IPv6 address"), port).to_string()
    }
}

impl Host {
    /// Makes the host. Forwarding is off, as on a fresh machine.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
        let directory =
            tempfile::Builder::new().prefix("mydocker-it-").tempdir().expect("a temporary directory");
        let (lan, outside, neighbour) =
            (Namespace::new("lan"), Namespace::new("outside"), Namespace::new("neighbour"));
        let space = Namespace::with_mounts("host");
        lan.ip("link add lan0 type bridge\nlink set lan0 up\n");
        for (other, port, device) in [
            (&space, "port-host", "uplink0"),
            (&outside, "port-out", "eth0"),
            (&neighbour, "port-nb", "eth0"),
        ] {
            other.ip(&format!("link add {device} type veth peer name {port} netns {}\n", lan.path()));
            lan.ip(&format!("link set {port} master lan0 up\n"));
        }
        // Without `nodad` an IPv6 address could not be used for a second or two.
        space.ip(&format!(
            "address add {HOST}/24 dev uplink0\naddress add {HOST6}/64 dev uplink0 nodad\n\
             link set uplink0 up\nroute add default via 198.51.100.1\n\
             route add ::/0 via 2001:db8:51::1 dev uplink0\n"
        ));
        outside.ip(&format!(
            "address add {OUTSIDE}/32 dev lo\naddress add {OUTSIDE6}/128 dev lo nodad\n\
             address add 198.51.100.1/24 dev eth0\naddress add 2001:db8:51::1/64 dev eth0 nodad\n\
             link set eth0 up\nroute replace 198.51.100.0/24 dev eth0 src {OUTSIDE}\n\
             route add 2001:db8:51::/64 dev eth0 metric 128 src {OUTSIDE6}\n"
        ));
        neighbour.ip(&format!(
            "address add {NEIGHBOUR}/24 dev eth0\naddress add {NEIGHBOUR6}/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via 198.51.100.1\n\
             route add ::/0 via 2001:db8:51::1 dev eth0\n"
        ));
        // A test may be told "nobody listens" more often than the kernel says it to one host, and all tests
        // together more often than it says it to everybody.
        for limit in ["net/ipv4/icmp_ratelimit", "net/ipv4/icmp_ratemask", "net/ipv6/icmp/ratelimit"] {
            space.set_sysctl(limit, "0");
        }
        space.set_sysctl("net/ipv6/conf/all/forwarding", "0");
        let image = directory.path().join("image");
        make_image(&image);
        let host = Self {
            devices: devices(&space),
            space,
            outside,
            neighbour,
            _lan: lan,
            image: image.to_str().expect("a plain path").to_owned(),
            root: directory.path().join("root"),
            run_root: directory.path().join("run"),
            ids: Ids::default(),
            directory: Some(directory),
        };
        let busybox = host.space.program(&["chroot", &host.image, "/bin/true"]);
        assert!(
            busybox.status.success(),
            "the tests need a static busybox (package busybox-static): {busybox}"
        );
        // Most tests have it as the kernel gives it to a new namespace; all of them have to pass either way.
        match std::env::var("MYDOCKER_BRIDGE_NETFILTER").ok().as_deref() {
            None => {}
            Some("0") => host.set_bridge_netfilter(false),
            Some("1") => host.set_bridge_netfilter(true),
            Some(other) => panic!("MYDOCKER_BRIDGE_NETFILTER should be 0 or 1, not {other:?}"),
        }
        host
    }

    /// Gives the host a second link, with one more host on it that answers through ours.
    pub(crate) fn add_side_link(&mut self) -> Namespace {
        let side = Namespace::new("side");
        self.space.ip(&format!(
            "link add side0 type veth peer name eth0 netns {}\naddress add {HOST_SIDE}/24 dev side0\n\
             address add {HOST_SIDE6}/64 dev side0 nodad\nlink set side0 up\n",
            side.path()
        ));
        side.ip(&format!(
            "address add {SIDE}/24 dev eth0\naddress add {SIDE6}/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via {HOST_SIDE}\nroute add ::/0 via {HOST_SIDE6} dev eth0\n"
        ));
        self.devices.insert("side0".to_owned());
        side
    }

    /// Sets whether bridged frames pass the host's netfilter hooks (`br_netfilter`).
    pub(crate) fn set_bridge_netfilter(&self, on: bool) {
        let names = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
        let there = || self.space.run(|| Path::new("/proc/sys").join(names[0]).exists());
        if !there() && !on {
            return;
        }
        if !there() {
            self.space.ok(&["modprobe", "br_netfilter"]);
        }
        for name in names {
            self.space.set_sysctl(name, if on { "1" } else { "0" });
        }
    }

    /// The devices that are there now.
    pub(crate) fn devices_now(&self) -> BTreeSet<String> {
        devices(&self.space)
    }

    /// A path below the directory that survives a reboot.
    pub(crate) fn root(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// A path below the directory that does not survive a reboot.
    pub(crate) fn run_root(&self, below: &str) -> PathBuf {
        self.run_root.join(below)
    }

    /// A new directory that goes when the host goes.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.as_ref().expect("the host's directory").path().join(name);
        std::fs::create_dir(&path).expect("a scratch directory");
        path
    }

    /// A mydocker command line, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Program {
        self.program(&[&[env!("CARGO_BIN_EXE_mydocker")], arguments].concat())
    }

    /// A command line that runs mydocker in some way of its own (below `strace`, say): the same environment.
    pub(crate) fn program(&self, command: &[&str]) -> Program {
        let (ids, containers) = (Arc::clone(&self.ids), self.root("containers"));
        Program::new(command)
            .environment("MYDOCKER_ROOT", self.root.to_str().expect("a plain path"))
            .environment("MYDOCKER_RUN_ROOT", self.run_root.to_str().expect("a plain path"))
            .watched(Box::new(move || note_ids(&ids, &containers)))
    }

    /// Runs mydocker to its end.
    #[track_caller]
    pub(crate) fn mydocker(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).run_in(&self.space);
        // What it left running has its directory now; what ended meanwhile was seen by the watch.
        note_ids(&self.ids, &self.root("containers"));
        output
    }

    /// Starts mydocker and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.command(arguments).start_in(&self.space)
    }

    /// Runs a command in a container of the small image with `run --rm` and further options.
    #[track_caller]
    pub(crate) fn run(&self, options: &[&str], command: &[&str]) -> Output {
        self.mydocker(&[&["run", "--rm"], options, &[&self.image], command].concat())
    }

    /// Makes the file `/tmp/go` in a container that waits for it.
    #[track_caller]
    pub(crate) fn let_go(&self, container: &str) {
        // The container may end before the command that it was waiting for, and takes that with it.
        let output = self.mydocker(&["exec", container, "touch", "/tmp/go"]);
        assert!([0, 128 + 9].contains(&output.code()), "{output}");
    }

    /// Creates a bridge network with this subnet.
    #[track_caller]
    pub(crate) fn network(&self, name: &str, subnet: &str, options: &[&str]) {
        let arguments = [&["network", "create", "--subnet", subnet], options, &[name]].concat();
        assert_eq!(self.mydocker(&arguments).ok(), name);
    }

    /// Starts a container of the small image that sleeps, on this network.
    #[track_caller]
    pub(crate) fn container(&self, name: &str, network: &str, options: &[&str]) -> Container {
        let mut arguments = vec!["run", "-d", "--name", name, "--net", network];
        arguments.extend(options);
        arguments.extend([self.image.as_str(), "sleep", "100000"]);
        self.mydocker(&arguments).ok();
        self.container_named(name, network)
    }

    /// A running container that has an address on this network.
    #[track_caller]
    pub(crate) fn container_named(&self, name: &str, network: &str) -> Container {
        let record = self.inspect(name);
        let id = record["Id"].as_str().expect("an id").to_owned();
        let endpoint = &record["NetworkSettings"]["Networks"][network];
        let address = |member: &str| {
            let text =
                endpoint[member].as_str().unwrap_or_else(|| panic!("no {member} on {network}: {record}"));
            text.parse().ok()
        };
        let (v4, v6) = (address("IPAddress"), address("GlobalIPv6Address"));
        Container {
            space: Namespace::pinned(&self.space, &Path::new("/run/netns").join(&id)),
            name: name.to_owned(),
            address: v4.or(v6).unwrap_or_else(|| panic!("no address on {network}: {record}")),
            address6: v6,
            id,
        }
    }

    /// What `inspect` says of one container.
    #[track_caller]
    pub(crate) fn inspect(&self, container: &str) -> Value {
        self.mydocker(&["inspect", container]).json()[0].clone()
    }

    /// What `network inspect` says of one network.
    #[track_caller]
    pub(crate) fn inspect_network(&self, network: &str) -> Value {
        self.mydocker(&["network", "inspect", network]).json()[0].clone()
    }

    /// What `ip -j` prints.
    #[track_caller]
    pub(crate) fn ip_json(&self, arguments: &[&str]) -> Value {
        self.space.program(&[&["ip", "-j", "-d"], arguments].concat()).json()
    }

    /// The published ports that the kernel knows, as nft lists them, without the comments.
    pub(crate) fn published(&self) -> Vec<String> {
        let table = self.table();
        let elements = table.lines().filter_map(|line| {
            let line =
                line.trim().trim_start_matches("elements = {").trim_end_matches([',', '}', ' ']).trim();
            let (key, target) = line.split_once(" : ")?;
            let key = key.split_once(" comment ").map_or(key, |(key, _)| key);
            key.contains(" . ").then(|| format!("{key} : {target}"))
        });
        elements.filter(|element| element.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':')).collect()
    }

    /// mydocker's table as nft lists it, as if it had counted nothing; empty when there is none.
    pub(crate) fn table(&self) -> String {
        let output = self.space.program(&["nft", "list", "table", "inet", "mydocker"]);
        if !output.status.success() {
            return String::new();
        }
        let mut parts = output.stdout.split("counter packets ");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // "2 bytes 120 drop …"
            let rest = part.splitn(4, ' ').nth(3).expect("packets and bytes");
            text.extend(["counter packets 0 bytes 0 ", rest]);
        }
        text
    }

    /// Empties one chain of mydocker's table, to prove that it was this chain that stopped an attempt.
    #[track_caller]
    pub(crate) fn without_chain(&self, chain: &str) {
        self.space.ok(&["nft", "flush", "chain", "inet", "mydocker", chain]);
    }

    /// Takes the rules that are exactly this text, without their comments, out of one chain of mydocker's
    /// table, to prove that it was one of them that stopped an attempt.
    #[track_caller]
    pub(crate) fn without_rule(&self, chain: &str, rule: &str) {
        let list = self.space.ok(&["nft", "-a", "list", "chain", "inet", "mydocker", chain]);
        let of_rule = |line: &&str| {
            let text = line.split(" # handle").next().unwrap_or_default();
            let text = text.split(" comment \"").next().unwrap_or_default().trim();
            // How much a rule has counted is not what is asked.
            let mut words: Vec<&str> = text.split(' ').collect();
            if let Some(counter) = words.iter().position(|word| *word == "counter") {
                words.drain(counter..counter + "counter packets 0 bytes 0".split(' ').count());
            }
            words.join(" ") == rule
        };
        let mut found = list.lines().filter(of_rule).peekable();
        assert!(found.peek().is_some(), "there is no rule {rule:?} in the chain {chain}:\n{list}");
        for line in found {
            let handle = line.rsplit(' ').next().unwrap_or_default();
            self.space.ok(&["nft", "delete", "rule", "inet", "mydocker", chain, "handle", handle]);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.clean_up();
        if let Some(Err(error)) = self.directory.take().map(tempfile::TempDir::close) {
            eprintln!("a directory that cannot be removed: {error}");
        }
        // The namespaces, with all devices and tables in them, go with the last descriptors.
    }
}

/// The network devices of a namespace with a `/sys` of its own.
pub(crate) fn devices(space: &Namespace) -> BTreeSet<String> {
    let entries =
        space.run(|| std::fs::read_dir("/sys/class/net").expect("/sys").flatten().collect::<Vec<_>>());
    let links = entries.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Makes a small file system around the machine's static busybox.
fn make_image(image: &Path) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    for directory in
        ["bin", "dev", "etc", "home/tester", "proc", "root", "sys", "tmp", "var/lib", "www/cgi-bin"]
    {
        std::fs::create_dir_all(image.join(directory)).expect("a directory of the image");
    }
    std::fs::set_permissions(image.join("tmp"), std::fs::Permissions::from_mode(0o1777))
        .expect("a public /tmp");
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("the tests need busybox (package busybox-static)");
    std::fs::copy(busybox, image.join("bin/busybox")).expect("copy busybox");
    for applet in [
        "cat", "chmod", "chown", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "httpd",
        "id", "ip", "kill", "ls", "mkdir", "mknod", "mount", "nc", "ping", "ps", "pwd", "rm", "sed", "seq",
        "sh", "sleep", "stat", "stty", "touch", "true", "tty", "umount", "wc", "wget", "whoami", "top",
        "test", "unshare",
    ] {
        symlink("busybox", image.join("bin").join(applet)).expect("an applet");
    }
    let write = |name: &str, mode: u32, text: &str| {
        std::fs::write(image.join(name), text).expect("a file of the image");
        std::fs::set_permissions(image.join(name), std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    write(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\ntester:x:1234:2345:tester:/home/tester:/bin/sh\n",
    );
    write("etc/group", 0o644, "root:x:0:\ntesters:x:2345:\nhelpers:x:3456:tester\n");
    write("etc/not-executable", 0o644, "#!/bin/sh\necho no\n");
    write("www/index.html", 0o644, "a page from a container\n");
    write(
        "www/cgi-bin/peer",
        0o755,
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s' \"$REMOTE_ADDR\"\n",
    );
    // A program that somebody still has open for writing cannot be executed.
    forget_closed_descriptors();
}
