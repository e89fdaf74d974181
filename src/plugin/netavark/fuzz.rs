//! What Podman may write: see [`crate::fuzz`].

use super::{Object, Plan, container_id, memberships, port_requests};

/// The options of a container.
pub fn options(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice(bytes) else { return false };
    let read = || -> Result<usize, super::Failure> {
        let options = Object::of(&value, "")?;
        port_requests(&options)?;
        let memberships = memberships(&options, &container_id(&options)?)?;
        let plans: Result<Vec<Plan>, _> = memberships.iter().map(Plan::read).collect();
        Ok(plans?.len())
    };
    read().is_ok_and(|count| count > 0)
}

/// Options as versions 4 and 6 write them.
pub fn inputs() -> Vec<Vec<u8>> {
    let info = r#""network_info":{"front":{"name":"front","id":"a","driver":"bridge","network_interface":"podman1","subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"},{"subnet":"fd00::/64"}],"ipv6_enabled":true,"internal":false,"dns_enabled":true,"ipam_options":{"driver":"host-local"},"options":{"mtu":"1400"},"routes":[{"destination":"10.1.0.0/16","gateway":"10.88.0.9","metric":5}]}}"#;
    let ports = r#""port_mappings":[{"host_ip":"","container_port":80,"host_port":8080,"range":2,"protocol":"tcp,udp"}]"#;
    let own = r#""interface_name":"eth0","static_ips":["10.88.0.7","fd00::7"],"static_mac":"0a:00:00:00:00:01","aliases":["w"]"#;
    [
        format!(r#"{{"container_id":"abc","container_name":"web",{ports},"networks":{{"front":{{{own}}}}},{info}}}"#),
        format!(r#"{{"container_id":"abc","container_name":"web",{ports},"networks":[{{"name":"front",{own}}}],{info}}}"#),
    ]
    .map(String::into_bytes)
    .to_vec()
}
