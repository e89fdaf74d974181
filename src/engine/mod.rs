//! The operations that users name: each in order, with undo and recovery.
//!
//! The engine joins containers, networks and images, which know nothing of each other. It prints nothing and
//! parses no command line.
//!
#![doc = include_str!("commands.md")]

mod answering;
mod attach;
mod attachments;
mod boot;
mod check;
mod commit;
mod connect;
mod connect_namespace;
mod connection;
mod containers;
mod copy;
mod create;
mod defaults;
mod error;
mod etc_files;
mod events;
mod exec;
mod export;
mod flows;
mod forget;
mod front;
mod health;
mod hold_up;
mod host;
mod image_archives;
mod images;
mod import;
mod info;
mod interruption;
mod join;
mod kill;
mod known;
mod launch;
mod leaks;
mod login;
mod logs;
mod mounts;
mod orphan;
mod pause;
mod plans;
mod privileges;
mod prune;
mod pull;
mod pull_layers;
mod push;
mod reload;
mod remove;
mod rename;
mod resolver;
mod restart;
mod sharing;
mod space;
mod space_of_each;
mod start;
mod stats;
mod stop;
mod supervise;
mod top;
mod transfer;
mod update;
mod volumes;
mod wait;

use crate::network::Networks;
pub use crate::store::{FileError, Layout};
use launch::Supervisors;

pub use crate::container::life::attach::Proxy as SignalProxy;
pub use crate::container::life::changes::{Change as FileChange, Kind as ChangeKind};
pub use crate::container::life::detach::DetachKeys;
pub use crate::container::life::health::{Health, HealthStatus, Outcome as HealthOutcome};
pub use crate::container::life::protocol::Stream;
pub use crate::container::life::record::State;
pub use crate::container::request::cgroup_parent::CgroupParent;
pub use crate::container::request::config::{
    ConfigError, ContainerPath, DEFAULT_STOP_TIMEOUT, EnvVar, Hostname, Settings, UserSpec,
};
pub use crate::container::request::device::{DeviceRequest, Rule as DeviceRule};
pub use crate::container::request::health::{HealthCheck, OnFailure};
pub use crate::container::request::limits::{Bytes, Cpus, LimitError, Limits, NumberList, Rate, Swap};
pub use crate::container::request::log::{Driver as LogDriver, Options as LogOptions};
pub use crate::container::request::modules::Modules;
pub use crate::container::request::mounts::{Mount, MountError, VolumesFrom};
pub use crate::container::request::namespaces::{
    IpcMode, Namespace, NamespaceError, Namespaces, OF_CONTAINER, PidMode,
};
pub use crate::container::request::resolution::{
    ContainerLink, ExtraHost, ResolutionError, resolver_option, search_domain,
};
pub use crate::container::request::restart::RestartPolicy;
pub use crate::container::request::seccomp_profile::Profile;
pub use crate::container::request::security::{CapabilityName, Seccomp, Security, SecurityError};
pub use crate::container::request::signal::Signal;
pub use crate::container::request::ulimit::Ulimit;
pub use crate::container::run::hidden::paths as hidden_paths;
pub use crate::container::run::processes::Task;
pub use crate::container::run::usage::{Transfer, Usage, host_memory};
pub use crate::events::{Event, Kind as EventKind};
pub use crate::image::{
    Change, ImageConfig, ImageError, LoadedImage, Pinned, Platform, Reference, RemoteName, Removal, Step,
    StoredImage,
};
pub use crate::network::is_name as is_dns_name;
pub use crate::network::{
    AddressBlock, CreateRequest as CreateNetwork, DEFAULT_MTU, DriverKind, Inspection as NetworkInspection,
    Network, Subnet, SubnetError,
};
pub use crate::network::{
    AttachRequest, Attached, AttachmentKey, Expected, ExpectedDevice, NetworkError, Origin, OtherEngine,
    PortError, Route,
};
pub use crate::network::{ContainerFlow, Direction, FlowEvent};
pub use crate::network::{Endpoint, ExposedPort, Family, MacAddress, Mode, PortMapping, PortRequest, Wanted};
pub use crate::network::{compact as compact_ports, unpublished as unpublished_ports};
pub use crate::registry::{Credentials, Options as RegistryOptions, RegistryError};
pub use crate::volume::Wanted as WantedVolume;
pub use answering::NAMES_DOMAIN;
pub use attach::{Attachment, Left};
pub use attachments::Attacher;
pub use boot::BootPlan;
pub use check::Finding;
pub use commit::CommitImage;
pub use connection::{Connection, Membership, NetworkMode};
pub use containers::{Listing, Paths, Record, Snapshot};
pub use copy::{CopyEnd, CopyOptions};
pub use create::CreateContainer;
pub use error::{EngineError, one_line};
pub use exec::ExecRequest;
pub use import::ImportImage;
pub use info::HostInfo;
pub use known::{Named, names};
pub use login::{terminal_size, without_echo};
pub use logs::LogRequest;
pub use mounts::MountView;
pub use pull::{PullImage, Pulled};
pub use push::Pushed;
pub use space::{DiskSpace, Space};
pub use space_of_each::{ImageSpace, SpaceOfEach};
pub use stats::DiskUsage;
pub use stop::{Grace, StopRequest};
pub use transfer::{LayerState, Progress};
pub use volumes::{NamePattern, Pruned, VolumeFilter, VolumeView};

/// Everything that mydocker can do below one pair of root directories.
#[derive(Debug)]
pub struct Engine {
    layout: Layout,
    networks: Networks,
    supervisors: Supervisors,
}
