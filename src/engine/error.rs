//! What can go wrong, from wherever it comes, on its way to the user.

use crate::archive::ArchiveError;
use crate::store::FileError;
use std::path::PathBuf;

use crate::container::life::attach::AttachError;
use crate::container::life::changes::ChangesError;
use crate::container::life::index::IndexError;
use crate::container::life::log::LogError;
use crate::container::life::protocol::{Failure, ProtocolError};
use crate::container::life::record::RecordError;
use crate::container::life::signal::ProcessError;
use crate::container::life::supervisor::SupervisorError;
use crate::container::life::view::ViewError;
use crate::container::request::config::ConfigError;
use crate::container::request::limits::LimitError;
use crate::container::request::log::{Driver, OptionError};
use crate::container::request::mounts::MountError;
use crate::container::request::security::SecurityError;
use crate::container::run::runtime::RuntimeError;
use crate::container::tree::files::FilesError;
use crate::container::tree::mount_points::MountPointError;
use crate::container::tree::rootfs::RootfsError;
use crate::image::ImageError;
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::netns::NetNsError;
use crate::network::NetworkError;
use crate::registry::RegistryError;
use crate::volume::VolumeError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not enough privileges.
    #[error("cannot {action} without the capability {capability}")]
    Privilege {
        /// What was tried.
        action: &'static str,
        /// The capability that is missing.
        capability: &'static str,
    },
    /// Options that exclude each other.
    #[error("conflicting options: {option} cannot be used with {other}")]
    Conflict {
        /// One option.
        option: String,
        /// The other.
        other: String,
    },
    /// A network is named twice for a container.
    #[error("cannot connect the container to network {0} twice")]
    NetworkTwice(NetworkName),
    /// A container without a network of its own is not connected to any.
    #[error("cannot {action} container {name}: it was made with --net {mode}")]
    NoOwnNetwork {
        /// What was tried.
        action: &'static str,
        /// The container.
        name: ContainerName,
        /// What it was made with.
        mode: String,
    },
    /// The namespace is a container's.
    #[error("cannot use the network namespace {}: it is that of container {name}", .path.display())]
    NamespaceOfContainer {
        /// The namespace.
        path: PathBuf,
        /// The container.
        name: ContainerName,
    },
    /// The container has to run for this.
    #[error("cannot {action} container {name}: it is not running")]
    NotRunning {
        /// What was tried.
        action: &'static str,
        /// The container.
        name: ContainerName,
    },
    /// The container must be in another state for this.
    #[error("cannot {action} container {name}: it is {state}")]
    Is {
        /// What was tried.
        action: &'static str,
        /// The container.
        name: ContainerName,
        /// Its state.
        state: &'static str,
    },
    /// Nothing was written down of what the container wrote.
    #[error(
        "cannot read the log of container {name}: mydocker keeps none, because of its log driver {driver}"
    )]
    NoLog {
        /// The container.
        name: ContainerName,
        /// Its id.
        id: ContainerId,
        /// Where its output goes.
        driver: Driver,
    },
    /// Nobody checks how the container is.
    #[error("cannot wait for container {0}: it has no health check")]
    NoHealthCheck(ContainerName),
    /// The container must have ended to be removed.
    #[error("cannot remove container {name}: it is {state}")]
    StillUp {
        /// The container.
        name: ContainerName,
        /// Its state.
        state: &'static str,
    },
    /// Only one container can have the caller's terminal or streams.
    #[error("cannot connect to {0} containers at once")]
    AttachMany(usize),
    /// The supervisor did not finish in time.
    #[error("container {0} has ended, but its supervisor is still cleaning up")]
    SupervisorStuck(ContainerName),
    /// The supervisor went away without a word while the container was being started.
    #[error("cannot start container {0}: its supervisor was killed")]
    SupervisorLost(ContainerName),
    /// The supervisor went away without a word.
    #[error("lost the connection to the container: its supervisor was killed")]
    ConnectionLost,
    /// `-it` needs a terminal.
    #[error("cannot connect a terminal: the input device is not a TTY")]
    NoTerminal,
    /// The supervisor reported why it could not start the container.
    #[error("{}", .0.message)]
    Start(Failure),
    /// A container without an image that one could be made on.
    #[error("cannot commit container {name}: it was made from the directory {image} and not from an image")]
    NoImage {
        /// The container.
        name: ContainerName,
        /// The directory.
        image: String,
    },
    /// The container's image was removed.
    #[error("cannot commit container {name}: its image {image} is not there any more")]
    ImageGone {
        /// The container.
        name: ContainerName,
        /// The image as the user wrote it.
        image: String,
    },
    /// A path of a copy.
    #[error("cannot {action} {path}")]
    Copy {
        /// What was tried.
        action: &'static str,
        /// The path, with the container if it is one's.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A directory cannot take the place of a file.
    #[error("cannot copy the directory {source_path} to {target}: that is not a directory")]
    DirectoryOntoFile {
        /// What was to be copied.
        source_path: String,
        /// Where to.
        target: String,
    },
    /// The files of a copy.
    #[error("cannot copy {from} to {to}")]
    CopyFiles {
        /// Where they come from.
        from: String,
        /// Where they were to go.
        to: String,
        /// What went wrong.
        #[source]
        source: ArchiveError,
    },
    /// An archive of a container's files.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A container's files.
    #[error(transparent)]
    View(#[from] ViewError),
    /// What a container changed.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// Something about networks.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Something about the image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Something about volumes.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// Something about what is to be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Something that cannot be mounted.
    #[error(transparent)]
    MountPoint(#[from] MountPointError),
    /// Something about the files that are made for a container.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Something about what the container is to be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something about the container's name or registration.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Something about the container's record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Something about the container's file system.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Something about the container's processes.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A process could not be signalled or watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The connection between client and supervisor.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The connection between client and supervisor.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The supervisor itself.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was asked for as to the log.
    #[error("--log-opt: {0}")]
    LogOption(#[from] OptionError),
    /// The container's network namespace.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// A limit that cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A right that cannot be given.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The container whose network is to be shared has none at the moment.
    #[error("cannot share the network of container {0}: it is not running")]
    NetworkNotShared(ContainerName),
    /// The container whose namespace is to be shared is not there any more.
    #[error("cannot share {what} of container {}: no such container, it was removed", .id.short())]
    OwnerGone {
        /// What is to be shared.
        what: &'static str,
        /// The container that was.
        id: ContainerId,
    },
    /// The container whose namespace is to be shared keeps it to itself.
    #[error("cannot share the IPC of container {name}: it has a non-shareable IPC, made with --ipc {mode}")]
    IpcNotShareable {
        /// The container.
        name: ContainerName,
        /// What it was made with.
        mode: String,
    },
    /// A file that the user named.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the run directory, or our own process.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    /// Whether a network that was there a moment ago is not there any more, or about to go.
    #[must_use]
    pub fn is_network_gone(&self) -> bool {
        matches!(self, Self::Network(NetworkError::NotFound(_) | NetworkError::BeingRemoved { .. }))
    }

    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Privilege { .. } => Some("run mydocker as root".to_owned()),
            Self::CopyFiles { source: ArchiveError::File(FileError { source, .. }), .. }
                if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem =>
            {
                let hint =
                    "the container cannot write there either; or what is there exists only while it runs";
                Some(hint.to_owned())
            }
            Self::Start(failure) => failure.hint.clone(),
            Self::Network(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Volume(error) => error.hint(),
            Self::MountPoint(error) => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Index(IndexError::NameTaken { name, .. }) => Some(format!(
                "choose another name, or remove that container with: mydocker rm {name} (-f if it runs)"
            )),
            Self::Index(IndexError::NotFound(_)) => {
                Some("list all containers with: mydocker ps -a".to_owned())
            }
            Self::NoImage { name, .. } => Some(format!(
                "make an image of all its files with: mydocker export {name} | mydocker import -"
            )),
            Self::ImageGone { name, .. } => Some(format!(
                "make an image of all its files with: mydocker export {name} | mydocker import -"
            )),
            Self::NamespaceOfContainer { name, .. } => Some(format!("name the container instead: {name}")),
            Self::IpcNotShareable { name, .. } => {
                Some(format!("create container {name} again with: --ipc shareable"))
            }
            Self::NoTerminal => Some("leave out -t, or run it from a terminal".to_owned()),
            Self::StillUp { name, .. } => {
                Some(format!("stop it first with: mydocker stop {name}; or use --force"))
            }
            Self::NotRunning { action: "kill" | "signal", .. } => {
                Some("list the running containers with: mydocker ps".to_owned())
            }
            Self::NoLog { driver: Driver::Journald, id, .. } => {
                Some(format!("the journal has it: journalctl CONTAINER_ID={}", id.short()))
            }
            Self::NoHealthCheck(_) => {
                Some("give a container one when it is made: mydocker run --health-cmd COMMAND …".to_owned())
            }
            Self::NotRunning { name, .. } => Some(format!("start it with: mydocker start {name}")),
            Self::Config(ConfigError::NoCommand) => {
                Some("name a command behind the image: mydocker run IMAGE COMMAND".to_owned())
            }
            Self::Is { name, state: "paused", .. } => {
                Some(format!("resume it with: mydocker unpause {name}"))
            }
            Self::Is { name, state: "dead", .. } => {
                Some(format!("finish its removal with: mydocker rm {name}"))
            }
            _ => None,
        }
    }

    /// Whether the error is that nothing has the name or id that was looked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Index(IndexError::NotFound(_))
                | Self::Record(RecordError::NotFound(_))
                | Self::Image(ImageError::NotFound(_) | ImageError::Reference { .. })
                | Self::Network(NetworkError::NotFound(_))
                | Self::Volume(VolumeError::NotFound(_))
        )
    }

    /// The exit status for commands that otherwise return a container's: 125, 126 or 127.
    #[must_use]
    pub fn run_status(&self) -> u8 {
        match self {
            Self::Start(failure) => failure.code,
            Self::Runtime(error) => error.exit_code(),
            _ => 125,
        }
    }
}

/// An error with its causes on one line, each once.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Errors that only pass another one on repeat its text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}
