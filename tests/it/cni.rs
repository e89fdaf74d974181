//! mydocker as a CNI plugin, by environment and standard input, with real packets.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::{HOST, Host, OUTSIDE};
use crate::leftovers::Scope;
use crate::program::{Output, eventually, forget_closed_descriptors};
use crate::space::Namespace;
use crate::tracer::{Kill, Moment, Victims, trace_plugin};
use crate::wire::{Server, ping, ping_dropped, tcp};

/// A pod as an engine makes it: a namespace with a name.
pub(crate) fn pod(host: &Host, name: &str) -> Namespace {
    host.space.ok(&["ip", "netns", "add", name]);
    Namespace::pinned(&host.space, &Path::new("/run/netns").join(name))
}

pub(crate) fn end(host: &Host, pod: &str) {
    host.space.ok(&["ip", "netns", "delete", pod]);
}

/// Calls a plugin, by the name of its program.
pub(crate) fn call(host: &Host, program: &str, verb: &str, pod: &str, netns: &str, conf: &Value) -> Output {
    call_for(host, program, verb, pod, netns, "eth0", conf)
}

/// The same, for an interface of another name.
pub(crate) fn call_for(
    host: &Host,
    program: &str,
    verb: &str,
    pod: &str,
    netns: &str,
    interface: &str,
    conf: &Value,
) -> Output {
    let variables = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", pod),
        ("CNI_NETNS", netns),
        ("CNI_IFNAME", interface),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    let mut command = host.program(&[program]);
    for (name, value) in variables {
        command = command.environment(name, value);
    }
    command.input(&conf.to_string()).run_in(&host.space)
}

pub(crate) const MYDOCKER: &str = env!("CARGO_BIN_EXE_mydocker");

pub(crate) fn netns(pod: &str) -> String {
    format!("/run/netns/{pod}")
}

pub(crate) fn mydocker(host: &Host, verb: &str, pod: &str, conf: &Value) -> Output {
    call(host, MYDOCKER, verb, pod, &netns(pod), conf)
}

#[track_caller]
pub(crate) fn delete(host: &Host, pod: &str, netns: &str, conf: &Value) {
    let output = call(host, MYDOCKER, "DEL", pod, netns, conf);
    assert_eq!((output.code(), output.stdout.as_str(), output.stderr.as_str()), (0, "", ""), "{output}");
}

/// The code of a failure, which is one object on standard output.
#[track_caller]
pub(crate) fn failed(output: &Output, needles: &[&str]) -> u64 {
    assert_ne!(output.code(), 0, "{output}");
    let failure: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no object: {output}"));
    for needle in needles {
        assert!(failure.to_string().contains(needle), "{needle} is missing: {output}");
    }
    failure["code"].as_u64().unwrap_or_else(|| panic!("no code: {output}"))
}

pub(crate) fn pods() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "mydocker",
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.50.0.0/24" }], [{ "subnet": "fd00:50::/64" }]] },
        "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] }
    })
}

pub(crate) fn containers(host: &Host, network: &str) -> usize {
    host.inspect_network(network)["Containers"].as_object().expect("containers").len()
}

#[test]
fn a_pod_gets_interface_addresses_and_ports_and_gives_them_back() {
    let host = Host::new();
    let web = pod(&host, "web");
    let result = mydocker(&host, "ADD", "web", &pods()).json();
    let mac = |space: &Namespace, device: &str| {
        let links = space.program(&["ip", "-j", "link", "show", device]).json();
        links[0]["address"].as_str().unwrap().to_owned()
    };
    let [bridge, port, inside] = &result["interfaces"].as_array().unwrap()[..] else { panic!("{result}") };
    let port_name = port["name"].as_str().unwrap();
    assert!(port_name.starts_with("veth"), "{result}");
    for (interface, space) in [(bridge, &host.space), (port, &host.space), (inside, &web)] {
        assert_eq!(interface["mac"], mac(space, interface["name"].as_str().unwrap()), "{result}");
    }
    assert_eq!((inside["name"].as_str(), inside["sandbox"].as_str()), (Some("eth0"), Some("/run/netns/web")));
    let ip = |address: &str, gateway: &str| json!({ "address": address, "gateway": gateway, "interface": 2 });
    assert_eq!(result["ips"], json!([ip("10.50.0.2/24", "10.50.0.1"), ip("fd00:50::2/64", "fd00:50::1")]));
    assert_eq!(
        result["routes"],
        json!([{ "dst": "0.0.0.0/0", "gw": "10.50.0.1" }, { "dst": "::/0", "gw": "fd00:50::1" }])
    );
    assert_eq!(result["cniVersion"], "1.1.0");

    let server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert!(ping(&web, OUTSIDE));
    // As the engine hands it back.
    let mut checked = pods();
    checked["prevResult"] = result.clone();
    let check = || mydocker(&host, "CHECK", "web", &checked);
    check().ok();
    host.space.ok(&["ip", "link", "set", port_name, "nomaster"]);
    assert_eq!(failed(&check(), &[port_name]), 101);
    host.mydocker(&["network", "reload"]).ok();
    check().ok();
    web.ok(&["ip", "address", "del", "10.50.0.2/24", "dev", "eth0"]);
    assert_eq!(failed(&check(), &["10.50.0.2/24"]), 101);
    drop(server);

    for _ in 0..3 {
        delete(&host, "web", "/run/netns/web", &checked);
    }
    assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1);
    assert_eq!((host.published(), containers(&host, "pods")), (Vec::new(), 0));
    drop(web);
    end(&host, "web");
    host.space.ok(&["umount", "/run/netns"]);
    host.mydocker(&["network", "rm", "pods"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_network_of_another_engine_is_seen_healed_and_left_to_it() {
    let host = Host::new();
    let web = pod(&host, "web");
    mydocker(&host, "ADD", "web", &pods()).ok();
    let _server = Server::tcp(&web, "0.0.0.0:80");
    let at = format!("{HOST}:8080");
    assert!(host.mydocker(&["network", "list"]).ok().contains("pods"));
    let inspected = host.inspect_network("pods");
    assert_eq!(inspected["Containers"].as_object().unwrap().values().next().unwrap()["Name"], "web");
    assert_eq!(host.mydocker(&["network", "check"]).code(), 0);
    host.mydocker(&["network", "rm", "pods"]).refused(&[1], &["pods", "CNI container web"]);
    let port = ["run", "--rm", "-p", "8080:80", &host.image, "true"];
    host.mydocker(&port).refused(&[125], &["8080", "CNI container web"]);
    host.space.ok(&["nft", "delete", "table", "inet", "mydocker"]);
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(tcp(&host.outside, &at).seen_as(), OUTSIDE);
    // Whoever comes next brings all of it back, for those who are there as well.
    host.space.ok(&["nft", "flush", "ruleset"]);
    let other = json!({ "cniVersion": "1.0.0", "name": "pods", "type": "mydocker", "ipam": pods()["ipam"] });
    let next = pod(&host, "next");
    mydocker(&host, "ADD", "next", &other).ok();
    assert_eq!(tcp(&host.outside, &at).seen_as(), OUTSIDE);
    assert!(ping(&next, "10.50.0.2"));
    host.space.ok(&["ip", "link", "delete", inspected["Options"]["bridge"].as_str().unwrap()]);
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(tcp(&host.outside, &at).seen_as(), OUTSIDE);
    delete(&host, "next", "", &other);
    delete(&host, "web", "", &other);
    // Not even empty: the engine makes its next pod in it.
    host.mydocker(&["network", "prune", "-f"]).ok();
    assert_eq!(containers(&host, "pods"), 0);
    // Of an engine that is gone for good, a user takes away what has lost its namespace, and nothing else.
    mydocker(&host, "ADD", "next", &other).ok();
    let force = ["network", "disconnect", "--force", "pods", "next"];
    host.mydocker(&force).refused(&[1], &["next"]);
    assert!(ping(&next, "10.50.0.1"));
    drop(next);
    end(&host, "next");
    host.mydocker(&force).ok();
    host.mydocker(&["network", "rm", "pods"]).ok();
}

#[test]
fn pods_and_containers_meet_in_a_network_that_a_user_has_made() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    let container = host.container("db", "front", &[]);
    let web = pod(&host, "web");
    let conf = json!({ "cniVersion": "1.0.0", "name": "front", "type": "mydocker" });
    let result = mydocker(&host, "ADD", "web", &conf).json();
    assert_eq!(result["ips"][0]["address"], "172.18.0.3/24");
    assert!(ping(&web, &container.address.to_string()) && ping(&container.space, "172.18.0.3"));
    assert!(ping(&container.space, "fd00:18::3"));
    // Described otherwise, it is a network of its own, and the user's stays what it is.
    let described = json!({ "cniVersion": "1.0.0", "name": "front", "type": "mydocker",
        "ipam": { "type": "host-local", "subnet": "10.51.0.0/24" } });
    let other = pod(&host, "other");
    let result = mydocker(&host, "ADD", "other", &described).json();
    assert_eq!(result["ips"][0]["address"], "10.51.0.2/24");
    assert_eq!((containers(&host, "front"), containers(&host, "cni-front")), (2, 1));
    drop(other);
    // Its own containers are not the engine's to collect.
    let all = json!({ "cniVersion": "1.1.0", "name": "front", "type": "mydocker", "cni.dev/valid-attachments": null });
    mydocker(&host, "GC", "", &all).ok();
    assert_eq!((containers(&host, "front"), containers(&host, "cni-front")), (1, 0));
    assert!(ping(&container.space, OUTSIDE));
    assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1);
}

#[test]
fn what_cannot_be_done_is_told_in_the_contracts_form_and_nothing_changes() {
    let host = Host::new();
    let web = pod(&host, "web");
    mydocker(&host, "ADD", "web", &pods()).ok();
    let _other = pod(&host, "other");
    let before = (host.leftovers(Scope::All), host.table());
    let add = |pod: &str, netns: &str, change: &dyn Fn(&mut Value)| {
        let mut conf = pods();
        conf["runtimeConfig"]["portMappings"] = json!([{ "hostPort": 9090, "containerPort": 80 }]);
        change(&mut conf);
        call(&host, MYDOCKER, "ADD", pod, netns, &conf)
    };
    let same = |_: &mut Value| {};
    assert_eq!(failed(&add("web", "/run/netns/web", &same), &["already"]), 999);
    assert_eq!(failed(&add("second", "/run/netns/web", &same), &["eth0"]), 999);
    let lost = add("lost", "/run/netns/lost", &same);
    assert_eq!(failed(&lost, &["/run/netns/lost"]), 8);
    assert!(!lost.stdout.contains("ip netns add"), "the engine makes namespaces: {lost}");
    assert_eq!(failed(&add("mount", "/proc/self/ns/mnt", &same), &["/proc/self/ns/mnt", "not one"]), 8);
    assert_eq!(failed(&add("own", "/proc/self/ns/net", &same), &["own"]), 8);
    let taken = |conf: &mut Value| conf["runtimeConfig"]["portMappings"][0]["hostPort"] = 8080.into();
    assert_eq!(failed(&add("other", "/run/netns/other", &taken), &["8080", "CNI container web"]), 100);
    let moved = |conf: &mut Value| conf["ipam"]["ranges"][0][0]["subnet"] = "10.60.0.0/24".into();
    assert_eq!(failed(&add("other", "/run/netns/other", &moved), &["10.50.0.0/24", "10.60.0.0/24"]), 7);
    let outside = |conf: &mut Value| conf["runtimeConfig"]["ips"] = json!(["10.99.0.5/24"]);
    assert_eq!(failed(&add("other", "/run/netns/other", &outside), &["10.99.0.5"]), 999);
    let port = |member: &'static str, value: &'static str| {
        move |conf: &mut Value| conf["runtimeConfig"]["portMappings"][0][member] = value.into()
    };
    let odd = add("other", "/run/netns/other", &port("protocol", "icmp"));
    failed(&odd, &[r#"portMappings[0].protocol is \"icmp\" and not tcp, udp or sctp"#]);
    let looped = add("other", "/run/netns/other", &port("hostIP", "::1"));
    failed(&looped, &[r#"portMappings[0].hostIP is \"::1\": the kernel"#]);
    let typeless = |conf: &mut Value| conf["ipam"] = json!({ "subnet": "10.50.0.0/24" });
    assert_eq!(failed(&add("other", "/run/netns/other", &typeless), &["ipam.type is missing"]), 7);
    let slow = |conf: &mut Value| {
        conf["runtimeConfig"]["bandwidth"] = json!({ "IngressRate": 1, "IngressBurst": 4_294_967_295_u64 })
    };
    assert_eq!(failed(&add("other", "/run/netns/other", &slow), &["bandwidth"]), 2);
    assert_eq!((host.leftovers(Scope::All), host.table()), before);
    // What was refused is no reason to keep anything; and what was attached is as it was.
    for pod in ["second", "lost", "own", "other"] {
        delete(&host, pod, "", &pods());
    }
    let _server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    // Members in other letters and with nothing in them, as containerd writes them.
    let go = |conf: &mut Value| {
        conf["runtimeConfig"] = json!({
            "portMappings": [{ "HostPort": 9090, "ContainerPort": 80, "Protocol": "TCP", "HostIP": "" }],
            "dns": { "Servers": ["192.0.2.53"], "Searches": null, "Options": null },
            "bandwidth": null, "ips": null, "mac": "02:11:22:33:44:55",
        });
        conf["cniVersion"] = "0.4.0".into();
    };
    let result = add("other", "/run/netns/other", &go).json();
    assert_eq!(
        (result["ips"][0]["version"].as_str(), result["ips"][1]["version"].as_str()),
        (Some("4"), Some("6"))
    );
    assert_eq!(result["dns"], json!({ "nameservers": ["192.0.2.53"] }));
    assert_eq!(result["interfaces"][2]["mac"], "02:11:22:33:44:55");
    assert!(result["interfaces"][0].get("mtu").is_none());
    let _other_server = Server::tcp(&_other, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:9090")).seen_as(), OUTSIDE);
}

#[test]
fn deletion_needs_nothing_but_the_names() {
    let host = Host::new();
    let conf = pods();
    delete(&host, "never", "/run/netns/never", &conf);
    delete(&host, "never", "", &conf);
    let states: [(&str, &dyn Fn()); 4] = [
        ("the namespace is gone", &|| end(&host, "web")),
        ("the table is gone", &|| drop(host.space.ok(&["nft", "flush", "ruleset"]))),
        ("the interface is gone", &|| drop(host.space.ok(&["ip", "-n", "web", "link", "delete", "eth0"]))),
        ("another namespace has its place", &|| {
            end(&host, "web");
            host.space.ok(&["ip", "netns", "add", "web"]);
        }),
    ];
    for (what, happen) in states {
        host.space.program(&["ip", "netns", "delete", "web"]);
        drop(pod(&host, "web"));
        let result = mydocker(&host, "ADD", "web", &conf).json();
        assert_eq!(result["ips"][0]["address"], "10.50.0.2/24", "{what}");
        happen();
        delete(&host, "web", "", &conf);
        assert_eq!((containers(&host, "pods"), host.published()), (0, Vec::new()), "{what}");
        delete(
            &host,
            "web",
            "/run/netns/web",
            &json!({ "cniVersion": "1.0.0", "name": "pods", "type": "mydocker" }),
        );
    }
    // A pod that is made once more in a new namespace gets rid of what the old one had.
    host.space.program(&["ip", "netns", "delete", "web"]);
    drop(pod(&host, "web"));
    mydocker(&host, "ADD", "web", &conf).ok();
    end(&host, "web");
    let web = pod(&host, "web");
    assert_eq!(mydocker(&host, "ADD", "web", &conf).json()["ips"][0]["address"], "10.50.0.2/24");
    let _server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
}

#[test]
fn garbage_is_what_is_not_listed() {
    let host = Host::new();
    let conf = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "mydocker", "ipam": pods()["ipam"] });
    let names = ["one", "two", "three"];
    let spaces = names.map(|name| pod(&host, name));
    let fill = || {
        for name in names {
            let output = mydocker(&host, "ADD", name, &conf);
            assert!(output.status.success() || output.stdout.contains("already"), "{output}");
        }
    };
    let collect = |change: &dyn Fn(&mut Value)| {
        let mut gc = conf.clone();
        change(&mut gc);
        let output = mydocker(&host, "GC", "", &gc);
        assert_eq!((output.ok().as_str(), output.stderr.as_str()), ("", ""));
        containers(&host, "pods")
    };
    fill();
    assert_eq!(collect(&|_| ()), 3, "nothing is known of what is valid");
    let one = json!([{ "containerID": "one", "ifname": "eth0" }]);
    assert_eq!(collect(&|gc| gc["cni.dev/valid-attachments"] = one.clone()), 1);
    assert!(ping(&spaces[0], "10.50.0.1"));
    fill();
    assert_eq!(collect(&|gc| gc["cni.dev/attachments"] = one.clone()), 1);
    assert_eq!(collect(&|gc| gc["cni.dev/valid-attachments"] = Value::Null), 0);
    fill();
    assert_eq!(collect(&|gc| gc["cni.dev/valid-attachments"] = json!([])), 0);
    fill();
    drop(spaces);
    end(&host, "two");
    assert_eq!(collect(&|_| ()), 2, "what has lost its namespace goes");
    mydocker(&host, "STATUS", "", &conf).ok();
    assert_eq!(
        failed(
            &mydocker(
                &host,
                "STATUS",
                "",
                &json!({ "cniVersion": "1.1.0", "name": "pods", "ipam": { "type": "dhcp" } })
            ),
            &["dhcp"]
        ),
        7
    );
}

#[test]
fn an_exhausted_network_says_so_and_takes_from_those_that_are_gone() {
    let host = Host::new();
    let conf = json!({ "cniVersion": "1.1.0", "name": "small", "type": "mydocker",
        "ipam": { "type": "host-local", "subnet": "10.50.0.0/24", "rangeStart": "10.50.0.8", "rangeEnd": "10.50.0.9" } });
    let _first = pod(&host, "first");
    drop(pod(&host, "second"));
    let _third = pod(&host, "third");
    assert_eq!(mydocker(&host, "ADD", "first", &conf).json()["ips"][0]["address"], "10.50.0.8/24");
    assert_eq!(mydocker(&host, "ADD", "second", &conf).json()["ips"][0]["address"], "10.50.0.9/24");
    assert_eq!(failed(&mydocker(&host, "ADD", "third", &conf), &["taken"]), 50);
    let status = || mydocker(&host, "STATUS", "", &conf);
    assert_eq!(failed(&status(), &["all 2 addresses", "taken"]), 50);
    end(&host, "second");
    status().ok();
    assert_eq!(mydocker(&host, "ADD", "third", &conf).json()["ips"][0]["address"], "10.50.0.9/24");
    // Who lost it takes nothing back from its new holder.
    delete(&host, "second", "", &conf);
    assert!(ping(&_third, "10.50.0.1"));
    assert_eq!(containers(&host, "small"), 2);
}

#[test]
fn pods_that_come_and_go_at_once_do_not_get_in_each_others_way() {
    let host = Host::new();
    let names: Vec<String> = (0..16).map(|number| format!("pod{number}x")).collect();
    let spaces: Vec<Namespace> = names.iter().map(|name| pod(&host, name)).collect();
    let conf = |number: usize| {
        let mut conf = pods();
        conf["runtimeConfig"]["portMappings"][0]["hostPort"] = (8000 + number).into();
        conf
    };
    let all = |verb: &str| -> Vec<Output> {
        std::thread::scope(|scope| {
            let (host, conf) = (&host, &conf);
            let calls = names.iter().enumerate();
            let calls: Vec<_> = calls
                .map(|(number, name)| scope.spawn(move || mydocker(host, verb, name, &conf(number))))
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        })
    };
    // The first time, they make the network as well.
    for _ in 0..2 {
        let results = all("ADD");
        let addresses: std::collections::BTreeSet<String> =
            results.iter().map(|output| output.json()["ips"][0]["address"].to_string()).collect();
        assert_eq!(addresses.len(), names.len(), "{addresses:?}");
        let servers: Vec<Server> = spaces.iter().map(|space| Server::tcp(space, "0.0.0.0:80")).collect();
        for number in 0..names.len() {
            assert_eq!(tcp(&host.outside, &format!("{HOST}:{}", 8000 + number)).seen_as(), OUTSIDE);
        }
        assert!(servers.iter().all(|server| server.clients() == [OUTSIDE]));
        assert_eq!(host.mydocker(&["network", "check"]).code(), 0);
        drop(servers);
        for output in all("DEL") {
            assert_eq!(output.ok(), "");
        }
        assert_eq!((containers(&host, "pods"), host.published()), (0, Vec::new()));
    }
}

/// The same namespace by another path, which can go while the namespace stays.
fn other_path(host: &Host, directory: &Path, pod: &str) -> String {
    let path = directory.join("net");
    std::fs::write(&path, "").unwrap();
    let path = path.to_str().unwrap().to_owned();
    host.space.ok(&["mount", "--bind", &netns(pod), &path]);
    path
}

#[test]
fn a_namespace_that_outlives_its_path_keeps_what_it_has() {
    let host = Host::new();
    let (web, _other) = (pod(&host, "web"), pod(&host, "other"));
    let conf = json!({ "cniVersion": "1.1.0", "name": "pods", "type": "mydocker", "ipam": pods()["ipam"] });
    let path = other_path(&host, &host.scratch("path"), "web");
    call(&host, MYDOCKER, "ADD", "web", &path, &conf).ok();
    host.space.ok(&["umount", &path]);
    let mut taking = conf.clone();
    taking["runtimeConfig"] = json!({ "ips": ["10.50.0.2/24"] });
    failed(&mydocker(&host, "ADD", "other", &taking), &["10.50.0.2 is taken by CNI container web"]);
    mydocker(&host, "GC", "", &conf).ok();
    failed(&call(&host, MYDOCKER, "ADD", "web", &netns("other"), &conf), &["already"]);
    host.mydocker(&["network", "disconnect", "--force", "pods", "web"]).refused(&[1], &["web"]);
    assert!(ping(&web, "10.50.0.1"));
    assert_eq!(containers(&host, "pods"), 1);
    delete(&host, "web", "", &conf);
    assert_eq!((web.ok(&["ip", "-br", "link"]).lines().count(), containers(&host, "pods")), (1, 0));
    mydocker(&host, "ADD", "other", &taking).ok();
}

#[test]
fn a_network_that_a_killed_command_has_begun_is_made_by_the_next() {
    let host = Host::new();
    let (_web, _other) = (pod(&host, "web"), pod(&host, "other"));
    mydocker(&host, "ADD", "web", &pods()).ok();
    delete(&host, "web", "", &pods());
    let record = host.root.join("network/network/pods");
    let text = std::fs::read_to_string(&record).unwrap();
    let begun = text.replace("\"ready\"", "\"creating\"");
    assert_ne!(begun, text);
    std::fs::write(&record, begun).unwrap();
    assert_eq!(mydocker(&host, "ADD", "other", &pods()).json()["ips"][0]["address"], "10.50.0.2/24");
}

/// A directory in which mydocker has these names, for engines that do not hand on the environment of whoever started them.
pub(crate) fn links(host: &Host, directory: &str, names: &[&str]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (scripts, links) = (host.scratch(directory), host.scratch(&format!("{directory}-links")));
    for name in names {
        let (script, link) = (scripts.join(name), links.join(name));
        symlink(MYDOCKER, &link).unwrap();
        let text = format!(
            "#!/bin/sh\nMYDOCKER_ROOT={} MYDOCKER_RUN_ROOT={} exec {} \"$@\"\n",
            host.root.display(),
            host.run_root.display(),
            link.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    forget_closed_descriptors();
    scripts
}

/// The names by which lists of plugins call mydocker.
pub(crate) const PLUGINS: [&str; 6] = ["mydocker", "bridge", "portmap", "firewall", "loopback", "tuning"];

#[test]
fn lists_of_plugins_that_people_have_work_with_one_table() {
    let host = Host::new();
    let directory = links(&host, "plugins", &PLUGINS);
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    // As nerdctl writes it.
    let bridge = json!({ "type": "bridge", "bridge": "nerdctl0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": { "ranges": [[{ "gateway": "10.4.0.1", "subnet": "10.4.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }], "type": "host-local" } });
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true },
        "runtimeConfig": { "portMappings": [{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "" }] } });
    let firewall = json!({ "type": "firewall", "ingressPolicy": "same-bridge" });
    let list = [bridge, portmap, firewall, json!({ "type": "tuning" })];
    let whole = |verb: &str, pod: &str, netns: &str, port: u16| {
        let mut previous = Value::Null;
        let mut plugins = list.to_vec();
        if verb == "DEL" {
            plugins.reverse();
        }
        for mut conf in plugins {
            conf["cniVersion"] = "1.0.0".into();
            conf["name"] = "bridge".into();
            if conf["type"] == "portmap" {
                conf["runtimeConfig"]["portMappings"][0]["HostPort"] = port.into();
            }
            if !previous.is_null() {
                conf["prevResult"] = previous.clone();
            }
            let program = path(conf["type"].as_str().unwrap());
            let output = call(&host, &program, verb, pod, netns, &conf);
            if verb == "ADD" {
                previous = output.json();
            } else {
                assert_eq!(output.ok(), "", "{conf}");
            }
        }
        previous
    };
    let web = pod(&host, "web");
    let result = whole("ADD", "web", "/run/netns/web", 8080);
    assert_eq!(result["ips"][0]["address"], "10.4.0.2/24");
    assert_eq!(result["interfaces"][0]["name"], "nerdctl0");
    let server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert!(ping(&web, OUTSIDE));
    // Isolated: others come through published ports only.
    host.network("front", "172.18.0.0/24", &[]);
    let container = host.container("db", "front", &[]);
    ping_dropped(&container.space, "10.4.0.2");
    let _second = pod(&host, "second");
    whole("ADD", "second", "/run/netns/second", 9090);
    assert!(ping(&_second, "10.4.0.2"));
    drop(server);
    whole("DEL", "second", "", 9090);
    whole("DEL", "web", "/run/netns/web", 8080);
    whole("DEL", "web", "", 8080);
    assert_eq!((host.published(), containers(&host, "cni-bridge")), (Vec::new(), 0));
    let lo = json!({ "cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback" });
    web.ok(&["ip", "link", "set", "lo", "down"]);
    let result = call(&host, &path("loopback"), "ADD", "web", "/run/netns/web", &lo).json();
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    assert!(ping(&web, "127.0.0.1"));
    call(&host, &path("loopback"), "DEL", "web", "/run/netns/web", &lo).ok();
    // Nerdctl reads the version from this.
    let about = host.program(&[&path("firewall")]).run_in(&host.space);
    assert!(about.ok().is_empty() && about.stderr.starts_with("CNI firewall plugin v"), "{about}");
}

#[test]
fn what_another_plugin_has_done_is_no_fault_and_what_is_asked_in_vain_is_told() {
    let host = Host::new();
    let directory = links(&host, "plugins", &PLUGINS);
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let web = pod(&host, "web");
    // An Ethernet address that the plugin before has set is none that is set in vain.
    let mac = "02:11:22:33:44:55";
    let interface = json!({ "name": "eth0", "mac": mac, "sandbox": "/run/netns/web" });
    let tuned = |more: Value| {
        let mut conf = json!({ "cniVersion": "1.0.0", "name": "bridge", "type": "tuning",
            "prevResult": { "interfaces": [interface] } });
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&host, &path("tuning"), "ADD", "web", "/run/netns/web", &conf)
    };
    for (more, needle) in [
        (json!({ "promisc": false, "args": { "cni": { "promisc": true } } }), "promisc"),
        (json!({ "mac": mac, "args": { "cni": { "mac": "02:11:22:33:44:56" } } }), "02:11:22:33:44:56"),
        (json!({ "runtimeConfig": { "mac": "02:11:22:33:44:57" } }), "02:11:22:33:44:57"),
    ] {
        assert_eq!(failed(&tuned(more), &[needle]), 2);
    }
    // Kernel parameters of the container's network, and of nothing else.
    let sysctls = json!({ "sysctl": { "net.core.somaxconn": "500", "net/ipv4/ip_local_port_range": "20000 30000",
        "net.ipv4.conf.IFNAME.arp_filter": "1" } });
    let mut wrong = sysctls.clone();
    let before = host.space.sysctl("net/core/somaxconn");
    assert_eq!(failed(&tuned(sysctls.clone()), &["conf/eth0/arp_filter", "No such file"]), 999);
    web.ip("link add eth0 type bridge");
    tuned(sysctls.clone()).json();
    assert_eq!(
        (web.sysctl("net/core/somaxconn"), web.sysctl("net/ipv4/conf/eth0/arp_filter")),
        ("500".to_owned(), "1".to_owned())
    );
    assert_eq!(host.space.sysctl("net/core/somaxconn"), before);
    let check = |more: &Value| {
        let mut conf = json!({ "cniVersion": "1.0.0", "name": "bridge", "type": "tuning", "prevResult": { "interfaces": [] } });
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&host, &path("tuning"), "CHECK", "web", "/run/netns/web", &conf)
    };
    assert_eq!(check(&sysctls).ok(), "");
    wrong["sysctl"]["net.core.somaxconn"] = "501".into();
    failed(&check(&wrong), &["net/core/somaxconn is 500, not 501"]);
    for bad in ["kernel.panic", "net/../kernel/panic", "net..x"] {
        assert_eq!(failed(&tuned(json!({ "sysctl": { bad: "1" } })), &[bad, "begin with net"]), 7, "{bad}");
    }
    let same = json!({ "mac": "02:11:22:33:44:56", "runtimeConfig": { "mac": mac } });
    assert_eq!(tuned(same).json()["interfaces"][0]["mac"], mac);
    // What another plugin has attached is let through, and nothing of it is looked at.
    let mut conf = json!({ "cniVersion": "1.0.0", "name": "other", "type": "firewall",
        "prevResult": { "interfaces": [interface] } });
    call(&host, &path("firewall"), "ADD", "web", "/run/netns/web", &conf).json();
    assert_eq!(call(&host, &path("firewall"), "CHECK", "web", "/run/netns/web", &conf).ok(), "");
    conf["ingressPolicy"] = "same-bridge".into();
    failed(&call(&host, &path("firewall"), "CHECK", "web", "/run/netns/web", &conf), &["other"]);
}

/// As nerdctl names it: nobody else holds the namespace, and the kernel makes the inode of its path anew for each look.
#[test]
fn the_namespace_of_a_process_is_known_by_the_process() {
    let host = Host::new();
    let program = host.program(&["unshare", "-n", "sleep", "1000"]).start_in(&host.space);
    eventually("the namespace", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", program.pid())).ok()?;
        (name == "sleep\n").then_some(())
    });
    let path = format!("/proc/{}/ns/net", program.pid());
    let mut conf = pods();
    conf["prevResult"] = call(&host, MYDOCKER, "ADD", "web", &path, &conf).json();
    assert_eq!(call(&host, MYDOCKER, "CHECK", "web", &path, &conf).ok(), "");
    failed(&call(&host, MYDOCKER, "ADD", "web", &path, &conf), &["connected already"]);
    delete(&host, "web", &path, &conf);
    assert_eq!(containers(&host, "pods"), 0);
    program.signal(nix::sys::signal::Signal::SIGTERM);
    program.wait();
}

/// R5: an ADD or DEL that was killed anywhere leaves nothing that DEL does not take away.
#[test]
fn r5_an_attachment_that_was_cut_short_is_taken_away_by_its_names() {
    let host = Host::new();
    let mut conf = pods();
    conf["ipam"]["ranges"] = json!([[{ "subnet": "10.50.0.0/30" }], [{ "subnet": "fd00:50::/126" }]]);
    let web = pod(&host, "web");
    let _server = Server::tcp(&web, "0.0.0.0:80");
    let input = host.scratch("input").join("conf");
    std::fs::write(&input, conf.to_string()).unwrap();
    let traced = |verb: &str, kill: Option<Kill>| {
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "web"),
            ("CNI_NETNS", "/run/netns/web"),
            ("CNI_IFNAME", "eth0"),
            ("TEST_INPUT", input.to_str().unwrap()),
        ];
        trace_plugin(&host, &variables, kill)
    };
    let count = |verb: &str| {
        let traced = traced(verb, None);
        traced.output.ok();
        traced.steps.len()
    };
    // The second time, because the first one makes the network, and directories that stay.
    for _ in 0..2 {
        count("ADD");
        count("DEL");
    }
    let steps = [("ADD", count("ADD")), ("DEL", count("DEL"))];
    let mut killed = 0;
    for (verb, step) in steps.into_iter().flat_map(|(verb, steps)| (0..steps).map(move |step| (verb, step))) {
        if verb == "DEL" {
            mydocker(&host, "ADD", "web", &conf).ok();
        }
        let kill = Kill { step, moment: Moment::Before, victims: Victims::All };
        let traced = traced(verb, Some(kill));
        killed += usize::from(traced.killed);
        let what = format!("{verb} was killed before {}", traced.steps[step]);
        let output = call(&host, MYDOCKER, "DEL", "web", "", &conf);
        assert_eq!((output.code(), output.stdout.as_str()), (0, ""), "{what}: {output}");
        assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1, "{what}");
        assert_eq!((host.published(), containers(&host, "pods")), (Vec::new(), 0), "{what}");
        let result = mydocker(&host, "ADD", "web", &conf);
        assert!(result.status.success(), "{what}: {result}");
        assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE, "{what}");
        delete(&host, "web", "/run/netns/web", &conf);
    }
    assert!(killed > 20, "{killed} kills");
    // Of those that take part, only the one that takes the step is killed.
    let mut went_on = 0;
    for step in 0..steps[1].1 {
        mydocker(&host, "ADD", "web", &conf).ok();
        let traced = traced("DEL", Some(Kill { step, moment: Moment::Before, victims: Victims::Doer }));
        let what = format!("DEL lost whoever was before {}", traced.steps[step]);
        if traced.killed && traced.output.status.success() {
            went_on += 1;
            assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1, "{what}");
            assert_eq!((host.published(), containers(&host, "pods")), (Vec::new(), 0), "{what}");
        }
        delete(&host, "web", "", &conf);
        assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1, "{what}");
    }
    assert!(went_on > 0, "the copy that asks for the deletion was never killed");
    // Without DEL, too, whatever an ADD that was killed has left is void.
    let add = steps[0].1;
    for step in [add / 3, add / 2] {
        traced("ADD", Some(Kill { step, moment: Moment::Before, victims: Victims::All }));
        host.mydocker(&["network", "reload"]).ok();
        assert_eq!((containers(&host, "pods"), host.published()), (0, Vec::new()), "step {step}");
        delete(&host, "web", "/run/netns/web", &conf);
    }
    drop((_server, web));
    end(&host, "web");
    host.space.ok(&["umount", "/run/netns"]);
    host.mydocker(&["network", "rm", "pods"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}
