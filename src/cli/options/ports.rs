//! The ports of a container that the host publishes.

use crate::engine::{ExposedPort, PortRequest, Settings};

/// The ports of a container that the host publishes
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Ports")]
pub(super) struct PortOptions {
    /// Publish a port: [[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]; without HOST_PORT a free port of
    /// the host is chosen, from a range of host ports the first free one; may be given more than once
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<PortRequest>,
    /// Publish every exposed port on a free port of the host
    #[arg(long, short = 'P')]
    publish_all: bool,
    /// A port that the container listens on: PORT[-END][/tcp|udp|sctp]; may be given more than once
    #[arg(long, value_name = "PORT")]
    expose: Vec<ExposedPort>,
}

impl PortOptions {
    /// Fills in this group's part. Returns what is to be published, and whether all that is exposed is, too.
    pub(super) fn apply(self, settings: &mut Settings) -> (Vec<PortRequest>, bool) {
        for exposed in self.expose {
            let ports = exposed.container.ports().map(|port| format!("{port}/{}", exposed.proto));
            settings.exposed.extend(ports);
        }
        (self.publish, self.publish_all)
    }
}
