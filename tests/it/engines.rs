//! Other engines themselves, from the packages of the machine's distribution, with mydocker as their network: each in the
//! namespaces of a host of the test's own, with directories of its own, and ended with the test.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::cni::{PLUGINS, links};
use crate::host::{HOST, Host, OUTSIDE};
use crate::netavark::netavark;
use crate::program::{Output, Program, eventually};
use crate::wire::Server;

const MYDOCKER: &str = env!("CARGO_BIN_EXE_mydocker");

/// What the kernel has of networks, as plain tools show it. Handles of rules differ from run to run.
fn state(host: &Host) -> (String, String) {
    let links = host.space.ok(&["ip", "-br", "link"]);
    let names = links.lines().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>().join(" ");
    (host.space.ok(&["nft", "list", "ruleset"]), names)
}

/// Podman clears up behind a container that has ended: that is waited for.
#[track_caller]
fn as_before(host: &Host, before: &(String, String)) {
    eventually("everything of the containers to go", || (state(host) == *before).then_some(()));
}

/// Podman with files of its own, and these settings.
struct Podman<'a> {
    host: &'a Host,
    directory: PathBuf,
}

impl<'a> Podman<'a> {
    fn new(host: &'a Host, network: &str, engine: &str) -> Self {
        let directory = host.scratch("podman");
        for name in ["root", "run", "tmp", "networks"] {
            std::fs::create_dir(directory.join(name)).unwrap();
        }
        // Where systemd runs, it would by itself write to a journal that these namespaces do not have.
        let settings = format!(
            "[containers]\nlog_driver=\"k8s-file\"\n[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\n{engine}\n[network]\n{network}\n"
        );
        std::fs::write(directory.join("containers.conf"), settings).unwrap();
        Self { host, directory }
    }

    fn command(&self, arguments: &[&str]) -> Program {
        let below = |name: &str| self.directory.join(name).to_str().unwrap().to_owned();
        let (root, run, tmp, networks) = (below("root"), below("run"), below("tmp"), below("networks"));
        let options = [
            "podman",
            "--root",
            &root,
            "--runroot",
            &run,
            "--tmpdir",
            &tmp,
            "--network-config-dir",
            &networks,
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
        ];
        let program = self.host.program(&[&options[..], arguments].concat());
        program.environment("CONTAINERS_CONF", &below("containers.conf"))
    }

    /// A control group of the test's own: Podman never removes the one above its containers'.
    fn group(&self) -> String {
        let host = self.directory.parent().and_then(Path::file_name).unwrap();
        format!("/{}", host.to_str().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).run_in(&self.host.space)
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.run(&["rm", "-f", "-a", "-t", "0"]);
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        for root in roots {
            let group = root.join(&self.group()[1..]);
            // What watched the containers ends a moment after them.
            let mut tries = 0..1000;
            while group.exists() && tries.next().is_some() {
                remove_groups(&group);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// Removes a control group with those below it. One that is not there is removed already.
fn remove_groups(group: &Path) {
    for below in std::fs::read_dir(group).into_iter().flatten().flatten().filter(|it| it.path().is_dir()) {
        remove_groups(&below.path());
    }
    std::fs::remove_dir(group).ok();
}

/// A container of Podman's publishes a port, is reached, reaches the outside and goes.
fn serve(podman: &Podman<'_>, network: &str) {
    let host = podman.host;
    let image = host.image.clone();
    let (group, rootfs) = (podman.group(), format!("{image}:O"));
    let options = [
        "--network",
        network,
        "-p",
        "8080:80",
        "--cgroup-parent",
        &group,
        "--ulimit",
        "nofile=256:256",
        "--ulimit",
        "nproc=256:256",
        "--rootfs",
        &rootfs,
    ];
    let command = ["httpd", "-f", "-p", "80", "-h", "/www"];
    podman.run(&[&["run", "-d", "--name", "web"], &options[..], &command].concat()).ok();
    let page = format!("http://{HOST}:8080/cgi-bin/peer");
    let seen = eventually("the server in the container", || {
        let output = host.outside.program(&["busybox", "wget", "-q", "-O", "-", &page]);
        output.status.success().then_some(output.stdout)
    });
    assert!(seen.contains(OUTSIDE), "seen as {seen}");
    let outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    podman.run(&["exec", "web", "nc", "-w", "5", OUTSIDE, "80"]);
    eventually("the container's connection", || outside.clients().contains(&HOST.to_owned()).then_some(()));
    let inspected = host.mydocker(&["network", "check"]);
    assert_eq!(inspected.code(), 0, "{inspected}");
    podman.run(&["rm", "-f", "-t", "0", "web"]).ok();
    podman.run(&[&["run", "--rm"], &options[..], &["true"]].concat()).ok();
}

#[test]
fn podman_has_its_networks_made_by_mydocker() {
    let host = Host::new();
    let helpers = netavark(&host).parent().unwrap().to_owned();
    // Podman 4 looks for it before it makes a network; nobody calls it.
    symlink("/bin/true", helpers.join("aardvark-dns")).unwrap();
    let before = state(&host);
    let engine = format!("helper_binaries_dir=[{helpers:?}, \"/usr/lib/podman\", \"/usr/libexec/podman\"]");
    let podman = Podman::new(&host, "network_backend=\"netavark\"", &engine);
    serve(&podman, "podman");
    as_before(&host, &before);
    podman
        .run(&[
            "network",
            "create",
            "--disable-dns",
            "--subnet",
            "10.92.0.0/24",
            "--ipv6",
            "--subnet",
            "fd00:92::/64",
            "front",
        ])
        .ok();
    serve(&podman, "front");
    as_before(&host, &before);
    host.mydocker(&["network", "list"]).ok();
}

#[test]
fn containers_of_podman_find_each_other_by_name() {
    let host = Host::new();
    let helpers = netavark(&host).parent().unwrap().to_owned();
    symlink("/bin/true", helpers.join("aardvark-dns")).unwrap();
    let before = state(&host);
    let engine = format!("helper_binaries_dir=[{helpers:?}, \"/usr/lib/podman\", \"/usr/libexec/podman\"]");
    let podman = Podman::new(&host, "network_backend=\"netavark\"", &engine);
    podman.run(&["network", "create", "--subnet", "10.95.0.0/24", "front"]).ok();
    let (group, rootfs) = (podman.group(), format!("{}:O", host.image));
    let limits = ["--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256"];
    let common = [&["--network", "front", "--cgroup-parent", &group], &limits[..]].concat();
    let server = [&["run", "-d", "--name", "Db", "--network-alias", "store"], &common[..]].concat();
    podman.run(&[&server[..], &["--rootfs", &rootfs, "sleep", "1000"]].concat()).ok();
    let client = [&["run", "--rm"], &common[..], &["--rootfs", &rootfs, "sh", "-c"]].concat();
    let ask = "cat /etc/resolv.conf; for name in db store.dns.podman; do busybox nslookup $name; done";
    let output = podman.run(&[&client[..], &[ask]].concat());
    assert!(output.stdout.contains("search dns.podman"), "{output}");
    assert!(output.stdout.contains("nameserver 10.95.0.1"), "{output}");
    assert_eq!(output.stdout.matches("10.95.0.2").count(), 2, "{output}");
    podman.run(&["rm", "-f", "-t", "0", "Db"]).ok();
    as_before(&host, &before);
    let servers = host.run_root("network/name-servers");
    eventually("the end of the name server", || {
        std::fs::read_dir(&servers).is_ok_and(|mut left| left.next().is_none()).then_some(())
    });
}

#[test]
fn podmans_lists_of_plugins_call_mydocker() {
    let host = Host::new();
    let plugins = links(&host, "plugins", &PLUGINS);
    // Which addresses are taken is kept by the plugin that is mydocker's, whatever this one says.
    symlink("/usr/lib/cni/host-local", plugins.join("host-local")).unwrap();
    let network = format!("network_backend=\"cni\"\ncni_plugin_dirs=[{plugins:?}]");
    let podman = Podman::new(&host, &network, "");
    // From version 5 on it calls none.
    let version = podman.run(&["--version"]).ok();
    if !version.contains(" 4.") {
        assert_ne!(podman.run(&["network", "ls"]).code(), 0, "{version} should refuse the back end");
        return;
    }
    let before = state(&host);
    serve(&podman, "podman");
    // The network stays for the next container, and goes on demand.
    eventually("the end of the containers", || {
        (host.inspect_network("podman")["Containers"] == serde_json::json!({})).then_some(())
    });
    host.mydocker(&["network", "rm", "podman"]).ok();
    as_before(&host, &before);
}

#[test]
fn ctr_attaches_its_containers_by_mydocker() {
    let host = Host::new();
    let directory = host.scratch("containerd");
    let plugins = Path::new("/opt/cni/bin");
    let (state_dir, root, socket) = (directory.join("state"), directory.join("root"), directory.join("sock"));
    let config = directory.join("config.toml");
    let text = format!(
        "version = 2\nroot = {root:?}\nstate = {state_dir:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
         \"io.containerd.internal.v1.opt\", \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\"]\n[grpc]\naddress = {socket:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    // The host's own /opt and /etc/cni, which are nobody else's.
    for (path, name) in [("/opt", "opt"), ("/etc/cni", "etc-cni")] {
        let own = directory.join(name);
        std::fs::create_dir_all(&own).unwrap();
        host.space.ok(&["mkdir", "-p", path]);
        host.space.ok(&["mount", "--bind", own.to_str().unwrap(), path]);
    }
    std::fs::create_dir_all(directory.join("opt/cni/bin")).unwrap();
    for name in ["mydocker", "loopback"] {
        symlink(MYDOCKER, directory.join("opt/cni/bin").join(name)).unwrap();
    }
    assert!(host.space.run(|| plugins.join("mydocker").exists()));
    std::fs::create_dir_all(directory.join("etc-cni/net.d")).unwrap();
    let list = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"mydocker",
        "ipam":{"type":"host-local","subnet":"10.93.0.0/24"},"capabilities":{"portMappings":true}}]}"#;
    std::fs::write(directory.join("etc-cni/net.d/10-mydocker.conflist"), list).unwrap();
    let containerd =
        host.program(&["containerd", "--config", config.to_str().unwrap()]).start_in(&host.space);
    let address = socket.to_str().unwrap().to_owned();
    let ctr = |arguments: &[&str]| {
        host.program(&[&["ctr", "--address", &address], arguments].concat()).run_in(&host.space)
    };
    eventually("containerd", || ctr(&["version"]).status.success().then_some(()));
    let image = host.image.clone();
    let run = ["run", "--rm", "--cni", "--rootfs", &image, "web", "/bin/sh", "-c"];
    let ask = "/bin/busybox ip -o address show dev eth0; /bin/busybox ping -c 1 -w 60 203.0.113.7 >/dev/null && echo reached";
    let output = ctr(&[&run[..], &[ask]].concat());
    assert!(output.stdout.contains("10.93.0.2/24") && output.stdout.contains("reached"), "{output}");
    let again = ctr(&[&run[..], &[ask]].concat());
    assert!(again.stdout.contains("10.93.0.2/24"), "the address was given back: {again}");
    assert_eq!(host.inspect_network("pods")["Containers"], serde_json::json!({}));
    host.mydocker(&["network", "rm", "pods"]).ok();
    containerd.signal(nix::sys::signal::Signal::SIGTERM);
    containerd.wait();
}
