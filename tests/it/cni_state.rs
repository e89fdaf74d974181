//! CNI: what CHECK compares, whose settings a network has, and what is told of what cannot be had.

use serde_json::{Value, json};

use crate::cni::{MYDOCKER, PLUGINS, call, call_for, delete, failed, links, mydocker, netns, pod, pods};
use crate::host::Host;
use crate::wire::{ping, ping_dropped};

fn plain(name: &str, subnet: &str) -> Value {
    json!({ "cniVersion": "1.1.0", "name": name, "type": "mydocker",
        "ipam": { "type": "host-local", "subnet": subnet } })
}

#[test]
fn check_finds_whatever_is_not_as_it_was_answered() {
    let host = Host::new();
    let (web, _other) = (pod(&host, "web"), pod(&host, "other"));
    let mut conf = plain("pods", "10.50.0.0/24");
    conf["ipam"]["routes"] = json!([{ "dst": "10.9.0.0/16" }]);
    let result = mydocker(&host, "ADD", "web", &conf).json();
    let check = |netns: &str, change: &dyn Fn(&mut Value)| {
        let mut conf = conf.clone();
        conf["prevResult"] = result.clone();
        change(&mut conf["prevResult"]);
        call(&host, MYDOCKER, "CHECK", "web", netns, &conf)
    };
    let own = netns("web");
    let same = |_: &mut Value| {};
    assert_eq!(check(&own, &same).ok(), "");
    assert_eq!(failed(&check(&netns("other"), &same), &["/run/netns/other is another namespace"]), 101);
    assert_eq!(failed(&check(&netns("lost"), &same), &["/run/netns/lost"]), 8);
    for (route, gone) in [("default", "0.0.0.0/0"), ("10.9.0.0/16", "10.9.0.0/16")] {
        web.ok(&["ip", "route", "del", route]);
        let needle = format!("the route to {gone} through 10.50.0.1 is missing");
        assert_eq!(failed(&check(&own, &same), &[&needle]), 101);
        web.ok(&["ip", "route", "add", route, "via", "10.50.0.1"]);
        check(&own, &same).ok();
    }
    type Change<'a> = (&'a dyn Fn(&mut Value), &'a str);
    let changes: [Change<'_>; 5] = [
        (&|previous| previous["ips"] = json!([{ "address": "10.9.9.9/24" }]), "10.9.9.9/24"),
        (&|previous| previous["interfaces"][2]["name"] = "eth9".into(), "eth9"),
        (&|previous| previous["interfaces"][1]["name"] = "veth00000000".into(), "veth00000000"),
        (&|previous| previous["interfaces"][0]["mac"] = "02:00:00:00:00:09".into(), "02:00:00:00:00:09"),
        (&|previous| previous["routes"][0]["gw"] = "10.50.0.9".into(), "10.50.0.9"),
    ];
    for (change, needle) in changes {
        assert_eq!(failed(&check(&own, change), &[needle]), 101);
    }
    // Of a host or a namespace that is not named here nothing is said.
    let elsewhere = |previous: &mut Value| {
        let other = json!({ "name": "tap0", "mac": "", "sandbox": "/run/netns/machine" });
        previous["interfaces"].as_array_mut().unwrap().push(other);
        previous["ips"].as_array_mut().unwrap().push(json!({ "address": "10.8.0.1/24", "interface": 3 }));
    };
    check(&own, &elsewhere).ok();
}

#[test]
fn a_second_interface_has_no_default_route_and_is_not_said_to_have_one() {
    let host = Host::new();
    let web = pod(&host, "web");
    mydocker(&host, "ADD", "web", &plain("first", "10.50.0.0/24")).ok();
    let second = plain("second", "10.51.0.0/24");
    let result = call_for(&host, MYDOCKER, "ADD", "web", &netns("web"), "eth1", &second).json();
    assert_eq!(result["routes"], json!([]), "{result}");
    let defaults = web.ok(&["ip", "route", "show", "default"]);
    assert!(defaults.lines().count() == 1 && defaults.contains("via 10.50.0.1 dev eth0"), "{defaults}");
    let mut checked = second.clone();
    checked["prevResult"] = result;
    call_for(&host, MYDOCKER, "CHECK", "web", &netns("web"), "eth1", &checked).ok();
}

#[test]
fn isolation_goes_as_it_came_by_the_configuration() {
    let host = Host::new();
    let (web, other) = (pod(&host, "web"), pod(&host, "other"));
    mydocker(&host, "ADD", "web", &plain("front", "10.60.0.0/24")).ok();
    let conf = |isolate: Value| {
        let mut conf = plain("pods", "10.50.0.0/24");
        conf["isolate"] = isolate;
        conf
    };
    mydocker(&host, "ADD", "other", &conf(true.into())).ok();
    ping_dropped(&web, "10.50.0.2");
    let third = pod(&host, "third");
    for without in [false.into(), Value::Null] {
        let refused = mydocker(&host, "ADD", "third", &conf(without));
        assert_eq!(failed(&refused, &["pods", "in use", "isolate"]), 7);
    }
    mydocker(&host, "ADD", "third", &conf(true.into())).ok();
    for pod in ["other", "third"] {
        delete(&host, pod, "", &conf(true.into()));
    }
    drop(third);
    mydocker(&host, "ADD", "other", &conf(Value::Null)).ok();
    assert!(ping(&web, "10.50.0.2") && ping(&other, "10.60.0.2"));
}

#[test]
fn what_the_plugin_bridge_cannot_do_is_refused() {
    let host = Host::new();
    let bridge = links(&host, "plugins", &PLUGINS).join("bridge");
    let _web = pod(&host, "web");
    let add = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut conf = plain(name, "10.50.0.0/24");
        conf["type"] = "bridge".into();
        change(&mut conf);
        call(&host, bridge.to_str().unwrap(), "ADD", "web", &netns("web"), &conf)
    };
    let without = |conf: &mut Value| drop(conf.as_object_mut().unwrap().remove("ipam"));
    assert_eq!(failed(&add("first", &without), &["ipam is missing", "without addresses"]), 7);
    assert_eq!(failed(&add("first", &|conf| conf["ipam"] = json!({})), &["without addresses"]), 7);
    assert_eq!(failed(&add("first", &|conf| conf["isGateway"] = false.into()), &["isGateway"]), 2);
    add("first", &|conf| conf["isDefaultGateway"] = true.into()).ok();
    // Where none is named, both are to have the same bridge.
    let second = add("second", &|conf| conf["ipam"]["subnet"] = "10.51.0.0/24".into());
    assert_eq!(failed(&second, &["the bridge cni0 is that of network first"]), 7);
}

#[test]
fn another_networks_damaged_record_is_none_of_a_calls_business() {
    let host = Host::new();
    let _web = pod(&host, "web");
    mydocker(&host, "ADD", "web", &pods()).ok();
    delete(&host, "web", "", &pods());
    std::fs::write(host.root.join("network/network/damaged"), "{").unwrap();
    // A name that could be the beginning of an id as well.
    let all = json!({ "cniVersion": "1.1.0", "name": "cafe", "type": "mydocker", "cni.dev/valid-attachments": null });
    assert_eq!(mydocker(&host, "GC", "", &all).ok(), "");
    mydocker(&host, "ADD", "web", &pods()).ok();
    std::fs::remove_file(host.root.join("network/network/damaged")).unwrap();
}
