//! What engines may write that speak CNI: see [`crate::fuzz`].

use super::call::Arguments;
use super::conf::{Basics, Conf};
use super::{Plugin, Roots};

/// A configuration.
pub fn configuration(bytes: &[u8]) -> bool {
    let roots = Roots { root: "/nowhere/root".into(), run_root: "/nowhere/run".into(), words: Vec::new() };
    let mut version = String::new();
    let Ok(basics) = Basics::read(bytes, roots, &mut version) else { return false };
    // It may have none.
    basics.previous().ok();
    [Plugin::Mydocker, Plugin::Bridge]
        .iter()
        .any(|plugin| Conf::read(*plugin, &basics, &Arguments::default()).is_ok())
}

/// Configurations, with mydocker's plugin and with that of the bridge.
pub fn configurations() -> Vec<Vec<u8>> {
    let ipam = r#""ipam":{"type":"host-local","ranges":[[{"subnet":"10.22.0.0/16","rangeStart":"10.22.0.9","gateway":"10.22.0.1"}]],"routes":[{"dst":"0.0.0.0/0"}]}"#;
    [
        format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"mydocker",{ipam},"runtimeConfig":{{"portMappings":[{{"hostPort":8080,"containerPort":80,"protocol":"tcp"}}],"ips":["10.22.0.7/16"],"mac":"0a:00:00:00:00:01"}}}}"#),
        format!(r#"{{"cniVersion":"0.4.0","name":"n","type":"bridge","bridge":"cni1","isGateway":true,"ipMasq":true,{ipam},"dns":{{"nameservers":["10.0.0.53"],"search":["x"]}},"prevResult":{{"cniVersion":"0.4.0","ips":[]}}}}"#),
    ]
    .map(String::into_bytes)
    .to_vec()
}
