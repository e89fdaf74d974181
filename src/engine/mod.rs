//! The operations that users name: each in order, with undo and recovery.
//!
//! The engine joins containers, networks and images, which know nothing of each other. It prints nothing and
//! parses no command line.

mod connection;
mod containers;
mod error;
mod logs;
mod networks;
mod privileges;
mod start;
mod supervise;
mod teardown;
mod update;
mod volumes;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::names::ContainerId;
use crate::network::Networks;
pub use crate::store::Layout;

pub use crate::container::config::{ConfigError, ContainerPath, EnvVar, Hostname, Settings, UserSpec};
pub use crate::container::device::{DeviceRequest, Rule as DeviceRule};
pub use crate::container::files::{ExtraHost, FilesError, resolver_option, search_domain};
pub use crate::container::limits::{Bytes, Cpus, LimitError, Limits, NumberList, Rate, Swap};
pub use crate::container::mounts::{Mount, MountError, VolumesFrom};
pub use crate::container::protocol::Stream;
pub use crate::container::record::State;
pub use crate::container::seccomp::Profile;
pub use crate::container::security::{
    CapabilityName, Namespace, Namespaces, Seccomp, Security, SecurityError,
};
pub use crate::container::signal::Signal;
pub use crate::container::ulimit::Ulimit;
pub use crate::network::compact as compact_ports;
pub use crate::network::{
    CreateRequest as CreateNetwork, DEFAULT_MTU, DriverKind, Inspection as NetworkInspection, Network,
    Subnet, SubnetError,
};
pub use crate::network::{ExposedPort, PortMapping, PortRequest};
pub use connection::{Connection, NetworkMode};
pub use containers::{CreateContainer, Record, Snapshot};
pub use error::{EngineError, one_line};
pub use logs::LogRequest;
pub use start::ExecRequest;
pub use volumes::{MountView, Pruned, VolumeFilter, VolumeView};

/// Everything that mydocker can do below one pair of root directories.
#[derive(Debug)]
pub struct Engine {
    layout: Layout,
    networks: Networks,
    /// How our own binary is called to supervise a container.
    supervisor: Vec<OsString>,
}

/// Where the files of one container lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The log.
    pub log: PathBuf,
    /// The copy-on-write layer and its mount.
    pub overlay: PathBuf,
    /// The pinned network namespace.
    pub netns: PathBuf,
}

impl Engine {
    /// Opens the engine. `supervisor` are the arguments with which our own binary supervises a container
    /// below the same directories.
    #[must_use]
    pub fn new(layout: Layout, supervisor: Vec<OsString>) -> Self {
        Self { networks: Networks::new(layout.clone()), layout, supervisor }
    }

    /// Where the files of a container lie, whether they exist at the moment or not.
    #[must_use]
    pub fn paths(&self, id: &ContainerId) -> Paths {
        Paths {
            log: self.layout.container_log(id),
            overlay: self.layout.overlay(id),
            netns: Layout::netns(id),
        }
    }
}
