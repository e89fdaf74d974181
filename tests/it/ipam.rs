//! Addresses: the file of bitmaps character for character, which address is given out, and that none is ever
//! given out twice, whatever becomes of the file.

use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::host::Host;
use crate::program::Running;

/// The file as it stands.
fn file(host: &Host) -> String {
    std::fs::read_to_string(host.root("network/ipam/subnet.json")).expect("subnet.json")
}

/// The file with a single /24 whose bitmap begins and ends so.
fn only(subnet: &str, beginning: &str, end: &str) -> String {
    format!("{{\"{subnet}\":\"{beginning}{}{end}\"}}", "0".repeat(256 - beginning.len() - end.len()))
}

/// Puts a file in place before mydocker first runs.
fn prepare(host: &Host, contents: &str) {
    std::fs::create_dir_all(host.root("network/ipam")).unwrap();
    std::fs::write(host.root("network/ipam/subnet.json"), contents).unwrap();
}

/// The bitmap of a subnet.
fn bits(host: &Host, subnet: &str) -> String {
    let file: Value = serde_json::from_str(&file(host)).expect("subnet.json");
    file[subnet].as_str().unwrap_or_else(|| panic!("{subnet} is not in {file}")).to_owned()
}

#[test]
fn the_file_follows_every_address_taken_and_released() {
    let host = Host::new();
    host.network("net", "192.168.0.0/24", &[]);
    assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"));
    host.container("one", "net", &[]);
    host.container("two", "net", &[]);
    assert_eq!(file(&host), only("192.168.0.0/24", "1111", "1"));
    host.container("high", "net", &["--ip", "192.168.0.254"]);
    assert_eq!(file(&host), only("192.168.0.0/24", "1111", "11"));
    host.mydocker(&["rm", "-f", "one", "high"]).ok();
    assert_eq!(file(&host), only("192.168.0.0/24", "1101", "1"));
    host.mydocker(&["rm", "-f", "two"]).ok();
    assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"));
    host.mydocker(&["network", "remove", "net"]).ok();
    assert_eq!(file(&host), only("192.168.0.0/24", "1", "1"));
    host.network("net", "192.168.0.0/24", &[]);
    assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"));
}

#[test]
fn a_bitmap_has_one_character_for_each_address_of_any_subnet() {
    let host = Host::new();
    for (name, subnet, size) in [
        ("a", "172.30.0.0/30", 4),
        ("b", "172.30.1.0/29", 8),
        ("c", "172.28.0.0/16", 65536),
        ("d", "10.0.0.0/8", 1 << 24),
    ] {
        host.network(name, subnet, &[]);
        let bits = bits(&host, subnet);
        assert_eq!(bits.len(), size, "{subnet}");
        assert!(bits.starts_with("110") && bits.ends_with("01") || bits == "1101", "{subnet}");
        assert!(bits.bytes().filter(|bit| *bit == b'1').count() == 3, "{subnet}");
    }
    assert_eq!(host.container("c", "d", &["--ip", "10.255.255.254"]).address.to_string(), "10.255.255.254");
    assert!(bits(&host, "10.0.0.0/8").ends_with("011"));
}

#[test]
fn an_allocation_changes_the_file_in_place() {
    let host = Host::new();
    host.network("one", "172.18.0.0/24", &[]);
    host.network("two", "172.19.0.0/24", &[]);
    let inode = || host.root("network/ipam/subnet.json").metadata().unwrap().ino();
    let before = (inode(), file(&host));
    host.container("c", "two", &[]);
    assert_eq!(inode(), before.0, "the file was replaced");
    let changed: Vec<(char, char)> =
        before.1.chars().zip(file(&host).chars()).filter(|(old, new)| old != new).collect();
    assert_eq!(changed, [('0', '1')]);
}

#[test]
fn the_lowest_free_address_is_given_out_first() {
    let host = Host::new();
    host.network("net", "192.168.0.0/24", &[]);
    let address = |name: &str| host.container(name, "net", &[]).address.to_string();
    assert_eq!(["a", "b", "c"].map(address), ["192.168.0.2", "192.168.0.3", "192.168.0.4"]);
    host.mydocker(&["rm", "-f", "b"]).ok();
    assert_eq!(["d", "e"].map(address), ["192.168.0.3", "192.168.0.5"]);
}

#[test]
fn an_exhausted_subnet_is_named_and_a_freed_address_used_again() {
    let host = Host::new();
    host.network("small", "10.1.0.0/29", &[]);
    for (name, expected) in [("a", 2), ("b", 3), ("c", 4), ("d", 5), ("e", 6)] {
        assert_eq!(host.container(name, "small", &[]).address.to_string(), format!("10.1.0.{expected}"));
    }
    assert_eq!(bits(&host, "10.1.0.0/29"), "11111111");
    host.run(&["--net", "small"], &["true"]).refused(&[125], &["small", "10.1.0.0/29"]);
    assert_eq!(bits(&host, "10.1.0.0/29"), "11111111");
    host.mydocker(&["rm", "-f", "c"]).ok();
    assert_eq!(host.container("f", "small", &[]).address.to_string(), "10.1.0.4");
}

#[test]
fn a_networks_record_begins_as_the_seeds_programs_wrote_it() {
    let host = Host::new();
    for (name, subnet, ip, mask) in [
        ("testbr0", "192.168.0.0/24", "192.168.0.1", "////AA=="),
        ("wide", "172.16.0.0/12", "172.16.0.1", "//AAAA=="),
        ("odd", "10.1.2.128/27", "10.1.2.129", "////4A=="),
    ] {
        host.network(name, subnet, &[]);
        let record = std::fs::read_to_string(host.root("network/network").join(name)).unwrap();
        let beginning = format!(
            "{{\"Name\":\"{name}\",\"IPRange\":{{\"IP\":\"{ip}\",\"Mask\":\"{mask}\"}},\"Driver\":\"bridge\""
        );
        assert!(record.starts_with(&beginning), "{record}");
        serde_json::from_str::<Value>(&record).expect("a record is JSON");
    }
}

/// The records of the seeds' programs after `network create`, found after a reboot: no bridge, no table.
#[test]
fn files_of_the_seeds_programs_are_carried_on_with() {
    let host = Host::new();
    prepare(&host, &only("192.168.0.0/24", "11", "1"));
    std::fs::create_dir_all(host.root("network/network")).unwrap();
    let record = r#"{"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge"}"#;
    std::fs::write(host.root("network/network/testbr0"), record).unwrap();
    let list = host.mydocker(&["network", "list"]).ok();
    let row: Vec<&str> = list.lines().nth(1).expect("a row").split_whitespace().take(3).collect();
    assert_eq!(row, ["testbr0", "192.168.0.1/24", "bridge"]);
    let container = host.container("c", "testbr0", &[]);
    assert_eq!(container.address.to_string(), "192.168.0.2");
    assert!(crate::wire::ping(&container.space, "192.168.0.1"));
    assert_eq!(file(&host), only("192.168.0.0/24", "111", "1"));
    drop(container);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["network", "remove", "testbr0"]).ok();
    assert_eq!(file(&host), only("192.168.0.0/24", "1", "1"));
    host.assert_nothing_left();
}

#[test]
fn bitmaps_without_the_last_address_are_completed() {
    let host = Host::new();
    prepare(&host, &format!("{{\"192.168.0.0/24\":\"{}\"}}", "0".repeat(255)));
    host.network("net", "192.168.0.0/24", &[]);
    assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"));
    // With an address that was taken and never released by whoever wrote it: it may be kept or given out, but
    // gateway and container never share one.
    let host = Host::new();
    prepare(&host, &format!("{{\"192.168.0.0/24\":\"1{}\"}}", "0".repeat(254)));
    host.network("net", "192.168.0.0/24", &[]);
    let gateway = host.inspect_network("net")["IPAM"]["Config"][0]["Gateway"].clone();
    assert_ne!(host.container("c", "net", &[]).address.to_string(), gateway.as_str().unwrap());
    let bits = bits(&host, "192.168.0.0/24");
    assert!(bits.len() == 256 && bits.starts_with('1') && bits.ends_with('1'), "{bits}");
}

#[test]
fn the_bitmap_of_a_removed_network_is_used_again() {
    let host = Host::new();
    prepare(&host, &only("192.168.0.0/24", "1", "1"));
    host.network("net", "192.168.0.0/24", &[]);
    assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"));
}

#[test]
fn a_missing_or_damaged_file_is_rebuilt_while_containers_run() {
    let host = Host::new();
    host.network("net", "192.168.0.0/24", &[]);
    host.container("one", "net", &[]);
    host.container("far", "net", &["--ip", "192.168.0.200"]);
    let path = host.root("network/ipam/subnet.json");
    let whole = file(&host);
    let truncated = &whole[..whole.len() / 2];
    let short = format!("{{\"192.168.0.0/24\":\"11{}1\"}}", "0".repeat(100));
    for (n, damage) in [None, Some(""), Some("{"), Some("[]"), Some("{}"), Some(truncated), Some(&short)]
        .into_iter()
        .enumerate()
    {
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(contents) => std::fs::write(&path, contents).unwrap(),
        }
        // Who only looks tells of it, and changes nothing.
        let found = host.mydocker(&["network", "check"]);
        assert_eq!((found.code(), damage.is_none()), (1, !path.exists()), "{damage:?}: {found}");
        // A file without the subnet is a file all the same.
        let named = if damage == Some("{}") { "marked as free" } else { "the address file" };
        assert!(found.stdout.contains(named), "{damage:?}: {found}");
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), damage);
        let name = format!("c{n}");
        let container = host.container(&name, "net", &[]);
        assert_eq!(container.address.to_string(), "192.168.0.3", "{damage:?}");
        let mut expected = vec!['0'; 256];
        for taken in [0, 1, 2, 3, 200, 255] {
            expected[taken] = '1';
        }
        assert_eq!(bits(&host, "192.168.0.0/24"), expected.iter().collect::<String>(), "{damage:?}");
        host.mydocker(&["rm", "-f", &name]).ok();
    }
    assert_eq!(file(&host), whole);
}

/// Only so much of a bitmap is read as an allocation needs: what matters is that nothing strange in it makes
/// an address in use look free, or the file unreadable.
#[test]
fn strange_characters_in_a_bitmap_never_free_an_address() {
    let host = Host::new();
    host.network("net", "192.168.0.0/24", &[]);
    host.container("one", "net", &[]);
    let path = host.root("network/ipam/subnet.json");
    for (n, strange) in ["xx", "0x", "x0", "00", "\\u"].into_iter().enumerate() {
        std::fs::write(&path, only("192.168.0.0/24", &format!("1{strange}"), "1")).unwrap();
        let container = host.container(&format!("c{n}"), "net", &[]);
        assert!(
            !["192.168.0.1", "192.168.0.2"].contains(&container.address.to_string().as_str()),
            "{strange}"
        );
        host.mydocker(&["rm", "-f", &container.name]).ok();
    }
}

#[test]
fn many_allocations_at_once_lose_none() {
    let host = Host::new();
    host.network("net", "192.168.0.0/24", &[]);
    for round in 0..2 {
        let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
        let start = |name: &String| {
            host.start(&["run", "-d", "--name", name, "--net", "net", &host.image, "sleep", "1000"])
        };
        let running: Vec<Running> = names.iter().map(start).collect();
        for run in running {
            run.wait().ok();
        }
        assert_eq!(file(&host), only("192.168.0.0/24", "11111111", "1"), "round {round}");
        let removals: Vec<Running> = names.iter().map(|name| host.start(&["rm", "-f", name])).collect();
        for removal in removals {
            removal.wait().ok();
        }
        assert_eq!(file(&host), only("192.168.0.0/24", "11", "1"), "round {round}");
    }
}
