//! The operations that users name: each in order, with undo and recovery.
//!
//! The engine joins containers, networks and images, which know nothing of each other. It prints nothing and
//! parses no command line.
//!
#![doc = include_str!("commands.md")]

mod connect;
mod connection;
mod containers;
mod copy;
mod diagnosis;
mod dry_run;
mod error;
mod hold_up;
mod images;
mod info;
mod lifecycle;
mod listing;
mod logs;
mod networks;
mod privileges;
mod sharing;
mod start;
mod stats;
mod supervise;
mod teardown;
mod top;
mod update;
mod volumes;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::container::run::cgroup::Hierarchy;
use crate::container::run::runtime::RuntimeError;
use crate::names::ContainerId;
use crate::needs::Groups;
use crate::network::Networks;
pub use crate::store::Layout;

pub use crate::container::life::changes::{Change as FileChange, Kind as ChangeKind};
pub use crate::container::life::detach::DetachKeys;
pub use crate::container::life::protocol::Stream;
pub use crate::container::life::record::State;
pub use crate::container::request::config::{
    ConfigError, ContainerPath, EnvVar, Hostname, Settings, UserSpec,
};
pub use crate::container::request::device::{DeviceRequest, Rule as DeviceRule};
pub use crate::container::request::limits::{Bytes, Cpus, LimitError, Limits, NumberList, Rate, Swap};
pub use crate::container::request::log::{Driver as LogDriver, Options as LogOptions};
pub use crate::container::request::modules::Modules;
pub use crate::container::request::mounts::{Mount, MountError, VolumesFrom};
pub use crate::container::request::namespaces::{
    IpcMode, Namespace, NamespaceError, Namespaces, OF_CONTAINER, PidMode,
};
pub use crate::container::request::resolution::{ExtraHost, ResolutionError, resolver_option, search_domain};
pub use crate::container::request::restart::RestartPolicy;
pub use crate::container::request::seccomp_profile::Profile;
pub use crate::container::request::security::{CapabilityName, Seccomp, Security, SecurityError};
pub use crate::container::request::signal::Signal;
pub use crate::container::request::ulimit::Ulimit;
pub use crate::container::run::processes::Task;
pub use crate::container::run::usage::{Transfer, Usage, host_memory};
pub use crate::image::{Change, ImageConfig, ImageError, Reference, Removal, Step, StoredImage};
pub use crate::network::{
    AddressBlock, CreateRequest as CreateNetwork, DEFAULT_MTU, DriverKind, Inspection as NetworkInspection,
    Network, Subnet, SubnetError,
};
pub use crate::network::{ContainerFlow, Direction, FlowEvent};
pub use crate::network::{Endpoint, ExposedPort, Family, MacAddress, Mode, PortMapping, PortRequest, Wanted};
pub use crate::network::{compact as compact_ports, unpublished as unpublished_ports};
pub use connection::{Connection, Membership, NetworkMode};
pub use containers::{CreateContainer, Record, Snapshot};
pub use copy::{CopyEnd, CopyOptions};
pub use diagnosis::Finding;
pub use error::{EngineError, one_line};
pub use images::{CommitImage, ImportImage};
pub use info::HostInfo;
pub use lifecycle::{Grace, StopRequest};
pub use listing::Listing;
pub use logs::LogRequest;
pub use start::{Attachment, ExecRequest, Left};
pub use stats::DiskUsage;
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
        let networks = Networks::new(layout.clone());
        Self { networks, layout, supervisor }
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

/// How the host's control groups are arranged, for those who look for what is missing.
fn groups() -> Groups {
    let none = Groups { tree: None, unified: false, beside: false, controllers: Vec::new() };
    Hierarchy::of_host().map_or(none, Hierarchy::described)
}

/// The host's control groups.
fn hierarchy() -> Result<&'static Hierarchy, EngineError> {
    Ok(Hierarchy::of_host().map_err(RuntimeError::from)?)
}
