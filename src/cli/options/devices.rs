//! The devices of the host that a container gets.

use crate::engine::{DeviceRequest, DeviceRule, Settings};

/// The devices of the host that a container gets
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct DeviceOptions {
    /// Give the container a device of the host, or a directory of devices: HOST[:CONTAINER][:rwm]; may be given
    /// more than once
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<DeviceRequest>,
    /// Allow access to devices by number, even if they appear later: "TYPE MAJOR:MINOR ACCESS", such as "c 10:*
    /// rwm"; may be given more than once
    #[arg(long = "device-cgroup-rule", value_name = "RULE")]
    rules: Vec<DeviceRule>,
}

impl DeviceOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) {
        settings.devices.nodes = self.devices;
        settings.devices.rules = self.rules;
    }
}
