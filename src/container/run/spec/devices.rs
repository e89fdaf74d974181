//! The devices of a container in its specification: nodes, and what may be done with them.

use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::container::request::config::Config;
use crate::container::request::device::{DeviceError, Kind, Node};
use crate::container::tree::mount_points::MountPoint;

/// Refuses devices in directories that are mounted: others may be changing those while the nodes are made.
///
/// # Errors
/// [`DeviceError::Inside`].
pub(in crate::container::run) fn check_places(
    nodes: &[Node],
    mounts: &[MountPoint],
) -> Result<(), DeviceError> {
    for mount in mounts {
        if let Some(node) = nodes.iter().find(|node| node.path.starts_with(&mount.destination)) {
            let (device, mount) = (node.path.clone(), mount.destination.clone());
            return Err(DeviceError::Inside { device, mount });
        }
    }
    Ok(())
}

fn kind(kind: Kind) -> LinuxDeviceType {
    match kind {
        Kind::All => LinuxDeviceType::A,
        Kind::Block => LinuxDeviceType::B,
        Kind::Char => LinuxDeviceType::C,
    }
}

/// The nodes beside those that the library makes in every container.
pub(super) fn nodes(nodes: &[Node]) -> Result<Vec<LinuxDevice>, OciSpecError> {
    let build = |node: &Node| {
        LinuxDeviceBuilder::default()
            .path(&node.path)
            .typ(kind(node.kind))
            .major(i64::from(node.major))
            .minor(i64::from(node.minor))
            .file_mode(node.mode)
            .uid(node.uid)
            .gid(node.gid)
            .build()
    };
    nodes.iter().map(build).collect()
}

/// The rules, in order. Everything is denied first, or nothing at all; the library then allows null, zero,
/// random and the terminals.
pub(super) fn rules(config: &Config, nodes: &[Node]) -> Result<Vec<LinuxDeviceCgroup>, OciSpecError> {
    let all = config.settings.security.privileged;
    let mut rules = vec![LinuxDeviceCgroupBuilder::default().allow(all).access("rwm").build()?];
    if all {
        return Ok(rules);
    }
    for node in nodes {
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(kind(node.kind))
            .major(i64::from(node.major))
            .minor(i64::from(node.minor))
            .access(node.access.to_string());
        rules.push(rule.build()?);
    }
    for rule in &config.settings.devices.rules {
        let mut built = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(kind(rule.kind))
            .access(rule.access.to_string())
            .build()?;
        built.set_major(rule.major.map(i64::from)).set_minor(rule.minor.map(i64::from));
        rules.push(built);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;
    use crate::container::request::device::resolve;

    #[test]
    fn what_was_asked_for_is_allowed_after_everything_was_denied() {
        let mut config = minimal(&["sh"]);
        config.settings.devices.nodes = vec!["/dev/null:/dev/nothing:rw".parse().unwrap()];
        config.settings.devices.rules = vec!["c 10:* m".parse().unwrap()];
        let found = resolve(&config.settings.devices, false, true).unwrap();
        let text = |config: &Config| -> Vec<String> {
            let rules = rules(config, &found).unwrap();
            rules.iter().map(|rule| format!("{} {rule}", rule.allow())).collect()
        };
        assert_eq!(text(&config), ["false a *:* rwm", "true c 1:3 rw", "true c 10:* m"]);
        assert_eq!(nodes(&found).unwrap()[0].path(), std::path::Path::new("/dev/nothing"));
        config.settings.security.privileged = true;
        assert_eq!(text(&config), ["true a *:* rwm"]);
    }
}
