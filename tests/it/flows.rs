//! `network flows`: connection-tracking entries of containers with what was translated, listed and live.

use serde_json::Value;

use crate::host::{HOST, HOST6, Host, OUTSIDE, OUTSIDE6};
use crate::program::eventually;
use crate::wire::{Server, tcp, udp};

#[test]
fn flows_show_both_families_and_what_was_translated() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let other = host.container("other", "front", &[]);
    let _servers = (
        Server::tcp(&web.space, &web.at(80)),
        Server::tcp(&web.space, &web.at6(80)),
        Server::udp(&host.outside, &format!("{OUTSIDE}:53")),
        Server::udp(&host.outside, &format!("[{OUTSIDE6}]:53")),
    );
    tcp(&host.outside, &format!("{HOST}:8080")).seen_as();
    tcp(&host.outside, &format!("[{HOST6}]:8080")).seen_as();
    udp(&other.space, &format!("{OUTSIDE}:53")).seen_as();
    udp(&other.space, &format!("[{OUTSIDE6}]:53")).seen_as();

    let listing = host.mydocker(&["network", "flows"]).ok();
    let titles: Vec<&str> = listing.lines().next().expect("titles").split_whitespace().collect();
    assert_eq!(titles, ["CONTAINER", "PROTO", "STATE", "TIMEOUT", "SOURCE", "DESTINATION", "TRANSLATED"]);
    let row = |words: &[&str]| listing.lines().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["web ", "tcp", OUTSIDE, &format!("{HOST}:8080"), "to 172.18.0.2:80"],
        ["web ", "tcp", OUTSIDE6, &format!("[{HOST6}]:8080"), "to [fd00:18::2]:80"],
        ["other ", "udp", "172.18.0.3:", &format!("{OUTSIDE}:53"), &format!("from {HOST}:")],
        ["other ", "udp", "[fd00:18::3]:", &format!("[{OUTSIDE6}]:53"), &format!("from [{HOST6}]:")],
    ] {
        assert!(row(&words), "{words:?} in {listing}");
    }
    let flows = host.mydocker(&["network", "flows", "--format", "json", "other"]).json();
    let flows = flows.as_array().expect("an array");
    let questions: Vec<&Value> =
        flows.iter().filter(|flow| flow["Original"]["DestinationPort"] == 53).collect();
    assert_eq!(questions.len(), 2, "{flows:?}");
    for flow in questions {
        assert_eq!((&flow["Container"], &flow["Network"]), (&"other".into(), &"front".into()));
        assert_eq!((&flow["Protocol"], &flow["Reply"]["SourcePort"]), (&"udp".into(), &53.into()));
    }
    host.mydocker(&["network", "flows", "nobody"]).refused(&[1], &["nobody"]);
}

#[test]
fn flows_are_followed_as_they_come_and_go() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let server = Server::tcp(&web.space, "0.0.0.0:80");
    let table = host.start(&["network", "flows", "-f", "web"]);
    table.wait_for("EVENT");
    // What is there already comes first: then nothing is missed any more.
    tcp(&host.outside, &format!("{HOST}:8080")).seen_as();
    let json = host.start(&["network", "flows", "-f", "--format", "json"]);
    json.wait_for("\"Container\":\"web\"");
    tcp(&host.outside, &format!("{HOST}:8080")).seen_as();
    table.wait_for("NEW");
    json.wait_for("\"Event\":\"NEW\"");
    json.wait_for("\"Event\":\"UPDATE\"");
    // A container that did not exist when the following began is known.
    let late = host.container("late", "front", &["-p", "8081:80"]);
    let late_server = Server::tcp(&late.space, "0.0.0.0:80");
    tcp(&host.outside, &format!("{HOST}:8081")).seen_as();
    json.wait_for("\"Container\":\"late\"");
    drop((server, web, late_server, late));
    host.mydocker(&["rm", "-f", "web", "late"]).ok();
    json.wait_for("\"Event\":\"DESTROY\"");
    assert!(!table.stdout().contains("late"));
    let lines = eventually("whole lines", || Some(json.stdout()).filter(|text| text.ends_with('\n')));
    for line in lines.lines() {
        let flow: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(flow["Original"]["Source"].is_string(), "{line}");
    }
}
